from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.analysis.lattice import (
    check_symmetry,
    free_parameters,
    lattice_parameters,
    strain_basis,
    strained_parameters,
    symmetric_strains,
)
from mlip_autopipe.analysis.strain import deformation_gradient
from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.errors import AnalysisError


def crystal(name):
    return {
        "fcc primitive": AseAtomsAdaptor.get_structure(bulk("Cu")),
        "fcc cubic": AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True)),
        "hcp": AseAtomsAdaptor.get_structure(bulk("Mg")),
        "hcp orthogonal": AseAtomsAdaptor.get_structure(bulk("Mg", orthorhombic=True)),
        "tetragonal": Structure(Lattice.tetragonal(4, 5), ["Al"], [[0, 0, 0]]),
        "orthorhombic": Structure(Lattice.orthorhombic(4, 5, 6), ["Al"], [[0, 0, 0]]),
        "monoclinic": Structure(Lattice.monoclinic(4, 5, 6, 100), ["Al"], [[0, 0, 0]]),
        "triclinic": Structure(Lattice.from_parameters(4, 5, 6, 80, 95, 101), ["Al"], [[0, 0, 0]]),
        "rhombohedral": Structure(Lattice.rhombohedral(4, 80), ["Al"], [[0, 0, 0]]),
    }[name]


FREE = {
    "fcc primitive": "a_A",
    "fcc cubic": "a_A",
    "hcp": "a_A c_A",
    "tetragonal": "a_A c_A",
    "orthorhombic": "a_A b_A c_A",
    "monoclinic": "a_A b_A c_A beta_deg",
    "triclinic": "a_A b_A c_A alpha_deg beta_deg gamma_deg",
    "rhombohedral": "a_A alpha_deg",
}


@pytest.mark.parametrize("name", FREE)
def test_parameters_that_the_symmetry_leaves_free(name):
    structure = crystal(name)
    cell = structure.lattice.matrix
    rotations = crystal_symmetry(structure).rotations
    check_symmetry(cell, rotations)
    assert free_parameters(cell, strain_basis(rotations)) == tuple(FREE[name].split())


def test_a_cell_that_is_not_primitive_keeps_the_symmetry_of_its_crystal():
    structure = crystal("hcp orthogonal")
    rotations = crystal_symmetry(structure).rotations
    check_symmetry(structure.lattice.matrix, rotations)
    assert len(strain_basis(rotations)) == 2


@pytest.mark.parametrize("name", FREE)
def test_symmetric_strains_are_recovered_and_others_average_out(name):
    structure = crystal(name)
    cell = structure.lattice.matrix
    rotations = crystal_symmetry(structure).rotations
    basis = strain_basis(rotations)
    rng = np.random.default_rng(0)
    strains = rng.normal(0, 0.01, (len(basis), 4))
    green = np.einsum("kn,kij->nij", strains, basis)
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * green)
    stretches = np.einsum("nij,nj,nkj->nik", vectors, np.sqrt(values), vectors)
    np.testing.assert_allclose(symmetric_strains(cell @ stretches, cell, basis), strains, atol=1e-12)
    # every operation maps a general strain on an equally likely one; the average of the strained cells is symmetric
    general = deformation_gradient(rng.normal(0, 0.005, 6))
    images = np.array([r @ general @ r.T for r in rotations])
    averages = symmetric_strains(cell @ images, cell, basis)
    np.testing.assert_allclose(averages, averages[:, :1] * np.ones(len(images)), atol=1e-12)


def test_parameters_of_strained_cells():
    cell = np.asarray(Lattice.hexagonal(3.2, 5.2).matrix)
    structure = Structure(cell, ["Mg", "Mg"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
    basis = strain_basis(crystal_symmetry(structure).rotations)
    scale = np.diag([1.01, 1.01, 0.98])
    found = strained_parameters(cell, basis, symmetric_strains((cell @ scale)[None], cell, basis))[:, 0]
    np.testing.assert_allclose(found, [3.2 * 1.01, 3.2 * 1.01, 5.2 * 0.98, 90, 90, 120], rtol=1e-12)


def test_lattice_parameters_agree_with_pymatgen():
    lattice = Lattice.from_parameters(4, 5, 6, 80, 95, 101)
    metric = lattice.matrix @ lattice.matrix.T
    np.testing.assert_allclose(lattice_parameters(metric), [*lattice.abc, *lattice.angles])
    assert lattice_parameters(np.stack([metric, metric])).shape == (2, 6)


def test_operations_of_another_orientation_are_refused():
    structure = crystal("hcp")
    turned = deformation_gradient(np.zeros(6)) @ np.array([[1, 0, 0], [0, 0.6, 0.8], [0, -0.8, 0.6]])
    with pytest.raises(AnalysisError, match="orientation of reference_cell_A"):
        check_symmetry(structure.lattice.matrix @ turned, crystal_symmetry(structure).rotations)
