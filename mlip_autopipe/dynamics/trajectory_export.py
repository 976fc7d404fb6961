"""Write frames in ASE's formats, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlip_autopipe.dynamics.trajectory_file import appearing_whole
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ase import Atoms

EXTXYZ: Final = (".extxyz", ".xyz")
TRAJ: Final = ".traj"


def require_known_suffix(path: Path) -> None:
    """Refuse a name from which no format follows.

    Raises
    ------
    InvalidInputError
        With the suffixes that are known.
    """
    if path.suffix not in (*EXTXYZ, TRAJ):
        raise InvalidInputError(
            f"{path} has a suffix of no known format: name it {' or '.join(EXTXYZ)} (extended XYZ) or {TRAJ} (ASE)."
        )


def write_frames(frames: Iterable[Atoms], path: Path) -> int:
    """Write frames as extended XYZ or an ASE trajectory and return how many; the file appears when it is complete.

    Raises
    ------
    InvalidInputError
        The suffix is of no known format.
    """
    require_known_suffix(path)
    count = 0
    with appearing_whole(path) as unfinished, (_traj if path.suffix == TRAJ else _extxyz)(unfinished) as write:
        for atoms in frames:
            write(atoms)
            count += 1
    return count


@contextmanager
def _traj(path: Path) -> Iterator[Callable[[Atoms], Any]]:
    from ase.io.trajectory import TrajectoryWriter

    with TrajectoryWriter(path, "w") as writer:
        yield writer.write


@contextmanager
def _extxyz(path: Path) -> Iterator[Callable[[Atoms], Any]]:
    from ase.io import write

    with path.open("w", encoding="utf-8") as stream:
        yield lambda atoms: write(stream, atoms, format="extxyz")
