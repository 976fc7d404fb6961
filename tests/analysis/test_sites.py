"""Distances from the sites of a crystal."""

import numpy as np
import pytest
from ase.build import bulk

from mlip_autopipe.analysis.sites import neighbour_distances, square_distances_from_sites

COPPER = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(3)
CELL, SITES = COPPER.cell[:], COPPER.positions
ALL = np.ones(3, dtype=bool)


def ratio(positions, cell=CELL, sites=SITES):
    return np.sqrt(square_distances_from_sites(positions[None], sites, cell, ALL).mean()) / (3.6 / np.sqrt(2))


def test_neighbours_through_the_boundary():
    assert neighbour_distances(SITES, CELL, ALL) == pytest.approx(3.6 / np.sqrt(2))
    one = bulk("Cu", "fcc", a=3.6)
    assert neighbour_distances(one.positions, one.cell[:], ALL) == pytest.approx(3.6 / np.sqrt(2))
    assert neighbour_distances(np.zeros((1, 3)), np.eye(3), ~ALL) == pytest.approx(np.inf)


def test_hops_from_site_to_site_are_no_displacement():
    rng = np.random.default_rng(0)
    shuffled = SITES[rng.permutation(len(SITES))] + rng.integers(-2, 3, (len(SITES), 3)) @ CELL
    assert ratio(shuffled) == pytest.approx(0, abs=1e-6)
    assert ratio(shuffled + rng.normal(0, 0.1, SITES.shape)) == pytest.approx(
        0.1 * np.sqrt(3) / (3.6 / np.sqrt(2)), rel=0.1
    )


def test_atoms_anywhere_are_far_from_sites():
    anywhere = np.random.default_rng(0).random(SITES.shape) @ CELL
    # root of the second moment of the Wigner-Seitz cell of fcc (Conway and Sloane): 0.0787 * 3 V^(2/3)
    assert ratio(anywhere) == pytest.approx(0.433, rel=0.05)
