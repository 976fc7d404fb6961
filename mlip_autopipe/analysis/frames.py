"""Frames of trajectories of any format, in blocks: the one shape in which the analyses see a file.

Nothing is loaded whole. A frame that cannot be used ends the reading with `BadFrameError`, after everything before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

BLOCK_FRAMES: Final = 256
FORMATS: Final = "HDF5 of this program, ASE .traj, extended XYZ, LAMMPS dump, VASP XDATCAR"


class BadFrameError(InvalidInputError):
    """A frame cannot be used; those before it can.

    Attributes
    ----------
    n_sound
        Number of frames before it.
    """

    def __init__(self, sentence: str, n_sound: int) -> None:
        super().__init__(sentence)
        self.n_sound = n_sound


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: names of the atoms (n,), positions (n, 3) and cell (3, 3) in A, periodic directions (3,).

    `time_fs` where the file knows it. `unwrapped` says that positions follow the atoms across boundaries.
    """

    species: tuple[str, ...]
    positions_A: FloatArray
    cell_A: FloatArray
    pbc: NDArray[np.bool_]
    time_fs: float | None = None
    unwrapped: bool = False


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """Consecutive frames of the same atoms.

    Attributes
    ----------
    species
        (n,) names of the atoms, usually chemical symbols.
    positions_A, cells_A
        (k, n, 3) and (k, 3, 3) with lattice vectors in rows; rows of zeros where there is no cell.
    pbc
        (3,) periodic directions.
    times_fs
        (k,) where the file knows them.
    unwrapped
        Positions follow the atoms across periodic boundaries.
    """

    species: tuple[str, ...]
    positions_A: FloatArray
    cells_A: FloatArray
    pbc: NDArray[np.bool_]
    times_fs: FloatArray | None = None
    unwrapped: bool = False


class ArrayFrames:
    """Frames that are in memory already, as a trajectory.

    Parameters
    ----------
    positions_A
        (k, n, 3).
    species
        (n,) names.
    cells_A
        (3, 3) or (k, 3, 3) lattice vectors in rows; none: no periodic boundaries.
    unwrapped
        Positions follow the atoms across periodic boundaries.
    """

    def __init__(
        self,
        positions_A: ArrayLike,
        species: Sequence[str],
        cells_A: ArrayLike | None = None,
        *,
        unwrapped: bool = False,
    ) -> None:
        self.positions_A = np.asarray(positions_A)
        self.species = tuple(species)
        shape = self.positions_A.shape
        if len(shape) != 3 or shape[1:] != (len(self.species), 3):
            raise InvalidInputError(f"Positions {shape} must be (frames, {len(self.species)} atoms, 3).")
        cells = np.zeros((3, 3)) if cells_A is None else np.asarray(cells_A, dtype=float)
        if cells.shape not in ((3, 3), (shape[0], 3, 3)):
            raise InvalidInputError(f"Cells {cells.shape} must be (3, 3) or ({shape[0]}, 3, 3).")
        self.cells_A = np.broadcast_to(cells, (shape[0], 3, 3))
        self.pbc = np.full(3, cells_A is not None)
        self.unwrapped = unwrapped

    def __iter__(self) -> Iterator[FrameBlock]:
        for start in range(0, len(self.positions_A), BLOCK_FRAMES):
            part = slice(start, start + BLOCK_FRAMES)
            positions = np.asarray(self.positions_A[part], dtype=float)
            yield FrameBlock(self.species, positions, self.cells_A[part], self.pbc, None, self.unwrapped)


def open_frames(path: str | os.PathLike[str], *, type_names: Mapping[int, str] | None = None) -> Iterator[FrameBlock]:
    """Yield the frames of a trajectory file in blocks; the format is found from its content.

    Parameters
    ----------
    path
        The file.
    type_names
        Names of the atom types of a LAMMPS dump without column ``element``; otherwise ``type1``, ``type2`` ...

    Raises
    ------
    InvalidInputError
        The file is missing or of no known format.
    BadFrameError
        A frame is cut off, not finite, or of other atoms; raised after the frames before it.
    """
    file = Path(path)
    if not file.exists():
        raise InvalidInputError(f"There is no trajectory file {file}.")
    if not file.is_file():
        raise InvalidInputError(f"{file} is not a file: name the trajectory itself.")
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read ({error.strerror}).") from None
    if not head:
        raise InvalidInputError(f"{file} is empty.")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        from mlip_autopipe.analysis.frames_hdf5 import read_hdf5

        return read_hdf5(file)
    return in_blocks(file, _reader(file, head, type_names))


def in_blocks(path: Path, frames: Iterator[Frame]) -> Iterator[FrameBlock]:
    """Collect frames into blocks; the atoms must stay the same and all numbers finite."""
    kept: list[Frame] = []
    first: Frame | None = None
    count = 0
    try:
        for frame in frames:
            first = frame if first is None else first
            _check(path, frame, first, count)
            kept.append(frame)
            count += 1
            if len(kept) == BLOCK_FRAMES:
                yield _block(kept)
                kept = []
    except BadFrameError:
        if kept:
            yield _block(kept)
        raise
    if kept:
        yield _block(kept)


def _reader(file: Path, head: bytes, type_names: Mapping[int, str] | None) -> Iterator[Frame]:
    if head.startswith(b"- of Ulm"):
        from mlip_autopipe.analysis.frames_ase import read_traj

        return read_traj(file)
    lines = head.decode("utf-8", errors="replace").splitlines()
    first = lines[0].strip()
    if first.startswith("ITEM:"):
        from mlip_autopipe.analysis.frames_lammps import read_lammps

        return read_lammps(file, type_names or {})
    if first.isdigit():
        from mlip_autopipe.analysis.frames_extxyz import read_extxyz

        return read_extxyz(file)
    if _numbers(lines[1:2], 1) and all(_numbers([line], 3) for line in lines[2:5]) and len(lines) > 5:
        from mlip_autopipe.analysis.frames_xdatcar import read_xdatcar

        return read_xdatcar(file)
    raise InvalidInputError(f"{file} is in no format that is known here: {FORMATS}; convert it, for example by ASE.")


def _numbers(lines: Sequence[str], count: int) -> bool:
    if not lines:
        return False
    words = lines[0].split()
    try:
        return len([float(word) for word in words]) == count
    except ValueError:
        return False


def _check(path: Path, frame: Frame, first: Frame, index: int) -> None:
    # frames of one reader usually share the very object
    if frame.species is not first.species and frame.species != first.species:
        n, m = len(first.species), len(frame.species)
        what = f"has {m} atoms where there were {n}"
        if n == m:
            atom = next(k for k in range(n) if frame.species[k] != first.species[k])
            what = f"has {frame.species[atom]} as atom {atom} where {first.species[atom]} was"
        raise bad_frame(path, index, f"{what}: every frame must hold the same atoms in the same order")
    if not (frame.pbc == first.pbc).all():
        raise bad_frame(path, index, "changes which directions are periodic")
    if not (np.isfinite(frame.positions_A).all() and np.isfinite(frame.cell_A).all()):
        raise bad_frame(path, index, "holds a coordinate that is not a finite number")
    if frame.unwrapped != first.unwrapped or (frame.time_fs is None) != (first.time_fs is None):
        raise bad_frame(path, index, "has other columns or fields than those before")


def bad_frame(path: Path | str, index: int, what: str) -> BadFrameError:
    """Return the error about a frame, with what can be done about it."""
    advice = f"the {index} frames before it are sound" if index else "there is nothing before it"
    return BadFrameError(f"{path}: frame {index} {what}; {advice}.", index)


def _block(frames: Sequence[Frame]) -> FrameBlock:
    first = frames[0]
    return FrameBlock(
        species=first.species,
        positions_A=np.stack([frame.positions_A for frame in frames]),
        cells_A=np.stack([frame.cell_A for frame in frames]),
        pbc=first.pbc,
        times_fs=None if first.time_fs is None else np.array([frame.time_fs for frame in frames], dtype=float),
        unwrapped=first.unwrapped,
    )


def complete_lines(path: Path, count: int, index: int, read: Callable[[], str]) -> list[str]:
    """Read so many lines of a text frame, or say that it is cut off."""
    lines = [read() for _ in range(count)]
    # a last line without its end may have lost digits
    if lines and (not lines[-1] or (not lines[-1].endswith("\n") and read() == "" and _cut(lines))):
        raise bad_frame(path, index, "is cut off")
    return lines


def _cut(lines: Sequence[str]) -> bool:
    """Tell whether the last line has fewer columns than the others, or fewer characters than any."""
    *others, last = lines
    if not others:
        return False
    shortest = min(len(line.rstrip()) for line in others)
    return len(last.split()) < len(others[-1].split()) or len(last.rstrip()) < shortest
