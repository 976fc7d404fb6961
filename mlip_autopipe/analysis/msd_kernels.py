"""Mean square displacements: over all time origins by FFT, and by atom and by time at chosen lags.

Displacements are (n, 3, frames), atoms first. Tensors have six Voigt components xx yy zz yz xz xy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import VOIGT_PAIRS, FloatArray

TIME_BINS: Final = 256
# Origins nearer than a quarter of the lag hold hardly anything new for the errors.
_ORIGINS_PER_LAG: Final = 4
_CACHE_BYTES: Final = 2**21

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MSDCurves:
    """Mean square displacements of some walkers, in A^2.

    Attributes
    ----------
    tensor_A2
        (m, 6) <dx dx>, <dy dy> ... at lags 0 ... m - 1 frames, over all origins and walkers.
    lags
        (g,) chosen lags in frames.
    by_walker_A2
        (g, n, 6) of each walker at the chosen lags.
    by_time_A2
        (g, b, 6) of all walkers at the chosen lags, by the time of the middle of the window; not a number where no
        window is centred.
    """

    tensor_A2: FloatArray
    lags: IntArray
    by_walker_A2: FloatArray
    by_time_A2: FloatArray


def lag_grid(n_frames: int) -> IntArray:
    """Return the lags 1, 2, 3, 4, 6, 8, 12 ... up to half the run: with t also 2t and 4t."""
    powers = [2**k for k in range(int(np.log2(max(n_frames, 2))) + 1)]
    lags = np.array(sorted({*powers, *(3 * p for p in powers)}), dtype=np.int64)
    return lags[lags <= n_frames // 2]


class MSDAccumulator:
    """Collect the mean square displacements of a set of walkers, some walkers at a time.

    Parameters
    ----------
    n_frames
        Length of the run.
    """

    def __init__(self, n_frames: int) -> None:
        from scipy.fft import next_fast_len

        self.n_frames = n_frames
        self.lags = lag_grid(n_frames)
        self._max_lag = n_frames // 2
        self._length = int(next_fast_len(n_frames + self._max_lag, real=True))
        self._spectrum = np.zeros((6, self._length // 2 + 1))
        self._products = np.zeros((6, n_frames))
        self._origins = [_origins(int(lag), n_frames) for lag in self.lags]
        self._series = [np.zeros((6, len(origins))) for origins in self._origins]
        self._walkers: list[FloatArray] = []
        self._count = 0

    def add(self, displacements_A: FloatArray) -> None:
        """Add walkers: (n, 3, frames) displacements in A."""
        block = max(1, int(_CACHE_BYTES / (24 * self.n_frames)))
        for start in range(0, len(displacements_A), block):
            part = displacements_A[start : start + block]
            # the mean position drops out of all differences; without it less is cancelled
            part = part - part.mean(axis=2, keepdims=True)
            self._add_spectrum(part)
            self._add_lags(part)
            self._count += len(part)

    def curves(self) -> MSDCurves:
        """Return what was collected."""
        from scipy.fft import irfft

        n, lags = self.n_frames, np.arange(self._max_lag + 1)
        overlap = irfft(self._spectrum, self._length)[:, : self._max_lag + 1]
        # sum over origins k of a_k b_k + a_(k+m) b_(k+m)
        total = np.concatenate([np.zeros((6, 1)), np.cumsum(self._products, axis=1)], axis=1)
        squares = total[:, n - lags] + total[:, -1:] - total[:, lags]
        tensor = (squares - 2 * overlap) / (n - lags) / self._count
        tensor[:, 0] = 0.0
        by_time = np.full((len(self.lags), min(TIME_BINS, n), 6), np.nan)
        for k, (lag, origins, series) in enumerate(zip(self.lags, self._origins, self._series, strict=True)):
            bins = ((2 * origins + lag) * by_time.shape[1]) // (2 * n)
            firsts = np.flatnonzero(np.diff(bins, prepend=-1))
            counts = np.diff(firsts, append=len(bins))
            by_time[k, bins[firsts]] = (np.add.reduceat(series, firsts, axis=1) / counts / self._count).T
        return MSDCurves(
            tensor_A2=np.ascontiguousarray(tensor.T),
            lags=self.lags,
            by_walker_A2=np.concatenate(self._walkers, axis=1),
            by_time_A2=by_time,
        )

    def _add_spectrum(self, part: FloatArray) -> None:
        from scipy.fft import rfft

        spectrum = rfft(part, self._length, axis=2)
        real, imaginary = spectrum.real, spectrum.imag
        for k, (a, b) in enumerate(VOIGT_PAIRS):
            self._products[k] += np.einsum("nt,nt->t", part[:, a], part[:, b])
            self._spectrum[k] += np.einsum("nf,nf->f", real[:, a], real[:, b])
            self._spectrum[k] += np.einsum("nf,nf->f", imaginary[:, a], imaginary[:, b])

    def _add_lags(self, displacements_A: FloatArray) -> None:
        # single precision is what displacements are stored in; only errors are made of what is found here
        part = displacements_A.astype(np.float32)
        walkers = np.empty((len(self.lags), len(part), 6))
        for k, (lag, origins, series) in enumerate(zip(self.lags, self._origins, self._series, strict=True)):
            stride = int(origins[1] - origins[0]) if len(origins) > 1 else 1
            moved = part[..., lag::stride][..., : len(origins)] - part[..., : -int(lag) : stride]
            # sums as products with ones: the fastest of numpy's ways to sum along either axis
            over_time = np.full(len(origins), 1 / len(origins), dtype=np.float32)
            over_walkers = np.ones(len(part), dtype=np.float32)
            for c, (a, b) in enumerate(VOIGT_PAIRS):
                squares = moved[:, a] * moved[:, b]
                walkers[k, :, c] = squares @ over_time
                series[c] += over_walkers @ squares
        self._walkers.append(walkers)


def _origins(lag: int, n_frames: int) -> IntArray:
    stride = max(1, min(lag // _ORIGINS_PER_LAG, n_frames // TIME_BINS))
    return np.arange(0, n_frames - lag, stride)


def curves_of(displacements_A: FloatArray | Sequence[FloatArray]) -> MSDCurves:
    """Return the mean square displacements of (n, 3, frames) displacements in A."""
    walkers = np.asarray(displacements_A, dtype=float)
    accumulator = MSDAccumulator(walkers.shape[2])
    accumulator.add(walkers)
    return accumulator.curves()
