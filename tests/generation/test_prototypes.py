"""Start structures from a prototype's name."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from ase.data import chemical_symbols

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.lattice import lattice_guess
from mlip_autopipe.generation.prototypes import (
    BINARY_PROTOTYPES,
    ELEMENT_PROTOTYPES,
    ground_state_structure,
    prototype_structure,
)
from mlip_autopipe.schemas.config import CRYSTAL_STRUCTURES

SPACE_GROUPS = {
    "sc": (["Po"], 221, 1),
    "fcc": (["Al"], 225, 1),
    "bcc": (["W"], 229, 1),
    "hcp": (["Mg"], 194, 2),
    "diamond": (["Si"], 227, 2),
    "rocksalt": (["Na", "Cl"], 225, 2),
    "cesiumchloride": (["Cs", "Cl"], 221, 2),
    "zincblende": (["Ga", "As"], 216, 2),
    "wurtzite": (["Zn", "O"], 186, 4),
}


def test_every_prototype_of_the_schema_is_built():
    assert set(SPACE_GROUPS) == set(CRYSTAL_STRUCTURES) == {*ELEMENT_PROTOTYPES, *BINARY_PROTOTYPES}


@pytest.mark.parametrize("name", SPACE_GROUPS)
def test_primitive_cell_of_the_right_space_group(name):
    elements, number, n_atoms = SPACE_GROUPS[name]
    structure = prototype_structure(elements, name)
    assert structure.get_space_group_info()[1] == number
    assert len(structure) == n_atoms
    assert len(structure.get_primitive_structure()) == n_atoms
    assert structure.lattice.volume > 0
    assert np.linalg.det(structure.lattice.matrix) > 0


@pytest.mark.parametrize("name", [n for n in SPACE_GROUPS if n not in ("hcp", "wurtzite")])
def test_cube_axes_along_x_y_z(name):
    """A rotation by 90 degrees about z maps the lattice onto itself."""
    lattice = prototype_structure(SPACE_GROUPS[name][0], name).lattice.matrix
    rotated = lattice @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    coefficients = rotated @ np.linalg.inv(lattice)
    assert np.allclose(coefficients, np.round(coefficients))


@pytest.mark.parametrize("name", ["hcp", "wurtzite"])
def test_hexagonal_axis_along_z(name):
    lattice = prototype_structure(SPACE_GROUPS[name][0], name).lattice
    assert np.allclose(lattice.matrix[2, :2], 0)
    assert np.allclose(lattice.matrix[0, 1:], 0)
    assert lattice.gamma == pytest.approx(120)


@pytest.mark.parametrize(
    ("elements", "name", "a", "tolerance"),
    [
        # measured ground states: exact
        (["Al"], "fcc", 4.05, 1e-9),
        (["Si"], "diamond", 5.43, 1e-9),
        (["Mg"], "hcp", 3.21, 1e-9),
        # published lattice constants of what has to be guessed (experiment, or DFT for hypothetical phases)
        (["Fe"], "fcc", 3.57, 0.03),
        (["Ti"], "bcc", 3.31, 0.03),
        (["Zn"], "fcc", 3.93, 0.03),
        (["Si"], "fcc", 3.86, 0.04),
        (["Mn"], "fcc", 3.60, 0.05),
        (["Na", "Cl"], "rocksalt", 5.64, 0.03),
        (["Mg", "O"], "rocksalt", 4.21, 0.03),
        (["Ti", "N"], "rocksalt", 4.24, 0.03),
        (["Pb", "Te"], "rocksalt", 6.46, 0.06),
        (["Ti", "C"], "rocksalt", 4.33, 0.10),
        (["Cs", "Cl"], "cesiumchloride", 4.12, 0.03),
        (["Ni", "Al"], "cesiumchloride", 2.89, 0.05),
        (["Ga", "As"], "zincblende", 5.65, 0.03),
        (["Si", "C"], "zincblende", 4.36, 0.03),
        (["Zn", "S"], "zincblende", 5.41, 0.04),
        (["Ga", "N"], "wurtzite", 3.19, 0.03),
        (["Zn", "O"], "wurtzite", 3.25, 0.03),
    ],
)
def test_lattice_constants(elements, name, a, tolerance):
    guess = lattice_guess(elements, name)
    assert guess.a_A == pytest.approx(a, rel=tolerance)
    assert guess.measured is (tolerance < 1e-6)
    assert guess.basis
    assert guess.source


def test_order_of_the_elements_does_not_change_the_size():
    assert lattice_guess(["Na", "Cl"], "rocksalt").a_A == lattice_guess(["Cl", "Na"], "rocksalt").a_A


@pytest.mark.parametrize("symbol", chemical_symbols[1:104])
@pytest.mark.parametrize("name", ["fcc", "hcp"])
def test_every_element_gets_a_sensible_size_or_a_sentence(symbol, name):
    try:
        structure = prototype_structure([symbol], name)
    except InvalidInputError as error:
        if symbol not in str(error):
            raise
        return
    assert 2 < structure.volume / len(structure) < 150


def test_measured_axial_ratio_is_kept_and_guessed_is_ideal():
    assert lattice_guess(["Zn"], "hcp").c_over_a == pytest.approx(1.856)
    assert lattice_guess(["Al"], "hcp").c_over_a == pytest.approx(sqrt(8 / 3))
    assert lattice_guess(["Al"], "fcc").c_over_a is None


@pytest.mark.parametrize(
    ("symbol", "name", "number"),
    [("Cu", "fcc", 225), ("Fe", "bcc", 229), ("Ti", "hcp", 194), ("In", "bct", 139), ("Sn", "bct", 141),
     ("Bi", "rhombohedral", 166), ("Po", "sc", 221)],
)  # fmt: skip
def test_ground_states(symbol, name, number):
    found, structure, guess = ground_state_structure(symbol)
    assert found == name
    assert structure.get_space_group_info()[1] == number
    assert guess.measured


@pytest.mark.parametrize("symbol", ["O", "N", "He", "Se", "Te", "B", "S", "Mn", "Ga", "U", "Pu", "Pm", "Fr"])
def test_ground_states_that_no_name_describes(symbol):
    with pytest.raises(InvalidInputError, match=rf"ground-state structure of {symbol} .*target_system\.structure"):
        ground_state_structure(symbol)


@pytest.mark.parametrize(
    ("elements", "name", "composition", "sentence"),
    [
        (["Al"], "rocksalt", None, "needs two elements"),
        (["Cu", "Au"], "fcc", None, "random alloy"),
        (["Cu", "Au"], "fcc", {"Cu": 0.5, "Au": 0.5}, "random alloy"),
        (["Na", "Cl"], "rocksalt", {"Na": 0.4, "Cl": 0.6}, "random alloy"),
        (["Na", "Cl", "K"], "rocksalt", None, "random alloy"),
        (["Al"], "fc", None, "did you mean 'fcc'"),
    ],
)
def test_what_a_prototype_cannot_hold(elements, name, composition, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        prototype_structure(elements, name, composition)


def test_stated_composition_of_the_prototype_is_fine():
    assert prototype_structure(["Al"], "fcc", {"Al": 1.0}) == prototype_structure(["Al"], "fcc")
    prototype_structure(["Na", "Cl"], "rocksalt", {"Na": 0.5, "Cl": 0.5})
