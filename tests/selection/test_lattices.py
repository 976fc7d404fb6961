"""Translations of crystals found in thermal structures, and compact lattices."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.generation.perturb import with_vacancies
from mlip_autopipe.generation.sqs import random_alloy
from mlip_autopipe.selection.lattices import compact_lattices, crystal_lattice
from mlip_autopipe.selection.neighbourhood import neighbour_distance, surroundings
from tests.selection.structures import disordered, shortest_vector, thermal


def found_lattice(atoms: Atoms, centre: int = 0):
    around = surroundings(atoms, centre, 13.0)
    return crystal_lattice(around.vectors, around.numbers, neighbour_distance(around), atoms.cell.array)


def is_lattice(found, primitive) -> bool:
    change = found @ np.linalg.inv(primitive)
    return np.allclose(change, np.round(change), atol=1e-6) and abs(abs(np.linalg.det(change)) - 1) < 1e-6


@pytest.mark.parametrize(
    ("name", "lattice", "sigma_A"),
    [
        ("Cu", {"crystalstructure": "fcc", "a": 3.64}, 0.16),
        ("Fe", {"crystalstructure": "bcc", "a": 2.87}, 0.13),
        ("Si", {"crystalstructure": "diamond", "a": 5.43}, 0.12),
        ("NaCl", {"crystalstructure": "rocksalt", "a": 5.64}, 0.15),
        ("CsCl", {"crystalstructure": "cesiumchloride", "a": 4.12}, 0.15),
        ("Po", {"crystalstructure": "sc", "a": 3.35}, 0.1),
    ],
)
def test_primitive_translations_of_a_hot_crystal_are_found_exactly(name, lattice, sigma_A):
    primitive = bulk(name, **lattice).cell.array
    atoms = bulk(name, cubic=True, **lattice)
    atoms = atoms.repeat(int(np.ceil(17 / atoms.cell.lengths()[0])))
    atoms.rattle(sigma_A, seed=1)
    assert is_lattice(found_lattice(atoms), primitive)


def test_hexagonal_strained_and_rotated():
    ti = bulk("Ti", "hcp", a=2.95, c=4.68).repeat((7, 7, 4))
    strain = np.eye(3) + np.array([[0.02, 0.01, 0], [0.01, -0.03, 0.02], [0, 0.02, 0.01]])
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    ti.set_cell(ti.cell.array @ strain @ rotation, scale_atoms=True)
    ti.rattle(0.1, seed=2)
    assert is_lattice(found_lattice(ti), bulk("Ti", "hcp", a=2.95, c=4.68).cell.array @ strain @ rotation)


@pytest.mark.parametrize("centre", [0, 40, 499])
def test_point_defects_do_not_hide_the_lattice(centre):
    atoms = with_vacancies(thermal(repeat=5, a=3.64), 3, 0)
    atoms += Atoms("Cu3", 3.64 * np.array([[0.5, 0.5, 0.5], [2.5, 2.5, 2.5], [3.5, 1.5, 0.5]]))
    assert is_lattice(found_lattice(atoms, centre), bulk("Cu", a=3.64).cell.array)


def test_disordered_alloy_has_the_lattice_of_its_sites_but_order_counts_where_there_is_order():
    alloy = random_alloy(thermal(repeat=5, a=3.8), {"Cu": 0.5, "Au": 0.5}, 0)
    assert is_lattice(found_lattice(alloy), bulk("Cu", a=3.8).cell.array)
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    ordered = Atoms("AuCu3", scaled_positions=sites, cell=[3.75] * 3, pbc=True).repeat(5)
    ordered.rattle(0.1, seed=0)
    assert is_lattice(found_lattice(ordered), 3.75 * np.eye(3))


def test_what_is_no_crystal_has_no_lattice():
    assert found_lattice(disordered(300, 17.0 * np.eye(3), apart_A=2.0)) is None
    assert found_lattice(Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]], cell=[12, 12, 12], pbc=True)) is None


@pytest.mark.parametrize("crystal", [None, bulk("Cu", a=3.6).cell.array, bulk("Ti", "hcp").cell.array])
def test_compact_lattices_come_by_volume_and_some_are_nearly_the_densest(crystal):
    large = 60.0 * np.eye(3)
    cells = compact_lattices(14.0, large, crystal)
    volumes = np.array([np.linalg.det(cell) for cell in cells])
    assert (volumes > 0).all()
    assert (np.diff(volumes) >= -1e-6).all()
    wanted = next(cell for cell in cells if shortest_vector(cell) >= 14.0 - 1e-9)
    assert np.linalg.det(wanted) <= 1.12 * 14.0**3 / np.sqrt(2)
    if crystal is not None:
        whole = np.array(cells) @ np.linalg.inv(crystal)
        assert np.allclose(whole, np.round(whole), atol=1e-6)


def test_short_vectors_of_the_large_cell_are_kept():
    large = np.diag([8.0, 50.0, 50.0])
    cells = compact_lattices(14.0, large, None)
    wires = [cell for cell in cells if np.allclose(cell[0], [8, 0, 0], atol=1e-9)]
    area = min(np.linalg.det(cell) for cell in wires if np.linalg.norm(cell[1:], axis=1).min() >= 14) / 8.0
    assert area <= 1.05 * 14.0**2 * np.sqrt(0.75)
    slab = compact_lattices(14.0, np.diag([8.0, 9.0, 50.0]), None)
    assert any(np.allclose(cell[:2], [[8, 0, 0], [0, 9, 0]]) for cell in slab)


def test_turning_the_material_turns_the_lattices():
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    large = np.array([[40.0, 0, 0], [3, 45, 0], [-4, 2, 50]])
    for one, other in zip(
        compact_lattices(12.0, large, None)[:50], compact_lattices(12.0, large @ rotation, None)[:50], strict=True
    ):
        assert shortest_vector(one) == pytest.approx(shortest_vector(other))
