"""Strains, rattles, volumes, supercells and point defects."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.perturb import (
    largest_voids,
    random_strains,
    rattle,
    shortest_distance,
    supercell,
    supercell_repeats,
    volume_scan,
    with_interstitials,
    with_vacancies,
)


def test_strains_are_symmetric_bounded_and_reproducible():
    ni = bulk("Ni").repeat(2)
    strained = random_strains(ni, 20, 0.03, 5)
    assert len(strained) == 20
    for atoms in strained:
        e = np.linalg.solve(ni.cell.array, atoms.cell.array) - np.eye(3)
        assert np.allclose(e, e.T, atol=1e-12)
        assert np.abs(e).max() <= 0.03 + 1e-12
        assert np.allclose(atoms.positions, ni.positions @ (np.eye(3) + e))
    again = random_strains(ni, 20, 0.03, np.random.default_rng(5))
    assert all(np.array_equal(a.cell.array, b.cell.array) for a, b in zip(strained, again, strict=True))
    for atoms in random_strains(ni, 3, 0.05, 1, isochoric=True):
        assert atoms.get_volume() == pytest.approx(ni.get_volume())


def test_input_is_left_alone_and_its_results_are_dropped():
    ni = bulk("Ni").repeat(2)
    ni.calc = EMT()
    ni.get_forces()
    ni.set_constraint(FixAtoms([0]))
    ni.set_velocities(np.ones((8, 3)))
    ni.set_initial_magnetic_moments(np.full(8, 0.6))
    before = ni.copy()
    for atoms in (*random_strains(ni, 1, 0.02, 0), rattle(ni, 0.1, 0), with_vacancies(ni, 1, 0), supercell(ni, 9.0)):
        assert atoms.calc is None
        assert not atoms.constraints
        assert not atoms.has("momenta")
        assert np.all(atoms.get_initial_magnetic_moments() == 0.6)
    assert not np.array_equal(rattle(ni, 0.1, 0).positions[0], ni.positions[0])
    assert ni == before
    assert ni.calc is not None


def test_rattle_has_its_width():
    ni = bulk("Ni", cubic=True).repeat(6)
    moved = rattle(ni, 0.05, 3).positions - ni.positions
    assert moved.std() == pytest.approx(0.05, rel=0.05)
    assert np.array_equal(rattle(ni, 0.05, 3).positions, rattle(ni, 0.05, 3).positions)


def test_rattle_guard():
    ni = bulk("Ni", cubic=True).repeat(2)
    shortest = shortest_distance(ni)
    assert shortest_distance(rattle(ni, 0.3, 1, min_distance_A=0.01)) < 0.8 * shortest
    assert shortest_distance(rattle(ni, 0.3, 1, min_distance_A=0.8 * shortest)) >= 0.8 * shortest
    with pytest.raises(InvalidInputError, match="smaller sigma_A"):
        rattle(ni, 1.0, 1, min_distance_A=0.99 * shortest, max_attempts=3)
    with pytest.raises(InvalidInputError, match="of the structure"):
        rattle(ni, 0.1, 1, min_distance_A=1.01 * shortest)


def test_shortest_distance():
    assert shortest_distance(bulk("Ni", a=3.5)) == pytest.approx(3.5 / np.sqrt(2))
    assert shortest_distance(Atoms("H")) == float("inf")
    assert shortest_distance(Atoms("H2", [[0, 0, 0], [0, 0, 7.3]])) == pytest.approx(7.3)
    assert shortest_distance(Atoms("H", cell=[11, 12, 13], pbc=True)) == pytest.approx(11)


def test_volume_scan():
    si = bulk("Si")
    scanned = volume_scan(si, np.linspace(0.9, 1.1, 5))
    assert [a.get_volume() / si.get_volume() for a in scanned] == pytest.approx([0.9, 0.95, 1.0, 1.05, 1.1])
    assert all(np.allclose(a.cell.angles(), si.cell.angles()) for a in scanned)
    with pytest.raises(InvalidInputError, match="positive"):
        volume_scan(si, [1.0, 0.0])


def test_supercell_is_the_smallest_that_is_wide_enough():
    cube = bulk("Ni", a=3.5, cubic=True)
    assert supercell_repeats(cube, 7.0) == (2, 2, 2)
    assert supercell_repeats(cube, 7.01) == (3, 3, 3)
    assert supercell_repeats(cube, 1.0, min_atoms=5) == (2, 1, 1)
    skewed = bulk("Ni", a=3.5)
    assert supercell_repeats(skewed, 2 * 3.5 / np.sqrt(3)) == (2, 2, 2)
    big = supercell(skewed, 8.0)
    assert min(1 / np.linalg.norm(np.linalg.inv(big.cell.array), axis=0)) >= 8.0


def test_vacancies():
    cuau = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3, 3, 3], pbc=True).repeat(2)
    holey = with_vacancies(cuau, 3, 0, symbol="Au")
    assert holey.symbols.count("Au") == 5
    assert holey.symbols.count("Cu") == 8
    assert len(with_vacancies(cuau, 4, 0)) == 12
    with pytest.raises(InvalidInputError, match="larger supercell"):
        with_vacancies(cuau, 9, 0, symbol="Au")
    with pytest.raises(InvalidInputError, match="larger supercell"):
        with_vacancies(bulk("Ni"), 1, 0)


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize(
    ("structure", "radius", "per_atom"), [("fcc", 1 / 2, 1), ("bcc", np.sqrt(5) / 4, 6), ("sc", np.sqrt(3) / 2, 1)]
)
def test_largest_voids_are_the_textbook_ones(structure, radius, per_atom, cubic):
    atoms = bulk("Ni", structure, a=3.0, cubic=cubic)
    atoms.translate([0.37, -1.1, 5.2])
    voids = largest_voids(atoms)
    assert voids[0].radius_A == pytest.approx(3.0 * radius)
    assert sum(v.radius_A > voids[0].radius_A - 1e-4 for v in voids) == per_atom * len(atoms)
    assert len(largest_voids(atoms, 1)) == 1


def test_void_radius_is_the_distance_to_the_nearest_atom_and_no_point_is_emptier():
    rng = np.random.default_rng(2)
    atoms = Atoms("Ni7", cell=[[4, 0, 0], [2.5, 5, 0], [-1, 1, 6]], pbc=True)
    atoms.set_scaled_positions(rng.random((7, 3)))

    def nearest(points):
        probe = atoms + Atoms("H" * len(points), points)
        return probe.get_all_distances(mic=True)[7:, :7].min(axis=1)

    voids = largest_voids(atoms, 5)
    assert nearest(np.array([v.position for v in voids])) == pytest.approx([v.radius_A for v in voids])
    assert nearest(rng.random((400, 3)) @ atoms.cell.array).max() <= voids[0].radius_A + 1e-9


def test_interstitials():
    ni = bulk("Ni", a=3.5, cubic=True).repeat(2)
    full = with_interstitials(ni, ["H", "C"], 4)
    assert full.get_chemical_symbols()[-2:] == ["H", "C"]
    assert shortest_distance(full) == pytest.approx(3.5 / 2)
    assert full.get_distance(32, 33, mic=True) > 2.0
    assert with_interstitials(ni, ["H", "C"], 4) == full
    with pytest.raises(InvalidInputError, match="largest void"):
        with_interstitials(ni, ["H"], 0, min_distance_A=1.8)


def test_periodicity_is_asked_for():
    for call in (lambda a: random_strains(a, 1, 0.01, 0), lambda a: supercell_repeats(a, 5.0), largest_voids):
        with pytest.raises(InvalidInputError, match="periodic"):
            call(Atoms("H2", [[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(InvalidInputError, match="amplitude"):
        random_strains(bulk("Ni"), 1, 0.4, 0)
