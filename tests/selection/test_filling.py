"""The rest of a small cell: complete, without contacts, and relaxed only where it may be."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.geometry import minkowski_reduce

from mlip_autopipe.generation.perturb import shortest_distance
from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.selection.filling import filled, relax_filling
from mlip_autopipe.selection.neighbourhood import (
    CONTACT_CRYSTAL,
    CONTACT_GENERAL,
    Neighbourhood,
    contact_distances,
    surroundings,
)
from tests.selection.structures import disordered, thermal


class EmtField(ForceField):
    elements = ("Cu",)

    def predict(self, atoms):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, calculator=EMT())
        return Prediction(bare.get_potential_energy(), bare.get_forces(), np.zeros(6))


def neighbourhood(atoms, centre, buffer, fraction):
    contacts = contact_distances(surroundings(atoms, centre, 10.0), atoms.numbers, fraction)
    around = surroundings(atoms, centre, buffer + 0.1)
    return Neighbourhood.within(around, 0.0, buffer, contacts, atoms.cell.array)


def as_atoms(content, cell):
    return Atoms(content.numbers, content.vectors, cell=cell, pbc=True)


@pytest.mark.parametrize("centre", [0, 77, 300])
def test_crystal_is_filled_site_by_site(centre):
    atoms = thermal(repeat=5, a=3.6, sigma_A=0.13)
    cell = np.asarray(minkowski_reduce(4 * bulk("Cu", a=3.6).cell.array)[0])
    around = neighbourhood(atoms, centre, 4.0, CONTACT_CRYSTAL)
    found = filled(atoms, centre, around, cell, crystal=True)
    content, n_exact = found.content, found.n_exact
    assert found.n_core == 1
    assert len(content) == 64
    assert n_exact == len(around.near)
    assert np.array_equal(content.vectors[:n_exact], around.near.vectors)
    # every site of the small lattice once: ideal places modulo the cell are all different
    moved = atoms.positions - bulk("Cu", cubic=True, a=3.6).repeat(5).positions
    ideal = content.vectors - moved[content.indices] + moved[centre]
    sites = np.round(ideal @ np.linalg.inv(bulk("Cu", a=3.6).cell.array)).astype(int)
    assert len({tuple(site) for site in sites % 4}) == 64
    assert shortest_distance(as_atoms(content, cell)) > 1.7


def test_a_site_that_must_stay_empty_is_told():
    atoms = bulk("Cu", cubic=True, a=3.6).repeat(5)
    cell = np.diag([7.2, 14.4, 14.4])
    around = neighbourhood(atoms, 0, 3.55, CONTACT_CRYSTAL)
    there = atoms.get_distances(0, range(len(atoms)), mic=True, vector=True)
    near, far = (int(np.flatnonzero(np.isclose(there, [x, 0, 0]).all(axis=1))[0]) for x in (3.6, -3.6))
    assert filled(atoms, 0, around, cell, crystal=True) is not None
    # both images of one site lean outwards: each stands outside the buffer, its copy would stand inside
    atoms.positions[near, 0] += 0.2
    atoms.positions[far, 0] -= 0.2
    assert filled(atoms, 0, neighbourhood(atoms, 0, 3.55, CONTACT_CRYSTAL), cell, crystal=True) is None


def test_disorder_is_filled_without_contacts_up_to_the_room_there_is():
    atoms = disordered(220, 14.3 * np.eye(3), apart_A=2.0)
    around = neighbourhood(atoms, 5, 4.0, CONTACT_GENERAL)
    cell = 10.0 * np.eye(3)
    found = filled(atoms, 5, around, cell, crystal=False)
    content, n_exact = found.content, found.n_exact
    inside = (np.abs(surroundings(atoms, 5, 9.0).vectors) < 5.0).all(axis=1).sum()
    assert 0.8 * inside < len(content) <= inside
    assert n_exact == len(around.near)
    small = as_atoms(content, cell)
    assert shortest_distance(small) >= min(shortest_distance(atoms), around.contacts[29, 29]) - 1e-9
    distance = small.get_distances(0, range(n_exact, len(small)), mic=True)
    assert distance.min() > 4.0


def test_images_in_a_direction_that_is_shared_come_once():
    atoms = thermal(repeat=2, a=3.6)
    atoms = atoms.repeat((1, 1, 3))
    cell = np.diag([7.2, 7.2, 14.4])
    found = filled(atoms, 0, neighbourhood(atoms, 0, 5.0, CONTACT_CRYSTAL), cell, crystal=True)
    assert len(found.content) == 64
    assert len(set(found.content.indices)) == 64
    assert found.n_exact < len(neighbourhood(atoms, 0, 5.0, CONTACT_CRYSTAL).near)


def test_relaxation_moves_the_filling_only_and_never_into_the_buffer():
    atoms = disordered(220, 14.3 * np.eye(3), apart_A=2.0)
    cell = 10.0 * np.eye(3)
    found = filled(atoms, 5, neighbourhood(atoms, 5, 4.0, CONTACT_GENERAL), cell, crystal=False)
    small = as_atoms(found.content, cell)
    fixed = np.arange(len(small)) < found.n_exact
    relaxed = relax_filling(small, fixed, 1, 4.0, EmtField())
    assert np.array_equal(relaxed.positions[fixed], small.positions[fixed])
    assert relaxed.get_distances(0, np.flatnonzero(~fixed), mic=True).min() > 4.0
    largest = []
    for one in (small, relaxed):
        one.calc = EMT()
        largest.append(np.linalg.norm(one.get_forces()[~fixed], axis=1).max())
    assert largest[1] < 0.7 * largest[0]
    assert relax_filling(small, np.ones(len(small), dtype=bool), 1, 4.0, EmtField()) is None
