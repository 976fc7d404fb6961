from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.analysis.control import controlled_series
from mlip_autopipe.analysis.statistics import mean_with_error
from mlip_autopipe.errors import AnalysisError

from .series import autoregressive

SLOPES = np.array([[-3.0, 0.5], [0.4, -2.0]])


def walk(n, seed):
    slow = autoregressive(30, n, repeats=2, seed=seed)
    fast = 0.3 * autoregressive(1, n, repeats=2, seed=seed + 10_000)
    return slow, SLOPES @ slow + fast


def test_two_slow_variables_are_corrected_and_errors_hold():
    """Means are exactly zero; the observables are linear in the slow variables."""
    plain, better, score = [], [], []
    for seed in range(300):
        slow, controls = walk(1500, seed)
        observables = np.array([[1.0, 0.0], [2.0, -1.0]]) @ slow + 5
        found = mean_with_error(controlled_series(observables, slow, controls).series)
        plain.append(observables.mean(axis=1) - 5)
        better.append(found.mean - 5)
        score.append((found.mean - 5) / found.stderr)
    assert (np.std(better, axis=0) < 0.25 * np.std(plain, axis=0)).all()
    assert (np.abs(np.mean(better, axis=0)) < 0.25 * np.std(better, axis=0)).all()
    np.testing.assert_allclose(np.mean(np.abs(score) < 1, axis=0), 0.683, atol=0.07)


def test_slopes_are_found():
    slow, controls = walk(100_000, 0)
    np.testing.assert_allclose(controlled_series(slow, slow, controls).slopes, SLOPES, atol=0.05)


def test_the_error_of_the_slope_counts_in_short_runs():
    score = []
    for seed in range(600):
        slow = autoregressive(30, 150, repeats=1, seed=seed)
        controls = -slow + 1.5 * autoregressive(0.5, 150, repeats=1, seed=seed + 10_000)
        found = mean_with_error(controlled_series(slow, slow, controls).series)
        score.append(float(found.mean[0] / found.stderr[0]))
    assert np.mean(np.abs(score) < 1) > 0.6
    assert np.mean(np.abs(score) < 3) > 0.93


def test_affine_changes_of_variables_do_not_matter():
    slow, controls = walk(800, 3)
    observables = np.stack([slow[0] + 0.1 * slow[1] ** 2])
    one = controlled_series(observables, slow, controls).series
    mixing = np.array([[2.0, 1.0], [-1.0, 3.0]])
    two = controlled_series(observables, mixing @ slow + 7, mixing.T @ controls).series
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_controls_of_other_frames_are_refused():
    slow, _ = walk(500, 4)
    with pytest.raises(AnalysisError, match="very frames"):
        controlled_series(slow, slow, np.zeros((2, 500)))
