"""Metals, insulators, magnets."""

from __future__ import annotations

import pytest
from ase.data import chemical_symbols
from pymatgen.core import Lattice, Structure

from mlip_autopipe.generation.prototypes import prototype_structure
from mlip_autopipe.heuristics.elements import (
    INITIAL_MOMENTS,
    classify_magnetic,
    classify_metal,
    coordination_number,
    initial_moments,
    melting_point,
)

METALS = [
    (["Al"], "fcc"),
    (["W"], "bcc"),
    (["Mg"], "hcp"),
    (["Po"], "sc"),
    (["Bi"], "sc"),
    (["Si"], "fcc"),
    (["Ni", "Al"], "cesiumchloride"),
    (["Ti", "N"], "rocksalt"),
    (["Ti", "C"], "rocksalt"),
    (["Fe", "O"], "rocksalt"),
    (["Pr", "O"], "rocksalt"),
]
INSULATORS = [
    (["Si"], "diamond"),
    (["Ge"], "diamond"),
    (["C"], "diamond"),
    (["Ne"], "fcc"),
    (["Na", "Cl"], "rocksalt"),
    (["Mg", "O"], "rocksalt"),
    (["Pb", "S"], "rocksalt"),
    (["Sc", "N"], "rocksalt"),
    (["Cs", "Cl"], "cesiumchloride"),
    (["Ga", "As"], "zincblende"),
    (["Si", "C"], "zincblende"),
    (["B", "N"], "zincblende"),
    (["Zn", "O"], "wurtzite"),
]


@pytest.mark.parametrize(("elements", "name"), METALS)
def test_treated_as_metal(elements, name):
    assert classify_metal(prototype_structure(elements, name)).value


@pytest.mark.parametrize(("elements", "name"), INSULATORS)
def test_treated_as_insulator(elements, name):
    assert not classify_metal(prototype_structure(elements, name)).value


@pytest.mark.parametrize(
    ("species", "metal"),
    [
        (["Ti", "O", "O"], False),
        (["V", "O", "O"], True),
        (["Sr", "Ti", "O", "O", "O"], False),
        (["Mg", "B", "B"], True),
        (["Mg", "Mg", "Si"], False),
        (["Fe", "Fe", "Fe", "C"], True),
        (["Cu", "Cu", "Cu", "Au"], True),
        (["Cu", "Cu", "O"], False),
        (["Pd", "H"], True),
        (["Ca", "H", "H"], False),
        (["La", "B", "B", "B", "B", "B", "B"], True),
    ],
)
def test_compounds_by_electron_count(species, metal):
    points = [[i / len(species), 0.37 * i % 1, 0.71 * i % 1] for i in range(len(species))]
    assert classify_metal(Structure(Lattice.cubic(9.0), species, points)).value is metal


def test_open_shell_oxide_warns():
    warning = classify_metal(prototype_structure(["Fe", "O"], "rocksalt")).warning
    assert warning is not None
    assert "material.is_metal" in warning


@pytest.mark.parametrize("symbol", chemical_symbols[1:104])
def test_every_element_is_classified_or_refused(symbol):
    structure = Structure(Lattice.cubic(3.0), [symbol], [[0, 0, 0]])
    for answer in (classify_metal(structure), classify_magnetic(structure)):
        assert answer.reason
        assert answer.source
    value = melting_point(structure)
    assert value is None or 0 < value < 5000


@pytest.mark.parametrize("symbol", ["Fe", "Co", "Ni", "Cr", "Mn", "Gd", "O"])
def test_likely_magnets(symbol):
    structure = Structure(Lattice.cubic(3.0), [symbol], [[0, 0, 0]])
    assert classify_magnetic(structure).value
    assert initial_moments(structure)[0] >= 1


@pytest.mark.parametrize("symbol", ["Al", "Si", "Cu", "W", "Pt", "N"])
def test_unlikely_magnets(symbol):
    assert not classify_magnetic(Structure(Lattice.cubic(3.0), [symbol], [[0, 0, 0]])).value


def test_oxygen_in_an_oxide_is_not_magnetic():
    assert not classify_magnetic(prototype_structure(["Mg", "O"], "rocksalt")).value


def test_moments_go_to_the_magnetic_atoms_only():
    assert initial_moments(prototype_structure(["Fe", "O"], "rocksalt")) == [INITIAL_MOMENTS["Fe"], 0.0]


def test_moments_of_the_file_win():
    structure = Structure(
        Lattice.cubic(3.0), ["Cr", "Cr"], [[0, 0, 0], [0.5, 0.5, 0.5]], site_properties={"magmom": [1.5, -1.5]}
    )
    assert initial_moments(structure) == [1.5, -1.5]
    structure.add_site_property("magmom", [0.0, 0.0])
    assert not classify_magnetic(structure).value


def test_melting_points():
    assert melting_point(prototype_structure(["Al"], "fcc")) == pytest.approx(933.47)
    alloy = Structure(
        Lattice.cubic(3.7), ["Au", "Cu", "Cu", "Cu"], [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    )
    assert melting_point(alloy) == pytest.approx(0.75 * 1357.77 + 0.25 * 1337.33, abs=0.01)
    assert melting_point(prototype_structure(["Na", "Cl"], "rocksalt")) is None


@pytest.mark.parametrize(("name", "expected"), [("fcc", 12), ("diamond", 4), ("sc", 6), ("hcp", 12)])
def test_coordination_numbers(name, expected):
    assert coordination_number(prototype_structure(["Si"], name)) == expected
