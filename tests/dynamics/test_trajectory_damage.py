"""Frames that a damaged trajectory has lost are refused, and never read as zeros."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlip_autopipe.analysis.frames import BadFrameError, open_frames
from mlip_autopipe.dynamics.trajectory import CHUNK_FRAMES, Trajectory, TrajectoryWriter
from mlip_autopipe.errors import InvalidInputError
from tests.dynamics.test_trajectory import CELL, NUMBERS, PERIODIC, walk, write

ATOMS = 130
"""Three columns of chunks."""
FRAMES = 700
WRITER = f"""
import os, signal
import numpy as np
from tests.dynamics.test_trajectory import CELL, walk
from mlip_autopipe.dynamics.trajectory import TrajectoryWriter
writer = TrajectoryWriter("t.h5", np.full({ATOMS}, 18), np.array([True, True, True]))
for k, frame in enumerate(walk({FRAMES}, atoms={ATOMS})):
    writer.append_arrays(frame, CELL, k, float(k))
    if k % 100 == 0:
        writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a writer that was killed."""
    folder = tmp_path_factory.mktemp("dead")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", WRITER], cwd=folder, env=env, check=False)
    return (folder / "t.h5").read_bytes()


def assert_sound_part(path: Path, positions: np.ndarray) -> int:
    """Whatever is read is right, what is lost is refused; return how many frames are sound."""
    with Trajectory(path) as trajectory:
        sound, total = trajectory.n_sound, trajectory.n_frames
        assert np.abs(trajectory.read(0, sound) - positions[:sound]).max(initial=0) < 1e-4
        assert np.array_equal(trajectory.records(0, sound)["step"], np.arange(sound))
        given = []
        frames = trajectory.iter(unwrapped=True)
        if sound < total:
            for read in (
                lambda: trajectory.read(),
                lambda: trajectory.read(sound, sound + 1),
                lambda: list(trajectory.iter_blocks()),
                lambda: trajectory.frame(sound),
                lambda: trajectory.export(path.with_name("t.traj")),
                lambda: given.extend(frames),
            ):
                with pytest.raises(InvalidInputError, match=r"t\.h5 is cut off or damaged: frame \d+"):
                    read()
            assert not path.with_name("t.traj").exists()
        else:
            given.extend(frames)
        assert len(given) == sound
        for k in range(0, sound, 50):
            assert np.abs(given[k].positions - positions[k]).max() < 1e-4
    return sound


def test_a_cut_tail_of_a_killed_writer(dead: bytes, tmp_path: Path) -> None:
    positions, path, found = walk(FRAMES, atoms=ATOMS), tmp_path / "t.h5", []
    for share in np.linspace(0.05, 1, 12):
        path.write_bytes(dead[: int(share * len(dead))])
        sound = assert_sound_part(path, positions)
        if share < 1:  # the analysis has eyes of its own
            with pytest.raises(BadFrameError) as analysed:
                list(open_frames(path))
            assert analysed.value.n_sound == sound
        found.append(sound)
    assert found == sorted(found)
    assert found[-1] == 601
    assert set(found) == {0, 256, 512, 601}


def test_a_cut_in_the_middle_of_a_chunk(dead: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    path.write_bytes(dead)
    with Trajectory(path) as trajectory:
        chunk = trajectory.file["frames"].id.get_chunk_info_by_coord((256,))
    path.write_bytes(dead[: chunk.byte_offset + 100 * chunk.size // 256 + 50])
    assert assert_sound_part(path, walk(FRAMES, atoms=ATOMS)) == 356


@pytest.mark.parametrize("share", [0.1, 0.55, 0.8])
def test_a_writer_keeps_the_sound_frames(share: float, dead: bytes, tmp_path: Path) -> None:
    positions, path = walk(FRAMES, atoms=ATOMS), tmp_path / "t.h5"
    path.write_bytes(dead[: int(share * len(dead))])
    with Trajectory(path) as trajectory:
        sound = trajectory.n_sound
    numbers = np.full(ATOMS, 18)
    with pytest.warns(UserWarning, match=f"only {sound} of 601 frames are kept"):
        writer = TrajectoryWriter(path, numbers, PERIODIC, keep_until_step=600)
    with writer:
        assert writer.n_frames == sound
        for k in range(sound, FRAMES):
            writer.append_arrays(positions[k], CELL, k, float(k))
    assert assert_sound_part(path, positions) == FRAMES


def lose_chunks(path: Path, name: str, frames: int) -> None:
    """Let HDF5 forget the chunks of a dataset from a frame on; the file stays in order."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        shape = file[name].shape
        file[name].resize(frames, axis=0)
        file[name].resize(shape[0], axis=0)


@pytest.mark.parametrize("name", ["positions", "images", "frames"])
def test_a_chunk_that_is_missing(name: str, tmp_path: Path) -> None:
    path, positions = tmp_path / "t.h5", walk(600)
    write(path, positions, CELL)
    lose_chunks(path, name, CHUNK_FRAMES)
    with Trajectory(path) as trajectory:
        assert trajectory.closed_cleanly
        assert trajectory.n_frames == 600
        assert trajectory.n_sound == CHUNK_FRAMES
        assert np.abs(trajectory.read(0, 256, atoms=slice(3, 5)) - positions[:256, 3:5]).max() < 1e-5
        with pytest.raises(InvalidInputError, match=r"frame 256 is missing.*the first 256 frames are sound"):
            trajectory.read(100, 600, 3, atoms=slice(65, 66))
        with pytest.raises(InvalidInputError, match="frame 590"):
            next(trajectory.iter(590, 100, -10))
        if name == "frames":
            with pytest.raises(InvalidInputError, match="frame 256"):
                _ = trajectory.times_fs
    with (
        pytest.warns(UserWarning, match="only 256 of 600"),
        TrajectoryWriter(path, NUMBERS, PERIODIC, keep_until_step=2000) as writer,
    ):
        assert writer.n_frames == 201


def test_pages_that_a_crash_has_left_empty(tmp_path: Path) -> None:
    """Of one column of chunks, in the middle; the file knows nothing of it."""
    path, positions = tmp_path / "t.h5", walk(600)
    write(path, positions, CELL)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["positions"][300:310, 64:] = 0
    with Trajectory(path) as trajectory:
        assert trajectory.n_sound == 300
        assert np.abs(trajectory.read(310) - positions[310:]).max() < 1e-5
        assert len(list(trajectory.iter(290, 300))) == 10
        with pytest.raises(InvalidInputError, match="frame 305 is missing or not finite; the first 300"):
            trajectory.frame(305)
        with pytest.raises(InvalidInputError, match="frame 300"):
            list(trajectory.iter_blocks(50))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite(wrong: float, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "t.h5"
    write(path, walk(10), CELL)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["positions"][7, 3] = [wrong, -wrong, 0]
    with Trajectory(path) as trajectory:
        assert trajectory.n_sound == len(list(trajectory.iter(0, 7))) == 7
        with pytest.raises(InvalidInputError, match="frame 7 is missing or not finite"):
            trajectory.read()
    assert not recwarn.list


@pytest.mark.parametrize("atoms", [1, 2, 65])
def test_atoms_may_be_at_the_origin(atoms: int, tmp_path: Path) -> None:
    positions = walk(300, atoms=atoms) + 0.1
    positions[:, -1] = 0
    write(tmp_path / "t.h5", positions, CELL)
    with Trajectory(tmp_path / "t.h5") as trajectory:
        assert trajectory.n_sound == 300
        assert np.abs(trajectory.read() - positions).max() < 1e-5


def test_without_a_cell_only_the_first_record_may_be_zero(tmp_path: Path) -> None:
    path, positions = tmp_path / "t.h5", walk(300, atoms=4)
    with TrajectoryWriter(path, np.full(4, 1), np.zeros(3, dtype=bool)) as writer:
        for k, frame in enumerate(positions):
            writer.append_arrays(frame, np.zeros((3, 3)), k, float(k), 0.0, 0.0)
    with Trajectory(path) as trajectory:
        assert trajectory.n_sound == 300
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["frames"][200] = np.zeros((), dtype=file["frames"].dtype)
    with Trajectory(path) as trajectory:
        assert trajectory.n_sound == 200
