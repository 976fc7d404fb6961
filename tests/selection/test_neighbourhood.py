"""Surroundings of an atom, contacts, and translations that may repeat a neighbourhood."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from mlip_autopipe.selection.neighbourhood import (
    CONTACT_GENERAL,
    Neighbourhood,
    contact_distances,
    neighbour_distance,
    surroundings,
)
from tests.selection.structures import disordered, thermal


@pytest.mark.parametrize("radius", [2.0, 6.0, 15.0])
def test_surroundings_are_all_atoms_and_images_within_the_radius(radius):
    atoms = disordered(40, [[9.0, 0, 0], [6.0, 8.0, 0], [-2.0, 5.0, 10.0]], apart_A=1.5, symbols="CuAu")
    around = surroundings(atoms, 7, radius)
    first, second, vectors = neighbor_list("ijD", atoms, radius)
    assert len(around) == (first == 7).sum() + 1
    assert around.indices[0] == 7
    assert np.allclose(around.vectors[0], 0)
    assert (np.diff(np.linalg.norm(around.vectors, axis=1)) >= -1e-9).all()
    assert np.array_equal(around.numbers, atoms.numbers[around.indices])
    wanted = {(j, *np.round(v, 4)) for i, j, v in zip(first, second, vectors, strict=True) if i == 7}
    assert {(j, *np.round(v, 4)) for j, v in zip(around.indices[1:], around.vectors[1:], strict=True)} == wanted


def test_distances_typical_of_a_material():
    around = surroundings(bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3), 0, 11.0)
    assert neighbour_distance(around) == pytest.approx(2.82)
    found = contact_distances(around, np.array([11, 17, 79]), CONTACT_GENERAL)
    assert found[11, 17] == found[17, 11] == pytest.approx(0.8 * 2.82)
    assert found[17, 17] == pytest.approx(0.8 * 1.25 * 2 * 1.02)
    assert found[11, 11] == pytest.approx(0.8 * 5.64 / np.sqrt(2))
    # gold is not there: its radius speaks for it
    assert found[11, 79] == pytest.approx(0.8 * 1.25 * (1.66 + 1.36))
    assert neighbour_distance(surroundings(Atoms("H", cell=[30] * 3, pbc=True), 0, 10.0)) == float("inf")


def test_a_rare_neighbour_does_not_make_distances_large():
    atoms = thermal(repeat=4)
    atoms.symbols[0] = "Au"
    found = contact_distances(surroundings(atoms, 0, 13.0), atoms.numbers, 0.8)
    assert found[29, 79] < 0.8 * 2.6
    assert found[79, 79] == pytest.approx(0.8 * 1.25 * 2 * 1.36)


def neighbourhood(atoms, centre, core, buffer):
    around = surroundings(atoms, centre, core + buffer + 0.1)
    contacts = contact_distances(around, atoms.numbers, CONTACT_GENERAL)
    return Neighbourhood.within(around, core, buffer, contacts, atoms.cell.array)


def test_core_comes_first_and_the_buffer_is_complete():
    atoms = thermal(repeat=5)
    found = neighbourhood(atoms, 3, 3.0, 4.0)
    distances = np.linalg.norm(found.near.vectors, axis=1)
    assert (distances[: found.n_core] <= 3.0).all()
    assert (distances[found.n_core :] > 3.0).all()
    first, second = neighbor_list("ij", atoms, 4.0)
    core = set(found.near.indices[: found.n_core])
    assert set(found.near.indices) == core | {j for i, j in zip(first, second, strict=True) if i in core}
    assert found.core_radius_A == pytest.approx(distances[: found.n_core].max())
    assert found.radius_A == pytest.approx(distances.max())


def test_translations_of_the_large_cell_are_always_allowed_and_short_ones_are_not():
    atoms = thermal(repeat=2)
    found = neighbourhood(atoms, 0, 0.0, 4.0)
    side = atoms.cell[0, 0]
    assert found.may_repeat(np.array([side, 0, 0]))
    assert found.may_repeat(np.array([side, -side, 2 * side]))
    for vector in ([1.0, 0, 0], [0, 3.9, 0], [0.5 * side, 0.5 * side, 0], [0, 0, 1.01 * side]):
        assert not found.may_repeat(np.array(vector))
        assert not found.may_repeat(-np.array(vector))
    assert found.may_repeat(np.array([0, 0, 12.0]))
    assert found.fits(12.0 * np.eye(3))
    assert not found.fits(5.0 * np.eye(3))
    # vectors are judged, not the basis that spells them
    assert found.fits(np.array([[12.0, 0, 0], [12.0, 12.0, 0], [0, 0, 12.0]]))


def test_a_lone_atom_needs_room_for_its_buffer_only():
    found = neighbourhood(Atoms("H", cell=[40] * 3, pbc=True), 0, 0.0, 5.0)
    assert found.least_vector_A == 5.0
    assert found.fits(5.1 * np.eye(3))
    assert not found.fits(4.9 * np.eye(3))
