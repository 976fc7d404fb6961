"""Checks of diffusion runs at their limits."""

import numpy as np
import pytest

from benchmarks.diffusion_walks import brownian
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.diffusion_gates import (
    AMU_A2_PER_FS2_EV,
    at_rest,
    diffusive,
    enough_evidence,
    is_liquid,
    not_drifted,
    still_solid,
)
from mlip_autopipe.analysis.msd_kernels import curves_of
from mlip_autopipe.analysis.plateau import Plateau, two_point


def test_what_is_not_diffusive_is_named():
    assert diffusive(Plateau(4, 4, 64, True, 1.0, 0.01)).passed
    slow = diffusive(Plateau(4, 4, 4, False, 0.6, 0.01))
    assert not slow.passed
    assert slow.detail.startswith("sub-diffusive")
    assert diffusive(Plateau(4, 4, 4, False, 1.7, 0.01)).detail.startswith("not diffusive")


def test_a_mobility_that_grows_is_seen_and_its_size_said():
    walk, _ = brownian(np.random.default_rng(0), 60, 2000)
    steps = np.diff(walk, axis=2, prepend=0.0) * np.sqrt(np.linspace(0.75, 1.25, 2000))
    gate = not_drifted(two_point(curves_of(np.cumsum(steps, axis=2))), 0)
    assert not gate.passed
    assert 40 < float(gate.detail.split("changes by ")[1].split(" %")[0]) < 60


def test_sound_runs_hardly_ever_drift():
    rng = np.random.default_rng(0)
    failures = sum(not not_drifted(two_point(curves_of(brownian(rng, 20, 600)[0])), 3).passed for _ in range(60))
    assert failures <= 2


def test_a_short_run_cannot_show_a_drift():
    points = two_point(curves_of(brownian(np.random.default_rng(0), 5, 32)[0]))
    gate = not_drifted(points, len(points.lags) - 1)
    assert gate.passed
    assert "too short" in gate.detail


def test_the_energy_of_a_common_motion():
    # all of the kinetic energy of 10 atoms at 500 K in the common motion
    mass, time = 200.0, 1000.0
    speed = np.sqrt(3 * 10 * BOLTZMANN_EV_PER_K * 500 / (mass * AMU_A2_PER_FS2_EV))
    assert "holds 1e+02 %" in at_rest([speed * time, 0, 0], time, mass, 10, 500.0).detail
    assert not at_rest([0.11 * speed * time, 0, 0], time, mass, 10, 500.0).passed
    assert at_rest([0.09 * speed * time, 0, 0], time, mass, 10, 500.0).passed
    # 1 amu (1 A/fs)^2 in J over the elementary charge
    assert pytest.approx(1.66053906660e-27 * 1e10 / 1.602176634e-19, rel=1e-6) == AMU_A2_PER_FS2_EV


def test_solid_and_liquid():
    assert still_solid(0.15).passed
    assert not still_solid(0.4).passed
    assert is_liquid(0.4).passed
    assert not is_liquid(0.15).passed


@pytest.mark.parametrize(
    ("value", "stderr", "hops", "passed"),
    [
        (1.0, 0.4, 100, True),
        (1.0, 0.6, 100, False),
        (1.0, 0.1, 3, False),
        (-1.0, 0.1, 100, False),
        (0.0, 0.0, 0, False),
    ],
)
def test_evidence(value, stderr, hops, passed):
    assert enough_evidence(value, stderr, hops).passed is passed
