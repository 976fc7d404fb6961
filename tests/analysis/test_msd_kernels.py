"""Mean square displacements against their definition; what errors are made of is in single precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.msd_kernels import MSDAccumulator, curves_of, lag_grid
from mlip_autopipe.analysis.symmetry import VOIGT_PAIRS


def walk(seed=0, n=4, frames=90):
    return np.cumsum(np.random.default_rng(seed).normal(0, 1, (n, 3, frames)), axis=2)


def by_definition(x, lag):
    moved = x[..., lag:] - x[..., : x.shape[2] - lag]
    return np.array([np.mean(moved[:, a] * moved[:, b]) for a, b in VOIGT_PAIRS])


@pytest.mark.parametrize("frames", [33, 64, 90])
def test_fft_is_the_definition(frames):
    x = walk(frames=frames)
    curves = curves_of(x)
    assert len(curves.tensor_A2) == frames // 2 + 1
    for lag in range(frames // 2 + 1):
        assert curves.tensor_A2[lag] == pytest.approx(by_definition(x, lag), abs=1e-9)


def test_walkers_and_times_average_to_the_whole():
    x = walk(1, n=6, frames=90)
    curves = curves_of(x)
    for k, lag in enumerate(curves.lags):
        whole = by_definition(x, int(lag))
        if lag < 8:  # every origin enters; longer lags are thinned
            assert curves.by_walker_A2[k].mean(axis=0) == pytest.approx(whole, abs=1e-5)
            assert np.nanmean(curves.by_time_A2[k], axis=0) == pytest.approx(whole, abs=1e-5)
        assert curves.by_walker_A2[k, 2] == pytest.approx(curves_of(x[2:3]).by_walker_A2[k, 0], abs=1e-5)


def test_windows_are_sorted_by_the_time_of_their_middle():
    x = np.zeros((1, 3, 2560))
    x[..., 1280:] = 1.0  # one step in the middle of the run
    curves = curves_of(x)
    for k, lag in enumerate(curves.lags):
        seen = np.flatnonzero(np.nan_to_num(curves.by_time_A2[k, :, 0]))
        centre, width = 128, lag / 10
        assert seen.min() >= centre - width / 2 - 1
        assert seen.max() <= centre + width / 2 + 1


def test_the_grid_holds_doubles():
    for frames in (32, 100, 4096):
        lags = lag_grid(frames)
        assert lags[0] == 1
        assert lags[-1] <= frames // 2
        assert all(2 * lag in lags for lag in lags if 2 * lag <= frames // 2)


def test_walkers_may_come_one_by_one():
    x = walk(2, n=5)
    one = MSDAccumulator(90)
    for walker in x:
        one.add(walker[None])
    assert one.curves().tensor_A2 == pytest.approx(curves_of(x).tensor_A2, abs=1e-9)
    assert one.curves().by_walker_A2 == pytest.approx(curves_of(x).by_walker_A2, abs=1e-5)


def test_far_from_the_origin_short_lags_keep_their_digits():
    x = walk(3) * 1e-3 + 1e4 * np.arange(90) / 90
    moved = x[..., 1:] - x[..., :-1]
    assert curves_of(x).tensor_A2[1, 0] == pytest.approx(np.mean(moved[:, 0] ** 2), rel=1e-6)


@given(st.integers(0, 10_000), st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_invariances(seed, factor):
    x = walk(seed, n=5, frames=40)
    base = curves_of(x)
    rng = np.random.default_rng(seed)
    moved = curves_of(x + rng.normal(0, 5, (1, 3, 1)))
    assert moved.tensor_A2 == pytest.approx(base.tensor_A2, abs=1e-8)
    order = rng.permutation(5)
    permuted = curves_of(x[order])
    assert permuted.tensor_A2 == pytest.approx(base.tensor_A2, abs=1e-8)
    assert permuted.by_walker_A2 == pytest.approx(base.by_walker_A2[:, order], abs=1e-4)
    assert curves_of(factor * x).tensor_A2 == pytest.approx(factor**2 * base.tensor_A2, rel=1e-7, abs=1e-8)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = curves_of(np.einsum("ab,nbt->nat", rotation, x)).tensor_A2
    assert full(turned) == pytest.approx(rotation @ full(base.tensor_A2) @ rotation.T, abs=1e-7)


def full(tensor):
    whole = np.empty((len(tensor), 3, 3))
    for k, (a, b) in enumerate(VOIGT_PAIRS):
        whole[:, a, b] = whole[:, b, a] = tensor[:, k]
    return whole
