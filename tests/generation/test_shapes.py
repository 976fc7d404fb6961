"""Compact supercell shapes against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase.build import bulk

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.shapes import compact_supercells, farthest_images_A


def shortest(cell):
    steps = np.array([c for c in product(range(-2, 3), repeat=3) if any(c)])
    return np.linalg.norm(steps @ cell, axis=1).min()


@pytest.mark.parametrize("structure", ["fcc", "bcc", "sc", "hcp"])
@pytest.mark.parametrize("n_cells", [2, 3, 4])
def test_no_supercell_of_that_size_is_more_compact(structure, n_cells):
    cell = bulk("Cu", structure, a=3.0).cell.array
    matrices = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    matrices = matrices[np.round(np.linalg.det(matrices)) == n_cells]
    edges = np.linalg.norm(matrices @ cell, axis=2).min(axis=1)
    best = 0.0
    for i in np.argsort(-edges):
        if edges[i] <= best:
            break
        best = max(best, shortest(matrices[i] @ cell))
    found = [shortest(matrix @ cell) for matrix in compact_supercells(cell, n_cells)]
    assert found[0] >= best - 1e-6
    assert found == pytest.approx(sorted(found, reverse=True))


def test_known_shapes():
    fcc = bulk("Cu", a=4.0).cell.array
    (matrix,) = compact_supercells(fcc, 8, limit=1)
    assert np.allclose(np.linalg.norm(matrix @ fcc, axis=1), 4.0 * np.sqrt(2))
    bcc = bulk("Cu", "bcc", a=4.0).cell.array
    (matrix,) = compact_supercells(bcc, 4, limit=1)
    assert np.allclose(np.linalg.norm(matrix @ bcc, axis=1), 4.0 * np.sqrt(2))


@pytest.mark.parametrize("n_cells", [1, 5, 12])
def test_the_distance_of_images_is_that_of_the_best_shape(n_cells):
    cell = np.array([[3.0, 0.1, 0.0], [0.4, 4.0, 0.0], [-0.3, 1.0, 5.0]])
    (matrix,) = compact_supercells(cell, n_cells, limit=1)
    assert farthest_images_A(cell, n_cells) == pytest.approx(shortest(matrix @ cell))


def test_matrices_are_whole_of_right_size_and_different():
    cell = np.array([[3.0, 0.1, 0.0], [0.4, 4.0, 0.0], [-0.3, 1.0, 5.0]])
    found = compact_supercells(cell, 12, limit=9)
    assert len(found) == 9
    for matrix in found:
        assert matrix.dtype.kind == "i"
        assert round(np.linalg.det(matrix)) == 12
        assert shortest(matrix @ cell) == pytest.approx(np.linalg.norm(matrix @ cell, axis=1).min())
    spectra = {tuple(np.round(np.sort(np.linalg.norm(m @ cell, axis=1)), 3)) for m in found}
    assert len(spectra) == 9


def test_a_rotated_cell_has_the_same_shapes():
    cell = bulk("Ti", "hcp").cell.array
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    for one, other in zip(compact_supercells(cell, 10), compact_supercells(cell @ rotation, 10), strict=True):
        assert shortest(one @ cell) == pytest.approx(shortest(other @ cell))


def test_bad_input():
    for kwargs in ({"n_cells": 0}, {"n_cells": 2, "limit": 0}):
        with pytest.raises(InvalidInputError, match="positive"):
            compact_supercells(np.eye(3), **kwargs)
