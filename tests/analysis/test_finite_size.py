from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.finite_size import extrapolate_to_infinite_size, thermal_size_bound
from mlip_autopipe.errors import AnalysisError


def test_two_sizes_are_solved_exactly():
    found = extrapolate_to_infinite_size([32, 108], [11.7 - 1 / 32, 11.7 - 1 / 108], [1e-3, 1e-3])
    assert found.value == pytest.approx(11.7)
    assert found.slope == pytest.approx(-1.0)
    assert found.stderr_finite_size == pytest.approx(0.5 / 108)
    # value = (108 x_108 - 32 x_32) / 76
    assert found.stderr_statistics == pytest.approx(1e-3 * np.hypot(108, 32) / 76)
    assert found.n_dof == 0


def test_statistics_hold_and_the_form_is_tested_with_three_sizes():
    rng = np.random.default_rng(0)
    sizes, errors = np.array([32, 108, 256]), np.array([3e-3, 2e-3, 1e-3])
    held, chi = [], []
    for _ in range(1000):
        found = extrapolate_to_infinite_size(sizes, 11.7 + 0.3 / sizes + rng.normal(0, errors), errors)
        held.append(abs(found.value - 11.7) < found.stderr_statistics)
        chi.append(found.chi_squared)
    assert np.mean(held) == pytest.approx(0.683, abs=0.05)
    assert np.mean(chi) == pytest.approx(1.0, abs=0.15)
    wrong = extrapolate_to_infinite_size(sizes, 11.7 + 300 / sizes**2, errors)
    assert wrong.chi_squared > 100


def test_bound_of_one_size():
    assert thermal_size_bound(11.8, 11.6, 100) == pytest.approx(0.006)
    assert thermal_size_bound(11.6, 11.8, 200) == pytest.approx(0.003)


def test_wrong_input_is_refused():
    with pytest.raises(AnalysisError, match="two sizes"):
        extrapolate_to_infinite_size([32, 32], [1, 1], [0.1, 0.1])
    with pytest.raises(AnalysisError, match="positive"):
        extrapolate_to_infinite_size([32, 108], [1, 1], [0.1, 0.0])
    with pytest.raises(AnalysisError, match="0 atoms"):
        thermal_size_bound(1, 1, 0)
