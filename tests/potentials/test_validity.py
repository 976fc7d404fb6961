from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.potentials.dataset import Configuration
from mlip_autopipe.potentials.validity import range_of_validity


def configuration(atoms: Atoms, **more: object) -> Configuration:
    return Configuration(atoms, 0.0, np.zeros((len(atoms), 3)), **more)


def test_crystals() -> None:
    small, large = (configuration(bulk("Cu", "fcc", a=a, cubic=True)) for a in (3.4, 3.8))
    found = range_of_validity([large, small], temperature_K=(300, 900))
    assert found.temperature_K == (300, 900)
    assert found.volume_per_atom_A3 == pytest.approx((3.4**3 / 4, 3.8**3 / 4))
    assert found.shortest_distance_A == pytest.approx({"Cu-Cu": 3.4 / np.sqrt(2)})
    assert found.composition == {"Cu": (1.0, 1.0)}
    assert found.largest_force_eV_per_A == 0


def test_alloy() -> None:
    rocksalt = configuration(bulk("NaCl", "rocksalt", a=5.6))
    salt_rich = configuration(Atoms("NaCl3", [[0, 0, 0], [2.5, 0, 0], [0, 3.9, 0], [0, 0, 4.2]], cell=[20] * 3))
    found = range_of_validity([rocksalt, salt_rich])
    assert found.composition == {"Cl": (0.5, 0.75), "Na": (0.25, 0.5)}
    assert found.shortest_distance_A == pytest.approx({"Cl-Na": 2.5, "Na-Na": 5.6 / np.sqrt(2), "Cl-Cl": 5.6 / 2**0.5})
    assert found.volume_per_atom_A3 == pytest.approx((5.6**3 / 8,) * 2), "a cluster has no volume"


def test_masked_pairs_do_not_count_where_the_energy_does_not() -> None:
    atoms = Atoms("Ni4", [[0, 0, 0], [2.5, 0, 0], [10, 0, 0], [10, 1.9, 0]], cell=[30] * 3)
    forces = np.zeros((4, 3))
    forces[:, 1] = [3, 0, 50, 50]
    one = Configuration(atoms, -1.0, forces, force_weights=np.array([1.0, 0, 0, 0]))
    assert range_of_validity([one]).shortest_distance_A == pytest.approx({"Ni-Ni": 1.9})
    embedded = range_of_validity([replace(one, energy_weight=0.0)])
    assert embedded.shortest_distance_A == pytest.approx({"Ni-Ni": 2.5})
    assert embedded.largest_force_eV_per_A == 3
    assert embedded.volume_per_atom_A3 is None


def test_nothing_is_known_of_forces() -> None:
    found = range_of_validity([Configuration(bulk("Al"), -3.0)])
    assert found.largest_force_eV_per_A is None
