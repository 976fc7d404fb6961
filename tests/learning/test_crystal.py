"""The relaxed crystal: its conventional cell, supercells of it, and how stiff it is."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.cell import Cell
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.analysis.lattice import lattice_parameters
from mlip_autopipe.learning.crystal import _conventional, relax_crystal
from mlip_autopipe.schemas.system import RelaxationSettings

C_CENTRED = [[0.1, 0, 0.2], [0.6, 0.5, 0.2], [0.9, 0, 0.8], [0.4, 0.5, 0.8]]
RELAXATION = RelaxationSettings(fmax_eV_per_A=1e-3, stress_tolerance_GPa=0.01, max_steps=100, keep_symmetry=True)


@pytest.fixture(scope="module")
def copper():
    return relax_crystal(bulk("Cu", a=3.7), EMT(), RELAXATION, 0.01)


def test_a_relaxed_crystal_knows_its_conventional_cell_and_neighbours(copper):
    lengths = Cell(copper.conventional @ copper.atoms.cell.array).cellpar()
    a = (4 * copper.volume_A3_per_atom) ** (1 / 3)
    assert lengths == pytest.approx([a, a, a, 90, 90, 90])
    assert copper.nearest_neighbour_A == pytest.approx(a / np.sqrt(2))
    assert copper.symmetry.space_group == "Fm-3m"
    assert copper.relaxation.converged


def test_the_bulk_modulus_is_the_curvature_of_the_energy(copper):
    def energy(scale):
        cell = copper.atoms.copy()
        cell.set_cell(cell.cell.array * scale ** (1 / 3), scale_atoms=True)
        cell.calc = EMT()
        return cell.get_potential_energy()

    h = 0.006
    curvature = (energy(1 + h) - 2 * energy(1) + energy(1 - h)) / h**2 / copper.atoms.get_volume()
    assert copper.bulk_modulus_GPa == pytest.approx(curvature * 160.21766, rel=2e-3)


def test_a_supercell_can_be_stretched_to_another_volume(copper):
    matrix = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    rest, stretched = copper.repeated(matrix), copper.repeated(matrix, 12.0)
    assert len(rest) == 4
    assert stretched.get_volume() / 4 == pytest.approx(12.0)
    assert stretched.get_scaled_positions() == pytest.approx(rest.get_scaled_positions())


def test_the_structure_at_a_temperature_has_the_lattice_parameters_given(copper):
    structure = copper.conventional_structure([3.62, 3.62, 3.62, 90, 90, 90])
    assert structure.lattice.parameters == pytest.approx((3.62, 3.62, 3.62, 90, 90, 90))
    assert structure.get_space_group_info() == ("Fm-3m", 225)
    assert len(structure) == 4


@pytest.mark.parametrize(
    ("lattice", "species", "coordinates", "n_conventional"),
    [
        (Lattice.hexagonal(3.2, 5.2), ["Mg", "Mg"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], 2),
        (Lattice.rhombohedral(4.75, 57.2), ["Bi", "Bi"], [[0.23] * 3, [-0.23] * 3], 6),
        (Lattice.monoclinic(6.0, 4.0, 5.0, 108.0), ["Al"] * 4, C_CENTRED, 4),
        (Lattice.tetragonal(3.2, 4.9), ["In", "In"], [[0, 0, 0], [0.5, 0.5, 0.5]], 2),
    ],
    ids=["hcp", "rhombohedral", "C-centred monoclinic", "body-centred tetragonal"],
)
def test_conventional_cells_are_those_of_the_international_tables(lattice, species, coordinates, n_conventional):
    import spglib

    primitive = Structure(lattice, species, coordinates).get_primitive_structure()
    turned = AseAtomsAdaptor.get_atoms(primitive)
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned.wrap()
    given = AseAtomsAdaptor.get_structure(turned)
    rows = _conventional(given, 0.01)
    assert abs(np.linalg.det(rows)) * len(given) == pytest.approx(n_conventional)
    cell = rows @ given.lattice.matrix
    standard = spglib.get_symmetry_dataset((given.lattice.matrix, given.frac_coords, given.atomic_numbers)).std_lattice
    assert lattice_parameters(cell @ cell.T) == pytest.approx(lattice_parameters(standard @ standard.T), abs=1e-4)
