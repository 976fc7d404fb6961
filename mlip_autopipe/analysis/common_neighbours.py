"""Tell fcc, hcp and bcc surroundings apart by common-neighbour analysis.

Adaptive version of Stukowski (doi:10.1088/0965-0393/20/4/045021): the cutoff follows from each atom's own
neighbours, so that small strains and the size do not matter. Elements do not matter either.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis.cell_mapping import reduced_cell

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.analysis.symmetry import FloatArray

OTHER: Final = "other"
_SIGNATURES: Final = {
    "fcc": Counter({(4, 2, 1): 12}),
    "hcp": Counter({(4, 2, 1): 6, (4, 2, 2): 6}),
    "bcc": Counter({(6, 6, 6): 8, (4, 4, 4): 6}),
}
_FAR: Final = 1.8
"""Reach in nearest-neighbour distances of an average crystal of this density; holds the first 14 neighbours of all."""


def surroundings(atoms: Atoms) -> list[str]:
    """Return fcc, hcp, bcc or other for each atom of a periodic crystal."""
    cell, fractional = reduced_cell(atoms)
    positions = (fractional - np.floor(fractional)) @ cell
    reach = _FAR * (sqrt(2) * atoms.get_volume() / len(atoms)) ** (1 / 3)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    shifts = np.array(list(product(*(range(-n, n + 1) for n in (ceil(reach / h) + 1 for h in heights))))) @ cell
    everything = (positions[None] + shifts[:, None]).reshape(-1, 3)
    return [_kind(everything - position, reach) for position in positions]


def _kind(around: FloatArray, reach: float) -> str:
    lengths = np.linalg.norm(around, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[(lengths[order] > 1e-6) & (lengths[order] < reach)][:14]
    neighbours, lengths = around[order], lengths[order]
    if len(order) >= 12:
        # half way between the first and the second shell of close packings
        cutoff = (1 + sqrt(2)) / 2 * lengths[:12].mean()
        found = _signature(neighbours[:12], cutoff)
        for name in ("fcc", "hcp"):
            if found == _SIGNATURES[name]:
                return name
    if len(order) == 14:
        cutoff = (1 + sqrt(2)) / 2 * (2 / sqrt(3) * lengths[:8].mean() + lengths[8:].mean()) / 2
        if _signature(neighbours, cutoff) == _SIGNATURES["bcc"]:
            return "bcc"
    return OTHER


def _signature(neighbours: FloatArray, cutoff: float) -> Counter[tuple[int, int, int]]:
    """Return, for each neighbour: common ones, bonds among these, and bonds in the longest chain of them."""
    distances = np.linalg.norm(neighbours[:, None] - neighbours[None], axis=2)
    bonded = (distances < cutoff) & (distances > 1e-6)
    found: Counter[tuple[int, int, int]] = Counter()
    for row in bonded:
        common = np.flatnonzero(row)
        bonds = [(int(i), int(j)) for i in common for j in common if i < j and bonded[i, j]]
        found[len(common), len(bonds), _longest_chain(bonds)] += 1
    return found


def _longest_chain(bonds: list[tuple[int, int]]) -> int:
    """Return the number of bonds in the largest connected part."""
    parts: list[tuple[set[int], int]] = []
    for bond in bonds:
        joined, count, others = set(bond), 1, []
        for members, number in parts:
            if members & joined:
                joined, count = joined | members, count + number
            else:
                others.append((members, number))
        parts = [*others, (joined, count)]
    return max((count for _, count in parts), default=0)
