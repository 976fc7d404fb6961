"""Following atoms across boundaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.analysis.frames import ArrayFrames, BadFrameError, FrameBlock
from mlip_autopipe.analysis.unwrap import MAX_STEP, Unwrapper
from mlip_autopipe.errors import InvalidInputError

TILTED = np.array([[9.0, 0.0, 0.0], [2.0, 8.0, 0.0], [-1.5, 1.0, 7.0]])


def walk(rng, frames=60, n=5, step=0.5):
    return np.cumsum(rng.normal(0, step, (frames, n, 3)), axis=0) + rng.random((n, 3)) * 8


def wrapped(positions, cell):
    fractional = positions @ np.linalg.inv(cell)
    return (fractional - np.floor(fractional)) @ cell


def followed(frames):
    one = Unwrapper("x")
    return np.concatenate([one.follow(block) for block in frames])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_wrapping_does_not_matter(seed):
    positions = walk(np.random.default_rng(seed))
    found = followed(ArrayFrames(wrapped(positions, TILTED), ["X"] * 5, TILTED))
    assert found == pytest.approx(positions - positions[0], abs=1e-9)


def test_blocks_join_without_a_seam():
    positions = walk(np.random.default_rng(1), frames=600)
    found = followed(ArrayFrames(wrapped(positions, TILTED), ["X"] * 5, TILTED))
    assert found == pytest.approx(positions - positions[0], abs=1e-9)


def test_positions_that_are_unwrapped_may_jump_by_more_than_half_a_cell():
    positions = walk(np.random.default_rng(2), step=6.0)
    found = followed(ArrayFrames(positions, ["X"] * 5, TILTED, unwrapped=True))
    assert found == pytest.approx(positions - positions[0], abs=1e-9)


def test_a_step_of_nearly_half_a_cell_is_refused_and_what_is_before_it_kept():
    positions = np.zeros((12, 2, 3))
    positions[7:, 1, 2] = 4.4
    frames = ArrayFrames(positions, ["X"] * 2, np.eye(3) * 10)
    with pytest.raises(BadFrameError, match=r"frame 7 has atom 1 0.44 of a cell away.*7 frames before it are sound"):
        followed(frames)
    moved, problem = Unwrapper("x").follow_sound(next(iter(frames)))
    assert len(moved) == 7
    assert problem.n_sound == 7
    positions[7:, 1, 2] = 10 * MAX_STEP - 0.01
    assert len(followed(ArrayFrames(positions, ["X"] * 2, np.eye(3) * 10))) == 12


def test_only_periodic_directions_are_wrapped():
    positions = np.zeros((5, 1, 3))
    positions[:, 0, 0] = [0, 6, 12, 18, 24]
    block = FrameBlock(("X",), positions, np.broadcast_to(np.eye(3) * 10, (5, 3, 3)), np.array([False, True, True]))
    assert Unwrapper("x").follow(block)[:, 0, 0] == pytest.approx([0, 6, 12, 18, 24])


def test_without_a_cell_positions_are_what_they_are():
    positions = walk(np.random.default_rng(3), step=20.0)
    assert followed(ArrayFrames(positions, ["X"] * 5)) == pytest.approx(positions - positions[0], abs=1e-9)


def test_atoms_that_ride_with_the_cell_do_not_move():
    rng = np.random.default_rng(4)
    cells = np.eye(3) * 10 * (1 + 0.02 * rng.standard_normal((400, 1, 1)))
    fractional = rng.random((6, 3))
    assert followed(ArrayFrames(fractional @ cells, ["X"] * 6, cells)) == pytest.approx(0, abs=1e-9)


def test_a_breathing_cell_does_not_make_walkers_faster():
    # unwrapped by image counts, an atom far from home is carried about by the breathing of the cell
    rng = np.random.default_rng(5)
    frames = 4000
    fractional = np.cumsum(rng.normal(0, 0.02, (frames, 30, 3)), axis=0) + 5
    cells = np.eye(3) * 10 * (1 + 0.02 * rng.standard_normal((frames, 1, 1)))
    found = followed(ArrayFrames(fractional @ cells, ["X"] * 30, cells, unwrapped=True))
    steps = np.diff(found, axis=0)
    naive = np.diff(fractional @ cells, axis=0)
    assert np.mean(steps**2) == pytest.approx(0.02**2 * 100, rel=0.03)
    assert np.mean(naive**2) > 10 * np.mean(steps**2)


def test_a_cell_without_volume_and_one_without_a_vector():
    flat = ArrayFrames(np.zeros((3, 1, 3)), ["X"], np.array([np.eye(3), np.eye(3), np.diag([1, 1, 1e-12])]))
    with pytest.raises(BadFrameError, match="frame 2 has a cell without volume"):
        followed(flat)
    with pytest.raises(InvalidInputError, match="without a lattice vector"):
        followed(ArrayFrames(np.zeros((3, 1, 3)), ["X"], np.diag([1.0, 1.0, 0.0])))
