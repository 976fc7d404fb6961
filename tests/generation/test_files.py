"""Start structures from files, good and bad."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from pymatgen.core import Lattice, Structure

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.files import read_structure

CU3AU = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0, 0.5, 0.5]])


def refused(path, *words):
    with pytest.raises(InvalidInputError) as caught:
        read_structure(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR", "x.vasp", "POSCAR_cu3au", "x.cif", "x.extxyz", "x.xyz"])
def test_formats(tmp_path, name):
    from pymatgen.io.ase import AseAtomsAdaptor

    path = tmp_path / name
    if name.endswith(".cif"):
        CU3AU.to(filename=str(path))
    else:
        kind = "extxyz" if name.endswith("xyz") else "vasp"
        write(path, AseAtomsAdaptor.get_atoms(CU3AU), format=kind)
    found = read_structure(path)
    assert found.composition.reduced_formula == "Cu3Au"
    assert len(found) == 4
    assert found.lattice.abc == pytest.approx((3.75, 3.75, 3.75), abs=1e-5)
    assert found.site_properties.get("magmom") is None


def test_orientation_and_cell_are_the_files(tmp_path):
    atoms = bulk("Mg")
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    write(tmp_path / "mg.extxyz", atoms)
    assert np.allclose(read_structure(tmp_path / "mg.extxyz").lattice.matrix, atoms.cell.array, atol=1e-6)


def test_moments_are_kept_and_the_rest_is_dropped(tmp_path):
    atoms = bulk("Cr", cubic=True)
    atoms.set_initial_magnetic_moments([1.5, -1.5])
    atoms.set_array("velocities", np.ones((2, 3)))
    write(tmp_path / "cr.extxyz", atoms)
    assert read_structure(tmp_path / "cr.extxyz").site_properties == {"magmom": [1.5, -1.5]}


def test_oxidation_states_are_dropped(tmp_path):
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na+", "Cl-"], [[0, 0, 0], [0.5] * 3])
    structure.to(filename=str(tmp_path / "nacl.cif"))
    assert {s.species_string for s in read_structure(tmp_path / "nacl.cif")} == {"Na", "Cl"}


def test_missing(tmp_path):
    refused(tmp_path / "POSCAR", "does not exist", "target_system.structure")


def test_folder(tmp_path):
    refused(tmp_path, "is not a file")


@pytest.mark.parametrize("name", ["POSCAR", "x.cif", "x.extxyz"])
@pytest.mark.parametrize("content", ["", " \n\n"])
def test_empty(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(tmp_path / name, "is empty")


@pytest.mark.parametrize("name", ["POSCAR", "x.cif", "x.extxyz", "x.unknown", "structure"])
@pytest.mark.parametrize("content", [b"hello\nworld\n", b"\x00\xff\xfe\x01" * 50, b"1\n"])
def test_unreadable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


def test_truncated_poscar(tmp_path):
    write(tmp_path / "POSCAR", bulk("Si"))
    text = (tmp_path / "POSCAR").read_text()
    (tmp_path / "POSCAR").write_text("\n".join(text.splitlines()[:-1]))
    refused(tmp_path / "POSCAR", "cannot be read")


def test_several_frames(tmp_path):
    write(tmp_path / "x.extxyz", [bulk("Al"), bulk("Al")])
    refused(tmp_path / "x.extxyz", "holds 2 structures", "exactly one")


def test_molecule(tmp_path):
    write(tmp_path / "x.xyz", molecule("H2O"))
    refused(tmp_path / "x.xyz", "not periodic", "Lattice")


def test_molecule_in_a_box(tmp_path):
    atoms = molecule("H2O", vacuum=4.0)
    atoms.pbc = False
    write(tmp_path / "x.extxyz", atoms)
    refused(tmp_path / "x.extxyz", "not periodic")


def test_slab(tmp_path):
    from ase.build import fcc111

    write(tmp_path / "x.extxyz", fcc111("Al", (1, 1, 3), vacuum=5.0, periodic=False))
    refused(tmp_path / "x.extxyz", "periodic only along ab")


def test_overlap(tmp_path):
    write(tmp_path / "x.extxyz", Atoms("Al2", positions=[[0, 0, 0], [0.3, 0, 0]], cell=[5, 5, 5], pbc=True))
    refused(tmp_path / "x.extxyz", "overlapping", "atoms 1 (Al) and 2 (Al)", "0.30 A")


def test_overlap_through_the_boundary(tmp_path):
    write(tmp_path / "x.extxyz", Atoms("AlO", positions=[[0, 0, 0.1], [0, 0, 4.9]], cell=[5, 5, 5], pbc=True))
    refused(tmp_path / "x.extxyz", "overlapping", "0.20 A")


def test_overlap_with_the_own_image(tmp_path):
    """A cell in nanometres, for instance."""
    write(tmp_path / "x.extxyz", Atoms("Al", positions=[[0, 0, 0]], cell=[0.4, 0.4, 0.4], pbc=True))
    refused(tmp_path / "x.extxyz", "periodic image", "0.40 A")


def test_short_bonds_are_no_overlap(tmp_path):
    atoms = molecule("H2")
    atoms.set_cell([4, 4, 4])
    atoms.pbc = True
    write(tmp_path / "x.extxyz", atoms)
    assert len(read_structure(tmp_path / "x.extxyz")) == 2


def test_partial_occupancy(tmp_path):
    Structure(Lattice.cubic(4.0), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]).to(filename=str(tmp_path / "x.cif"))
    refused(tmp_path / "x.cif", "partly occupied", "ordered cell")


def test_flat_cell(tmp_path):
    (tmp_path / "POSCAR").write_text("flat\n1.0\n1 0 0\n0 1 0\n1 1 0\nAl\n1\nDirect\n0 0 0\n")
    refused(tmp_path / "POSCAR")


def test_unknown_element(tmp_path):
    (tmp_path / "x.extxyz").write_text('1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3\nXx 0 0 0\n')
    refused(tmp_path / "x.extxyz")


def test_not_a_number(tmp_path):
    (tmp_path / "x.extxyz").write_text('1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3\nAl nan 0 0\n')
    refused(tmp_path / "x.extxyz", "not a finite number")


def test_two_atoms_in_one_place(tmp_path):
    """A site that is occupied twice is a mistake, not rounding."""
    two = Structure(Lattice.cubic(4.0), ["Cu", "Au"], [[0, 0, 0], [0, 0, 0]], validate_proximity=False)
    two.to(filename=str(tmp_path / "x.cif"))
    refused(tmp_path / "x.cif")
