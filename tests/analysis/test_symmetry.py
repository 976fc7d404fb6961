from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from mlip_autopipe.analysis.strain import strain_matrix, voigt_from_matrix
from mlip_autopipe.analysis.symmetry import (
    crystal_symmetry,
    invariant_stress_basis,
    invariant_tensor_basis,
    rotate_stiffness,
    rotate_strain,
    rotate_stress,
)
from mlip_autopipe.errors import AnalysisError

from .synthetic import CRYSTALS, cubic_tensor, rotated


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", CRYSTALS)
def test_systems_and_number_of_constants(name, seed):
    structure, system, point_group, n_constants, n_directions = CRYSTALS[name]
    symmetry = crystal_symmetry(rotated(structure, seed))
    assert (symmetry.crystal_system, symmetry.point_group) == (system, point_group)
    basis = invariant_tensor_basis(symmetry.rotations)
    assert len(basis) == n_constants
    assert len(invariant_stress_basis(symmetry.rotations)) == n_directions
    np.testing.assert_allclose(basis, basis.transpose(0, 2, 1), atol=1e-14)
    for rotation in symmetry.rotations:
        np.testing.assert_allclose(rotate_stiffness(basis, rotation), basis, atol=1e-10)


def test_supercells_keep_the_symmetry_of_the_primitive_cell():
    hexagonal = CRYSTALS["Mg"][0] * [[1, 0, 0], [1, 2, 0], [0, 0, 1]]
    np.testing.assert_allclose(hexagonal.lattice.angles, 90)
    assert len(crystal_symmetry(hexagonal).rotations) == 24
    cubic = CRYSTALS["Al"][0] * (1, 2, 3)
    symmetry = crystal_symmetry(cubic)
    assert symmetry.number == 225
    assert len(symmetry.rotations) == 48


def test_operations_are_exactly_orthogonal_for_a_slightly_distorted_cell():
    distorted = Structure(Lattice([[0, 2.025, 2.0251], [2.0249, 0, 2.025], [2.025, 2.0251, 0]]), ["Al"], [[0, 0, 0]])
    rotations = crystal_symmetry(distorted, tolerance_A=1e-2).rotations
    assert len(rotations) == 48
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (48, 1, 1)), atol=1e-12)


def test_magnetic_order_lowers_the_symmetry_and_ferromagnetism_does_not():
    structure = CRYSTALS["Al"][0].copy()
    structure.add_site_property("magmom", [1.0, 1.0, 1.0, 1.0])
    assert crystal_symmetry(structure).number == 225
    structure.add_site_property("magmom", [1.0, -1.0, 1.0, -1.0])  # layers of alternating moments
    assert crystal_symmetry(structure).crystal_system == "tetragonal"


def test_oxidation_states_are_ignored():
    structure = CRYSTALS["Al"][0].copy()
    structure.add_oxidation_state_by_site([3, -3, 3, -3])
    assert crystal_symmetry(structure).number == 225


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_voigt_rotations_agree_with_matrices(seed):
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix()
    strain = rng.normal(size=6)
    np.testing.assert_allclose(
        rotate_strain(strain, rotation),
        voigt_from_matrix(rotation @ strain_matrix(strain) @ rotation.T),
        atol=1e-12,
    )
    tensor = cubic_tensor(114, 62, 32)
    stress = tensor @ strain
    # Rotated stress = rotated tensor applied to rotated strain.
    np.testing.assert_allclose(
        rotate_stress(stress, rotation),
        rotate_stiffness(tensor, rotation) @ rotate_strain(strain, rotation),
        atol=1e-9,
    )


def test_fractional_operations_are_refused():
    with pytest.raises(AnalysisError, match="orthogonal"):
        invariant_tensor_basis(np.array([[[0, -1, 0], [1, -1, 0], [0, 0, 1]]]))
    with pytest.raises(AnalysisError, match="shape"):
        invariant_tensor_basis(np.eye(3))
