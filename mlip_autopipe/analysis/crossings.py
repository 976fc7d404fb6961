"""Where atoms cross from site to site, and what another potential would change about how often they do.

The rate of hops under a potential U is, in transition state theory, proportional to the probability of the dividing
surface. To first order in a change dU of the potential

    d ln D = -[<dU> on the surface - <dU>] / kT ,

both averages under U (free energy perturbation: Zwanzig, doi:10.1063/1.1740409). So one run with U tells how the
coefficient answers to any other potential near it, without waiting for its hops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.hops import WINDOW_FRAMES
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

LONGEST_HOP: Final = 3.0
"""Times the hop distance: midway of a flight over several sites lies a site."""
_HALFWAY: Final = 0.12
"""Of the way between the sites: a frame farther from the middle is none of the dividing surface."""
_SITE_WINDOWS: Final = 6


@dataclass(frozen=True)
class Crossing:
    """An atom between two sites.

    Attributes
    ----------
    atom
        Which.
    frame
        In which it is nearest to the middle between the sites.
    """

    atom: int
    frame: int


@dataclass(frozen=True, eq=False)
class CoefficientShift:
    """What other potentials would change about the logarithm of a coefficient.

    Attributes
    ----------
    shifts
        (potentials,) of ln D.
    stderr
        (potentials,) their errors, from the scatter between frames.
    n_crossings
        That they rest on.
    """

    shifts: FloatArray
    stderr: FloatArray
    n_crossings: int

    @property
    def spread(self) -> float:
        """Standard deviation of ln D over the potentials, about the run's own."""
        return float(np.sqrt((self.shifts**2).mean()))


def find_crossings(displacements_A: FloatArray, hop_distance_A: float) -> list[Crossing]:
    """Return the frames in which atoms cross between sites, in the order of time.

    Parameters
    ----------
    displacements_A
        (frames, n, 3) unwrapped, drift removed.
    hop_distance_A
        What counts as a hop, see `hops.count_hops`; an atom that comes back within the same window has not hopped.

    Returns
    -------
    list of Crossing
        Those that were caught near the middle.
    """
    if not hop_distance_A > 0:
        raise AnalysisError(f"The hop distance ({hop_distance_A:g} A) must be positive.")
    frames, n, _ = displacements_A.shape
    windows = frames // WINDOW_FRAMES
    if windows < 3:
        return []
    coarse = displacements_A[: windows * WINDOW_FRAMES].reshape(windows, WINDOW_FRAMES, n, 3).mean(axis=1)
    reach = np.sqrt(((coarse - coarse[0]) ** 2).sum(axis=2)).max(axis=0)
    found = [
        Crossing(int(atom), frame)
        for atom in np.flatnonzero(reach > hop_distance_A)
        for frame in _crossings_of(displacements_A[:, atom], coarse[:, atom], hop_distance_A)
    ]
    return sorted(found, key=lambda one: one.frame)


def coefficient_shift(on_surface_eV: FloatArray, overall_eV: FloatArray, temperature_K: float) -> CoefficientShift:
    """Return what other potentials would change about ln D.

    Parameters
    ----------
    on_surface_eV
        (crossings, potentials) energy of the other potential minus that of the run's own, at the crossings.
    overall_eV
        (frames, potentials) the same in frames of the whole run, far enough apart to be independent.
    temperature_K
        Of the run.

    Raises
    ------
    AnalysisError
        There are fewer than two crossings, or frames.
    """
    if min(len(on_surface_eV), len(overall_eV)) < 2:
        raise AnalysisError(f"{len(on_surface_eV)} crossings do not tell how a coefficient answers to the potential.")
    kT_eV = BOLTZMANN_EV_PER_K * temperature_K
    variances = [one.var(axis=0, ddof=1) / len(one) for one in (on_surface_eV, overall_eV)]
    return CoefficientShift(
        shifts=-(on_surface_eV.mean(axis=0) - overall_eV.mean(axis=0)) / kT_eV,
        stderr=np.sqrt(sum(variances)) / kT_eV,
        n_crossings=len(on_surface_eV),
    )


def _crossings_of(path: FloatArray, coarse: FloatArray, hop_distance_A: float) -> list[int]:
    """Return the frames in which one atom is midway: (frames, 3) and its means over windows."""
    found = []
    hops = _hop_windows(coarse, hop_distance_A)
    for place, k in enumerate(hops):
        begin = max(hops[place - 1] + 1 if place else 0, k - _SITE_WINDOWS)
        end = min(hops[place + 1] - 1 if place + 1 < len(hops) else len(coarse), k + 1 + _SITE_WINDOWS)
        # the windows next to the hop hold part of the crossing
        before, after = coarse[begin : max(begin + 1, k - 1)], coarse[min(k + 1, end - 1) : end]
        if not (len(before) and len(after)):
            continue
        origin, step = before.mean(axis=0), after.mean(axis=0) - before.mean(axis=0)
        length = float(step @ step)
        if not hop_distance_A**2 < length < (LONGEST_HOP * hop_distance_A) ** 2:
            continue
        low, high = max(0, (k - 2) * WINDOW_FRAMES), min(len(path), (k + 2) * WINDOW_FRAMES)
        way = (path[low:high] - origin) @ step / length
        middle = int(np.argmin(np.abs(way - 0.5)))
        if abs(way[middle] - 0.5) < _HALFWAY:
            found.append(low + middle)
    return found


def _hop_windows(coarse: FloatArray, hop_distance_A: float) -> list[int]:
    found: list[int] = []
    site, start = coarse[0], 1
    while start < len(coarse):
        far = np.sum((coarse[start:] - site) ** 2, axis=1) > hop_distance_A**2
        if not far.any():
            break
        k = start + int(np.argmax(far))
        found.append(k)
        site, start = coarse[min(k + 1, len(coarse) - 1)], k + 2
    return found
