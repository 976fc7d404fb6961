"""The two-point estimator: unbiased, honest, and off the start of the motion."""

import numpy as np
import pytest

from benchmarks.diffusion_walks import brownian, fractional, hopping, inertial, rigid_groups
from mlip_autopipe.analysis.msd_kernels import curves_of
from mlip_autopipe.analysis.plateau import error_at, find_plateau, split_error, two_point


def estimate(positions):
    points = two_point(curves_of(positions))
    plateau = find_plateau(points)
    place = points.place(plateau.start)
    return points.values[place], error_at(points, place), plateau


def many(make, repeats, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repeats):
        positions, truth = make(rng)
        value, error, plateau = estimate(positions)
        rows.append((value / truth - 1, error.larger / truth, error.walkers / truth, plateau.found))
    return np.array(rows)


# the full calibration is benchmarks/diffusion_calibration.py
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: brownian(rng, 32, 600),
        lambda rng: inertial(rng, 48, 1200),
        lambda rng: hopping(rng, 48, 1200, hops_per_frame=0.02),
        lambda rng: rigid_groups(rng, 64, 800, 8),
        lambda rng: hopping(rng, 48, 2000, hops_per_frame=40 / (48 * 2000)),
    ],
    ids=["brownian", "inertial", "hopping", "rigid groups", "rare"],
)
def test_unbiased_and_honest(make):
    found = many(make, 30)
    scatter = found[:, 0].std(ddof=1)
    assert abs(found[:, 0].mean()) < 4 * scatter / np.sqrt(len(found))
    # the scatter of 30 repeats is known to 13 %
    assert 0.6 < np.sqrt(np.mean(found[:, 1] ** 2)) / scatter < 1.7
    assert found[:, 3].mean() > 0.9


def test_atoms_that_move_together_look_independent_to_the_scatter_between_atoms():
    found = many(lambda rng: rigid_groups(rng, 64, 800, 16), 12)
    assert found[:, 1].mean() > 2.5 * found[:, 2].mean()


def test_a_vibration_drops_out_and_the_plateau_starts_behind_it():
    positions, truth = hopping(np.random.default_rng(0), 128, 3000)
    points = two_point(curves_of(positions))
    assert abs(points.values[0] / truth - 1) > 1
    value, error, plateau = estimate(positions)
    assert plateau.start > 10
    assert abs(value - truth) < 4 * error.larger


def test_ballistic_motion_is_passed_over():
    positions, truth = inertial(np.random.default_rng(0), 128, 2000, relaxation_frames=5)
    value, error, plateau = estimate(positions)
    assert plateau.start >= 16
    assert abs(value - truth) < 4 * error.larger
    assert two_point(curves_of(positions)).values[0] < 0.3 * truth


@pytest.mark.parametrize(("hurst", "exponent"), [(0.3, 0.6), (0.7, 1.4)])
def test_anomalous_diffusion_has_no_plateau(hurst, exponent):
    _, _, plateau = estimate(fractional(np.random.default_rng(0), 64, 1000, hurst))
    assert not plateau.found
    assert plateau.exponent == pytest.approx(exponent, abs=max(0.05, 4 * plateau.exponent_stderr))


def test_one_walker_has_an_error_from_time_only():
    positions, truth = brownian(np.random.default_rng(0), 1, 3000)
    value, error, _ = estimate(positions)
    assert error.by_walker is None
    assert 0 < error.larger == error.time
    assert abs(value - truth) < 4 * error.larger


def test_nothing_known_is_infinitely_wide():
    error = split_error(np.empty(0), np.full(5, np.nan))
    assert np.isnan(error.larger)
    assert error.half_width(0.9) == np.inf
