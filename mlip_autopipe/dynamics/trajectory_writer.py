"""Append frames to an HDF5 trajectory; the layout stands in `trajectory`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.dynamics.trajectory_file import (
    CHUNK_ATOMS,
    CHUNK_FRAMES,
    FORMAT,
    FRAME,
    GROWING,
    SHA_LENGTH,
    VERSION,
    lock,
    name_beside,
    open_to_append,
)
from mlip_autopipe.dynamics.trajectory_reader import Trajectory
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from types import TracebackType

    import h5py  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.state import MDState


class TrajectoryWriter:
    """Append frames to an HDF5 trajectory; they reach the file in whole chunks, or by `flush`.

    Parameters
    ----------
    path
        The file. An existing one is continued.
    numbers, pbc
        Atomic numbers (n,) and periodic directions (3,); must agree with an existing file.
    potential_sha256
        The potential of the frames to come.
    keep_until_step
        Frames of an existing file after this step are dropped; so are all from the first on that a damaged file has
        lost, with a warning.

    Raises
    ------
    InvalidInputError
        If the file is none of ours, damaged, or of other atoms.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        numbers: NDArray[np.int64],
        pbc: NDArray[np.bool_],
        *,
        potential_sha256: str = "",
        keep_until_step: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._numbers = np.asarray(numbers, dtype=np.int64)
        self._pbc = np.asarray(pbc, dtype=bool)
        n = len(self._numbers)
        self._lock: int | None = None
        try:
            if self.path.exists():
                self._lock = lock(self.path)
                self._file = self._continue(keep_until_step)
            else:
                self._file = self._create(self.path)
                self._lock = lock(self.path)
        except BaseException:
            self._release()
            raise
        self._datasets = [self._file[name] for name in GROWING]
        self._count = int(self._file["n_frames"][()])
        self._potential = self._potential_row(potential_sha256)
        self._positions = np.empty((CHUNK_FRAMES, n, 3))
        self._cells = np.empty((CHUNK_FRAMES, 3, 3))
        self._scalars = np.empty((CHUNK_FRAMES, 4))
        self._room = CHUNK_FRAMES - self._count % CHUNK_FRAMES
        self._buffered = 0

    @property
    def n_frames(self) -> int:
        """Frames appended so far, in the file or about to be."""
        return self._count + self._buffered

    def append(self, state: MDState, time_fs: float, temperature_K: float) -> None:
        """Append the state's frame."""
        self.append_arrays(state.positions, state.cell, state.step, time_fs, state.energy, temperature_K)

    def append_arrays(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        step: int,
        time_fs: float,
        energy_eV: float = float("nan"),
        temperature_K: float = float("nan"),
    ) -> None:
        """Append a frame: unwrapped positions (n, 3) and cell in A."""
        k = self._buffered
        self._positions[k] = positions
        self._cells[k] = cell
        self._scalars[k] = (step, time_fs, energy_eV, temperature_K)
        self._buffered = k + 1
        if self._buffered == self._room:
            self.flush()

    def flush(self) -> None:
        """Bring everything appended so far into the file."""
        n = self._buffered
        if n == 0:
            return
        start, end = self._count, self._count + n
        wrapped, images = _wrap(self._positions[:n], self._cells[:n], self._pbc)
        frames = np.empty(n, dtype=FRAME)
        frames["cell"] = self._cells[:n]
        for column, name in enumerate(("step", "time_fs", "energy_eV", "temperature_K")):
            frames[name] = self._scalars[:n, column]
        frames["potential"] = self._potential
        for dataset, values in zip(self._datasets, (wrapped, images, frames), strict=True):
            if dataset.shape[0] < end:
                dataset.resize(end, axis=0)
            dataset[start:end] = values
        # Data first, then the count: a kill in between leaves frames that nobody counts.
        self._file.flush()
        self._file["n_frames"][()] = end
        self._file.flush()
        self._count, self._buffered = end, 0
        self._room = CHUNK_FRAMES - end % CHUNK_FRAMES

    def close(self) -> None:
        """Flush and close."""
        if self._file:
            self.flush()
            self._file.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, path: Path) -> h5py.File:
        import h5py

        n = len(self._numbers)
        atoms = max(1, min(CHUNK_ATOMS, n))
        # The file gets its name when it is complete and in a mode that survives a kill.
        temporary = name_beside(path)
        try:
            file = h5py.File(temporary, "x", libver=("v110", "v110"), locking=False)
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file["numbers"], file["pbc"] = self._numbers, self._pbc
            file["n_frames"] = np.int64(0)
            for name, kind in (("positions", np.float32), ("images", np.int16)):
                file.create_dataset(name, (0, n, 3), kind, maxshape=(None, n, 3), chunks=(CHUNK_FRAMES, atoms, 3))
            file.create_dataset("frames", (0,), FRAME, maxshape=(None,), chunks=(CHUNK_FRAMES,))
            file.create_dataset("potential_sha256", (0,), f"S{SHA_LENGTH}", maxshape=(None,), chunks=(64,))
            file.swmr_mode = True
            file.flush()
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return file

    def _continue(self, keep_until_step: int | None) -> h5py.File:
        with Trajectory(self.path) as old:
            if not (np.array_equal(old.numbers, self._numbers) and np.array_equal(old.pbc, self._pbc)):
                raise InvalidInputError(
                    f"{self.path} is the trajectory of other atoms ({len(old.numbers)}, here {len(self._numbers)}): "
                    "choose another file name."
                )
            n = old.n_sound
            if n < old.n_frames:
                warnings.warn(
                    f"{self.path} is cut off or damaged: only {n} of {old.n_frames} frames are kept, and what was "
                    "between them and those to come is missing.",
                    stacklevel=4,
                )
            clean = old.closed_cleanly and n == old.n_frames
            if keep_until_step is not None:
                n = int(np.searchsorted(old.records(0, n)["step"], keep_until_step, side="right"))
            shas = old.potential_sha256
            if not clean:
                self._rewrite(old, n)
                self._release()
                self._lock = lock(self.path)
        file = open_to_append(self.path)
        if clean:
            file["n_frames"][()] = n
            file.flush()
        if int(file["n_frames"][()]) != n or len(shas) != len(file["potential_sha256"]):
            raise InvalidInputError(f"{self.path} could not be continued: its contents changed meanwhile.")
        return file

    def _rewrite(self, old: Trajectory, n_frames: int) -> None:
        """Copy frames into a new file: HDF5 does not append to one whose writer died, nor to one that lacks chunks."""
        temporary = name_beside(self.path)
        try:
            file = self._create(temporary)
            with file:
                shas = old.file["potential_sha256"][()]
                file["potential_sha256"].resize(len(shas), axis=0)
                file["potential_sha256"][...] = shas
                for name in GROWING:
                    file[name].resize(n_frames, axis=0)
                    for start in range(0, n_frames, CHUNK_FRAMES):
                        end = min(start + CHUNK_FRAMES, n_frames)
                        file[name][start:end] = old.file[name][start:end]
                file["n_frames"][()] = n_frames
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _potential_row(self, sha256: str) -> int:
        table = self._file["potential_sha256"]
        name = sha256.encode()
        if len(name) > SHA_LENGTH:
            raise InvalidInputError(f"A potential's sha256 has {SHA_LENGTH} characters; this one has {len(name)}.")
        known: list[bytes] = table[()].tolist()
        if name in known:
            return known.index(name)
        table.resize(len(known) + 1, axis=0)
        table[len(known)] = name
        self._file.flush()
        return len(known)


def _wrap(
    positions: NDArray[np.float64], cells: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    if not pbc.any():
        return positions.astype(np.float32), np.zeros(positions.shape, dtype=np.int16)
    shape = positions.shape
    if (cells == cells[0]).all():
        # One flat product is several times faster than a stack of small ones.
        cells, positions = cells[0], positions.reshape(-1, 3)
    images = np.floor(positions @ np.linalg.inv(cells))
    images[..., ~pbc] = 0.0
    wrapped = (positions - images @ cells).astype(np.float32)
    return wrapped.reshape(shape), images.astype(np.int16).reshape(shape)
