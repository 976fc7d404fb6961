from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binomtest

from mlip_autopipe.analysis.statistics import (
    blocking_stderr,
    drift_p_value,
    equilibration_start,
    integrated_autocorrelation_time,
    mean_with_error,
)
from mlip_autopipe.errors import AnalysisError

from .series import autoregressive

REPEATS = 800


def oscillating(n, repeats, seed=0):
    """Damped oscillation driven by noise, as a volume with inertia; stationary after the dropped start."""
    radius, angle, start = 0.95, 0.15, 300
    noise = np.random.default_rng(seed).standard_normal((repeats, n + start))
    return lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], noise, axis=-1)[:, start:]


def compatible(covered, level):
    """Whether the number of covered repeats fits the level: a true one fails once in 10 000 times."""
    return binomtest(int(covered.sum()), len(covered), level).pvalue > 1e-4


@pytest.mark.parametrize(("tau", "n"), [(0.5, 200), (2, 300), (10, 400), (10, 4000), (50, 3000)])
def test_intervals_hold_what_they_promise(tau, n):
    found = mean_with_error(autoregressive(tau, n))
    assert compatible(np.abs(found.mean) < found.stderr, 0.6827)
    assert compatible(np.abs(found.mean) < found.half_width(0.68), 0.68)
    assert compatible(np.abs(found.mean) < found.half_width(0.90), 0.90)


def test_few_correlation_times_widen_the_interval():
    """Five independent samples: still 60 % instead of 68 %, where the plain error holds 45 %."""
    found = mean_with_error(autoregressive(30, 300, repeats=2000))
    assert 0.60 < np.mean(np.abs(found.mean) < found.stderr) < 0.72
    assert 0.85 < np.mean(np.abs(found.mean) < found.half_width(0.9)) < 0.93


def test_an_oscillating_series_is_not_overestimated_into_confidence():
    found = mean_with_error(oscillating(3000, REPEATS))
    assert np.mean(np.abs(found.mean) < found.stderr) > 0.65
    assert np.mean(np.abs(found.mean) < found.half_width(0.9)) > 0.88


def test_anticorrelated_frames_count_as_independent_ones():
    series = autoregressive(0.1, 2000, repeats=50)
    np.testing.assert_array_equal(mean_with_error(series).autocorrelation_time, 0.5)


@pytest.mark.parametrize("tau", [0.5, 3, 20])
def test_autocorrelation_time_and_effective_samples(tau):
    n = int(400 * tau) + 400
    series = autoregressive(tau, n, repeats=300)
    np.testing.assert_allclose(np.mean(integrated_autocorrelation_time(series)), tau, rtol=0.06)
    found = mean_with_error(series)
    np.testing.assert_allclose(np.mean(found.effective_samples), n / (2 * tau), rtol=0.06)


@pytest.mark.parametrize(("tau", "n"), [(0.5, 1000), (5, 4000), (20, 20000)])
def test_blocking_agrees(tau, n):
    series = autoregressive(tau, n, repeats=300)
    truth = series.mean(axis=-1).std()
    np.testing.assert_allclose(np.mean(blocking_stderr(series)), truth, rtol=0.12)
    np.testing.assert_allclose(np.mean(mean_with_error(series).stderr), truth, rtol=0.12)


def test_blocking_sees_a_slow_process_under_fast_noise():
    """A weak slow mode lies below the window of the sum's first lags; blocking and time must not disagree."""
    series = autoregressive(50, 20000, repeats=60, seed=1) + 3 * np.random.default_rng(2).standard_normal((60, 20000))
    truth = series.mean(axis=-1).std()
    assert np.mean(blocking_stderr(series)) > 0.8 * truth


def test_independent_frames():
    series = np.random.default_rng(3).standard_normal((4000, 3))
    found = mean_with_error(series, independent=True)
    assert compatible(np.abs(found.mean) < found.stderr, 0.6827)
    assert compatible(np.abs(found.mean) < found.half_width(0.9), 0.9)
    np.testing.assert_array_equal(found.effective_samples, 3)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    sign=st.sampled_from([-1.0, 1.0]),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 1000),
)
def test_scale_and_shift(scale, sign, shift, seed):
    series = autoregressive(5, 200, repeats=3, seed=seed)
    one, other = mean_with_error(series), mean_with_error(sign * scale * series + shift)
    np.testing.assert_allclose(other.mean, sign * scale * one.mean + shift, rtol=1e-9, atol=1e-9 * (scale + abs(shift)))
    np.testing.assert_allclose(other.stderr, scale * one.stderr, rtol=1e-5)
    np.testing.assert_allclose(other.stderr_blocking, scale * one.stderr_blocking, rtol=1e-5)
    np.testing.assert_allclose(other.autocorrelation_time, one.autocorrelation_time, rtol=1e-5)
    np.testing.assert_array_equal(equilibration_start(sign * scale * series), equilibration_start(series))
    np.testing.assert_allclose(drift_p_value(sign * scale * series + shift), drift_p_value(series), rtol=1e-4)


def test_many_series_at_once_equal_one_by_one():
    series = autoregressive(4, 500, repeats=6).reshape(2, 3, 500)
    together = mean_with_error(series)
    assert together.mean.shape == (2, 3)
    for i in np.ndindex(2, 3):
        alone = mean_with_error(series[i])
        assert float(alone.stderr) == pytest.approx(together.stderr[i], rel=1e-12)
        assert float(alone.stderr_blocking) == pytest.approx(together.stderr_blocking[i], rel=1e-12)
        assert equilibration_start(series[i]) == equilibration_start(series)[i]
        assert float(drift_p_value(series[i])) == pytest.approx(drift_p_value(series)[i], rel=1e-9)


@pytest.mark.parametrize(("amplitude", "decay"), [(0.0, 1.0), (5.0, 20.0), (20.0, 40.0)])
def test_the_transient_is_dropped_and_the_rest_is_honest(amplitude, decay):
    series = autoregressive(10, 2000, repeats=400) + amplitude * np.exp(-np.arange(2000) / decay)
    starts = equilibration_start(series)
    assert starts.max() < 1000
    if amplitude:
        left = amplitude * decay / (2000 - starts) * np.exp(-starts / decay)
        assert np.mean(left) < 0.3 * np.sqrt(2 * 10 / 2000)
    else:
        assert starts.mean() < 50
    cut = [mean_with_error(one[start:]) for one, start in zip(series, starts, strict=True)]
    assert compatible(np.array([abs(m.mean) < m.stderr for m in cut]), 0.6827)
    assert compatible(np.array([abs(m.mean) < m.half_width(0.9) for m in cut]), 0.9)


@pytest.mark.parametrize("tau", [0.5, 5, 20])
def test_drift_test_is_calibrated(tau):
    p_values = drift_p_value(autoregressive(tau, 2400))
    for level in (0.5, 0.1, 0.01):
        assert compatible(p_values < level, level)


def test_drift_is_found():
    stationary = autoregressive(10, 2000, repeats=200)
    assert np.mean(drift_p_value(stationary + 3 * np.linspace(0, 1, 2000)) < 0.01) > 0.9
    assert drift_p_value(np.linspace(0, 1, 100)) < 0.05


def test_constant_series():
    found = mean_with_error(np.full((2, 50), 90.0) + 1e-14)
    np.testing.assert_array_equal(found.stderr, 0)
    np.testing.assert_array_equal(found.effective_samples, 50)
    assert drift_p_value(np.full(50, 90.0)) == 1
    assert drift_p_value(np.repeat([0.0, 1.0, 2.0], 10)) == 0


def test_wrong_input_is_refused():
    with pytest.raises(AnalysisError, match="5 frames"):
        mean_with_error(np.ones(5))
    with pytest.raises(AnalysisError, match="1 frames"):
        blocking_stderr(3.0)
    with pytest.raises(AnalysisError, match="at least 24"):
        drift_p_value(np.arange(20.0))
    broken = np.ones((2, 30))
    broken[1, 17] = np.nan
    with pytest.raises(AnalysisError, match="frame 17"):
        mean_with_error(broken)
