from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.thermal_expansion import expansion_coefficient, expansion_shifts, thermal_expansion
from mlip_autopipe.errors import AnalysisError

ALPHA = 5e-5


def volume(t, curvature=3e-8, cubic=0.0):
    return 11.6 * np.exp(ALPHA * np.asarray(t) + curvature / 2 * np.asarray(t) ** 2 + cubic * np.asarray(t) ** 3)


def coefficient(t, curvature=3e-8, cubic=0.0):
    return ALPHA + curvature * t + 3 * cubic * t**2


def test_a_straight_line_through_two_temperatures():
    found = expansion_coefficient([300.0, 500.0], [10.0, 10.1], [0.003, 0.004], 300.0)
    assert found.value_per_K == pytest.approx(0.1 / 200 / 10)
    assert found.degree == 1
    assert not found.curvature_determined
    assert found.stderr_curvature_per_K == 0
    slope_error = 0.005 / 200 / 10
    assert found.stderr_statistics_per_K == pytest.approx(slope_error, rel=0.02)


def test_linear_is_a_third_of_volumetric_and_agrees_with_the_lattice_constant():
    t = np.array([200.0, 300.0, 400.0])
    v = volume(t)
    found = thermal_expansion(t, v, 1e-4 * v, 300.0)
    a = (4 * v) ** (1 / 3)
    direct = expansion_coefficient(t, a, 1e-4 / 3 * a, 300.0)
    assert found.linear_per_K == pytest.approx(found.volumetric.value_per_K / 3)
    assert found.linear_per_K == pytest.approx(direct.value_per_K, rel=1e-3)
    assert found.linear_stderr_per_K == pytest.approx(direct.stderr_per_K, rel=0.05)


@pytest.mark.parametrize("temperatures", [[250.0, 350.0], [200.0, 300.0, 400.0], [100.0, 200.0, 300.0, 450.0, 600.0]])
@pytest.mark.parametrize("at", [250.0, 300.0])
def test_statistics_part_holds(temperatures, at):
    t = np.array(temperatures, dtype=float)
    rng = np.random.default_rng(0)
    errors = 11.6 * 1e-4 * (1 + np.arange(len(t)) % 2)
    truth = volume(t, 0.0)
    held = []
    for _ in range(600):
        found = expansion_coefficient(t, truth + rng.normal(0, errors), errors, at)
        held.append(abs(found.value_per_K - ALPHA) < found.stderr_statistics_per_K)
    assert np.mean(held) == pytest.approx(0.683, abs=0.06)


@pytest.mark.parametrize("cubic", [0.0, 1e-11, -1e-11])
@pytest.mark.parametrize("temperatures", [[100, 300, 500], [0, 300, 600], [0, 200, 400, 600, 800]])
def test_total_error_holds_with_curvature(temperatures, cubic):
    """Data without noise: what is left is the finite difference, and the curvature part covers it."""
    t = np.array(temperatures, dtype=float)
    found = expansion_coefficient(t, volume(t, cubic=cubic), np.full(len(t), 1e-7), 300.0)
    error = abs(found.value_per_K - coefficient(300.0, cubic=cubic))
    assert found.curvature_determined
    assert error < 1.5 * found.stderr_per_K
    assert found.stderr_per_K < 0.1 * ALPHA


def test_a_fitted_cubic_term_is_noticed():
    t = np.linspace(0, 800, 5)
    v = volume(t, curvature=0.0, cubic=3e-11)
    found = expansion_coefficient(t, v, np.full(5, 1e-6), 400.0)
    error = abs(found.value_per_K - coefficient(400.0, 0.0, 3e-11))
    assert error > 20 * found.stderr_statistics_per_K
    assert 0.5 * found.stderr_curvature_per_K < error < 1.5 * found.stderr_curvature_per_K


def test_noise_is_not_counted_as_curvature_twice():
    t = np.linspace(100, 500, 5)
    rng = np.random.default_rng(1)
    errors = np.full(5, 2e-3)
    found = [expansion_coefficient(t, volume(t, 0.0) + rng.normal(0, errors), errors, 300.0) for _ in range(300)]
    error = [abs(f.value_per_K - ALPHA) < f.stderr_per_K for f in found]
    assert 0.66 < np.mean(error) < 0.85
    assert np.mean([f.chi_squared for f in found]) == pytest.approx(found[0].n_dof, rel=0.2)


def test_a_static_lattice_at_zero_kelvin_is_a_point_without_error():
    t = np.array([0.0, 300.0, 600.0])
    errors = np.array([0.0, 3e-3, 3e-3])
    found = expansion_coefficient(t, volume(t), errors, 300.0)
    assert found.value_per_K == pytest.approx(coefficient(300.0), rel=0.02)
    without = expansion_coefficient(t[1:], volume(t[1:]), errors[1:], 300.0)
    assert abs(without.value_per_K - coefficient(300.0)) > 5 * abs(found.value_per_K - coefficient(300.0))


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(0.1, 1e4), at=st.floats(100, 500), seed=st.integers(0, 99))
def test_unit_of_the_quantity_and_order_of_the_runs_do_not_matter(scale, at, seed):
    rng = np.random.default_rng(seed)
    t = np.array([100.0, 250.0, 400.0, 500.0])
    v, errors = volume(t) + rng.normal(0, 1e-3, 4), rng.uniform(1e-3, 3e-3, 4)
    one = expansion_coefficient(t, v, errors, at)
    order = rng.permutation(4)
    two = expansion_coefficient(t[order], scale * v[order], scale * errors[order], at)
    assert two.value_per_K == pytest.approx(one.value_per_K, rel=1e-6)
    assert two.stderr_per_K == pytest.approx(one.stderr_per_K, rel=1e-6)
    assert two.quantity_at_temperature == pytest.approx(scale * one.quantity_at_temperature, rel=1e-9)


def test_common_shifts_of_a_force_field_cancel():
    t = np.array([200.0, 300.0, 400.0])
    errors = np.full(3, 1e-3)
    shifts = np.array([[0.1, 0.1, 0.1], [0.1, 0.11, 0.12]])
    common, growing = expansion_shifts(t, volume(t), errors, shifts, 300.0)
    assert abs(common) < 0.02 * ALPHA
    v, slope = volume(300.0), (volume(400.0) - volume(200.0)) / 200
    assert growing == pytest.approx((slope + 1e-4) / (v + 0.11) - slope / v, rel=1e-3)


def test_wrong_input_is_refused():
    with pytest.raises(AnalysisError, match="two temperatures"):
        expansion_coefficient([300.0, 300.0], [1.0, 1.0], [0.1, 0.1], 300.0)
    with pytest.raises(AnalysisError, match="outside"):
        expansion_coefficient([300.0, 400.0], [1.0, 1.1], [0.1, 0.1], 500.0)
    with pytest.raises(AnalysisError, match="one length"):
        expansion_coefficient([300.0, 400.0], [1.0, 1.1], [0.1], 300.0)
    with pytest.raises(AnalysisError, match="not finite"):
        expansion_coefficient([300.0, 400.0], [1.0, np.nan], [0.1, 0.1], 300.0)
    with pytest.raises(AnalysisError, match="positive"):
        expansion_coefficient([300.0, 400.0], [1.0, -1.0], [0.1, 0.1], 300.0)
