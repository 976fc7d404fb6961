"""Random motion whose diffusion coefficient is known exactly, for calibrating and testing the analysis.

Positions are (walkers, 3, frames) in A; coefficients in A^2 per frame.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

Walk = tuple[np.ndarray, float]
HOP_A = 2.5


def brownian(rng: np.random.Generator, n: int, frames: int, step_A: float = 0.1) -> Walk:
    """Free steps: MSD = 6 D t from the first frame on."""
    return np.cumsum(rng.normal(0, step_A, (n, 3, frames)), axis=2), step_A**2 / 2


def inertial(
    rng: np.random.Generator, n: int, frames: int, relaxation_frames: float = 5.0, speed_A: float = 0.1
) -> Walk:
    """Velocities of an Ornstein-Uhlenbeck process, integrated in four steps per frame."""
    steps = 4
    memory = np.exp(-1 / (relaxation_frames * steps))
    noise = rng.standard_normal((n, 3, frames * steps))
    noise[..., 1:] *= np.sqrt(1 - memory**2)
    velocity = lfilter([1.0], [1.0, -memory], noise, axis=2) * speed_A
    positions = np.cumsum(velocity, axis=2)[..., ::steps] / steps
    # sum over all times of the velocity autocorrelation of the discrete process
    return positions, speed_A**2 / steps * (1 + memory) / (1 - memory) / 2


def vibration(
    rng: np.random.Generator, n: int, frames: int, amplitude_A: float, period_frames: float = 7.3, damping: float = 20.0
) -> np.ndarray:
    """Positions of damped oscillators driven by noise, in equilibrium."""
    decay = np.exp(-1 / damping)
    first, second = 2 * decay * np.cos(2 * np.pi / period_frames), -(decay**2)
    settling = int(10 * damping)
    noise = rng.standard_normal((n, 3, frames + settling))
    moved = lfilter([1.0], [1.0, -first, -second], noise, axis=2)[..., settling:]
    variance = (1 - second) / ((1 + second) * ((1 - second) ** 2 - first**2))
    return moved * amplitude_A / np.sqrt(variance)


def hopping(
    rng: np.random.Generator, n: int, frames: int, hops_per_frame: float = 0.01, amplitude_A: float = 0.15
) -> Walk:
    """Hops to neighbours on a simple cubic lattice, and vibration about the sites."""
    hops = rng.random((n, frames)) < hops_per_frame
    axis = rng.integers(0, 3, (n, frames))
    signed = rng.choice([-HOP_A, HOP_A], (n, frames)) * hops
    sites = np.cumsum(np.stack([signed * (axis == k) for k in range(3)], axis=1), axis=2)
    return sites + vibration(rng, n, frames, amplitude_A), hops_per_frame * HOP_A**2 / 6


def rigid_groups(rng: np.random.Generator, n: int, frames: int, size: int = 8) -> Walk:
    """Move walkers in groups as one, each rattling a little on its own."""
    centres, coefficient = brownian(rng, n // size, frames)
    rattle = rng.normal(0, 0.1, (n // size * size, 3, frames))
    return np.repeat(centres, size, axis=0) + rattle, coefficient


def fractional(rng: np.random.Generator, n: int, frames: int, hurst: float) -> np.ndarray:
    """Fractional Brownian motion, MSD ~ t^(2 hurst), by circulant embedding (10.1093/biomet/74.1.95)."""
    k = np.arange(frames, dtype=float)
    covariance = 0.5 * ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + np.abs(k - 1) ** (2 * hurst))
    circle = np.concatenate([covariance, covariance[-2:0:-1]])
    spectrum = np.sqrt(np.maximum(np.fft.fft(circle).real, 0) / len(circle))
    noise = rng.standard_normal((2, n, 3, len(circle)))
    steps = np.fft.fft((noise[0] + 1j * noise[1]) * spectrum, axis=2).real[..., :frames]
    return 0.1 * np.cumsum(steps, axis=2)
