"""Read the HDF5 trajectories of this program (the layout stands in ``docs/design/dynamics.md``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.frames import BLOCK_FRAMES, FrameBlock, bad_frame
from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

FORMAT = "mlip-autopipe-trajectory"
VERSION = 1


def read_hdf5(path: Path) -> Iterator[FrameBlock]:
    """Yield the complete frames of a file, also of one that is being written or whose writer died.

    Raises
    ------
    InvalidInputError
        The file is damaged or of another program.
    """
    import h5py
    from ase.data import chemical_symbols

    try:
        # Readers take no lock. The mode for files that nobody closed must not be used for others: HDF5 then tries for
        # ever to read what a file that was cut off does not hold.
        file = h5py.File(path, "r", swmr=_open_for_writing(path), libver="latest", locking=False)
    except OSError as error:
        raise InvalidInputError(
            f"{path} is no readable HDF5 file: it is cut off, damaged or of another kind ({error}); copy it again."
        ) from None
    with file:
        try:
            if file.attrs["format"] != FORMAT:
                raise KeyError("format")
            if int(file.attrs["version"]) > VERSION:
                raise InvalidInputError(f"{path} was written by a newer version of this program: update it.")
            count = int(file["n_frames"][()])
            species = tuple(chemical_symbols[z] for z in file["numbers"][()])
            pbc = np.asarray(file["pbc"][()], dtype=bool)
        except (KeyError, OSError) as error:
            raise InvalidInputError(f"{path} is HDF5, but not a trajectory of this program ({error}).") from None
        for start in range(0, count, BLOCK_FRAMES):
            part = slice(start, min(start + BLOCK_FRAMES, count))
            try:
                positions = file["positions"][part].astype(float)
                images = file["images"][part].astype(float)
                rows = file["frames"][part]
            except (OSError, RuntimeError, KeyError) as error:
                raise bad_frame(path, start, f"is cut off or damaged ({error})") from None
            cells = np.asarray(rows["cell"], dtype=float)
            sound = _sound(positions, cells, pbc)
            if pbc.any():
                positions += images @ cells
            if sound:
                times = np.asarray(rows["time_fs"], dtype=float)[:sound]
                yield FrameBlock(species, positions[:sound], cells[:sound], pbc, times, unwrapped=True)
            if sound < len(positions):
                what = "is cut off or damaged: its coordinates are missing or not finite"
                raise bad_frame(path, start + sound, what)


def _sound(positions: FloatArray, cells: FloatArray, pbc: NDArray[np.bool_]) -> int:
    """Count the frames before the first that is not finite or not there: HDF5 reads what a file has lost as zeros."""
    wrong = ~np.isfinite(positions).all(axis=(1, 2)) | ~np.isfinite(cells).all(axis=(1, 2))
    wrong |= (~cells.any(axis=2) & pbc).any(axis=1)
    if positions.shape[1] > 1:
        wrong |= ~positions.any(axis=(1, 2))
    return int(np.argmax(wrong)) if wrong.any() else len(positions)


def _open_for_writing(path: Path) -> bool:
    """Look into the superblock (version 3) whether a writer has, or had at its death, the file open."""
    with path.open("rb") as stream:
        head = stream.read(12)
    return len(head) == 12 and head[8] >= 3 and head[11] != 0
