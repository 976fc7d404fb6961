"""Other formats: written frame by frame, whole or not at all."""

from __future__ import annotations

import stat
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import iread

from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.dynamics.trajectory_export import write_frames
from mlip_autopipe.errors import InvalidInputError
from tests.dynamics.test_trajectory import CELL, walk, write

NAMES = ["run.extxyz", "run.xyz", "run.traj"]


@pytest.mark.parametrize("name", NAMES)
def test_no_more_than_a_frame_is_held(name: str, tmp_path: Path) -> None:
    given: list[weakref.ref[Atoms]] = []
    most = 0

    def frames() -> Iterator[Atoms]:
        nonlocal most
        for k in range(40):
            atoms = bulk("Cu")
            atoms.info["step"] = k
            given.append(weakref.ref(atoms))
            yield atoms
            del atoms
            most = max(most, sum(one() is not None for one in given))

    assert write_frames(frames(), tmp_path / name) == 40
    assert most <= 2
    assert [atoms.info["step"] for atoms in iread(tmp_path / name)] == list(range(40))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unwrapped", [False, True])
def test_what_is_written_is_what_was_there(name: str, unwrapped: bool, tmp_path: Path) -> None:
    positions = walk(300, atoms=5)
    write(tmp_path / "t.h5", positions, CELL)
    with Trajectory(tmp_path / "t.h5") as trajectory:
        assert trajectory.export(tmp_path / name, stop=250, step=7, unwrapped=unwrapped) == 36
    found = list(iread(tmp_path / name))
    assert len(found) == 36
    for k, atoms in enumerate(found):
        away = atoms.positions - positions[7 * k]
        if unwrapped:
            assert np.abs(away).max() < 1e-5
        else:
            images = away @ np.linalg.inv(CELL)
            assert np.abs(images - images.round()).max() < 1e-5
            assert atoms.get_scaled_positions(wrap=False).max() < 1 + 1e-5
        assert (atoms.info["step"], atoms.info["time_fs"]) == (70 * k, 140.0 * k)
        assert atoms.get_potential_energy() == pytest.approx(-3.5 * k)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_of_what_fails(name: str, tmp_path: Path) -> None:
    def frames() -> Iterator[Atoms]:
        yield bulk("Cu")
        raise RuntimeError("the source ends here")

    (tmp_path / name).write_text("an older file")
    with pytest.raises(RuntimeError, match="the source"):
        write_frames(frames(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "an older file"


def test_others_may_read_the_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    write(tmp_path / "t.h5", walk(3, atoms=5), CELL)
    write_frames([bulk("Cu")], tmp_path / "t.traj")
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("t.h5", "t.traj")} == {expected}


@pytest.mark.parametrize("name", ["run", "run.h5", "run.pdb", "run.TRAJ"])
def test_other_suffixes(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=rf"{name} has a suffix of no known format: name it .extxyz"):
        write_frames([bulk("Cu")], tmp_path / name)
    assert list(tmp_path.iterdir()) == []
