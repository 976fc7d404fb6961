from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.dynamics.trajectory import CHUNK_FRAMES, Trajectory, TrajectoryWriter
from mlip_autopipe.errors import InvalidInputError

NUMBERS = np.full(70, 18)
PERIODIC = np.array([True, True, True])


def walk(frames: int, atoms: int = 70, seed: int = 0) -> np.ndarray:
    """Positions that leave the cell in every direction."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, 0.8, (frames, atoms, 3)), axis=0)


def write(path: Path, positions: np.ndarray, cell: np.ndarray, start: int = 0, **options) -> None:
    numbers = np.full(positions.shape[1], 18)
    with TrajectoryWriter(path, numbers, PERIODIC, **options) as writer:
        for k in range(start, len(positions)):
            at = cell[k] if cell.ndim == 3 else cell
            writer.append_arrays(positions[k], at, 10 * k, 20.0 * k, -0.5 * k, 300.0 + k)


CELL = np.array([[9.0, 0, 0], [1.0, 8.0, 0], [0.5, -1.0, 7.0]])


@pytest.mark.parametrize("breathing", [False, True])
def test_round_trip(breathing: bool, tmp_path: Path) -> None:
    positions = walk(600)
    cells = CELL * np.linspace(1, 1.1 if breathing else 1.0, 600)[:, None, None]
    write(tmp_path / "t.h5", positions, cells, potential_sha256="c" * 64)
    with Trajectory(tmp_path / "t.h5") as trajectory:
        assert len(trajectory) == 600
        dataset = trajectory.file["positions"]
        assert dataset.dtype == np.float32
        assert dataset.chunks == (256, 64, 3)
        assert np.abs(trajectory.read() - positions).max() < 1e-5
        assert np.abs(trajectory.read(5, 500, 7, atoms=slice(60, 70)) - positions[5:500:7, 60:70]).max() < 1e-5
        fractional = trajectory.read(unwrapped=False) @ np.linalg.inv(trajectory.cells)
        assert fractional.min() > -1e-6
        assert fractional.max() < 1 + 1e-6
        assert np.array_equal(trajectory.steps, 10 * np.arange(600))
        assert np.array_equal(trajectory.times_fs, 20.0 * np.arange(600))
        assert np.array_equal(trajectory.energies_eV, -0.5 * np.arange(600))
        assert np.array_equal(trajectory.temperatures_K, 300.0 + np.arange(600))
        assert trajectory.potential_of(599) == "c" * 64
        blocks = list(trajectory.iter_blocks(100))
        assert [len(block) for block in blocks] == [100] * 6
        assert np.array_equal(np.concatenate(blocks), trajectory.read())
        frame = trajectory.frame(-1)
        assert frame.info["step"] == 5990
        assert frame.get_potential_energy() == -299.5
        assert np.allclose(frame.cell.array, cells[-1])
        assert [atoms.info["step"] for atoms in trajectory.iter(500, 3, -100)] == [5000, 4000, 3000, 2000, 1000]
        with pytest.raises(InvalidInputError, match="600 frames"):
            trajectory.frame(600)


@settings(max_examples=25, deadline=None)
@given(
    stops=st.lists(st.integers(0, 900), min_size=1, max_size=5),
    keep=st.integers(0, 9000),
    seed=st.integers(0, 5),
)
def test_continued_at_will(stops: list[int], keep: int, seed: int) -> None:
    """However often a writer is closed and continued, the file is that of one writer."""
    positions = walk(900, atoms=3, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path, done = Path(folder) / "t.h5", 0
        for stop in sorted(stops):
            write(path, positions[:stop], CELL, done)
            done = stop
        left = min(done, keep // 10 + 1)
        write(path, positions, CELL, left, keep_until_step=keep)
        with Trajectory(path) as trajectory:
            assert np.array_equal(trajectory.steps, 10 * np.arange(900))
            assert np.abs(trajectory.read() - positions).max() < 1e-4


def test_directions_without_period_are_not_wrapped(tmp_path: Path) -> None:
    positions = walk(30, atoms=4)
    for pbc in ([True, True, False], [False, False, False]):
        path = tmp_path / f"{sum(pbc)}.h5"
        cell = CELL if any(pbc) else np.zeros((3, 3))
        with TrajectoryWriter(path, np.full(4, 1), np.array(pbc)) as writer:
            for k, frame in enumerate(positions):
                writer.append_arrays(frame, cell, k, float(k))
        with Trajectory(path) as trajectory:
            assert not trajectory.file["images"][..., 2].any()
            assert np.abs(trajectory.read() - positions).max() < 1e-5


def test_potentials_of_a_run(tmp_path: Path) -> None:
    positions = walk(30, atoms=4)
    write(tmp_path / "t.h5", positions[:10], CELL, potential_sha256="a" * 64)
    write(tmp_path / "t.h5", positions[:20], CELL, 10, potential_sha256="b" * 64)
    write(tmp_path / "t.h5", positions, CELL, 20, potential_sha256="a" * 64)
    with Trajectory(tmp_path / "t.h5") as trajectory:
        assert trajectory.potential_sha256 == ["a" * 64, "b" * 64]
        assert [trajectory.potential_of(k)[0] for k in (0, 9, 10, 19, 20)] == ["a", "a", "b", "b", "a"]


@pytest.mark.parametrize("name", ["t.extxyz", "t.traj"])
def test_export(name: str, tmp_path: Path) -> None:
    positions = walk(300, atoms=5)
    write(tmp_path / "t.h5", positions, CELL)
    with Trajectory(tmp_path / "t.h5") as trajectory:
        assert trajectory.export(tmp_path / name, step=3, unwrapped=True) == 100
    frames: list[Atoms] = read(tmp_path / name, index=":")
    assert len(frames) == 100
    assert np.abs(frames[7].positions - positions[21]).max() < 1e-5
    assert frames[7].get_potential_energy() == pytest.approx(-10.5)
    assert frames[7].pbc.all()


def test_read_while_written(tmp_path: Path) -> None:
    path, positions = tmp_path / "t.h5", walk(600)
    with TrajectoryWriter(path, NUMBERS, PERIODIC) as writer:
        for k in range(300):
            writer.append_arrays(positions[k], CELL, k, float(k))
        with Trajectory(path) as trajectory:
            assert len(trajectory) == CHUNK_FRAMES
        with pytest.raises(InvalidInputError, match="another process"):
            TrajectoryWriter(path, NUMBERS, PERIODIC)
        writer.flush()
        with Trajectory(path) as trajectory:
            assert np.abs(trajectory.read() - positions[:300]).max() < 1e-5
        for k in range(300, 600):
            writer.append_arrays(positions[k], CELL, k, float(k))
    with Trajectory(path) as trajectory:
        assert np.abs(trajectory.read() - positions).max() < 1e-5


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tests.dynamics.test_trajectory import CELL, walk
from mlip_autopipe.dynamics.trajectory import Trajectory, TrajectoryWriter
path, positions = Path("t.h5"), walk(2000)
with TrajectoryWriter(path, np.full(70, 18), np.array([True, True, True])) as writer:
    print(writer.n_frames, flush=True)
    for k in range(writer.n_frames, 10**9):
        writer.append_arrays(positions[k % 2000], CELL, k, float(k))
        if k % 7 == 0:
            writer.flush()
"""


def test_killed_writers(tmp_path: Path) -> None:
    """Kill the writer at random moments; every time the file is readable and continued from what was complete."""
    path, positions = tmp_path / "t.h5", walk(2000)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    chance, known = random.Random(1), 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
        )
        started = int(process.stdout.readline())
        assert started == known
        time.sleep(chance.uniform(0.02, 0.3))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Trajectory(path) as trajectory:
            known = len(trajectory)
            assert known >= started
            assert np.array_equal(trajectory.steps, np.arange(known))
            assert np.abs(trajectory.read() - positions[np.arange(known) % 2000]).max() < 1e-4
    assert known > 100
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with pytest.raises(InvalidInputError, match="no trajectory file"):
        Trajectory(path)
    write(path, walk(300), CELL)
    with pytest.raises(InvalidInputError, match="other atoms"):
        TrajectoryWriter(path, np.full(3, 18), PERIODIC)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5], b"", b"an unknown format, not HDF5 at all"):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"t\.h5"), Trajectory(path) as trajectory:
            trajectory.read()
