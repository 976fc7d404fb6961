"""Two-phase regions from the free energy of a finite cell along its composition.

The lower convex hull of F(n) bridges the compositions at which two phases are better than one. In a finite cell the
compositions of the two follow from the distribution of n at the chemical potential at which both peaks hold the same
weight: corrections are then exponentially small (Borgs and Kotecky, 10.1007/BF01013955). Near a critical point the
distribution has two peaks on both sides; at the critical point of the Ising class their height over the valley is
2.17 (Tsypin and Bloete, 10.1103/PhysRevE.62.73), which is where a miscibility gap is taken to close.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis._sublattices import IntArray
from mlip_autopipe.analysis.symmetry import FloatArray

CRITICAL_BARRIER: Final = 0.776
"""ln 2.17: units of kT, of the whole cell."""
_SIGNIFICANT: Final = 3.0
_HALVINGS: Final = 80


@dataclass(frozen=True)
class Gap:
    """A range of compositions that one phase alone does not cover.

    Attributes
    ----------
    first, last
        Atoms of the second element at the ends of the hull's bridge.
    split
        Least likely number between them.
    barrier, barrier_stderr
        Height of F above the bridge at the split, units of kT, of the whole cell.
    """

    first: int
    last: int
    split: int
    barrier: float
    barrier_stderr: float


def lower_hull(values: ArrayLike) -> IntArray:
    """Return the indices of the lower convex hull of values at equally spaced places, ends included."""
    y = np.asarray(values, dtype=float)
    hull: list[int] = []
    for k in range(len(y)):
        while len(hull) > 1 and (y[hull[-1]] - y[hull[-2]]) * (k - hull[-2]) >= (y[k] - y[hull[-2]]) * (
            hull[-1] - hull[-2]
        ):
            hull.pop()
        hull.append(k)
    return np.array(hull, dtype=np.int64)


def find_gaps(free_energies: ArrayLike, draws: ArrayLike, *, least_barrier: float = CRITICAL_BARRIER) -> list[Gap]:
    """Find the two-phase regions of a curve.

    Parameters
    ----------
    free_energies
        (n + 1,) beta F of the whole cell for 0 ... n atoms of the second element.
    draws
        (d, n + 1) the same with its noise drawn anew: a barrier must stand out of it.
    least_barrier
        Barriers below are those of one phase near a critical point.
    """
    nominal, noisy = np.asarray(free_energies, dtype=float), np.asarray(draws, dtype=float)
    hull = lower_hull(nominal)
    found = []
    for first, last in pairwise(hull):
        if last - first < 2:
            continue
        inside = np.arange(first, last + 1)
        share = (inside - first) / (last - first)
        over = nominal[inside] - (1 - share) * nominal[first] - share * nominal[last]
        top = int(np.argmax(over))
        bridge = (1 - share[top]) * noisy[:, first] + share[top] * noisy[:, last]
        error = float(np.std(noisy[:, first + top] - bridge)) if len(noisy) else 0.0
        if over[top] - least_barrier > _SIGNIFICANT * error:
            found.append(Gap(int(first), int(last), int(first) + top, float(over[top]), error))
    return found


def coexisting(free_energies: ArrayLike, gaps: list[Gap]) -> tuple[FloatArray, FloatArray]:
    """Return the compositions on both sides of gaps, and the chemical potentials.

    Parameters
    ----------
    free_energies
        (..., n + 1) beta F of the whole cell.
    gaps
        Of `find_gaps`; the splits between neighbouring gaps bound the peaks.

    Returns
    -------
    tuple
        Fractions of the second element (..., gaps, 2), and chemical potential differences in units of kT
        (..., gaps).
    """
    curves = np.asarray(free_energies, dtype=float)
    n = curves.shape[-1] - 1
    bounds = [0, *(gap.split for gap in gaps), n]
    fractions = np.empty((*curves.shape[:-1], len(gaps), 2))
    potentials = np.empty((*curves.shape[:-1], len(gaps)))
    for k, gap in enumerate(gaps):
        left, right = np.arange(bounds[k], gap.split + 1), np.arange(gap.split, bounds[k + 2] + 1)
        tilt = _equal_weight(curves, left, right)
        potentials[..., k] = tilt
        for side, range_ in enumerate((left, right)):
            weights = _weights(curves[..., range_] - tilt[..., None] * range_)
            fractions[..., k, side] = (weights * range_).sum(axis=-1) / n
    return fractions, potentials


def _equal_weight(curves: FloatArray, left: IntArray, right: IntArray) -> FloatArray:
    """Return the chemical potential (...,) at which both ranges hold the same weight, by bisection."""
    slopes = np.diff(curves, axis=-1)[..., left[0] : right[-1]]
    low, high = slopes.min(axis=-1) - 50.0, slopes.max(axis=-1) + 50.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # more of the second element with a larger potential
        more = _log_sum(curves, right, middle) > _log_sum(curves, left, middle)
        high, low = np.where(more, middle, high), np.where(more, low, middle)
    return np.asarray((low + high) / 2)


def _log_sum(curves: FloatArray, range_: IntArray, tilt: FloatArray) -> FloatArray:
    from scipy.special import logsumexp

    return np.asarray(logsumexp(tilt[..., None] * range_ - curves[..., range_], axis=-1))


def _weights(exponents: FloatArray) -> NDArray[np.float64]:
    weights = np.exp(exponents.min(axis=-1, keepdims=True) - exponents)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
