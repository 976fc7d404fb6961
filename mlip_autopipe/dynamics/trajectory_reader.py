"""Read HDF5 trajectories in pieces that fit into memory; what a damaged file has lost is refused, not read as zeros."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms

from mlip_autopipe.dynamics.trajectory_file import CHUNK_FRAMES, FORMAT, GROWING, VERSION, closed_cleanly, open_to_read
from mlip_autopipe.dynamics.trajectory_soundness import StoredChunks, sound_frames
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from numpy.typing import NDArray


class Trajectory:
    """Read an HDF5 trajectory, also one that is being written, in pieces that fit into memory.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    n_frames
        Complete frames at the time of opening, as the file says.
    numbers, pbc
        Atomic numbers (n,) and periodic directions (3,).
    potential_sha256
        Table of potentials; `potential_of` names that of a frame.

    Raises
    ------
    InvalidInputError
        If the file is missing, damaged or none of ours; and by every method that reads a frame which the file has lost.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidInputError(f"There is no trajectory file {self.path}.")
        try:
            self.closed_cleanly = closed_cleanly(self.path)
            self.file = open_to_read(self.path)
        except OSError as error:
            raise InvalidInputError(
                f"{self.path} is no readable HDF5 file: it is truncated, damaged or of another format ({error})."
            ) from error
        try:
            if self.file.attrs["format"] != FORMAT:
                raise KeyError("format")
            if int(self.file.attrs["version"]) > VERSION:
                raise InvalidInputError(f"{self.path} was written by a newer version of this program: update it.")
            self.n_frames = int(self.file["n_frames"][()])
            self.numbers: NDArray[np.int64] = self.file["numbers"][()]
            self.pbc: NDArray[np.bool_] = self.file["pbc"][()]
            self.potential_sha256: list[str] = [name.decode() for name in self.file["potential_sha256"][()].tolist()]
            # after n_frames, so that they hold at least as many
            self._datasets: dict[str, Any] = {name: self.file[name] for name in GROWING}
        except (KeyError, OSError, RuntimeError) as error:
            self.file.close()
            raise InvalidInputError(
                f"{self.path} is not a trajectory of this program, or damaged ({error})."
            ) from error
        except BaseException:
            self.file.close()
            raise
        self._chunks = StoredChunks(self.file, self._datasets)

    def __len__(self) -> int:
        return self.n_frames

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    @cached_property
    def n_sound(self) -> int:
        """Frames before the first that a damaged file has lost, or that is not finite; all positions are read once."""
        for rows in _rows(range(self.n_frames)):
            block = self._load(rows, slice(None), with_images=False)
            if block.n_sound < len(rows):
                return rows[block.n_sound]
        return self.n_frames

    @property
    def steps(self) -> NDArray[np.int64]:
        """Step of every frame."""
        values: NDArray[np.int64] = self.records()["step"]
        return values

    @property
    def times_fs(self) -> NDArray[np.float64]:
        """Time of every frame in fs."""
        values: NDArray[np.float64] = self.records()["time_fs"]
        return values

    @property
    def energies_eV(self) -> NDArray[np.float64]:
        """Potential energy of every frame in eV."""
        values: NDArray[np.float64] = self.records()["energy_eV"]
        return values

    @property
    def temperatures_K(self) -> NDArray[np.float64]:
        """Kinetic temperature of every frame in K."""
        values: NDArray[np.float64] = self.records()["temperature_K"]
        return values

    @property
    def cells(self) -> NDArray[np.float64]:
        """Cell of every frame in A, (frames, 3, 3)."""
        values: NDArray[np.float64] = self.records()["cell"]
        return values

    def records(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return step, time_fs, cell, energy_eV, temperature_K and potential of a range of frames."""
        frames = range(*slice(start, stop).indices(self.n_frames))
        parts = [self._sound(self._load(rows, slice(0), with_images=False)).records for rows in _rows(frames)]
        return np.concatenate([*parts, np.empty(0, dtype=self._datasets["frames"].dtype)])

    def potential_of(self, frame: int) -> str:
        """Return the sha256 of the potential that made this frame."""
        return self.potential_sha256[int(self.records(frame, frame + 1)["potential"][0])]

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        *,
        atoms: slice | None = None,
        unwrapped: bool = True,
    ) -> NDArray[np.float64]:
        """Return positions in A, (frames, atoms, 3), of a range of frames and, if wanted, of a range of atoms."""
        frames = range(*slice(start, stop, step).indices(self.n_frames))
        chosen = slice(None) if atoms is None else atoms
        positions = np.empty((len(frames), len(self.numbers[chosen]), 3))
        done = 0
        for rows in _rows(frames):
            block = self._sound(self._load(rows, chosen, with_images=unwrapped))
            positions[done : done + len(rows)] = block.positions_A()
            done += len(rows)
        return positions

    def iter_blocks(
        self, frames: int = CHUNK_FRAMES, *, atoms: slice | None = None, unwrapped: bool = True
    ) -> Iterator[NDArray[np.float64]]:
        """Yield positions block by block, each of at most this many frames."""
        for start in range(0, self.n_frames, frames):
            yield self.read(start, min(start + frames, self.n_frames), atoms=atoms, unwrapped=unwrapped)

    def __iter__(self) -> Iterator[Atoms]:
        return self.iter()

    def iter(
        self, start: int = 0, stop: int | None = None, step: int = 1, *, unwrapped: bool = False
    ) -> Iterator[Atoms]:
        """Yield frames as ASE atoms with time, step and temperature in ``info`` and the energy in a calculator."""
        from ase.calculators.singlepoint import SinglePointCalculator

        for rows in _rows(range(*slice(start, stop, step).indices(self.n_frames))):
            block = self._load(rows, slice(None), with_images=unwrapped)
            for positions, fields in zip(block.positions_A(), block.records, strict=False):
                atoms = Atoms(numbers=self.numbers, positions=positions, cell=fields["cell"], pbc=self.pbc)
                atoms.info["step"] = int(fields["step"])
                atoms.info["time_fs"] = float(fields["time_fs"])
                atoms.info["temperature_K"] = float(fields["temperature_K"])
                energy = float(fields["energy_eV"])
                if np.isfinite(energy):
                    atoms.calc = SinglePointCalculator(atoms, energy=energy)
                yield atoms
            self._sound(block)

    def frame(self, index: int) -> Atoms:
        """Return one frame as ASE atoms; negative indices count from the end."""
        if not -self.n_frames <= index < self.n_frames:
            raise InvalidInputError(f"{self.path} has {self.n_frames} frames; there is no frame {index}.")
        position = index % self.n_frames
        return next(self.iter(position, position + 1))

    def export(
        self, path: str | os.PathLike[str], *, stop: int | None = None, step: int = 1, unwrapped: bool = False
    ) -> int:
        """Write frames as extended XYZ or an ASE ``.traj`` file, one by one, and return how many.

        Parameters
        ----------
        path
            Named ``.extxyz``, ``.xyz`` or ``.traj``; it appears when it is complete.
        stop, step
            Every `step`-th frame before `stop`.
        unwrapped
            Positions follow the atoms across periodic boundaries.

        Raises
        ------
        InvalidInputError
            The suffix is another one, or a frame is lost; then nothing is written.
        """
        from mlip_autopipe.dynamics.trajectory_export import write_frames

        return write_frames(self.iter(0, stop, step, unwrapped=unwrapped), Path(path))

    def _load(self, rows: range, atoms: slice, *, with_images: bool) -> _Block:
        """Read frames of one row of chunks, and say which of them are there."""
        low, high = min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1
        chosen = range(len(self.numbers))[atoms]
        records = np.zeros(high - low, dtype=self._datasets["frames"].dtype)
        positions = np.zeros((high - low, len(chosen), 3), dtype=np.float32)
        images = np.zeros((high - low, len(chosen), 3), dtype=np.int16) if with_images else None
        sound, lost = np.zeros(high - low, dtype=bool), "is missing or not finite"
        there = self._chunks.complete_frames(low, high, chosen)
        try:
            if there:
                part = slice(low, low + there)
                records[:there] = self._datasets["frames"][part]
                if len(chosen):
                    positions[:there] = self._datasets["positions"][part, atoms]
                if images is not None:
                    images[:there] = self._datasets["images"][part, atoms]
                sound[:there] = sound_frames(positions[:there], records[:there], self.pbc, low)
        except (OSError, RuntimeError) as error:
            sound[:], lost = False, f"cannot be read ({error})"
        # from the first or, backwards, from the last
        every = slice(None, None, rows.step)
        return _Block(
            rows, positions[every], None if images is None else images[every], records[every], sound[every], lost
        )

    def _sound(self, block: _Block) -> _Block:
        """Return the block, or say which of its frames is lost."""
        if block.n_sound == len(block.rows):
            return block
        before = f"the first {self.n_sound} frames are sound" if self.n_sound else "no frame is sound"
        raise InvalidInputError(
            f"{self.path} is cut off or damaged: frame {block.rows[block.n_sound]} {block.lost}; {before}."
        )


class _Block(NamedTuple):
    """Frames of one row of chunks, as they are stored."""

    rows: range
    wrapped_A: NDArray[np.float32]
    images: NDArray[np.int16] | None
    records: NDArray[np.void]
    sound: NDArray[np.bool_]
    lost: str

    @property
    def n_sound(self) -> int:
        """Frames before the first that is lost."""
        return len(self.rows) if self.sound.all() else int(np.argmin(self.sound))

    def positions_A(self) -> NDArray[np.float64]:
        """Return positions of the frames before the first that is lost, unwrapped if images were read."""
        sound = slice(self.n_sound)
        positions = self.wrapped_A[sound].astype(np.float64)
        if self.images is not None:
            positions += self.images[sound].astype(np.float64) @ self.records["cell"][sound]
        return positions


@contextmanager
def open_trajectory(path: str | os.PathLike[str]) -> Iterator[Trajectory]:
    """Open a trajectory for reading and close it afterwards."""
    with Trajectory(path) as trajectory:
        yield trajectory


def _rows(frames: range) -> Iterator[range]:
    """Cut a range of frames where a new row of chunks begins."""
    done = 0
    while done < len(frames):
        begin = frames[done] // CHUNK_FRAMES * CHUNK_FRAMES
        end = begin + CHUNK_FRAMES if frames.step > 0 else begin - 1
        part = frames[done : done + len(range(frames[done], end, frames.step))]
        yield part
        done += len(part)
