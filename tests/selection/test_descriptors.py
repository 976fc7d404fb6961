"""Descriptors of structures: what leaves them alone, and what they tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.generation.perturb import rattle, with_vacancies
from mlip_autopipe.selection.descriptors import atom_descriptors, noise_distances, structure_descriptors
from tests.selection.structures import disordered


def distance(one: Atoms, other: Atoms) -> float:
    rows = structure_descriptors([one, other])
    return float(np.linalg.norm(rows[0] - rows[1]))


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_moving_turning_renumbering_and_repeating_change_nothing(seed):
    rng = np.random.default_rng(seed)
    atoms = disordered(10, [[5.0, 0, 0], [1.0, 6.0, 0], [-2.0, 1.0, 5.5]], apart_A=1.5, seed=seed, symbols="CuAu")
    changed = atoms[rng.permutation(10)]
    changed.positions += rng.normal(size=3) * 10
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    changed.set_cell(changed.cell.array @ rotation, scale_atoms=True)
    assert distance(atoms, changed) < 1e-8
    assert distance(atoms, atoms.repeat((1, 2, 3))) < 1e-8


def test_descriptors_follow_positions_smoothly():
    atoms = disordered(12, 6.0 * np.eye(3), apart_A=1.7, symbols="CuAu")
    direction = np.random.default_rng(0).normal(size=(12, 3))
    moved = [atoms.copy() for _ in range(3)]
    for step, copy in zip((1e-4, 2e-4, 4e-4), moved, strict=True):
        copy.positions += step * direction
    near, middle, far = (distance(atoms, copy) for copy in moved)
    assert middle == pytest.approx(2 * near, rel=0.01)
    assert far == pytest.approx(4 * near, rel=0.02)
    assert near > 0


def test_neighbours_are_counted():
    rows = atom_descriptors(Atoms("CuAu", [[0, 0, 0], [0, 0, 2.5]]), ["Cu", "Au"])
    shells = np.arange(1.0, 5.5, 0.5)
    wanted = np.exp(-0.5 * ((2.5 - shells) / 0.5) ** 2) * 0.5 * (1 + np.cos(np.pi * 2.5 / 5.5))
    assert np.allclose(rows[0, :9], 0)
    assert np.allclose(rows[0, 14:23], wanted)
    assert np.allclose(rows[1, :9], wanted)
    # a single neighbour has full power at every degree
    assert np.allclose(rows[0, 23:], 0.5 * (1 + np.cos(np.pi * 2.5 / 5.5)))


def test_cubic_surroundings_have_no_power_at_degrees_one_to_three():
    rows = atom_descriptors(bulk("Cu"), ["Cu"])
    assert np.allclose(rows[0, 9:12], 0, atol=1e-6)
    assert (rows[0, 12:] > 0.1).all()


def test_what_differs_is_far():
    fcc, hcp, bcc = bulk("Cu", a=3.61), bulk("Cu", "hcp", a=2.553, c=2.553 * np.sqrt(8 / 3)), bulk("Cu", "bcc", a=2.87)
    large = bulk("Cu", cubic=True).repeat(3)
    noise = noise_distances([large], structure_descriptors([large]), ["Cu"], 0.02)[0]
    assert distance(fcc, hcp) > 3 * noise
    assert distance(fcc, bcc) > 3 * noise
    # one odd atom among many, which the mean alone would hide
    assert distance(large, with_vacancies(large, 1, 0)) > 3 * noise
    assert distance(rattle(large, 0.1, 0), rattle(large, 0.1, 1)) > noise
    assert distance(rattle(large, 0.001, 0), rattle(large, 0.001, 1)) < noise
    swapped = large.copy()
    swapped.symbols[0] = "Au"
    assert distance(large, swapped) > 3 * noise


def test_molecules_and_places_for_absent_elements():
    rows = structure_descriptors([molecule("H2O"), molecule("CH4")], ["C", "H", "O"])
    assert rows.shape == (2, 2 * 9 * 14)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows[0] - rows[1]) > 0.1
    assert structure_descriptors([], ["Cu"]).shape == (0, 28)
    assert structure_descriptors([]).shape == (0, 0)
    assert np.allclose(structure_descriptors([Atoms("H")]), 0)


def test_noise_grows_with_the_displacement():
    atoms = [bulk("Cu", cubic=True).repeat(2)]
    rows = structure_descriptors(atoms)
    small, large = (noise_distances(atoms, rows, ["Cu"], d)[0] for d in (0.01, 0.02))
    assert 0 < small < large < 4 * small
