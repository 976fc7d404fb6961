"""Means of correlated series with honest errors, the start of equilibrium, and drift.

Every function takes series of shape (..., n), time last, and works on all of them at once. Frames are equally spaced;
times are in frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError

_MIN_FRAMES = 8
# Window of Sokal's rule: for an exponential decay the sum then misses exp(-5) of the autocorrelation time.
_WINDOW = 5.0
_STARTS = 20
# A series whose scatter is rounding noise counts as constant.
_CONSTANT = 1e-12
_ONE_SIGMA = 0.8413447460685429


@dataclass(frozen=True, eq=False)
class SeriesMean:
    """Means of correlated series; every array has the shape of the series without its last axis.

    Attributes
    ----------
    mean
        The means.
    stderr
        Half-width of the 68.3 % interval of the mean, from the autocorrelation time.
    stderr_blocking
        Plain standard error by blocking: a cross-check, larger than `stderr` by much only where a slow process hides
        below the window.
    autocorrelation_time
        Integrated autocorrelation time in frames; 0.5 for independent frames.
    effective_samples
        Number of independent frames that would give the same error.
    degrees_of_freedom
        Of the variance of the mean, for Student's t.
    n_frames
        Length of the series.
    """

    mean: FloatArray
    stderr: FloatArray
    stderr_blocking: FloatArray
    autocorrelation_time: FloatArray
    effective_samples: FloatArray
    degrees_of_freedom: FloatArray
    n_frames: int

    def half_width(self, level: float) -> FloatArray:
        """Half-width of the interval around the mean that holds the truth with probability `level`."""
        ratio = student_quantile(self.degrees_of_freedom, 0.5 + level / 2)
        return self.stderr * ratio / student_quantile(self.degrees_of_freedom, _ONE_SIGMA)


def mean_with_error(series: ArrayLike, *, independent: bool = False) -> SeriesMean:
    """Return means with errors that know of the correlation between frames.

    The variance of a mean is that of a frame times 2 tau / n, where tau is `integrated_autocorrelation_time`. Its own
    relative variance is 2 (2 W + 1) / n with the window W (Madras and Sokal, 10.1007/BF01022990), as if it came from
    n / (2 W + 1) degrees of freedom, and the interval is Student's. So it stays honest for runs of few autocorrelation
    times.

    Parameters
    ----------
    series
        (..., n) with n >= 8.
    independent
        The frames are known to be independent (drawn, or taken far apart); then n >= 2 is enough.

    Raises
    ------
    AnalysisError
        When the series are too short or not finite.
    """
    array = _checked(series, 2 if independent else _MIN_FRAMES)
    n = array.shape[-1]
    if independent:
        return _mean_of_independent(array)
    variance, tau, window = _variance_and_time(array, _autocovariance(array), n)
    dof = np.maximum(n / (2 * window + 1), 1.0)
    error = np.sqrt(variance * 2 * tau / n)
    return SeriesMean(
        mean=np.asarray(array.mean(axis=-1)),
        stderr=error * student_quantile(dof, _ONE_SIGMA),
        stderr_blocking=blocking_stderr(array),
        autocorrelation_time=tau,
        effective_samples=n / (2 * tau),
        degrees_of_freedom=dof,
        n_frames=n,
    )


def integrated_autocorrelation_time(series: ArrayLike) -> FloatArray:
    """Return tau = 1/2 + sum of the autocorrelation function, in frames.

    The sum ends at the first lag W >= 5 tau(W) (Sokal, 10.1007/978-1-4899-0319-8_6) and is corrected for the loss by
    subtracting the sample mean (Wolff, 10.1016/S0010-4655(03)00467-3). Never below 1/2: anticorrelated frames count
    as independent ones.

    Parameters
    ----------
    series
        (..., n) with n >= 8.

    Raises
    ------
    AnalysisError
        When the series are too short or not finite.
    """
    array = _checked(series)
    return _variance_and_time(array, _autocovariance(array), array.shape[-1])[1]


def blocking_stderr(series: ArrayLike) -> FloatArray:
    """Return standard errors of the means by blocking (Flyvbjerg and Petersen, 10.1063/1.457480).

    Neighbours are averaged in pairs again and again; the error is taken from the shortest blocks of length B with
    B^3 > 2 n g^2, where g is the ratio of the squared errors with and without blocks (Lee et al.,
    10.1103/PhysRevE.83.066706), else from the longest ones.

    Parameters
    ----------
    series
        (..., n) with n >= 8.

    Raises
    ------
    AnalysisError
        When the series are too short or not finite.
    """
    blocks = _checked(series)
    n, length = blocks.shape[-1], 1
    plain = squared = blocks.var(axis=-1, ddof=1) / n
    settled = np.zeros(plain.shape, dtype=bool)
    while blocks.shape[-1] >= 4:
        count = blocks.shape[-1] // 2
        blocks, length = blocks[..., : 2 * count].reshape(*blocks.shape[:-1], count, 2).mean(axis=-1), 2 * length
        found = blocks.var(axis=-1, ddof=1) / count
        squared = np.where(settled, squared, found)
        settled |= length**3 * plain**2 > 2 * n * squared**2
    return np.asarray(np.sqrt(squared))


def equilibration_start(series: ArrayLike) -> NDArray[np.intp]:
    """Return the frame from which on each series looks stationary; at most half of it is given up.

    Marginal standard error rule (White, 10.1177/003754979706900601): the start that minimises variance / length of
    what remains. Maximising the number of effective samples (10.1021/acs.jctc.5b00784) prefers starts at which the
    autocorrelation time happens to come out short: nominal 68 % intervals then held 60 % for 15 independent samples,
    against 67 % with this rule. Whether half of the series was enough is told by `drift_p_value`.

    Parameters
    ----------
    series
        (..., n) with n >= 8.

    Raises
    ------
    AnalysisError
        When the series are too short or not finite.
    """
    array = _checked(series)
    n = array.shape[-1]
    starts = np.unique(np.linspace(0, n // 2, _STARTS, endpoint=False).astype(int))
    centred = array - array.mean(axis=-1, keepdims=True)
    # sums over what remains after each start
    first = np.cumsum(centred[..., ::-1], axis=-1)[..., ::-1][..., starts]
    second = np.cumsum(centred[..., ::-1] ** 2, axis=-1)[..., ::-1][..., starts]
    left = n - starts
    score = (second - first**2 / left) / left**2
    return np.asarray(starts[np.argmin(score, axis=-1)])


def drift_p_value(series: ArrayLike) -> FloatArray:
    """Return the probability that a stationary series differs as much between its first and its last third.

    The error of the difference comes from the autocovariances within the thirds, so that a drift does not inflate it.

    Parameters
    ----------
    series
        (..., n) with n >= 24.

    Raises
    ------
    AnalysisError
        When the series are too short or not finite.
    """
    from scipy.special import stdtr

    array = _checked(series, 3 * _MIN_FRAMES)
    n = array.shape[-1]
    m = n // 3
    thirds = np.stack([array[..., :m], array[..., (n - m) // 2 : (n - m) // 2 + m], array[..., n - m :]], axis=-2)
    means = thirds.mean(axis=-1)
    variance, tau, window = _variance_and_time(array, _autocovariance(thirds).mean(axis=-2), m)
    squared = 2 * variance * 2 * tau / m
    constant = squared == 0
    difference = np.abs(means[..., 2] - means[..., 0])
    score = difference / np.sqrt(np.where(constant, 1.0, squared))
    dof = np.maximum(3 * m / (2 * window + 1), 1.0)
    negligible = difference <= _CONSTANT * np.abs(array).max(axis=-1)
    return np.where(constant, np.where(negligible, 1.0, 0.0), 2 * stdtr(dof, -score))


def student_quantile(degrees_of_freedom: ArrayLike, probability: float) -> FloatArray:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.asarray(degrees_of_freedom, dtype=float), probability), dtype=float)


def _mean_of_independent(array: FloatArray) -> SeriesMean:
    n = array.shape[-1]
    error = np.asarray(array.std(axis=-1, ddof=1)) / np.sqrt(n)
    same = np.ones(error.shape)
    return SeriesMean(
        mean=np.asarray(array.mean(axis=-1)),
        stderr=error * student_quantile(n - 1, _ONE_SIGMA),
        stderr_blocking=error,
        autocorrelation_time=0.5 * same,
        effective_samples=n * same,
        degrees_of_freedom=(n - 1) * same,
        n_frames=n,
    )


def _autocovariance(array: FloatArray) -> FloatArray:
    """Autocovariance (..., n) at all lags, each divided by n."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = array.shape[-1]
    length = next_fast_len(2 * n, real=True)
    spectrum = rfft(array - array.mean(axis=-1, keepdims=True), length)
    result: FloatArray = irfft(np.abs(spectrum) ** 2, length)[..., :n] / n
    return result


def _variance_and_time(
    array: FloatArray, covariance: FloatArray, n: int
) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Variance of a frame, integrated autocorrelation time and its window, from autocovariances (..., n)."""
    variance = covariance[..., 0]
    constant = variance <= (_CONSTANT * np.abs(array).max(axis=-1)) ** 2
    correlation = covariance / np.where(constant, 1.0, variance)[..., None]
    correlation[..., 0] = 0.5
    tau = np.cumsum(correlation, axis=-1)
    long_enough = np.arange(n) >= _WINDOW * tau
    # no window before the end: the series is shorter than its correlations
    window = np.where(long_enough.any(axis=-1), np.argmax(long_enough, axis=-1), n - 1)
    found = np.take_along_axis(tau, window[..., None], axis=-1)[..., 0] * (1 + (2 * window + 1) / n)
    window = np.where(constant, 0, window)
    return np.where(constant, 0.0, variance), np.where(constant, 0.5, np.maximum(found, 0.5)), window


def _checked(series: ArrayLike, shortest: int = _MIN_FRAMES) -> FloatArray:
    array = np.asarray(series, dtype=float)
    if array.ndim == 0 or array.shape[-1] < shortest:
        frames = array.shape[-1] if array.ndim else 1
        raise AnalysisError(f"A series of {frames} frames says nothing of its own error: give at least {shortest}.")
    if not np.isfinite(array).all():
        frame = int(np.flatnonzero(~np.isfinite(array).reshape(-1, array.shape[-1]).all(axis=0))[0])
        raise AnalysisError(f"The series holds a value that is not finite at frame {frame}: leave that frame out.")
    return array
