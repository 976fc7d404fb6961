from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlip_autopipe.analysis.displacements import (
    lindemann_ratio,
    mean_square_displacements,
    nearest_neighbour_distance,
)
from mlip_autopipe.errors import AnalysisError


@pytest.mark.parametrize(
    ("atoms", "distance"),
    [
        (bulk("Cu", a=3.6), 3.6 / np.sqrt(2)),
        (bulk("Cu", a=3.6, cubic=True).repeat(2), 3.6 / np.sqrt(2)),
        (bulk("Si", a=5.43), 5.43 * np.sqrt(3) / 4),
        (bulk("Fe", a=2.87).repeat(3), 2.87 * np.sqrt(3) / 2),
        (bulk("Mg", a=3.2, c=5.2).repeat((2, 2, 1)), min(3.2, np.hypot(3.2 / np.sqrt(3), 2.6))),
    ],
)
def test_nearest_neighbours(atoms, distance):
    assert nearest_neighbour_distance(atoms.cell.array, atoms.get_scaled_positions()) == pytest.approx(distance)


def test_vibrations_about_sites_that_breathe_and_float():
    """Amplitude 0.1 A per direction; the cell swells, the crystal drifts: neither counts."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True).repeat(3)
    sites = atoms.get_scaled_positions()
    cells = atoms.cell.array * (1 + 0.01 * rng.standard_normal((400, 1, 1)))
    positions = sites @ cells + 0.1 * rng.standard_normal((400, 108, 3)) + np.arange(400)[:, None, None] * 0.05
    squares = mean_square_displacements(positions, cells, sites)
    # the centre of mass takes three of the 3 x 108 degrees of freedom
    assert squares.mean() == pytest.approx(0.03 * 107 / 108, rel=0.01)
    nearest = nearest_neighbour_distance(atoms.cell.array, sites)
    assert lindemann_ratio(squares, nearest) == pytest.approx(np.sqrt(0.03) / nearest, rel=0.01)


def test_hops_count():
    sites = bulk("Cu", cubic=True).repeat(2).get_scaled_positions()
    cells = np.tile(7.2 * np.eye(3), (10, 1, 1))
    positions = sites @ cells
    positions[5:, 3, 0] += 1.8
    positions[5:, 3, 1] += 1.8
    squares = mean_square_displacements(positions, cells, sites)
    np.testing.assert_allclose(squares[:5], 0, atol=1e-20)
    np.testing.assert_allclose(squares[5:], 2 * 1.8**2 / 32 * (1 - 1 / 32))


def test_wrong_input_is_refused():
    with pytest.raises(AnalysisError, match="do not belong together"):
        mean_square_displacements(np.zeros((5, 4, 3)), np.zeros((5, 3, 3)), np.zeros((3, 3)))
    with pytest.raises(AnalysisError, match="must be positive"):
        lindemann_ratio([0.01], 0.0)
