"""Frames of every format, and sentences about what cannot be read."""

import subprocess
import sys

import numpy as np
import pytest
from ase.io import write

from mlip_autopipe.analysis.frames import BLOCK_FRAMES, ArrayFrames, BadFrameError, open_frames
from mlip_autopipe.analysis.unwrap import Unwrapper
from mlip_autopipe.errors import InvalidInputError
from tests.analysis.trajectory_files import (
    CELL,
    FORMATS,
    SYMBOLS,
    frames_of,
    lammps_frame,
    positions_A,
    write_as,
)

TYPES = {1: "Li", 2: "O"}
LAMMPS_HEAD = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
XDATCAR_HEAD = "title\n1.0\n9 0 0\n0 9 0\n0 0 9\nLi\n"


def displacements(path, **options):
    one = Unwrapper(str(path))
    return np.concatenate([one.follow(block) for block in open_frames(path, **options)])


def collect(path, **options):
    """Blocks before an error, and the error."""
    blocks = []
    try:
        for block in open_frames(path, **options):
            blocks.append(block)
    except InvalidInputError as error:
        return blocks, error
    return blocks, None


def count(blocks):
    return sum(len(block.positions_A) for block in blocks)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same(kind, tmp_path):
    positions = positions_A(2 * BLOCK_FRAMES + 7 if kind == "h5" else 40)
    path = write_as(kind, tmp_path, positions)
    blocks, error = collect(path, type_names=TYPES)
    assert error is None
    assert blocks[0].species == tuple(SYMBOLS)
    assert blocks[0].pbc.all()
    assert blocks[0].cells_A[0] == pytest.approx(CELL, abs=1e-6)
    assert displacements(path, type_names=TYPES) == pytest.approx(positions - positions[0], abs=2e-5)
    if kind == "h5":
        assert len(blocks) == 3
        assert np.concatenate([block.times_fs for block in blocks]) == pytest.approx(20.0 * np.arange(len(positions)))


@pytest.mark.parametrize("kind", FORMATS)
def test_cells_that_change(kind, tmp_path):
    cells = CELL * (1 + 0.01 * np.sin(np.arange(40)))[:, None, None]
    fractional = positions_A() @ np.linalg.inv(CELL)
    path = write_as(kind, tmp_path, fractional @ cells, cells)
    found = np.concatenate([block.cells_A for block in open_frames(path)])
    assert found == pytest.approx(cells, abs=1e-5)
    steps = np.diff(fractional, axis=0) @ (0.5 * (cells[1:] + cells[:-1]))
    assert displacements(path)[1:] == pytest.approx(np.cumsum(steps, axis=0), abs=1e-4)


@pytest.mark.parametrize("kind", ["extxyz", "dump", "xdatcar", "traj"])
@pytest.mark.parametrize("share", [0.31, 0.503, 0.77])
def test_a_file_that_is_cut_off_keeps_its_whole_frames(kind, share, tmp_path):
    path = write_as(kind, tmp_path, positions_A())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    blocks, error = collect(path)
    assert isinstance(error, BadFrameError)
    assert "cut off" in str(error)
    assert 0.6 * share * 40 < count(blocks) == error.n_sound <= share * 40


def test_a_last_line_without_its_newline_is_whole(tmp_path):
    path = write_as("extxyz", tmp_path, positions_A())
    path.write_text(path.read_text().rstrip("\n"))
    blocks, error = collect(path)
    assert error is None
    assert count(blocks) == 40


def test_an_hdf5_file_that_is_cut_off(tmp_path):
    path = write_as("h5", tmp_path, positions_A())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidInputError, match="cut off, damaged"):
        list(open_frames(path))


def test_an_hdf5_file_of_a_killed_writer_whose_end_is_missing(tmp_path):
    script = (
        "import numpy as np, os, sys\n"
        "from mlip_autopipe.dynamics.trajectory import TrajectoryWriter\n"
        "writer = TrajectoryWriter(sys.argv[1], np.array([3] * 64), np.ones(3, dtype=bool))\n"
        "for k in range(1000):\n"
        "    writer.append_arrays(np.full((64, 3), 1.0 + 1e-3 * k), np.eye(3) * 12, k, 10.0 * k)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "dead.h5"
    subprocess.run([sys.executable, "-c", script, path], check=False)
    blocks, error = collect(path)
    assert error is None
    assert count(blocks) == 768  # whole chunks
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    blocks, error = collect(path)
    assert "is cut off or damaged" in str(error)
    assert count(blocks) == error.n_sound < 768
    for block in blocks:
        assert (block.positions_A > 0).all()


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (["O", *SYMBOLS[1:]], "has O as atom 0 where Li was"),
        (SYMBOLS[:-1], "has 7 atoms where there were 8"),
    ],
)
@pytest.mark.parametrize("kind", ["extxyz", "traj"])
def test_atoms_that_change(kind, symbols, words, tmp_path):
    positions = positions_A()
    frames = frames_of(positions[:20]) + frames_of(positions[20:, : len(symbols)], symbols)
    path = tmp_path / f"run.{kind}"
    write(path, frames)
    blocks, error = collect(path)
    assert words in str(error)
    assert "frame 20" in str(error)
    assert count(blocks) == error.n_sound == 20


def test_a_coordinate_that_is_no_number(tmp_path):
    positions = positions_A()
    positions[30, 2, 1] = np.nan
    path = tmp_path / "run.extxyz"
    write(path, frames_of(positions, wrap=False))
    blocks, error = collect(path)
    assert "frame 30 holds a coordinate that is not a finite number" in str(error)
    assert count(blocks) == 30


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", "some words\nand more\n", "in no format that is known"),
        ("empty", "", "is empty"),
        ("binary", b"\x00\x01\x02\xff" * 50, "in no format that is known"),
        ("t.xyz", "3\nno atoms at all\n", "cut off"),
        ("t.xyz", "2\ncomment\nH 0 0 0\nH 0 x 0\n", "frame 0 cannot be understood"),
        ("t.xyz", '1\nProperties=pos:R:3\n0 0 0\n', "no species"),
        ("d.dump", "ITEM: TIMESTEP\n0\n", "cut off"),
        ("t.xyz", "1\nframe\nH 0 0 0\nword\n", "starts with 'word' where the number of atoms belongs"),
        ("t.xyz", "1\nframe\nH 0 0 0\n\n1\nframe\nH 0 0 0\n", "starts with an empty line"),
        ("t.xyz", "0\nframe\n", "there are no atoms"),
        ("d.dump", LAMMPS_HEAD + "ITEM: ATOMS id type vx\n1 1 0\n", "has no positions"),
        ("d.dump", LAMMPS_HEAD + "ITEM: ATOMS id x y z\n1 0 0 0\n", "names no atoms"),
        ("d.dump", LAMMPS_HEAD.replace("\n1\n", "\n0\n") + "ITEM: ATOMS id type x y z\n", "has no atoms"),
        ("d.dump", LAMMPS_HEAD + "ITEM: ATOMS id type x y z\n1 1 0 0 0\nword\n", "starts with 'word' where ITEM"),
        ("d.dump", LAMMPS_HEAD + "ITEM: ATOMS id type x y z\n1 1 0 0 word\n", "cannot be understood"),
        ("XDATCAR", XDATCAR_HEAD + "1 2\nDirect\n0 0 0\n", "name the elements and the seventh count them"),
        ("XDATCAR", XDATCAR_HEAD + "1\nwords\n", "where 'Direct configuration=' belongs"),
        ("XDATCAR", XDATCAR_HEAD + "1\n", "is cut off"),
        ("XDATCAR", XDATCAR_HEAD + "1\nDirect\n0 0 word\n", "cannot be understood"),
        ("bad.h5", b"\x89HDF\r\n\x1a\n" + b"\x00" * 100, "no readable HDF5"),
        ("bad.traj", b"- of Ulm" + b"\x00" * 100, "cannot be opened as an ASE trajectory"),
    ],
)
def test_files_of_no_use(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInputError, match=words):
        list(open_frames(path))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InvalidInputError, match="There is no trajectory file"):
        open_frames(tmp_path / "nothing.h5")
    with pytest.raises(InvalidInputError, match="is not a file"):
        open_frames(tmp_path)


def test_hdf5_of_another_program(tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InvalidInputError, match="not a trajectory of this program"):
        list(open_frames(tmp_path / "other.h5"))


@pytest.mark.parametrize("columns", ["id element xs ys zs", "element id x y z"])
def test_lammps_columns(columns, tmp_path):
    positions = positions_A()
    path = tmp_path / "run.dump"
    path.write_text("".join(lammps_frame(a, 10 * k, columns) for k, a in enumerate(frames_of(positions))))
    assert next(open_frames(path)).species == tuple(SYMBOLS)
    assert displacements(path) == pytest.approx(positions - positions[0], abs=1e-6)


def test_lammps_time_needs_time_and_units(tmp_path):
    path = tmp_path / "run.dump"
    frames = frames_of(positions_A())
    text = "".join(
        lammps_frame(a, k, extra=("ITEM: UNITS\nmetal\n" if k == 0 else "") + f"ITEM: TIME\n{0.02 * k}\n")
        for k, a in enumerate(frames)
    )
    path.write_text(text)
    assert next(open_frames(path)).times_fs[:3] == pytest.approx([0, 20, 40])
    path.write_text(text.replace("metal", "lj"))
    with pytest.raises(BadFrameError, match="units 'lj', whose lengths are not A"):
        list(open_frames(path))
    assert next(open_frames(write_as("dump", tmp_path, positions_A()))).times_fs is None


def test_lammps_image_counts_make_long_steps_certain(tmp_path):
    rng = np.random.default_rng(0)
    positions = np.cumsum(rng.normal(0, 5.0, (10, 3)), axis=0)
    rows = []
    for k, place in enumerate(positions):
        image = np.floor(place / 10).astype(int)
        inside = place - 10 * image
        words = [f"{x:.8f}" for x in inside] + [str(i) for i in image]
        rows.append(
            f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\n"
            f"ITEM: ATOMS id type x y z ix iy iz\n1 1 {' '.join(words)}\n"
        )
    path = tmp_path / "run.dump"
    path.write_text("".join(rows))
    assert displacements(path)[:, 0] == pytest.approx(positions - positions[0], abs=1e-6)


def test_xyz_without_a_cell_and_with_a_slab(tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("".join(f"1\nframe\nAr {5.0 * k} 0 0\n" for k in range(4)))
    block = next(open_frames(path))
    assert not block.pbc.any()
    assert displacements(path)[:, 0, 0] == pytest.approx([0, 5, 10, 15])
    head = '1\nLattice="10 0 0 0 10 0 0 0 10" pbc="T T F" Properties=species:S:1:pos:R:3 time_fs={}\n'
    path.write_text("".join(head.format(7 * k) + f"Ar 0 0 {5.0 * k}\n" for k in range(4)))
    block = next(open_frames(path))
    assert block.pbc.tolist() == [True, True, False]
    assert block.times_fs == pytest.approx([0, 7, 14, 21])
    assert displacements(path)[:, 0, 2] == pytest.approx([0, 5, 10, 15])


def test_lammps_boxes_by_their_vectors(tmp_path):
    path = tmp_path / "run.dump"
    path.write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS abc origin pp pp ff\n"
        "9 0 0 1\n2 8 0 1\n-1.5 1 7 1\nITEM: ATOMS id type xs ys zs\n1 1 0.5 0 0\n"
    )
    block = next(open_frames(path))
    assert block.cells_A[0] == pytest.approx(CELL)
    assert block.pbc.tolist() == [True, True, False]
    assert block.positions_A[0, 0] == pytest.approx([5.5, 1, 1])


def test_xdatcar_scales(tmp_path):
    path = tmp_path / "XDATCAR"
    for scale, edge in (("2.0", 18.0), ("-1000.0", 10.0)):
        path.write_text(XDATCAR_HEAD.replace("1.0", scale) + "1\nDirect configuration= 1\n0.5 0 0\n")
        block = next(open_frames(path))
        assert block.cells_A[0] == pytest.approx(np.eye(3) * edge)
        assert block.positions_A[0, 0, 0] == pytest.approx(edge / 2)


def test_xdatcar_names_of_potentials(tmp_path):
    path = write_as("xdatcar", tmp_path, positions_A())
    lines = path.read_text().splitlines()
    lines[5] = "Li_sv O/123abc"
    path.write_text("\n".join(lines) + "\n")
    assert set(next(open_frames(path)).species) == {"Li", "O"}


def test_arrays():
    with pytest.raises(InvalidInputError, match=r"must be \(frames, 2 atoms, 3\)"):
        ArrayFrames(np.zeros((4, 3, 3)), ["H", "H"])
    with pytest.raises(InvalidInputError, match="Cells"):
        ArrayFrames(np.zeros((4, 2, 3)), ["H", "H"], np.zeros((3, 3, 3)))
