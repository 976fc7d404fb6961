"""Read ASE's ``.traj`` files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlip_autopipe.analysis.frames import Frame, bad_frame
from mlip_autopipe.errors import InvalidInputError


def read_traj(path: Path) -> Iterator[Frame]:
    """Yield the frames of a file.

    Raises
    ------
    InvalidInputError
        The file cannot be opened.
    """
    from ase.io.trajectory import TrajectoryReader

    try:
        reader = TrajectoryReader(str(path))
        count = len(reader)
    except Exception as error:  # noqa: BLE001 - whatever a damaged header makes of ASE's parser
        raise InvalidInputError(f"{path} cannot be opened as an ASE trajectory ({error}).") from None
    species: tuple[str, ...] = ()
    with reader:
        for index in range(count):
            try:
                atoms = reader[index]
                positions, cell = atoms.positions.astype(float), np.asarray(atoms.cell[:], dtype=float)
            except Exception as error:  # noqa: BLE001 - a cut file ends in errors of many kinds
                raise bad_frame(path, index, f"is cut off or damaged ({type(error).__name__})") from None
            symbols = tuple(atoms.get_chemical_symbols())
            # the same object for the same atoms spares the comparison of names
            species = species if symbols == species else symbols
            yield Frame(species, positions, cell, np.asarray(atoms.pbc, dtype=bool))
