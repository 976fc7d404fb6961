"""Shapes of supercells: of all lattices of one size, those whose periodic images are farthest apart."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_LENGTH_TOLERANCE = 1e-6
_LARGEST_GROUP = 400


def compact_supercells(cell: ArrayLike, n_cells: int, *, limit: int = 4) -> list[NDArray[np.int_]]:
    """List supercells of one size, those with the longest shortest lattice vector first.

    All sublattices of index `n_cells` are looked at, by their Hermite normal forms
    (doi:10.1103/PhysRevB.77.224115). A correlation along a lattice vector is 1 whatever the occupation, and an atom's
    neighbour along it is its own image: short vectors spoil special quasirandom structures and defects alike.

    Parameters
    ----------
    cell
        Vectors of the small cell in rows, Angstrom, shape (3, 3).
    n_cells
        Its copies in the supercell.
    limit
        Largest number of shapes returned.

    Returns
    -------
    list of ndarray
        Integer matrices M of shape (3, 3) and positive determinant; ``M @ cell`` is the Minkowski-reduced supercell.
        Shapes of equal reduced vectors count once; of equally good ones those with the shortest edges come first.

    Raises
    ------
    InvalidInputError
        `n_cells` or `limit` is not positive.
    """
    if n_cells < 1 or limit < 1:
        raise InvalidInputError(f"n_cells ({n_cells}) and limit ({limit}) must be positive")
    found: list[NDArray[np.int_]] = []
    for _, group in reversed(_groups(cell, n_cells)):
        if len(found) >= limit:
            break
        found += _distinct(group[:_LARGEST_GROUP], np.asarray(cell, dtype=np.float64))
    return found[:limit]


def farthest_images_A(cell: ArrayLike, n_cells: int) -> float:
    """Return the longest shortest lattice vector that a supercell of one size can have.

    It is that of the first of `compact_supercells`, found without reducing any shape.

    Parameters
    ----------
    cell, n_cells
        As of `compact_supercells`.

    Raises
    ------
    InvalidInputError
        `n_cells` is not positive.
    """
    return _groups(cell, n_cells)[-1][0]


def _groups(cell: ArrayLike, n_cells: int) -> list[tuple[float, NDArray[np.int_]]]:
    """Return the length of the shortest vector and the Hermite normal forms of which it is, from short to long."""
    if n_cells < 1:
        raise InvalidInputError(f"n_cells ({n_cells}) must be positive")
    vectors = np.asarray(cell, dtype=np.float64)
    forms = _hermite_normal_forms(n_cells)
    groups = []
    for shell in _shells(vectors, n_cells):
        if not len(forms):
            break
        holding = np.zeros(len(forms), dtype=bool)
        for vector in shell:
            holding |= _contains(forms, vector)
        if holding.any():
            groups.append((float(np.linalg.norm(shell[0] @ vectors)), forms[holding]))
        forms = forms[~holding]
    return groups


def _hermite_normal_forms(n: int) -> NDArray[np.int_]:
    forms = []
    for a in (d for d in range(1, n + 1) if n % d == 0):
        for c in (d for d in range(1, n // a + 1) if (n // a) % d == 0):
            b, d, e = (x.ravel() for x in np.meshgrid(range(a), range(a), range(c), indexing="ij"))
            block = np.zeros((len(b), 3, 3), dtype=np.int64)
            block[:, 0, 0], block[:, 1, 1], block[:, 2, 2] = a, c, n // a // c
            block[:, 1, 0], block[:, 2, 0], block[:, 2, 1] = b, d, e
            forms.append(block)
    return np.concatenate(forms)


def _shells(cell: NDArray[np.float64], n_cells: int) -> list[NDArray[np.int_]]:
    """Return lattice vectors (integer coordinates, one of each pair v, -v) by length, equal lengths together."""
    # no lattice packs spheres more densely than fcc, so no shortest vector is longer than this
    longest = (np.sqrt(2.0) * n_cells * abs(np.linalg.det(cell))) ** (1 / 3) * (1 + _LENGTH_TOLERANCE)
    reach = [ceil(longest * float(r)) for r in np.linalg.norm(np.linalg.inv(cell), axis=0)]
    points = np.array(list(product(*(range(-r, r + 1) for r in reach))), dtype=np.int64)
    first = points[np.arange(len(points)), np.argmax(points != 0, axis=1)]
    points = points[first > 0]
    lengths = np.linalg.norm(points @ cell, axis=1)
    order = np.argsort(lengths, kind="stable")
    points, lengths = points[order], lengths[order]
    points, lengths = points[lengths <= longest], lengths[lengths <= longest]
    starts = np.flatnonzero(np.diff(lengths, prepend=-np.inf) > _LENGTH_TOLERANCE * longest)
    return np.split(points, starts[1:]) if len(points) else []


def _contains(forms: NDArray[np.int_], vector: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Whether each lattice holds the vector: forward substitution with the triangular form, in integers."""
    z, rest_z = np.divmod(vector[2], forms[:, 2, 2])
    y, rest_y = np.divmod(vector[1] - z * forms[:, 2, 1], forms[:, 1, 1])
    rest_x = (vector[0] - y * forms[:, 1, 0] - z * forms[:, 2, 0]) % forms[:, 0, 0]
    return np.asarray((rest_x == 0) & (rest_y == 0) & (rest_z == 0))


def _distinct(forms: NDArray[np.int_], cell: NDArray[np.float64]) -> list[NDArray[np.int_]]:
    from ase.geometry import minkowski_reduce

    found: dict[tuple[float, ...], NDArray[np.int_]] = {}
    for form in forms:
        reduced, change = minkowski_reduce(form @ cell)
        matrix = np.asarray(change) @ form
        if np.linalg.det(matrix) < 0:
            matrix = -matrix
        gram = np.abs(reduced @ reduced.T)
        found.setdefault(tuple(np.round(gram[np.triu_indices(3)], 4)), matrix)
    edges = {key: float(np.sqrt([key[0], key[3], key[5]]).sum()) for key in found}
    return [found[key] for key in sorted(found, key=lambda key: (round(edges[key], 4), key))]
