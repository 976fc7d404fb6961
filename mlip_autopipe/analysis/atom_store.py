"""Displacements turned from frame after frame to atom after atom, in memory or in a scratch file."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO, Final

import numpy as np

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import EnvironmentProblemError

DEFAULT_MEMORY_LIMIT_MB: Final = 128.0
_BYTES = np.dtype(np.float32).itemsize


class AtomStore:
    """Append displacements by frame, read them by atom.

    Each appended block is kept as its own chunk, atoms first, so that neither the number of frames need be known nor
    anything be moved. Chunks beyond the memory limit go to an unnamed file in the temporary folder (``TMPDIR``).
    Float32: its rounding, 6e-8 of the distance travelled, is far below what matters.

    Parameters
    ----------
    n_atoms
        Number of atoms.
    memory_limit_MB
        Size up to which chunks stay in memory.
    """

    def __init__(self, n_atoms: int, memory_limit_MB: float = DEFAULT_MEMORY_LIMIT_MB) -> None:
        self.n_atoms = n_atoms
        self.n_frames = 0
        self._left = memory_limit_MB * 1e6
        self._lengths: list[int] = []
        self._chunks: list[np.ndarray | int] = []
        self._file: IO[bytes] | None = None

    @property
    def on_disk(self) -> bool:
        """Whether a scratch file is in use."""
        return self._file is not None

    def append(self, displacements_A: FloatArray) -> None:
        """Append the (k, n, 3) displacements of k frames.

        Raises
        ------
        EnvironmentProblemError
            The scratch file cannot be written.
        """
        chunk = np.ascontiguousarray(displacements_A.transpose(1, 2, 0), dtype=np.float32)
        self._lengths.append(chunk.shape[2])
        self.n_frames += chunk.shape[2]
        if chunk.nbytes <= self._left:
            self._left -= chunk.nbytes
            self._chunks.append(chunk)
            return
        self._left = 0.0
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mlip-auto-")  # noqa: SIM115 - lives as long as the store
            self._chunks.append(self._file.seek(0, 2))
            self._file.write(chunk.data)
        except OSError as error:
            raise EnvironmentProblemError(
                f"The displacements of {self.n_atoms} atoms need a scratch file in {tempfile.gettempdir()}, which "
                f"cannot be written ({error.strerror}): set TMPDIR to a folder with room."
            ) from None

    def atoms(self, start: int, stop: int) -> FloatArray:
        """Return the (stop - start, 3, n_frames) displacements in A of a range of atoms."""
        found = np.empty((stop - start, 3, self.n_frames))
        first = 0
        for chunk, length in zip(self._chunks, self._lengths, strict=True):
            found[..., first : first + length] = (
                self._read(chunk, length, start, stop) if isinstance(chunk, int) else chunk[start:stop]
            )
            first += length
        return found

    def frame(self, index: int) -> FloatArray:
        """Return the (n, 3) displacements of one frame."""
        first = 0
        for chunk, length in zip(self._chunks, self._lengths, strict=True):
            if index < first + length:
                whole = self._read(chunk, length, 0, self.n_atoms) if isinstance(chunk, int) else chunk
                return np.asarray(whole[..., index - first], dtype=float)
            first += length
        raise IndexError(index)

    def close(self) -> None:
        """Give memory and scratch file back."""
        self._chunks, self._lengths = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> AtomStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, offset: int, length: int, start: int, stop: int) -> np.ndarray:
        assert self._file is not None
        row = 3 * length * _BYTES
        self._file.seek(offset + start * row)
        data = self._file.read((stop - start) * row)
        return np.frombuffer(data, dtype=np.float32).reshape(stop - start, 3, length)
