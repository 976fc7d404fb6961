"""Displacements of atoms from the sites of their crystal, and the Lindemann ratio."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import AnalysisError


def mean_square_displacements(positions_A: ArrayLike, cells_A: ArrayLike, sites: ArrayLike) -> FloatArray:
    """Return the (n,) mean square displacement of the atoms from their sites in each frame, in A^2.

    The sites move with the cell, and the uniform motion of all atoms is taken out. In a solid the result settles
    at three times the mean square amplitude along one direction; in a liquid, or where atoms hop, it grows.

    Parameters
    ----------
    positions_A
        (n, n_atoms, 3) unwrapped positions.
    cells_A
        (n, 3, 3) lattice vectors in rows.
    sites
        (n_atoms, 3) fractional coordinates of the sites (the relaxed crystal), atoms in the same order.

    Raises
    ------
    AnalysisError
        When the shapes do not belong together.
    """
    positions, cells = np.asarray(positions_A, dtype=float), np.asarray(cells_A, dtype=float)
    fractional = np.asarray(sites, dtype=float)
    if positions.ndim != 3 or cells.shape != (len(positions), 3, 3) or fractional.shape != positions.shape[1:]:
        raise AnalysisError(
            f"Positions {positions.shape}, cells {cells.shape} and sites {fractional.shape} do not belong together: "
            "they must be (n, atoms, 3), (n, 3, 3) and (atoms, 3)."
        )
    moved = positions - fractional @ cells
    moved -= moved.mean(axis=1, keepdims=True)
    return np.asarray(np.mean(np.sum(moved**2, axis=2), axis=1))


def nearest_neighbour_distance(cell_A: ArrayLike, sites: ArrayLike) -> float:
    """Return the shortest distance in A between two sites of a periodic crystal, images included.

    Parameters
    ----------
    cell_A
        (3, 3) lattice vectors in rows.
    sites
        (n_atoms, 3) fractional coordinates.
    """
    cell, fractional = np.asarray(cell_A, dtype=float), np.asarray(sites, dtype=float)
    difference = fractional[:, None] - fractional[None]
    difference -= np.round(difference)
    shortest = np.inf
    for image in product((-1, 0, 1), repeat=3):
        squared = np.sum(((difference + image) @ cell) ** 2, axis=2)
        if image == (0, 0, 0):
            np.fill_diagonal(squared, np.inf)
        shortest = min(shortest, float(squared.min()))
    return float(np.sqrt(shortest))


def lindemann_ratio(square_displacements_A2: ArrayLike, nearest_neighbour_A: float) -> float:
    """Return the root mean square displacement over the nearest-neighbour distance.

    Crystals melt near 0.1 (Lindemann 1910; Gilvarry, 10.1103/PhysRev.102.308); superheated ones without surfaces,
    as in periodic cells, stay solid up to about 0.2 (Jin et al., 10.1103/PhysRevLett.87.055703).
    """
    if not nearest_neighbour_A > 0:
        raise AnalysisError(f"The nearest-neighbour distance ({nearest_neighbour_A:g} A) must be positive.")
    return float(np.sqrt(np.mean(np.asarray(square_displacements_A2, dtype=float)))) / nearest_neighbour_A
