from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.potentials.zbl import ZBL
from tests.potentials.helpers import numerical_forces, numerical_stress


def crowded() -> Atoms:
    atoms = bulk("Cu", "fcc", a=2.1, cubic=True)
    atoms.symbols[:2] = "Au"
    atoms.rattle(0.1, seed=3)
    return atoms


def test_forces_and_stress_are_derivatives_of_the_energy() -> None:
    atoms = crowded()
    energy, forces, virial = ZBL().evaluate(atoms)
    assert energy > 1
    assert np.allclose(forces, numerical_forces(lambda a: ZBL().evaluate(a)[0], atoms), atol=1e-5)
    stress = -virial / atoms.get_volume()
    voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    assert np.allclose(voigt, numerical_stress(lambda a: ZBL().evaluate(a)[0], atoms), rtol=1e-5, atol=1e-7)
    assert voigt[:3].max() < 0, "repulsion is compression: negative stress"


def test_bare_repulsion_at_short_distance() -> None:
    # screening function at r = 0.2 A between two Ni nuclei, by hand
    r = 0.2
    x = r / (0.8854 * 0.529177 / (2 * 28**0.23))
    phi = sum(
        a * np.exp(-b * x)
        for a, b in zip([0.18175, 0.50986, 0.28022, 0.02817], [3.1998, 0.94229, 0.4029, 0.20162], strict=True)
    )
    atoms = Atoms("Ni2", [[0, 0, 0], [0, 0, r]])
    assert ZBL().evaluate(atoms)[0] == pytest.approx(14.399645 * 28**2 / r * phi)


def test_nothing_beyond_the_cutoff_and_smooth_at_it() -> None:
    zbl = ZBL()
    assert zbl.evaluate(bulk("Ni", a=3.5))[0] == 0
    outer = 0.65 * 2 * 1.24
    near = Atoms("Ni2", [[0, 0, 0], [0, 0, outer - 1e-3]])
    energy, forces, _ = zbl.evaluate(near)
    assert 0 <= energy < 1e-6
    assert np.abs(forces).max() < 1e-3


def test_the_neighbour_list_follows_moves_and_strains() -> None:
    rng = np.random.default_rng(0)
    atoms = crowded() * (2, 1, 1)
    kept = ZBL()
    for step in range(40):
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        if step % 3 == 0:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        if step % 10 == 0:
            atoms.wrap()
        assert kept.evaluate(atoms)[0] == pytest.approx(ZBL().evaluate(atoms)[0], rel=1e-10)


def test_fractions_are_checked() -> None:
    with pytest.raises(ValueError, match="inner"):
        ZBL(inner=1, outer=0.5)
