"""Greedy D-optimal selection against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.selection.d_optimal import d_optimal, d_optimal_blocks, row_leverages


def log_det(x, indices, ridge):
    rows = x[list(indices)]
    return np.linalg.slogdet(ridge * np.eye(x.shape[1]) + rows.T @ rows)[1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_every_step_is_the_best_by_brute_force(seed, ridge):
    x = np.random.default_rng(seed).normal(size=(12, 3))
    result = d_optimal(x, 6, ridge=ridge, chosen=[2])
    known = [2]
    for i in result.indices:
        free = [j for j in range(12) if j not in known]
        assert i == max(free, key=lambda j: log_det(x, [*known, j], ridge))
        known.append(i)
    assert result.log_det == pytest.approx(log_det(x, known, ridge), abs=1e-8)
    direct = np.linalg.inv(ridge * np.eye(3) + x[known].T @ x[known])
    assert np.allclose(result.inverse, direct, atol=1e-8)
    assert np.allclose(result.remaining_leverages, row_leverages(x, direct), atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_gain_reaches_the_submodular_bound_of_the_best_subset(seed):
    x = np.random.default_rng(seed).normal(size=(9, 4))
    none = log_det(x, [], 0.1)
    best = max(log_det(x, s, 0.1) for s in combinations(range(9), 4))
    result = d_optimal(x, 4, ridge=0.1)
    assert (1 - 1 / np.e) * (best - none) <= result.log_det - none <= best - none + 1e-9


def test_orthogonal_rows_give_the_best_subset():
    x = np.diag([1.0, 5.0, 3.0, 2.0])
    assert d_optimal(x, 3, ridge=0.5).indices == (1, 2, 3)
    assert d_optimal(x, 3, ridge=0.5).leverages == pytest.approx((50, 18, 8))


def test_two_steps_equal_one_and_updates_stay_accurate():
    x = np.random.default_rng(3).normal(size=(300, 40))
    whole = d_optimal(x, 120, ridge=1e-4)
    first = d_optimal(x, 50, ridge=1e-4).indices
    assert first + d_optimal(x, 70, ridge=1e-4, chosen=first).indices == whole.indices
    assert whole.log_det == pytest.approx(log_det(x, whole.indices, 1e-4), abs=1e-6)


def test_leverage_tells_extrapolation_and_stops():
    x = np.array([[1.0, 0.0], [1.0, 0.001], [0.9, 0.0], [0.0, 1.0]])
    result = d_optimal(x, 4, ridge=1e-2, min_leverage=1.5)
    assert set(result.indices) == {1, 3}
    assert result.remaining_leverages.max() < 1.5
    assert row_leverages(np.array([[10.0, 0.0]]), result.inverse)[0] > 50
    assert len(d_optimal(x, 99, ridge=1e-2).indices) == 4


def block_log_det(blocks, indices, factor):
    rows = np.vstack([blocks[i] for i in indices]) @ factor if len(indices) else np.empty((0, factor.shape[1]))
    return 0.5 * np.linalg.slogdet(np.eye(factor.shape[1]) + rows.T @ rows)[1]


def some_blocks(seed, features=5):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(rng.integers(1, 9), features)) for _ in range(8)]
    return blocks, np.triu(rng.normal(size=(features, features)))


@pytest.mark.parametrize("seed", range(5))
def test_every_block_is_the_best_by_brute_force(seed):
    blocks, factor = some_blocks(seed)
    found = d_optimal_blocks(blocks, 5, factor=factor, chosen=[3], min_leverage=0.0)
    known = [3]
    for i, gain in zip(found.indices, found.gains_nats, strict=True):
        free = [j for j in range(8) if j not in known]
        gains = {j: block_log_det(blocks, [*known, j], factor) - block_log_det(blocks, known, factor) for j in free}
        assert i == max(gains, key=gains.get)
        assert gain == pytest.approx(gains[i])
        known.append(i)
    assert 3 not in found.indices


def test_blocks_of_one_row_are_rows():
    x = np.random.default_rng(0).normal(size=(30, 6))
    rows = d_optimal(x, 10, ridge=0.01)
    blocks = d_optimal_blocks(x[:, None], 10, factor=10 * np.eye(6), min_leverage=0.0)
    assert blocks.indices == rows.indices
    assert blocks.leverages == pytest.approx(rows.leverages)


def test_choosing_blocks_in_two_steps_equals_choosing_in_one():
    blocks, factor = some_blocks(9)
    whole = d_optimal_blocks(blocks, 6, factor=factor, min_leverage=0.0).indices
    rest = d_optimal_blocks(blocks, 3, factor=factor, chosen=whole[:3], min_leverage=0.0).indices
    assert whole[:3] + rest == whole


def test_a_copy_of_a_block_is_never_worth_it_and_a_known_one_neither():
    blocks, factor = some_blocks(2)
    found = d_optimal_blocks([*blocks, blocks[0], blocks[1]], 10, factor=100 * factor)
    assert not {0, 8} <= set(found.indices)
    assert not {1, 9} <= set(found.indices)
    tiny = [0.01 * block for block in blocks]
    assert d_optimal_blocks(tiny, 3, factor=np.eye(5)).indices == ()
    assert min(d_optimal_blocks(blocks, 8, factor=factor).leverages) > 1


def test_blocks_that_count_nothing_and_bad_blocks():
    empty = np.empty((0, 2))
    assert d_optimal_blocks([empty, np.eye(2)], 2, factor=2 * np.eye(2)).indices == (1,)
    for blocks, kwargs in (
        ([np.eye(3)], {}),
        ([np.array([[np.nan, 0]])], {}),
        ([np.eye(2)], {"chosen": [1]}),
        ([np.eye(2)], {"min_leverage": -1.0}),
    ):
        with pytest.raises(InvalidInputError):
            d_optimal_blocks(blocks, 1, factor=np.eye(2), **kwargs)


def test_bad_input():
    for x, kwargs in (
        (np.array([1.0]), {"ridge": 1.0}),
        (np.array([[np.inf]]), {"ridge": 1.0}),
        (np.eye(2), {"ridge": 0.0}),
        (np.eye(2), {"ridge": 1.0, "chosen": [-1]}),
        (np.eye(2), {"ridge": 1.0, "min_leverage": -1.0}),
    ):
        with pytest.raises(InvalidInputError):
            d_optimal(x, 1, **kwargs)
