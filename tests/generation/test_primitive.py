"""Primitive cells without rotation."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.generation.primitive import primitive_cell
from mlip_autopipe.generation.prototypes import prototype_structure


def same_lattice_points(small, big):
    """Every vector of the big lattice is a lattice vector of the small one, without rotation."""
    coefficients = big.lattice.matrix @ np.linalg.inv(small.lattice.matrix)
    return np.allclose(coefficients, np.round(coefficients), atol=1e-5)


@pytest.mark.parametrize(("symbol", "n_atoms"), [("Al", 1), ("W", 1), ("Si", 2)])
def test_conventional_cell(symbol, n_atoms):
    big = AseAtomsAdaptor.get_structure(bulk(symbol, cubic=True))
    small = primitive_cell(big)
    assert len(small) == n_atoms
    assert same_lattice_points(small, big)
    assert small.volume / n_atoms == pytest.approx(big.volume / len(big))


def test_primitive_is_returned_as_it_is():
    structure = prototype_structure(["Mg"], "hcp")
    assert primitive_cell(structure) is structure


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(["Al"], "fcc"), (["Mg"], "hcp"), (["Zn", "O"], "wurtzite"), (["Cs", "Cl"], "cesiumchloride")]),
    st.sampled_from([(2, 1, 1), (1, 2, 2), (2, 1, 3)]),
    st.integers(0, 2**16),
)
def test_rotated_supercells_come_back(prototype, repeats, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    cell = prototype_structure(*prototype)
    turned = Structure(cell.lattice.matrix @ rotation.T, cell.species, cell.frac_coords + rng.random(3))
    big = turned * repeats
    small = primitive_cell(big)
    assert len(small) == len(cell)
    assert same_lattice_points(small, big)
    assert StructureMatcher(primitive_cell=False, scale=False).fit(small, cell)
    # the same atoms in space: every atom of the small cell lies on one of the big cell
    for site in small:
        assert min(other.distance(site) for other in big if other.specie == site.specie) < 1e-4 or any(
            np.allclose(big.lattice.get_fractional_coords(site.coords) % 1, other.frac_coords % 1, atol=1e-4)
            for other in big
        )


def test_antiferromagnet_keeps_both_atoms():
    chromium = AseAtomsAdaptor.get_structure(bulk("Cr", cubic=True))
    chromium.add_site_property("magmom", [1.5, -1.5])
    assert len(primitive_cell(chromium)) == 2
    double = chromium * (2, 1, 1)
    small = primitive_cell(double)
    assert sorted(small.site_properties["magmom"]) == [-1.5, 1.5]


def test_ferromagnet_keeps_its_moment():
    iron = AseAtomsAdaptor.get_structure(bulk("Fe", cubic=True))
    iron.add_site_property("magmom", [2.2, 2.2])
    small = primitive_cell(iron)
    assert len(small) == 1
    assert small.site_properties["magmom"] == [2.2]


def test_species_and_moments_stay_together():
    structure = Structure(
        Lattice.orthorhombic(3, 4, 5),
        ["O", "Fe", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.1, 0.5, 0.2]],
        site_properties={"magmom": [0.0, 3.0, 0.2]},
    )
    small = primitive_cell(structure * (1, 1, 2))
    found = {(s.specie.symbol, s.properties["magmom"]) for s in small}
    assert found == {("O", 0.0), ("Fe", 3.0), ("O", 0.2)}
