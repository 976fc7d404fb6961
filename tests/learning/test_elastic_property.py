"""Elastic constants of a calculator in memory."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.learning.elastic_property import measure_elastic, strained_cell
from mlip_autopipe.reference.classical import stillinger_weber_silicon
from mlip_autopipe.schemas.system import ElasticSettings, RelaxationSettings
from tests.learning.tiny import tiny_plan

STRAINS = st.lists(st.floats(-0.03, 0.03), min_size=6, max_size=6)


def settings(**more) -> tuple[RelaxationSettings, ElasticSettings]:
    plan = tiny_plan("elastic")
    return plan.relaxation, plan.elastic.model_copy(update=more)


def measured(atoms, calculator, **more):
    rotations = crystal_symmetry(AseAtomsAdaptor.get_structure(atoms), 0.01).rotations
    return measure_elastic(atoms, calculator, *settings(**more), rotations)


def test_nickel_by_effective_medium_theory():
    start = bulk("Ni", a=3.6)
    found = measured(start, EMT())
    assert found.relaxation.converged
    # central differences of the energy of the relaxed crystal
    relaxed = found.relaxation.atoms
    assert start.cell[0, 1] == 1.8, "the start structure is left alone"
    for voigt, constant in (([1, 0, 0, 0, 0, 0], found.fit.tensor[0, 0]), ([0, 0, 0, 1, 0, 0], found.fit.tensor[3, 3])):
        energies = []
        for sign in (1, 0, -1):
            cell = strained_cell(relaxed, sign * 0.002 * np.array(voigt))
            cell.calc = EMT()
            energies.append(cell.get_potential_energy())
        curvature = (energies[0] - 2 * energies[1] + energies[2]) / 0.002**2 / relaxed.get_volume() * 160.21766
        assert constant == pytest.approx(curvature, rel=0.01)


def test_ions_are_relaxed_at_every_strain():
    # Stillinger and Weber's silicon: C44 is 56.4 GPa with relaxed ions and 109.8 with clamped ones
    found = measured(bulk("Si", a=5.43), stillinger_weber_silicon())
    assert found.fit.tensor[3, 3] == pytest.approx(56.4, abs=0.3)
    assert all(cell.converged for cell in found.cells)


def test_strains_and_stresses_belong_together():
    found = measured(bulk("Ni", a=3.5), EMT(), half_amplitude_check=False)
    assert found.strains.shape == found.stresses_GPa.shape == (2, 6)
    np.testing.assert_allclose(
        found.stresses_GPa - found.stresses_GPa.mean(axis=0), found.strains @ found.fit.tensor, atol=0.2
    )


@given(STRAINS)
def test_a_strained_cell(strain):
    atoms = bulk("Si", a=5.43)
    strained = strained_cell(atoms, np.array(strain))
    np.testing.assert_allclose(strained.get_scaled_positions(), atoms.get_scaled_positions(), atol=1e-9)
    gradient = np.linalg.solve(atoms.cell.array, strained.cell.array).T
    e1, e2, e3, e4, e5, e6 = strain
    expected = np.array([[e1, e6 / 2, e5 / 2], [e6 / 2, e2, e4 / 2], [e5 / 2, e4 / 2, e3]])
    np.testing.assert_allclose((gradient + gradient.T) / 2 - np.eye(3), expected, atol=1e-9)
    assert strained.calc is None
    assert atoms.cell[0, 1] == 2.715
