"""The HDF5 file of a trajectory: names of its parts, opening it in its modes, and keeping second writers out."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

FORMAT: Final = "mlip-autopipe-trajectory"
VERSION: Final = 1
CHUNK_FRAMES: Final = 256
CHUNK_ATOMS: Final = 64
SHA_LENGTH: Final = 64
FRAME: Final = np.dtype(
    [
        ("step", "<i8"),
        ("time_fs", "<f8"),
        ("cell", "<f8", (3, 3)),
        ("energy_eV", "<f8"),
        ("temperature_K", "<f8"),
        ("potential", "<u2"),
    ]
)
"""One record of the dataset ``frames``."""
GROWING: Final = ("positions", "images", "frames")
"""Datasets with a row per frame."""


def open_to_read(path: Path) -> h5py.File:
    """Open a file in the mode that suits its state; raises OSError where it is no HDF5 file, or cut off."""
    import h5py

    # Readers take no lock: the writer need not wait, and its mode keeps what they see consistent.
    return h5py.File(path, "r", swmr=not closed_cleanly(path), libver="latest", locking=False)


def open_to_append(path: Path) -> h5py.File:
    """Open a file that was closed cleanly, at once in the mode that survives a kill: there is no instant between."""
    import h5py

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, True)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags=flags, fapl=access))


def closed_cleanly(path: Path) -> bool:
    """Look into the superblock (version 3) whether a writer still has, or had at its death, the file open."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if len(head) < 12 or head[:8] != b"\x89HDF\r\n\x1a\n":
        raise OSError("the HDF5 signature is missing")
    return head[8] < 3 or head[11] == 0


def lock(path: Path) -> int:
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


def name_beside(path: Path) -> Path:
    """Return a new, hidden name in the folder of a file."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Give a name to write under; the file gets its own when the block ends well, and disappears when it does not."""
    unfinished = name_beside(path)
    try:
        yield unfinished
        descriptor = os.open(unfinished, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
