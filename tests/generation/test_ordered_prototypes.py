import gzip
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pymatgen.analysis.prototypes
import pytest
import spglib
from ase.neighborlist import neighbor_list
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.ordered_prototypes import (
    PROTOTYPES,
    conventional_cell,
    decorated,
    occupations,
    prototype,
)

VOLUMES = {"Au": 17.0, "Cu": 12.0, "Ni": 11.0}
WRONG_IN_PYMATGEN = {"C36", "D8_b"}
"""pymatgen's copies of these have atoms 1.46 and 1.26 A apart: z of 4e, and 2b instead of 2a."""


def example(name, *elements, c_over_a=None):
    return decorated(prototype(name), elements or ("Au", "Cu", "Ni"), VOLUMES, c_over_a)


@lru_cache(maxsize=1)
def encyclopedia():
    path = Path(pymatgen.analysis.prototypes.__file__).with_name("aflow_prototypes.json.gz")
    return {entry["tags"]["aflow"]: entry["snl"] for entry in json.loads(gzip.decompress(path.read_bytes()))}


@pytest.mark.parametrize("one", PROTOTYPES, ids=lambda one: one.name)
def test_space_group_and_multiplicities(one):
    cell, positions, labels = conventional_cell(one)
    found = spglib.get_symmetry_dataset((cell, positions, labels + 1), symprec=1e-4)
    assert found.number == one.space_group
    for label, sites in enumerate(one.sublattices):
        here = labels == label
        multiplicities = sorted(Counter(found.equivalent_atoms[here]).values())
        assert multiplicities == sorted(int(wyckoff[:-1]) for wyckoff, _ in sites)
    primitive = example(one.name)
    centring = {"P": 1, "I": 2, "F": 4, "R": 3}[found.international[0]]
    assert len(primitive) * centring == len(positions)


@pytest.mark.parametrize(
    "one", [p for p in PROTOTYPES if p.aflow and p.name not in WRONG_IN_PYMATGEN], ids=lambda one: one.name
)
def test_they_are_the_structures_of_the_encyclopedia(one):
    # ideal axial ratios differ from the namesakes', that of AuCd most
    matcher = StructureMatcher(ltol=0.25, stol=0.3, angle_tol=6)
    mine = AseAtomsAdaptor.get_structure(example(one.name))
    assert matcher.fit_anonymous(mine, Structure.from_dict(encyclopedia()[one.aflow]))


@pytest.mark.parametrize("one", PROTOTYPES, ids=lambda one: one.name)
def test_atoms_keep_their_distance_and_have_the_volume_of_their_elements(one):
    atoms = example(one.name)
    assert atoms.get_volume() == pytest.approx(sum(VOLUMES[symbol] for symbol in atoms.symbols))
    # close packed: 1.12 cube roots of the volume per atom; AlB2, with boron's short bonds, the least
    shortest = neighbor_list("d", atoms, 6.0).min() / (atoms.get_volume() / len(atoms)) ** (1 / 3)
    assert (0.84 if one.name == "C32" else 0.98) < shortest < 1.13


@pytest.mark.parametrize("one", [p for p in PROTOTYPES if p.parent], ids=lambda one: one.name)
def test_those_with_a_parent_decorate_it(one):
    atoms = example(one.name, c_over_a=1.58)
    number = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), [1] * len(atoms))).number
    assert number == {"fcc": 225, "bcc": 229, "hcp": 194}[one.parent]
    if one.parent == "hcp":
        a = 2.75
        atoms.set_cell(
            atoms.cell * (a**2 * 1.58 * a * np.sqrt(3) / 4 * len(atoms) / atoms.get_volume()) ** (1 / 3), True
        )
        out_of_plane = np.sqrt(a**2 / 3 + (1.58 * a / 2) ** 2)
        lengths = np.round(neighbor_list("d", atoms, 1.03 * a), 4)
        assert set(lengths) == {round(a, 4), round(out_of_plane, 4)}


def test_coordination_of_laves_phases():
    # doi:10.1007/s10853-020-05509-2: the large atom has 16 neighbours, 4 of its kind; the small one 12, half of each
    for name in ("C14", "C15", "C36"):
        structure = AseAtomsAdaptor.get_structure(decorated(prototype(name), ("Mg", "Zn"), {"Mg": 20.0, "Zn": 14.0}))
        large = (structure.volume / len(structure) * 3) ** (1 / 3)
        for site in structure:
            kinds = Counter(other.specie.symbol for other in structure.get_neighbors(site, 0.87 * large))
            expected = {"Mg": {"Mg": 4, "Zn": 12}, "Zn": {"Mg": 6, "Zn": 6}}[site.specie.symbol]
            assert dict(kinds) == expected, name


def test_sublattices_of_the_sigma_phase_are_those_of_one_coordination():
    # doi:10.3390/app2030669: 12, 15, 14, 12 and 14 for 2a, 4f, 8i, 8i and 8j
    atoms = example("D8_b")
    reach = 1.58 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
    counts = np.bincount(neighbor_list("i", atoms, reach))
    assert set(zip(atoms.symbols, counts.tolist(), strict=True)) == {("Au", 12), ("Cu", 14), ("Ni", 15)}
    assert atoms.get_chemical_formula() == "Au10Cu16Ni4"


def test_all_ways_to_occupy():
    assert list(occupations(prototype("L1_2"), ["Au", "Cu"])) == [("Au", "Cu"), ("Cu", "Au")]
    assert len(list(occupations(prototype("L2_1"), ["Au", "Cu", "Ni"]))) == 6
    assert list(occupations(prototype("L2_1"), ["Au", "Cu"])) == []
    assert list(occupations(prototype("L1_2"), ["Au", "Cu", "Ni"])) == []
    sigma = list(occupations(prototype("D8_b"), ["Au", "Cu"]))
    assert len(sigma) == len(set(sigma)) == 6
    assert all(set(way) == {"Au", "Cu"} for way in sigma)


def test_unknown_name():
    with pytest.raises(InvalidInputError, match="'L12' is no known ordered prototype; did you mean 'L1_2'"):
        prototype("L12")
    with pytest.raises(InvalidInputError, match="valid: L1_0, L1_1"):
        prototype("quartz")
