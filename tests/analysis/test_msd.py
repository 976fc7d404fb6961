"""From files to mean square displacements by species and group."""

import numpy as np
import pytest

from mlip_autopipe.analysis.frames import ArrayFrames, BadFrameError
from mlip_autopipe.analysis.msd import MIN_FRAMES, calculate_msd
from mlip_autopipe.dynamics.trajectory import TrajectoryWriter
from mlip_autopipe.errors import InvalidInputError
from tests.analysis.trajectory_files import FORMATS, positions_A, write_as

CELL = np.eye(3) * 12.0


def walk(frames=80, n=10, step=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, step, (frames, n, 3)), axis=0) + rng.random((n, 3)) * 12


def arrays(positions, species=None):
    return ArrayFrames(positions, species or ["Li"] * positions.shape[1], CELL)


def mean_square(positions, lag):
    return np.mean(np.sum((positions[lag:] - positions[:-lag]) ** 2, axis=2))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(kind, tmp_path):
    data = calculate_msd(write_as(kind, tmp_path, positions_A()), reference="none", type_names={1: "Li", 2: "O"})
    assert list(data.groups) == ["Li", "O"]
    assert data.n_frames == 40
    assert data.time_step_fs == (20.0 if kind == "h5" else None)
    for name, atoms in (("Li", slice(0, 5)), ("O", slice(5, 8))):
        found = data.groups[name].tracer.tensor_A2[:, :3].sum(axis=1)
        assert found[3] == pytest.approx(mean_square(positions_A()[:, atoms], 3), rel=1e-4)


def test_groups_and_collective_motion():
    positions = walk()
    data = calculate_msd(arrays(positions), groups={"some": [1, 4, 7]}, reference="none")
    chosen = positions[:, [1, 4, 7]]
    group = data.groups["some"]
    assert group.atoms.tolist() == [1, 4, 7]
    assert group.tracer.tensor_A2[5, :3].sum() == pytest.approx(mean_square(chosen, 5), rel=1e-5)
    summed = chosen.sum(axis=1, keepdims=True)
    assert group.collective.tensor_A2[5, :3].sum() == pytest.approx(mean_square(summed, 5) / 3, rel=1e-5)


def test_the_centre_of_mass_is_weighted_by_mass():
    positions = np.zeros((40, 2, 3))
    positions[:, 0, 0] = 0.1 * np.arange(40)  # only lithium moves, against oxygen
    data = calculate_msd(arrays(positions, ["Li", "O"]))
    share = 15.999 / (15.999 + 6.94)
    assert data.groups["Li"].tracer.tensor_A2[4, 0] == pytest.approx((0.4 * share) ** 2, rel=1e-5)
    assert data.drift_A[0] == pytest.approx(3.9 * (1 - share), rel=1e-5)
    fixed = calculate_msd(arrays(positions, ["Li", "O"]), reference=["O"])
    assert fixed.groups["Li"].tracer.tensor_A2[4, 0] == pytest.approx(0.16, rel=1e-5)
    assert fixed.groups["O"].collective is None
    assert fixed.groups["Li"].collective is not None


def test_drift_of_all_atoms_is_taken_out():
    positions = walk()
    moving = positions + 0.3 * np.arange(80)[:, None, None]
    still, drifted = (calculate_msd(arrays(x)).groups["Li"].tracer for x in (positions, moving))
    assert drifted.tensor_A2 == pytest.approx(still.tensor_A2, abs=1e-4)
    assert drifted.by_time_A2 == pytest.approx(still.by_time_A2, abs=1e-3, nan_ok=True)


def test_one_species_has_no_collective_motion_relative_to_itself():
    data = calculate_msd(arrays(walk()), groups={"half": range(5)})
    assert data.groups["Li"].collective is None
    assert data.groups["half"].collective is not None


def test_unknown_names_weigh_the_same():
    data = calculate_msd(arrays(walk(), ["type1"] * 5 + ["type2"] * 5))
    assert data.mass_amu is None
    assert set(data.groups) == {"type1", "type2"}


def test_out_of_core_is_the_same(monkeypatch):
    positions = walk(frames=600)
    one = calculate_msd(arrays(positions))
    other = calculate_msd(arrays(positions), memory_limit_MB=0.01)
    monkeypatch.setattr("mlip_autopipe.analysis.msd._BLOCK_BYTES", 1.0)
    third = calculate_msd(arrays(positions), memory_limit_MB=0.01)
    for data in (other, third):
        assert data.groups["Li"].tracer.tensor_A2 == pytest.approx(one.groups["Li"].tracer.tensor_A2, rel=1e-9)
        assert data.groups["Li"].n_hops == one.groups["Li"].n_hops


def test_ranges_of_frames():
    positions = walk(frames=600)
    part = calculate_msd(arrays(positions), start=300, stop=500, reference="none")
    assert part.n_frames == 200
    found = part.groups["Li"].tracer.tensor_A2[7, :3].sum()
    assert found == pytest.approx(mean_square(positions[300:500], 7), rel=1e-5)
    for start, stop in ((-1, None), (5, 5)):
        with pytest.raises(InvalidInputError, match="no range"):
            calculate_msd(arrays(positions), start=start, stop=stop)
    with pytest.raises(InvalidInputError, match="no frame from number 600 on"):
        calculate_msd(arrays(positions), start=600)


def test_too_few_frames():
    with pytest.raises(InvalidInputError, match=rf"31 usable frames; .* at least {MIN_FRAMES}"):
        calculate_msd(arrays(walk(frames=31)))
    calculate_msd(arrays(walk(frames=MIN_FRAMES)))


def test_what_is_sound_before_a_bad_frame_is_kept_where_asked():
    positions = walk(frames=400)
    positions[333:, 2, 0] += 5.5
    with pytest.raises(BadFrameError, match="the 333 frames before it are sound"):
        calculate_msd(arrays(positions))
    data = calculate_msd(arrays(positions), keep_sound=True)
    sound = calculate_msd(arrays(positions[:333]))
    assert data.n_frames == 333
    assert "frame 333 has atom 2" in str(data.stopped_by)
    assert np.array_equal(data.groups["Li"].tracer.tensor_A2, sound.groups["Li"].tracer.tensor_A2)
    late = calculate_msd(arrays(positions), start=100, keep_sound=True)
    assert "frame 333" in str(late.stopped_by)
    positions[5:, 2, 0] += 5.5
    with pytest.raises(InvalidInputError, match=r"5 usable frames.*frame 5 has atom 2"):
        calculate_msd(arrays(positions), keep_sound=True)


@pytest.mark.parametrize("reference", ["Q", ["Li", "Q"]])
def test_a_reference_that_is_not_there(reference):
    with pytest.raises(InvalidInputError, match="Q cannot be the reference: the trajectory holds Li"):
        calculate_msd(arrays(walk()), reference=reference)


@pytest.mark.parametrize(("name", "atoms"), [("Li", [0]), ("x", []), ("x", [10]), ("x", [-1])])
def test_impossible_groups(name, atoms):
    with pytest.raises(InvalidInputError, match=r"group|Group"):
        calculate_msd(arrays(walk()), groups={name: atoms})


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([*range(20), *range(21, 41)], "1 fs between most frames, 2 fs between frames 19 and 20"),
        ([*range(20), *range(18, 38)], "not evenly spaced"),
        ([0] * 40, "do not increase"),
    ],
)
def test_uneven_times(times, words, tmp_path):
    with TrajectoryWriter(tmp_path / "t.h5", np.array([3, 3]), np.ones(3, dtype=bool)) as writer:
        for time in times:
            writer.append_arrays(np.array([[0.0, 0, 0], [1, 1, 1]]), CELL, 0, float(time))
    with pytest.raises(InvalidInputError, match=words):
        calculate_msd(tmp_path / "t.h5")
