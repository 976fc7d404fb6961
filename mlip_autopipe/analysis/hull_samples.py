"""Many hulls from samples of the energies: with what probability an entry is stable, and which labels would settle it.

A sample is one draw of all energies together, from a potential's posterior or from independent error bars. What entries
have in common (a potential that is wrong about a whole composition range) is in the samples and needs no model here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.hull import (
    Compositions,
    IntArray,
    checked_energies,
    lower_hull,
    rounding_tolerance_eV,
)
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

_BLOCK: Final = 64
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, eq=False)
class HullSamples:
    """What S hulls of the same N entries say together.

    Attributes
    ----------
    n_samples
        S.
    probability_stable
        (N,) the share of samples in which an entry is stable (`Hull.stable`).
    e_above_hull_eV_per_atom, e_above_hull_stderr_eV_per_atom
        (N,) mean and standard deviation over the samples. No sample is below zero, so that the mean of an entry near
        the hull is above the value of the mean energies.
    formation_energies_eV_per_atom, formation_energy_stderr_eV_per_atom
        (N,) mean and standard deviation over the samples, which include the pure elements' errors.
    stable_entries
        The stable entries of every sample.
    """

    n_samples: int
    probability_stable: FloatArray
    e_above_hull_eV_per_atom: FloatArray
    e_above_hull_stderr_eV_per_atom: FloatArray
    formation_energies_eV_per_atom: FloatArray
    formation_energy_stderr_eV_per_atom: FloatArray
    stable_entries: tuple[IntArray, ...]

    @property
    def probability_stderr(self) -> FloatArray:
        """(N,) standard error of the probabilities from the number of samples alone."""
        p = self.probability_stable
        return np.sqrt(p * (1 - p) / self.n_samples)


def sample_hulls(fractions: ArrayLike, samples: ArrayLike | Iterable[ArrayLike]) -> HullSamples:
    """Build the hull of every sample.

    Parameters
    ----------
    fractions
        (N, d) atomic fractions, as for `convex_hull`.
    samples
        (S, N) energies in eV per atom; or any iterable of such blocks, which are then never held together.

    Raises
    ------
    InvalidInputError
        As `convex_hull`; or there is no sample.

    Notes
    -----
    Of each sample only those entries reach Qhull that lie below a mixture found once, in the first block's mean:
    nothing above a mixture of others can be a vertex, so that the hulls are the same as without.
    """
    compositions = Compositions.of(fractions)
    n = len(compositions.fractions)
    bound: _Bound | None = None
    above, formation, count = _Moments(n), _Moments(n), np.zeros(n)
    stable_entries = []
    for block in _blocks(samples, n):
        lowest = compositions.lowest(block)
        tolerance = rounding_tolerance_eV(block)
        if bound is None:
            bound = _Bound(compositions, lowest.mean(axis=0), tolerance)
        for energies, lows in zip(block, lowest, strict=True):
            vertices, at_hull = bound.hull(lows, tolerance)
            e_above = energies - at_hull[compositions.group]
            stable = np.flatnonzero(vertices[compositions.group] & (e_above <= tolerance))
            count[stable] += 1
            stable_entries.append(stable)
            above.add(np.maximum(e_above, 0.0))
            formation.add(energies - compositions.fractions @ lows[compositions.pure])
    if not stable_entries:
        raise InvalidInputError("there are no samples of the energies; give at least one")
    return HullSamples(
        n_samples=len(stable_entries),
        probability_stable=count / len(stable_entries),
        e_above_hull_eV_per_atom=above.mean,
        e_above_hull_stderr_eV_per_atom=above.deviation,
        formation_energies_eV_per_atom=formation.mean,
        formation_energy_stderr_eV_per_atom=formation.deviation,
        stable_entries=tuple(stable_entries),
    )


def independent_samples(
    energies_eV_per_atom: ArrayLike, stderrs_eV_per_atom: ArrayLike, n_samples: int, seed: int = 0
) -> Iterator[FloatArray]:
    """Yield blocks of samples with independent normal errors, for `sample_hulls`.

    Parameters
    ----------
    energies_eV_per_atom, stderrs_eV_per_atom
        (N,).
    """
    energies, stderrs = np.asarray(energies_eV_per_atom, dtype=float), np.asarray(stderrs_eV_per_atom, dtype=float)
    rng = np.random.default_rng(seed)
    for first in range(0, n_samples, _BLOCK):
        yield energies + stderrs * rng.standard_normal((min(_BLOCK, n_samples - first), len(energies)))


def settles(fractions: ArrayLike, samples: ArrayLike, hulls: HullSamples, labelled: ArrayLike) -> FloatArray:
    """Return by how much a label of each entry is expected to lower the hull of what is labelled, in eV per atom.

    The mean over the samples of the depth of an entry below the hull of the labelled ones, counted where it is stable:
    an entry that is surely stable has all its depth, one in doubt its depth times its probability, and one that would
    hardly change the hull has hardly any, however great the doubt. It is expected improvement (Jones et al.,
    10.1023/A:1008306431147) with the hull in the place of the best value. Labelled entries have zero.

    Parameters
    ----------
    fractions, samples
        (N, d) and (S, N), those of ``hulls``.
    hulls
        Of `sample_hulls`.
    labelled
        (N,) whether the energy is known. Where no entry of an element is, its most probable one is taken for labelled
        and has an infinite value: all else is measured from there.

    Raises
    ------
    InvalidInputError
        Shapes do not fit.
    """
    compositions = Compositions.of(fractions)
    n = len(compositions.fractions)
    draws, known = checked_energies(samples, n), np.array(labelled, dtype=bool)
    if known.shape != (n,) or draws.shape != (hulls.n_samples, n):
        raise InvalidInputError(
            f"labelled has the shape {known.shape} and samples {draws.shape}; these hulls are {hulls.n_samples} of {n} "
            "entries"
        )
    needed = _most_probable_elements(compositions, hulls.probability_stable, known)
    known[needed] = True
    found = np.zeros(n)
    for energies, stable in zip(draws, hulls.stable_entries, strict=True):
        unknown = stable[~known[stable]]
        lowest = compositions.lowest(np.where(known, energies, np.inf))
        references = lowest[compositions.pure]
        lowest -= compositions.unique @ references
        facets = lower_hull(compositions.unique, lowest, compositions.pure, rounding_tolerance_eV(energies))
        x = compositions.fractions[unknown]
        found[unknown] += np.maximum(facets.values(x, lowest) - (energies[unknown] - x @ references), 0.0)
    found /= hulls.n_samples
    found[needed] = np.inf
    return found


def _most_probable_elements(
    compositions: Compositions, probabilities: FloatArray, known: NDArray[np.bool_]
) -> list[int]:
    """Return the entry that is most probably stable of each element that has no known one."""
    own = [np.flatnonzero(compositions.group == pure) for pure in compositions.pure]
    return [int(entries[probabilities[entries].argmax()]) for entries in own if not known[entries].any()]


class _Bound:
    """Mixtures of one hull as upper bounds of every other."""

    def __init__(self, compositions: Compositions, lowest: FloatArray, tolerance_eV: float) -> None:
        self.compositions = compositions
        formation = lowest - compositions.unique @ lowest[compositions.pure]
        facets = lower_hull(compositions.unique, formation, compositions.pure, tolerance_eV)
        place, self.shares = facets.locate(compositions.unique)
        self.phases = facets.simplices[place]
        # shares below zero are no mixture
        self.always = self.shares.min(axis=1) < -_ROUNDING
        self.always[facets.vertices] = True

    def hull(self, lowest: FloatArray, tolerance_eV: float) -> tuple[NDArray[np.bool_], FloatArray]:
        """Return which compositions are vertices, (U,), and the energy of the hull at all, (U,)."""
        x, pure = self.compositions.unique, self.compositions.pure
        references = x @ lowest[pure]
        formation = lowest - references
        mixtures = (self.shares * formation[self.phases]).sum(axis=1)
        possible = np.where(self.always | (formation < mixtures), formation, np.inf)
        facets = lower_hull(x, possible, pure, tolerance_eV)
        at_hull = facets.values(x, formation) + references
        vertices = np.zeros(len(x), dtype=bool)
        vertices[facets.vertices] = True
        at_hull[vertices] = lowest[vertices]
        return vertices, at_hull


class _Moments:
    """Mean and standard deviation of vectors, by Welford's recurrence (10.1080/00401706.1962.10490022)."""

    def __init__(self, n: int) -> None:
        self.count, self.mean, self._squares = 0, np.zeros(n), np.zeros(n)

    def add(self, values: FloatArray) -> None:
        self.count += 1
        change = values - self.mean
        self.mean = self.mean + change / self.count
        self._squares += change * (values - self.mean)

    @property
    def deviation(self) -> FloatArray:
        found: FloatArray = np.sqrt(self._squares / max(self.count - 1, 1))
        return found


def _blocks(samples: ArrayLike | Iterable[ArrayLike], n: int) -> Iterator[FloatArray]:
    given = isinstance(samples, np.ndarray) or (
        isinstance(samples, Sequence) and len(samples) > 0 and np.ndim(samples[0]) == 1
    )
    parts: Iterable[ArrayLike]
    if given:
        whole = np.asarray(samples)
        parts = (whole[k : k + _BLOCK] for k in range(0, len(whole), _BLOCK))
    else:
        parts = samples  # type: ignore[assignment]
    for part in parts:
        block = np.atleast_2d(checked_energies(part, n))
        if len(block):
            yield block
