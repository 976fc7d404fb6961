"""Potential files: the bytes of a potential under a name that ends in ``.mlip``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mlip_autopipe.potentials.errors import PotentialFileError

SUFFIX: Final = ".mlip"


def read_potential_file(path: str | Path) -> bytes:
    """Return the bytes of a potential file.

    Raises
    ------
    PotentialFileError
        There is no such file, it is empty or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise PotentialFileError(
            f"there is no file {path}; `mlip-auto train` and `mlip-auto potential export` write such files"
        ) from None
    except OSError as error:
        raise PotentialFileError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data:
        raise PotentialFileError(f"{path} is empty; export the potential again")
    return data


def usage_example(path: str | Path) -> str:
    """Return the three lines of Python with which ASE uses a potential file."""
    return (
        "from mlip_autopipe.potentials.registry import load_calculator\n"
        f"atoms.calc = load_calculator({str(path)!r})\n"
        "print(atoms.get_potential_energy())"
    )
