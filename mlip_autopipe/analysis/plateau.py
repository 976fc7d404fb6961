"""The two-point estimator of diffusion coefficients, its errors, and where its plateau begins.

D(t) = [MSD(2t) - MSD(t)] / (2 d t). Everything here is in A^2 per frame and frames; `diffusion` brings in the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mlip_autopipe.analysis.msd_kernels import IntArray, MSDCurves
from mlip_autopipe.analysis.statistics import SeriesMean, mean_with_error
from mlip_autopipe.analysis.symmetry import FloatArray

TRACE: Final = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) / 3
"""Weights of the Voigt components in the coefficient."""
LEVEL: Final = 0.9995
"""Values differ when chance alone differs less in this share of runs: many pairs of lags are compared."""
NEGLIGIBLE: Final = 0.005
"""Relative difference that does not matter."""
MARGIN: Final = 4
"""The plateau starts so many times later than the last lag that was seen to be off it."""
FREE_ERROR: Final = 1.25
"""A longer lag is taken as long as it costs no more than this factor in the error."""
_LEAST_BINS: Final = 8
_LEAST_WALKERS: Final = 8


@dataclass(frozen=True, eq=False)
class TwoPoint:
    """D(t) of a set of walkers at every lag t whose double is known.

    Attributes
    ----------
    lags
        (h,) in frames.
    tensor
        (h, 6) D_xx, D_yy ... in A^2 per frame.
    by_walker
        (h, n, 6) of each walker.
    by_time
        (h, b, 6) of all walkers by the time of the window; not a number outside.
    """

    lags: IntArray
    tensor: FloatArray
    by_walker: FloatArray
    by_time: FloatArray

    @property
    def values(self) -> FloatArray:
        """(h,) D(t)."""
        return np.asarray(self.tensor @ TRACE)

    def place(self, lag: int) -> int | None:
        """Index of a lag."""
        found = np.flatnonzero(self.lags == lag)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, eq=False)
class SplitError:
    """Errors of a mean over walkers and time, by the scatter of each.

    Attributes
    ----------
    by_walker
        The mean of the walkers; none for few of them.
    by_time
        The mean of the correlated series along the run; none for short ones.
    """

    by_walker: SeriesMean | None
    by_time: SeriesMean | None

    @property
    def walkers(self) -> float:
        """Standard error from the scatter between walkers."""
        return float(self.by_walker.stderr) if self.by_walker else float("nan")

    @property
    def time(self) -> float:
        """Standard error from the scatter along the run."""
        return float(self.by_time.stderr) if self.by_time else float("nan")

    @property
    def larger(self) -> float:
        """The larger of both: walkers that move together look independent to the first only."""
        known = [error for error in (self.walkers, self.time) if np.isfinite(error)]
        return max(known, default=float("nan"))

    def half_width(self, level: float) -> float:
        """Half-width of the interval that holds the truth with this probability; infinite where nothing is known."""
        known = [float(mean.half_width(level)) for mean in (self.by_walker, self.by_time) if mean]
        return max(known, default=float("inf"))


@dataclass(frozen=True)
class Plateau:
    """Where D(t) is constant.

    Attributes
    ----------
    start
        The t of the estimate, in frames.
    shortest
        The shortest lag that agrees with all longer ones; `start` keeps a distance.
    end
        Last lag up to which D agrees with that at the start.
    found
        Whether there is one; otherwise `start` is the longest lag that the run allows.
    exponent, exponent_stderr
        Of MSD ~ t^exponent from `start` on: 1 for diffusion.
    """

    start: int
    shortest: int
    end: int
    found: bool
    exponent: float
    exponent_stderr: float


def two_point(curves: MSDCurves) -> TwoPoint:
    """Return D(t) for all lags of the curves whose double is among them."""
    lags = curves.lags[2 * curves.lags <= curves.lags[-1]]
    lower = np.searchsorted(curves.lags, lags)
    upper = np.searchsorted(curves.lags, 2 * lags)
    scale = 1 / (2.0 * lags)
    return TwoPoint(
        lags=lags,
        tensor=(curves.tensor_A2[2 * lags] - curves.tensor_A2[lags]) * scale[:, None],
        by_walker=(curves.by_walker_A2[upper] - curves.by_walker_A2[lower]) * scale[:, None, None],
        by_time=(curves.by_time_A2[upper] - curves.by_time_A2[lower]) * scale[:, None, None],
    )


def split_error(by_walker: FloatArray, by_time: FloatArray) -> SplitError:
    """Return the errors of the mean of (n,) walkers, and of the mean of a (b,) series, whose ends may be missing."""
    series = by_time[np.isfinite(by_time)]
    return SplitError(
        mean_with_error(by_walker, independent=True) if len(by_walker) >= _LEAST_WALKERS else None,
        mean_with_error(series) if len(series) >= _LEAST_BINS else None,
    )


def error_at(points: TwoPoint, place: int, weights: FloatArray = TRACE) -> SplitError:
    """Return the errors of a combination of tensor components at one lag."""
    return split_error(points.by_walker[place] @ weights, points.by_time[place] @ weights)


def difference_error(points: TwoPoint, one: int, other: int) -> SplitError:
    """Return the errors of D at one lag minus D at another, from the same walkers and times."""
    return split_error(
        (points.by_walker[one] - points.by_walker[other]) @ TRACE, (points.by_time[one] - points.by_time[other]) @ TRACE
    )


def find_plateau(points: TwoPoint) -> Plateau:
    """Return where D(t) is constant.

    The smallest t at which D(t), D(2t), D(4t) and all further doublings agree. Values that are still off by less than
    their noise would bias the result, so that t is moved away from the last lag that disagreed by a factor `MARGIN`,
    and on to longer lags where they cost nothing: the error of rare hops hardly depends on t, that of free motion does.
    """
    allowed = [k for k, lag in enumerate(points.lags) if points.place(4 * int(lag)) is not None]
    first = next((k for k in allowed if _agrees_later(points, k)), None)
    place = allowed[-1] if first is None else first
    if first:
        place = int(np.searchsorted(points.lags, MARGIN * points.lags[first - 1]))
    found = first is not None and place in allowed
    shortest = int(points.lags[place if first is None else first])
    place = min(place, allowed[-1])
    if found:
        limit = FREE_ERROR * error_at(points, place).larger
        place = max(k for k in allowed if k == place or (k > place and error_at(points, k).larger <= limit))
    four = points.place(4 * int(points.lags[place]))
    assert four is not None
    end = max((k for k in range(place, len(points.lags)) if _agree(points, place, k)), default=place)
    return Plateau(int(points.lags[place]), shortest, int(points.lags[end]), found, *_exponent(points, place, four))


def _agrees_later(points: TwoPoint, place: int) -> bool:
    lag, other = 2 * int(points.lags[place]), points.place(2 * int(points.lags[place]))
    while other is not None:
        if not _agree(points, place, other):
            return False
        lag *= 2
        other = points.place(lag)
    return True


def _agree(points: TwoPoint, one: int, other: int) -> bool:
    values = points.values
    difference = abs(values[one] - values[other])
    if difference <= NEGLIGIBLE * abs(values[other]):
        return True
    return bool(difference <= difference_error(points, one, other).half_width(LEVEL))


def _exponent(points: TwoPoint, one: int, four: int) -> tuple[float, float]:
    """Slope of ln D(t) over ln t plus one, between t and 4t."""
    first, last = points.values[one], points.values[four]
    if not (first > 0 and last > 0):
        return float("nan"), float("nan")
    span = np.log(points.lags[four] / points.lags[one])
    relative = split_error(
        points.by_walker[four] @ TRACE / last - points.by_walker[one] @ TRACE / first,
        points.by_time[four] @ TRACE / last - points.by_time[one] @ TRACE / first,
    )
    return float(1 + np.log(last / first) / span), float(relative.larger / span)
