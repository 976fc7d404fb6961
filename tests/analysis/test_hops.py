"""Counting hops."""

import numpy as np
import pytest

from benchmarks.diffusion_walks import vibration
from mlip_autopipe.analysis.hops import count_hops
from mlip_autopipe.errors import AnalysisError


def test_vibrations_are_no_hops():
    shaken = vibration(np.random.default_rng(0), 50, 4000, 0.25)
    assert count_hops(shaken, 1.25).sum() == 0


def test_every_hop_is_counted_once():
    rng = np.random.default_rng(1)
    n, frames = 20, 4000
    hops = np.zeros((n, frames), dtype=bool)
    for row in hops:
        row[rng.choice(np.arange(40, frames - 40, 40), 30, replace=False)] = True
    sites = np.cumsum(rng.choice([-2.5, 2.5], (n, frames)) * hops, axis=1)
    positions = np.stack([sites, np.zeros_like(sites), np.zeros_like(sites)], axis=1)
    counts = count_hops(positions + vibration(rng, n, frames, 0.15), 1.25)
    assert counts.tolist() == [30] * n


def test_hops_back_count_and_still_atoms_do_not():
    positions = np.zeros((2, 3, 400))
    positions[1, 0, 100:200] = 2.5
    assert count_hops(positions, 1.25).tolist() == [0, 2]


def test_a_distance_is_needed():
    with pytest.raises(AnalysisError, match="must be positive"):
        count_hops(np.zeros((1, 3, 40)), 0.0)
