"""How far atoms are from the sites of a crystal, hops between sites allowed."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray


def with_images(positions_A: FloatArray, cell_A: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Return positions (n, 3) and their nearest periodic images, the positions first."""
    shifts = sorted(product(*((-1, 0, 1) if periodic else (0,) for periodic in pbc)), key=lambda shift: any(shift))
    return np.concatenate([positions_A + np.array(shift, dtype=float) @ cell_A for shift in shifts])


def wrapped(positions_A: FloatArray, cell_A: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Return positions (..., 3) inside the cell along its periodic directions."""
    if not pbc.any():
        return positions_A
    fractional = positions_A @ np.linalg.inv(cell_A)
    fractional[..., pbc] -= np.floor(fractional[..., pbc])
    return np.asarray(fractional @ cell_A)


def neighbour_distances(positions_A: FloatArray, cell_A: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Return the (n,) distances in A to the nearest other atom, images included; infinite for a lone atom."""
    from scipy.spatial import cKDTree

    inside = wrapped(positions_A, cell_A, pbc)
    tree = cKDTree(with_images(inside, cell_A, pbc))
    return np.asarray(tree.query(inside, k=2)[0][:, 1])


def square_distances_from_sites(
    positions_A: FloatArray, sites_A: FloatArray, cell_A: FloatArray, pbc: NDArray[np.bool_]
) -> FloatArray:
    """Return the (k, n) square distances in A^2 of atoms in k frames from the nearest of all sites.

    Whether an atom sits near *its* site says nothing of a crystal in which atoms hop; whether it sits near *a* site
    tells the crystal from its melt.

    Parameters
    ----------
    positions_A
        (k, n, 3).
    sites_A
        (m, 3) sites, for example positions averaged over the start of the run.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(with_images(wrapped(sites_A, cell_A, pbc), cell_A, pbc))
    distances, _ = tree.query(wrapped(positions_A, cell_A, pbc).reshape(-1, 3))
    return np.asarray(distances.reshape(positions_A.shape[:2]) ** 2)
