"""k-points, smearing and spin, material by material."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from ase.build import make_supercell
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.generation.prototypes import prototype_structure
from mlip_autopipe.heuristics.electronic import (
    K_SPACING_PER_A,
    choose_electronic,
    commensurate_spacing,
    k_point_spacing,
    kpoint_mesh,
)
from mlip_autopipe.reference.gpaw_engine import mesh_of
from mlip_autopipe.schemas.system import Reason


def parameters(config):
    return config.reference.parameters


def test_aluminium_is_a_metal_with_smearing_and_a_dense_mesh(expand):
    config = expand({"elements": ["Al"], "crystal_structure": "fcc"})
    assert config.material.is_metal
    # the mesh and smearing at which aluminium's constants were found converged to 4 % (docs/benchmarks.md)
    assert parameters(config)["smearing_eV"] == 0.3
    assert parameters(config)["kpts"] == [18, 18, 18]
    assert not parameters(config)["spin_polarised"]
    assert "metal" in config.reasons["reference.parameters.smearing_eV"].reason


def test_open_shells_keep_a_narrow_smearing(expand):
    assert parameters(expand({"elements": ["W"]}))["smearing_eV"] == 0.1
    assert parameters(expand({"elements": ["Cu"]}))["smearing_eV"] == 0.3


def test_silicon_has_no_smearing_and_the_mesh_that_was_checked(expand):
    config = expand({"elements": ["Si"]})
    assert not config.material.is_metal
    assert parameters(config)["smearing_eV"] == 0
    assert parameters(config)["kpts"] == [6, 6, 6]


def test_iron_starts_with_moments(expand):
    config = expand({"elements": ["Fe"]})
    assert config.material.is_magnetic
    assert parameters(config)["spin_polarised"] is True
    (site,) = config.material.structure["sites"]
    assert site["properties"]["magmom"] > 2.3
    assert any("ferromagnetic" in w for w in config.warnings)


def test_chromium_warns_of_antiferromagnetism(expand):
    assert any("antiferromagnetic" in w for w in expand({"elements": ["Cr"]}).warnings)


def test_sodium_chloride_is_an_insulator(expand):
    config = expand({"elements": ["Na", "Cl"], "crystal_structure": "rocksalt"})
    assert not config.material.is_metal
    assert parameters(config)["smearing_eV"] == 0
    assert config.material.melting_point_K is None


def test_magnesium_gets_a_mesh_that_follows_its_axes(expand):
    kpts = parameters(expand({"elements": ["Mg"]}))["kpts"]
    assert kpts[0] == kpts[1] > kpts[2]


def test_user_decides_what_a_metal_is(expand):
    config = expand({"elements": ["Al"]}, overrides={"material.is_metal": False})
    assert parameters(config)["smearing_eV"] == 0
    assert parameters(config)["kpts"] == [8, 8, 8]
    assert config.reasons["material.is_metal"].source == "input.yaml: overrides"


def test_user_decides_what_is_magnetic(expand):
    iron = expand({"elements": ["Fe"]}, overrides={"material": {"is_magnetic": False}})
    assert parameters(iron)["spin_polarised"] is False
    assert "magmom" not in iron.material.structure["sites"][0]["properties"]
    aluminium = expand({"elements": ["Al"]}, overrides={"material": {"is_magnetic": True}})
    assert aluminium.material.structure["sites"][0]["properties"]["magmom"] > 0


def test_elastic_constants_need_denser_meshes_than_energies():
    for is_metal in (True, False):
        assert k_point_spacing("elastic", is_metal=is_metal) < k_point_spacing("diffusion", is_metal=is_metal)
    assert K_SPACING_PER_A[True]["elastic"] < K_SPACING_PER_A[False]["elastic"]


def test_mesh_counts_with_two_pi():
    cube = Structure(Lattice.cubic(2 * np.pi), ["Al"], [[0, 0, 0]])  # |b| = 1
    assert kpoint_mesh(cube, 0.26) == (4, 4, 4)
    assert kpoint_mesh(cube, 0.25) == (4, 4, 4)
    assert kpoint_mesh(cube, 0.24) == (5, 5, 5)
    assert kpoint_mesh(cube, 3.0) == (1, 1, 1)


@given(st.floats(2.0, 12.0), st.floats(0.1, 0.6), st.sampled_from(["fcc", "bcc", "diamond", "sc"]))
def test_equivalent_axes_get_equal_counts(a, spacing, name):
    cell = prototype_structure(["Si"], name)
    cell.scale_lattice(a**3)
    mesh = kpoint_mesh(cell, spacing)
    assert len(set(mesh)) == 1
    lengths = np.array(cell.lattice.reciprocal_lattice.abc)
    assert (lengths / mesh <= spacing * (1 + 1e-5)).all()


@pytest.mark.parametrize("factor", [1, 2])
def test_supercells_get_coarser_meshes(factor):
    cell = Structure(Lattice.cubic(4.0), ["Al"], [[0, 0, 0]])
    big = cell * (2, 1, 1)
    small_mesh, big_mesh = kpoint_mesh(cell, 0.2 * factor), kpoint_mesh(big, 0.2 * factor)
    assert big_mesh[0] == pytest.approx(small_mesh[0] / 2, abs=0.5)
    assert big_mesh[1:] == small_mesh[1:]


STRAINS = st.lists(st.floats(-0.04, 0.04), min_size=6, max_size=6)
CRYSTALS = st.sampled_from([("Al", "fcc"), ("Fe", "bcc"), ("Si", "diamond"), ("Mg", "hcp"), ("Zn O", "wurtzite")])


def several_cells(elements, prototype, *, is_metal=True):
    """A crystal, and what is planned for its k-points when supercells of it are labelled, too."""
    crystal = prototype_structure(elements.split(), prototype)
    reason = Reason(reason="a test", source="this file")
    electronic = choose_electronic(
        crystal,
        "elastic",
        is_metal=is_metal,
        is_magnetic=False,
        magnetic_reason=reason,
        several_cells=True,
    )
    return AseAtomsAdaptor.get_atoms(crystal, msonable=False), electronic, asdict(electronic.k_spacing)


@given(CRYSTALS, STRAINS, st.booleans())
def test_strained_primitive_cells_keep_their_mesh(which, voigt, is_metal):
    atoms, electronic, kpts = several_cells(*which, is_metal=is_metal)
    assert mesh_of(atoms, kpts) == electronic.kpts
    e1, e2, e3, e4, e5, e6 = voigt
    strain = np.array([[e1, e6 / 2, e5 / 2], [e6 / 2, e2, e4 / 2], [e5 / 2, e4 / 2, e3]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    assert mesh_of(atoms, kpts) == electronic.kpts


@given(CRYSTALS, st.tuples(*[st.integers(1, 4)] * 3))
def test_meshes_of_supercells_are_as_dense(which, times):
    atoms, electronic, kpts = several_cells(*which)
    mesh = mesh_of(make_supercell(atoms, np.diag(times)), kpts)
    for n, m, k in zip(electronic.kpts, times, mesh, strict=True):
        assert n <= k * m < n + 2 * m


@given(CRYSTALS, st.lists(st.integers(-2, 2), min_size=9, max_size=9), st.floats(-0.005, 0.005))
def test_k_points_of_any_supercell_are_as_near(which, matrix, stretch):
    matrix = np.array(matrix).reshape(3, 3)
    n = abs(round(np.linalg.det(matrix)))
    if n < 2:
        return
    atoms, _, kpts = several_cells(*which)
    cell = make_supercell(atoms, matrix)
    cell.set_cell(cell.cell.array * (1 + stretch), scale_atoms=True)
    lengths = 2 * np.pi * np.linalg.norm(cell.cell.reciprocal().array, axis=1)
    assert (lengths / mesh_of(cell, kpts) <= kpts["spacing_per_A"] * (1 + 1e-5)).all()


def test_a_mesh_is_never_sparser_than_the_rule_asks():
    for name in ("fcc", "hcp", "diamond"):
        crystal = prototype_structure(["Sn"], name)
        planned = kpoint_mesh(crystal, 0.15)
        spacing = commensurate_spacing(crystal, planned)
        assert all(k >= n for k, n in zip(kpoint_mesh(crystal, spacing), planned, strict=True))
        assert spacing == round(spacing, 6)


def test_the_reason_says_the_mesh_that_follows_from_the_spacing():
    _, electronic, kpts = several_cells("Mg", "hcp")
    assert kpts["primitive_atoms"] == 2
    mesh = [int(np.ceil(length / kpts["spacing_per_A"])) for length in kpts["primitive_lengths_per_A"]]
    assert tuple(mesh) == electronic.kpts
    assert "x".join(map(str, mesh)) in electronic.kpts_reason.reason
