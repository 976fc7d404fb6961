"""Many structures in one blob: arrays without padding, with further arrays per structure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

_OWN = ("sizes", "numbers", "positions_A", "cells_A")


def pack_structures(structures: Sequence[Atoms], more: Mapping[str, ArrayLike] | None = None) -> bytes:
    """Return periodic structures as bytes.

    Parameters
    ----------
    structures
        One at least; periodic in all directions. Only species, positions and cell are kept.
    more
        Arrays with one row per structure, by name.
    """
    arrays: dict[str, Any] = {
        "sizes": np.array([len(one) for one in structures]),
        "numbers": np.concatenate([one.numbers for one in structures]),
        "positions_A": np.concatenate([one.positions for one in structures]),
        "cells_A": np.array([one.cell.array for one in structures]),
        **{name: np.asarray(values) for name, values in (more or {}).items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpack_structures(data: bytes) -> tuple[list[Atoms], dict[str, NDArray[Any]]]:
    """Return the structures of `pack_structures` and the further arrays."""
    from ase import Atoms

    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    ends = np.cumsum(arrays["sizes"])
    structures = [
        Atoms(
            numbers=arrays["numbers"][end - size : end],
            positions=arrays["positions_A"][end - size : end],
            cell=cell,
            pbc=True,
        )
        for end, size, cell in zip(ends, arrays["sizes"], arrays["cells_A"], strict=True)
    ]
    return structures, {name: values for name, values in arrays.items() if name not in _OWN}
