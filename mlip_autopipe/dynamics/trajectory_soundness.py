"""Which frames of a trajectory file are there: HDF5 reads what a file has lost as zeros, without a word."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.dynamics.trajectory_file import CHUNK_FRAMES, FRAME

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
    from numpy.typing import NDArray

_NOTHING = np.zeros((), dtype=FRAME).tobytes()


class StoredChunks:
    """Where the chunks of an open file lie, compared with where the file ends.

    Parameters
    ----------
    file
        Open for reading.
    datasets
        ``positions``, ``images`` and ``frames``.
    """

    def __init__(self, file: h5py.File, datasets: Mapping[str, Any]) -> None:
        self._descriptor = file.id.get_vfd_handle()
        self._datasets = {name: (dataset.id, len(dataset)) for name, dataset in datasets.items()}
        self._width = datasets["positions"].chunks[1]
        self._ends: dict[tuple[str, int, int], int] = {}

    def complete_frames(self, low: int, high: int, atoms: range) -> int:
        """Count the frames of one row of chunks, from `low` on, whose bytes are all within the file.

        Parameters
        ----------
        low, high
            Frames, all in the same row of chunks.
        atoms
            Only chunks that hold these are looked at; without any, only the records.
        """
        row = low // CHUNK_FRAMES
        ends = [self._end_of_chunk("frames", row, 0)]
        if len(atoms):
            for column in range(min(atoms) // self._width, max(atoms) // self._width + 1):
                ends += [self._end_of_chunk(name, row, column) for name in ("positions", "images")]
        return max(0, min(high, *ends) - low)

    def _end_of_chunk(self, name: str, row: int, column: int) -> int:
        """Return the number of the frame before which this chunk, or what is left of it, ends."""
        place = (name, row, column)
        if place not in self._ends:
            dataset, length = self._datasets[name]
            corner = (row * CHUNK_FRAMES,) if name == "frames" else (row * CHUNK_FRAMES, column * self._width, 0)
            self._ends[place] = min(corner[0] + self._stored_rows(dataset, corner), length)
        return self._ends[place]

    def _stored_rows(self, dataset: Any, corner: tuple[int, ...]) -> int:
        try:
            chunk = dataset.get_chunk_info_by_coord(corner)
        except (OSError, RuntimeError, ValueError):  # what says where it lies is lost, too
            return 0
        if chunk.byte_offset is None:
            return 0
        size = os.fstat(self._descriptor).st_size
        rows: int = max(size - chunk.byte_offset, 0) // (chunk.size // CHUNK_FRAMES)
        return min(rows, CHUNK_FRAMES)


def sound_frames(
    positions_A: NDArray[np.float32], records: NDArray[np.void], pbc: NDArray[np.bool_], first: int
) -> NDArray[np.bool_]:
    """Tell by what was read which frames are there and finite.

    Two atoms at exactly the origin, a cell without a vector along a periodic direction, or a record of zeros are what
    HDF5 makes of pages that a file has lost.

    Parameters
    ----------
    positions_A
        (k, n, 3) wrapped positions as stored; some atoms will do.
    records
        (k,) of dtype `FRAME`.
    pbc
        (3,) periodic directions.
    first
        Number of the first frame: only frame 0 may have a record of zeros.
    """
    cells = records["cell"]
    # a sum is finite only if all its terms are, and looking at it is several times faster
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = ~np.isfinite(positions_A.sum(axis=(1, 2))) | ~np.isfinite(cells.sum(axis=(1, 2)))
    wrong |= (~cells.any(axis=2) & pbc).any(axis=1)
    at_origin = positions_A[..., 0] == 0
    if at_origin.any():
        at_origin &= ~positions_A[..., 1:].any(axis=2)
        wrong |= at_origin.sum(axis=1) > 1
    if not pbc.any():
        wrong |= np.array([first + k > 0 and one.tobytes() == _NOTHING for k, one in enumerate(records)], dtype=bool)
    sound: NDArray[np.bool_] = ~wrong
    return sound
