"""Sublattices in integers: rows of a (3, 3) matrix are vectors of the sublattice in those of the lattice."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mlip_autopipe.analysis.symmetry import FloatArray
from mlip_autopipe.errors import InvalidInputError

IntArray = NDArray[np.int64]


def class_keys(vectors: IntArray, matrix: IntArray) -> IntArray:
    """Return numbers (n,) that agree for cell vectors which differ by a lattice vector of the supercell."""
    size = round(np.linalg.det(matrix))
    adjugate = np.round(np.linalg.inv(matrix) * size).astype(np.int64)
    reduced = (np.asarray(vectors) @ adjugate) % abs(size)
    return np.asarray((reduced[:, 0] * abs(size) + reduced[:, 1]) * abs(size) + reduced[:, 2])


def wrapped(vectors: IntArray, matrix: IntArray) -> IntArray:
    inside = representatives(matrix)
    keys = class_keys(inside, matrix)
    order = np.argsort(keys)
    return np.asarray(inside[order[np.searchsorted(keys[order], class_keys(vectors, matrix))]])


def representatives(matrix: IntArray) -> IntArray:
    """Return one cell vector (m, 3) of each class modulo the supercell."""
    form = _hermite_form(np.asarray(matrix))
    return np.array(list(product(*(range(int(form[k, k])) for k in range(3)))), dtype=np.int64)


def _hermite_form(rows: IntArray) -> IntArray:
    """Return the row-style Hermite normal form (3, 3), upper triangular, of a lattice spanned by (m, 3) rows."""
    work = [[int(x) for x in row] for row in np.asarray(rows)]
    done: list[list[int]] = []
    for column in range(3):
        while True:
            left = [row for row in work if row[column]]
            if not left:
                raise InvalidInputError("the vectors of a supercell are not independent")
            pivot = min(left, key=lambda row: abs(row[column]))
            for row in work:
                if row is not pivot:
                    factor = row[column] // pivot[column]
                    row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
            if all(row is pivot or not row[column] for row in work):
                break
        work = [row for row in work if row is not pivot]
        sign = 1 if pivot[column] > 0 else -1
        done.append([sign * x for x in pivot])
    return np.array(done, dtype=np.int64)


def intersection(one: IntArray, other: IntArray) -> IntArray:
    """Return a basis of the vectors that two lattices share: the dual of the sum of their duals."""
    size = abs(round(np.linalg.det(one)) * round(np.linalg.det(other)))
    duals = [np.round(np.linalg.inv(m).T * size).astype(np.int64) for m in (one, other)]
    shared = np.linalg.inv(_hermite_form(np.vstack(duals))).T * size
    return np.asarray(np.round(shared), dtype=np.int64)


def shortest_vectors_A(cells: FloatArray) -> FloatArray:
    """Return the lengths (k,) of the shortest vectors of lattices (k, 3, 3) whose cells are not far from reduced."""
    steps = np.array([s for s in product(range(-3, 4), repeat=3) if s > (0, 0, 0)])
    return np.asarray(np.linalg.norm(steps @ cells, axis=-1).min(axis=-1))
