"""Correlated series of known mean and correlation time."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter


def autoregressive(tau, n, repeats=800, seed=0):
    """Stationary AR(1) series of unit variance with the integrated autocorrelation time tau, mean 0."""
    phi = (2 * tau - 1) / (2 * tau + 1)
    noise = np.random.default_rng(seed).standard_normal((repeats, n))
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=-1)
