"""The crystals that a run explores."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from mlip_autopipe.learning.starts import Start, starts_of
from mlip_autopipe.schemas.otf import StartStructure
from tests.learning.tiny import tiny_plan

CUBE = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))


def test_the_cell_of_dynamics_is_the_planned_supercell():
    nickel = bulk("Ni", a=3.52)
    cell = Start("Ni", nickel, CUBE).cell
    assert len(cell) == 4
    np.testing.assert_allclose(cell.cell.array, np.array(CUBE) @ nickel.cell.array)
    assert cell.get_all_distances(mic=True)[0, 1:].min() == pytest.approx(3.52 / np.sqrt(2))


def test_the_own_crystal_comes_first_and_the_others_follow_in_order():
    gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.08), ["Au"], [[0, 0, 0]]).get_primitive_structure()
    other = StartStructure(name="gold", structure=gold.as_dict(), supercell=((2, 0, 0), (0, 2, 0), (0, 0, 2)))
    plan = tiny_plan(others=[other.model_dump()])
    own, second = starts_of(plan)
    assert (own.name, set(own.primitive.symbols), len(own.cell)) == ("Ni", {"Ni"}, 4)
    assert (second.name, set(second.primitive.symbols), len(second.cell)) == ("gold", {"Au"}, 8)
