"""Farthest-point selection."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.selection.farthest_point import farthest_points


def test_line():
    result = farthest_points(np.array([[0.0], [1.0], [4.0], [10.0]]), 3, chosen=[0])
    assert result.indices == (3, 2, 1)
    assert result.distances == (10.0, 4.0, 1.0)
    assert result.coverage_radius == 0.0


def test_two_steps_equal_one():
    x = np.random.default_rng(0).normal(size=(60, 4))
    whole = farthest_points(x, 12).indices
    first = farthest_points(x, 5).indices
    assert first + farthest_points(x, 7, chosen=first).indices == whole
    assert len(set(whole)) == 12


def test_copies_and_near_rows_are_left_out():
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.05]])
    assert len(farthest_points(x, 4).indices) == 3
    assert len(farthest_points(x, 4, min_distance=0.1).indices) == 2
    assert farthest_points(x, 0).coverage_radius == float("inf")
    assert farthest_points(np.empty((0, 2)), 3).indices == ()


def test_each_row_may_have_its_own_distance():
    x = np.array([[0.0], [1.0], [1.2], [5.0], [5.3]])
    found = farthest_points(x, 5, chosen=[0], min_distance=np.array([0.0, 1.5, 0.1, 0.0, 0.5]))
    assert found.indices == (4, 2, 3)
    assert farthest_points(x, 5, chosen=[0], min_distance=0.5).indices == (4, 2)


@pytest.mark.parametrize("seed", range(5))
def test_cover_is_within_twice_the_best(seed):
    x = np.random.default_rng(seed).normal(size=(11, 2))
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    best = min(apart[:, list(s)].min(axis=1).max() for s in combinations(range(11), 3))
    assert farthest_points(x, 3).coverage_radius <= 2 * best + 1e-12


def test_bad_input():
    for x, kwargs in ((np.array([1.0]), {}), (np.array([[np.nan]]), {}), (np.eye(2), {"chosen": [2]})):
        with pytest.raises(InvalidInputError):
            farthest_points(x, 1, **kwargs)
    with pytest.raises(InvalidInputError):
        farthest_points(np.eye(2), -1)
