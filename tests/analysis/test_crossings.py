"""Crossings between sites, and what another potential changes about them, on paths with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.crossings import coefficient_shift, find_crossings
from mlip_autopipe.errors import AnalysisError

SITE_A = 2.5
KELVIN = 1000.0
THERMAL_EV = BOLTZMANN_EV_PER_K * KELVIN


def path(rng: np.random.Generator, hops: dict[int, int], frames: int = 600, vibration: float = 0.15) -> np.ndarray:
    """One atom on a line of sites: at each frame in `hops` it is midway to the site so many to the right."""
    line = np.zeros(frames)
    for middle, step in hops.items():
        line += step * SITE_A / (1 + np.exp(-(np.arange(frames) - middle) / 0.7))
    found = rng.normal(0, vibration, (frames, 1, 3))
    found[:, 0, 0] += line
    for middle in hops:
        found[middle, 0, 0] = line[middle]
    return found


def test_the_middle_of_each_hop_is_found():
    rng = np.random.default_rng(0)
    hops = {100: 1, 211: -1, 330: 1, 452: 1}
    found = find_crossings(path(rng, hops), SITE_A / 2)
    assert [one.frame for one in found] == pytest.approx(list(hops), abs=1)


def test_vibration_is_no_crossing_and_neither_is_a_look_beyond_the_middle():
    rng = np.random.default_rng(1)
    still = path(rng, {})
    still[300, 0, 0] += 0.6 * SITE_A
    assert find_crossings(still, SITE_A / 2) == []


def test_atoms_are_told_apart():
    rng = np.random.default_rng(3)
    two = np.concatenate([path(rng, {400: 1}), path(rng, {150: 1})], axis=1)
    assert [(one.atom, one.frame) for one in find_crossings(two, SITE_A / 2)] == [(1, 150), (0, 400)]


def test_a_higher_barrier_lowers_the_coefficient_by_boltzmanns_factor():
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (2, 50, 2))
    found = coefficient_shift(noise[0] + [0.05, -0.02], noise[1], KELVIN)
    np.testing.assert_allclose(
        found.shifts, [-0.05 / THERMAL_EV, 0.02 / THERMAL_EV], atol=4 * 0.01 * np.sqrt(2 / 50) / THERMAL_EV
    )
    np.testing.assert_allclose(found.stderr, 0.01 * np.sqrt(2 / 50) / THERMAL_EV, rtol=0.35)
    assert found.spread == pytest.approx(np.sqrt(np.mean(found.shifts**2)))


def test_the_shift_is_that_of_langevin_dynamics_in_a_periodic_landscape():
    """The ratio of two measured hop rates, against what one of the runs says of it."""
    rng = np.random.default_rng(5)
    barrier, change = 4.0, 0.6  # in kT
    paths = {height: _langevin(rng, height) for height in (barrier, barrier + change)}
    counts = {height: len(find_crossings(one, SITE_A / 2)) for height, one in paths.items()}
    measured = np.log(counts[barrier + change] / counts[barrier])
    stderr = np.sqrt(sum(1 / n for n in counts.values()))

    def difference(x: np.ndarray) -> np.ndarray:
        return change / 2 * THERMAL_EV * (1 - np.cos(2 * np.pi * x / SITE_A))

    run = paths[barrier]
    crossings = find_crossings(run, SITE_A / 2)
    on_surface = np.array([difference(run[c.frame, c.atom, :1]) for c in crossings])
    overall = difference(run[::10, :, 0].reshape(-1, 1))
    found = coefficient_shift(on_surface, overall, KELVIN)
    assert found.n_crossings > 200
    assert found.shifts[0] == pytest.approx(measured, abs=2.5 * stderr)
    assert abs(measured) > 3 * stderr  # or it would prove nothing


def test_too_few_crossings_tell_nothing():
    with pytest.raises(AnalysisError, match="1 crossings"):
        coefficient_shift(np.zeros((1, 3)), np.zeros((1, 3)), KELVIN)
    with pytest.raises(AnalysisError, match="must be positive"):
        find_crossings(np.zeros((100, 1, 3)), 0.0)
    assert find_crossings(np.zeros((4, 1, 3)), 1.0) == []


def _langevin(
    rng: np.random.Generator, height: float, walkers: int = 200, frames: int = 1500, inner: int = 4
) -> np.ndarray:
    """Return (frames, walkers, 3): underdamped motion along x in a cosine landscape, units of kT and mass."""
    friction, dt = 0.3, 0.25
    scale = 0.28  # thermal velocity in A per unit of time
    x, v = np.zeros(walkers), rng.normal(0, scale, walkers)
    decay = np.exp(-friction * dt)
    found = np.zeros((frames, walkers, 3))
    for frame in range(frames):
        for _ in range(inner):
            force = -height / 2 * 2 * np.pi / SITE_A * np.sin(2 * np.pi * x / SITE_A) * scale**2
            v = decay * (v + force * dt) + scale * np.sqrt(1 - decay**2) * rng.normal(size=walkers)
            x = x + v * dt
        found[frame, :, 0] = x
    return found
