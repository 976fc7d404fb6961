"""HDF5 trajectories: small, fast, and readable after whatever killed the run.

Layout: ``positions`` float32 (frames, atoms, 3), wrapped, in chunks of (256, 64, 3), with ``images`` int16 (cells that
the atom has left behind, so unwrapped = wrapped + images @ cell), ``frames`` with ``step``, ``time_fs``, ``cell``,
``energy_eV``, ``temperature_K`` and ``potential`` (row of ``potential_sha256``), ``numbers`` and ``pbc`` once, and
``n_frames``, which counts what is complete. Written in HDF5's single-writer-multiple-reader mode: it orders its writes
so that the file stays readable at every instant, while it grows and after a kill.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import h5py  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.state import MDState

FORMAT = "mlip-autopipe-trajectory"
VERSION = 1
CHUNK_FRAMES = 256
CHUNK_ATOMS = 64
_SHA_LENGTH = 64
_FRAME = np.dtype(
    [
        ("step", "<i8"),
        ("time_fs", "<f8"),
        ("cell", "<f8", (3, 3)),
        ("energy_eV", "<f8"),
        ("temperature_K", "<f8"),
        ("potential", "<u2"),
    ]
)
_GROWING = ("positions", "images", "frames")


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
        Frames of an existing file after this step are dropped.

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
                self._lock = _lock(self.path)
                self._file = self._continue(keep_until_step)
            else:
                self._file = self._create(self.path)
                self._lock = _lock(self.path)
        except BaseException:
            self._release()
            raise
        self._datasets = [self._file[name] for name in _GROWING]
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
        frames = np.empty(n, dtype=_FRAME)
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
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            file = h5py.File(temporary, "w", libver=("v110", "v110"), locking=False)
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file["numbers"], file["pbc"] = self._numbers, self._pbc
            file["n_frames"] = np.int64(0)
            for name, kind in (("positions", np.float32), ("images", np.int16)):
                file.create_dataset(name, (0, n, 3), kind, maxshape=(None, n, 3), chunks=(CHUNK_FRAMES, atoms, 3))
            file.create_dataset("frames", (0,), _FRAME, maxshape=(None,), chunks=(CHUNK_FRAMES,))
            file.create_dataset("potential_sha256", (0,), f"S{_SHA_LENGTH}", maxshape=(None,), chunks=(64,))
            file.swmr_mode = True
            file.flush()
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return file

    def _continue(self, keep_until_step: int | None) -> h5py.File:
        with Trajectory(self.path) as old:
            if not (np.array_equal(old.numbers, self._numbers) and np.array_equal(old.pbc, self._pbc)):
                raise InvalidInputError(
                    f"{self.path} is the trajectory of other atoms ({len(old.numbers)}, here {len(self._numbers)}): "
                    "choose another file name."
                )
            n = old.n_frames
            if keep_until_step is not None:
                n = int(np.searchsorted(old.steps, keep_until_step, side="right"))
            shas = old.potential_sha256
            clean = old.closed_cleanly
            if not clean:
                self._rewrite(old, n)
                self._release()
                self._lock = _lock(self.path)
        file = _open_for_append(self.path)
        if clean:
            file["n_frames"][()] = n
            file.flush()
        if int(file["n_frames"][()]) != n or len(shas) != len(file["potential_sha256"]):
            raise InvalidInputError(f"{self.path} could not be continued: its contents changed meanwhile.")
        return file

    def _rewrite(self, old: Trajectory, n_frames: int) -> None:
        """Copy the complete frames into a new file: HDF5 does not append to one whose writer died."""
        handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        os.close(handle)
        Path(temporary).unlink()
        try:
            file = self._create(Path(temporary))
            with file:
                shas = old.file["potential_sha256"][()]
                file["potential_sha256"].resize(len(shas), axis=0)
                file["potential_sha256"][...] = shas
                for name in _GROWING:
                    file[name].resize(n_frames, axis=0)
                    for start in range(0, n_frames, CHUNK_FRAMES):
                        end = min(start + CHUNK_FRAMES, n_frames)
                        file[name][start:end] = old.file[name][start:end]
                file["n_frames"][()] = n_frames
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _potential_row(self, sha256: str) -> int:
        table = self._file["potential_sha256"]
        name = sha256.encode()
        if len(name) > _SHA_LENGTH:
            raise InvalidInputError(f"A potential's sha256 has {_SHA_LENGTH} characters; this one has {len(name)}.")
        known: list[bytes] = table[()].tolist()
        if name in known:
            return known.index(name)
        table.resize(len(known) + 1, axis=0)
        table[len(known)] = name
        self._file.flush()
        return len(known)


class Trajectory:
    """Read an HDF5 trajectory, also one that is being written, in pieces that fit into memory.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    n_frames
        Complete frames at the time of opening.
    numbers, pbc
        Atomic numbers (n,) and periodic directions (3,).
    potential_sha256
        Table of potentials; `potential_of` names that of a frame.

    Raises
    ------
    InvalidInputError
        If the file is missing, damaged or none of ours.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import h5py

        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidInputError(f"There is no trajectory file {self.path}.")
        try:
            self.closed_cleanly = _closed_cleanly(self.path)
            # Readers take no lock: the writer need not wait, and its mode keeps what they see consistent.
            self.file = h5py.File(self.path, "r", swmr=not self.closed_cleanly, libver="latest", locking=False)
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
        except (KeyError, OSError) as error:
            self.file.close()
            raise InvalidInputError(
                f"{self.path} is not a trajectory of this program, or damaged ({error})."
            ) from error

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

    @property
    def steps(self) -> NDArray[np.int64]:
        """Step of every frame."""
        values: NDArray[np.int64] = self._read("frames", slice(0, self.n_frames))["step"]
        return values

    @property
    def times_fs(self) -> NDArray[np.float64]:
        """Time of every frame in fs."""
        values: NDArray[np.float64] = self._read("frames", slice(0, self.n_frames))["time_fs"]
        return values

    @property
    def energies_eV(self) -> NDArray[np.float64]:
        """Potential energy of every frame in eV."""
        values: NDArray[np.float64] = self._read("frames", slice(0, self.n_frames))["energy_eV"]
        return values

    @property
    def temperatures_K(self) -> NDArray[np.float64]:
        """Kinetic temperature of every frame in K."""
        values: NDArray[np.float64] = self._read("frames", slice(0, self.n_frames))["temperature_K"]
        return values

    @property
    def cells(self) -> NDArray[np.float64]:
        """Cell of every frame in A, (frames, 3, 3)."""
        values: NDArray[np.float64] = self._read("frames", slice(0, self.n_frames))["cell"]
        return values

    def potential_of(self, frame: int) -> str:
        """Return the sha256 of the potential that made this frame."""
        return self.potential_sha256[int(self._read("frames", slice(frame, frame + 1))["potential"][0])]

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
        frames = slice(*slice(start, stop, step).indices(self.n_frames))
        chosen = slice(None) if atoms is None else atoms
        positions: NDArray[np.float64] = self._read("positions", frames, chosen).astype(np.float64)
        if unwrapped:
            positions += self._read("images", frames, chosen).astype(np.float64) @ self._read("frames", frames)["cell"]
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

        wanted = range(*slice(start, stop, step).indices(self.n_frames))
        block = max(1, CHUNK_FRAMES // max(abs(step), 1))
        for first in range(0, len(wanted), block):
            part = wanted[first : first + block]
            low, high = min(part[0], part[-1]), max(part[0], part[-1]) + 1
            positions = self.read(low, high, unwrapped=unwrapped)
            fields = self._read("frames", slice(low, high))
            for frame in part:
                k = frame - low
                atoms = Atoms(numbers=self.numbers, positions=positions[k], cell=fields["cell"][k], pbc=self.pbc)
                atoms.info["step"] = int(fields["step"][k])
                atoms.info["time_fs"] = float(fields["time_fs"][k])
                atoms.info["temperature_K"] = float(fields["temperature_K"][k])
                energy = float(fields["energy_eV"][k])
                if np.isfinite(energy):
                    atoms.calc = SinglePointCalculator(atoms, energy=energy)
                yield atoms

    def frame(self, index: int) -> Atoms:
        """Return one frame as ASE atoms; negative indices count from the end."""
        if not -self.n_frames <= index < self.n_frames:
            raise InvalidInputError(f"{self.path} has {self.n_frames} frames; there is no frame {index}.")
        position = index % self.n_frames
        return next(self.iter(position, position + 1))

    def export(self, path: str | os.PathLike[str], *, step: int = 1, unwrapped: bool = False) -> int:
        """Write every `step`-th frame in ASE's format of that name (.extxyz, .traj ...) and return how many."""
        from ase.io import write

        target = Path(path)
        kind = "extxyz" if target.suffix in (".xyz", ".extxyz") else None
        if kind is None:
            frames = list(self.iter(step=step, unwrapped=unwrapped))
            write(target, frames)
            return len(frames)
        count = 0
        with target.open("w", encoding="utf-8") as stream:
            for atoms in self.iter(step=step, unwrapped=unwrapped):
                write(stream, atoms, format=kind)
                count += 1
        return count

    def _read(self, name: str, *index: slice) -> Any:
        try:
            return self.file[name][index]
        except (OSError, RuntimeError) as error:
            raise InvalidInputError(f"{self.path} is damaged: {name} cannot be read ({error}).") from error


@contextmanager
def open_trajectory(path: str | os.PathLike[str]) -> Iterator[Trajectory]:
    """Open a trajectory for reading and close it afterwards."""
    with Trajectory(path) as trajectory:
        yield trajectory


def _open_for_append(path: Path) -> h5py.File:
    import h5py

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, True)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Opened at once in the mode that survives a kill: there is no instant between.
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags=flags, fapl=access))


def _lock(path: Path) -> int:
    """Keep a second writer out for as long as this descriptor is open; the end of the process opens it, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InvalidInputError(f"{path} is being written by another process: wait for it, or end it.") from error
    except OSError as error:
        # Some network file systems have no locks; there the queue has to see to it that a job runs once.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            os.close(descriptor)
            raise
    return descriptor


def _closed_cleanly(path: Path) -> bool:
    """Look into the superblock (version 3) whether a writer still has, or had at its death, the file open."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if len(head) < 12 or head[:8] != b"\x89HDF\r\n\x1a\n":
        raise OSError("the HDF5 signature is missing")
    return head[8] < 3 or head[11] == 0


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
