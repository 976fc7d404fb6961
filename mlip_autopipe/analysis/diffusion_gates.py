"""What must hold before a diffusion coefficient is believed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.plateau import TRACE, Plateau, TwoPoint
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.analysis.statistics import drift_p_value
from mlip_autopipe.errors import AnalysisError

# Between the 0.1 to 0.2 of hot crystals and the 0.43 of atoms anywhere in the cells of an fcc lattice.
MAX_SITE_RATIO: Final = 0.25
# A sound run fails once in five hundred times.
DRIFT_LEVEL: Final = 0.002
# Share of the kinetic energy that may be in the motion of all atoms together.
MAX_UNIFORM_SHARE: Final = 0.01
MIN_HOPS: Final = 20
MAX_RELATIVE_ERROR: Final = 0.5
AMU_A2_PER_FS2_EV: Final = 103.642696
"""1 amu A^2/fs^2 in eV."""

EVIDENCE: Final = "enough_evidence"
"""The gate that a longer run mends."""


def diffusive(plateau: Plateau) -> GateResult:
    """Check that D(t) has a plateau: caged or anomalous motion has none within the run."""
    words = f"MSD ~ t^({plateau.exponent:.2f} +- {plateau.exponent_stderr:.2f})"
    if not plateau.found:
        kind = "sub-diffusive" if plateau.exponent < 1 else "not diffusive"
        return GateResult("diffusive", False, f"{kind}: D(t) does not settle within the run, {words}")
    return GateResult("diffusive", True, f"D(t) is constant from {plateau.start} to {plateau.end} frames, {words}")


def not_drifted(points: TwoPoint, place: int) -> GateResult:
    """Compare the mobility in the first with that in the last third of the run."""
    series = points.by_time[place] @ TRACE
    try:
        chance = float(drift_p_value(series[np.isfinite(series)]))
    except AnalysisError:
        return GateResult("not_drifted", True, "the run is too short at this lag to show a drift of the mobility")
    return GateResult(
        "not_drifted",
        chance > DRIFT_LEVEL,
        f"chance that the mobility of a stationary run differs as much between its thirds: {chance:.2g}, at least "
        f"{DRIFT_LEVEL:g}",
    )


def at_rest(drift_A: ArrayLike, time_fs: float, mass_amu: float, n_atoms: int, temperature_K: float) -> GateResult:
    """Check that the atoms do not fly together: their thermal energy would be less than the temperature says.

    Parameters
    ----------
    drift_A
        (3,) how far the centre of mass went in `time_fs`.
    """
    speed = np.asarray(drift_A, dtype=float) / time_fs
    energy = 0.5 * mass_amu * AMU_A2_PER_FS2_EV * float(speed @ speed)
    share = energy / (1.5 * n_atoms * BOLTZMANN_EV_PER_K * temperature_K)
    return GateResult(
        "at_rest",
        share <= MAX_UNIFORM_SHARE,
        f"the common motion of all atoms holds {100 * share:.2g} % of the kinetic energy, at most "
        f"{100 * MAX_UNIFORM_SHARE:g} %; it is taken out of the displacements",
    )


def still_solid(site_ratio: float, max_ratio: float = MAX_SITE_RATIO) -> GateResult:
    """Check that atoms are near sites at the end of the run; hops from site to site are no melting."""
    return GateResult(
        "still_solid",
        site_ratio <= max_ratio,
        f"atoms are {site_ratio:.3f} of the nearest-neighbour distance away from the sites, at most {max_ratio:g}"
        + ("" if site_ratio <= max_ratio else ": it has melted"),
    )


def is_liquid(site_ratio: float, max_ratio: float = MAX_SITE_RATIO) -> GateResult:
    """Check that atoms have left all sites by the end of the run."""
    return GateResult(
        "is_liquid",
        site_ratio > max_ratio,
        f"atoms are {site_ratio:.3f} of the nearest-neighbour distance away from where atoms were at the start, more "
        f"than {max_ratio:g} in a liquid",
    )


def enough_evidence(value: float, stderr: float, n_hops: int, min_hops: int = MIN_HOPS) -> GateResult:
    """Check that the coefficient stands out of its error, and rests on some hops."""
    relative = stderr / value if value > 0 else float("inf")
    return GateResult(
        EVIDENCE,
        bool(relative <= MAX_RELATIVE_ERROR and n_hops >= min_hops),
        f"relative error {100 * relative:.3g} %, at most {100 * MAX_RELATIVE_ERROR:g} %; {n_hops} hops, at least "
        f"{min_hops}",
    )
