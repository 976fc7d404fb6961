import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.alloys import vegard
from mlip_autopipe.generation.enumeration import (
    enumerate_decorations,
    fitting_decorations,
    least_number_of_decorations,
    within,
)
from mlip_autopipe.generation.matching import Crystal

CUAU = ["Au", "Cu"]


def fractions(decoration):
    symbols = decoration.atoms.get_chemical_symbols()
    return {symbol: symbols.count(symbol) / len(symbols) for symbol in set(symbols)}


def test_binary_fcc_counts_are_the_published_ones():
    # doi:10.1103/PhysRevB.77.224115
    found = enumerate_decorations("fcc", CUAU, 6)
    sizes = [len(one.atoms) for one in found]
    assert [sizes.count(n) for n in range(1, 7)] == [2, 2, 6, 19, 28, 80]
    assert sizes == sorted(sizes)
    smaller = enumerate_decorations("fcc", CUAU, 4)
    assert [one.atoms for one in found[:29]] == [one.atoms for one in smaller]


def test_bcc_has_as_many_as_fcc_and_hcp_cells_hold_two_sites_per_cell():
    # fcc and bcc have the same superlattices (doi:10.1103/PhysRevB.77.224115)
    assert len(enumerate_decorations("bcc", CUAU, 4)) == 29
    hcp = enumerate_decorations("hcp", CUAU, 5)
    assert {len(one.atoms) for one in hcp} == {2, 4}
    assert sum(len(one.atoms) == 2 for one in hcp) == 3


@pytest.mark.parametrize("parent", ["fcc", "bcc", "hcp"])
def test_every_atom_sits_on_a_lattice_of_the_size_that_belongs_to_its_composition(parent):
    neighbours = {"fcc": 12, "bcc": 8, "hcp": 12}[parent]
    for one in enumerate_decorations(parent, ["Ag", "Cu", "Ni"], 4):
        guess = vegard(parent, fractions(one))
        bond = {"fcc": guess.a_A / np.sqrt(2), "bcc": guess.a_A * np.sqrt(3) / 2, "hcp": guess.a_A}[parent]
        counts = np.bincount(neighbor_list("i", one.atoms, 1.05 * bond), minlength=len(one.atoms))
        assert set(counts) == {neighbours}
        assert one.parent == parent


def test_no_decoration_is_a_copy_of_another():
    crystals = [Crystal(one.atoms, primitive=True) for one in enumerate_decorations("fcc", CUAU, 4)]
    same = [(i, j) for i in range(29) for j in range(i) if crystals[i].is_same(crystals[j])]
    assert not same
    # cells are primitive
    assert all(len(Crystal(one.atoms).atoms) == len(one.atoms) for one in crystals)


def test_limits_of_composition_keep_exactly_those_within():
    limits = {"Au": (0.25, 0.4)}
    everything = enumerate_decorations("fcc", CUAU, 5)
    wanted = [one for one in everything if 0.25 <= one.atoms.symbols.count("Au") / len(one.atoms) <= 0.4]
    found = enumerate_decorations("fcc", CUAU, 5, composition_range=limits)
    assert len(found) == len(wanted) > 0
    assert {one.atoms.get_chemical_formula() for one in found} == {one.atoms.get_chemical_formula() for one in wanted}
    ternary = enumerate_decorations("fcc", ["Au", "Cu", "Ni"], 4, composition_range={"Ni": (0.2, 0.3)})
    assert {fractions(one)["Ni"] for one in ternary} == {0.25}
    assert within({"Ni": 0.25}, {"Ni": (0.2, 0.3)})
    assert not within({"Cu": 1.0}, {"Ni": (0.2, 0.3)})


def test_the_largest_size_follows_from_the_number():
    # 135 without the elements themselves
    assert len(fitting_decorations(["fcc"], CUAU, most=135)) == 135
    assert len(fitting_decorations(["fcc"], CUAU, most=134)) == 57 - 2
    assert max(len(one.atoms) for one in fitting_decorations(["fcc"], CUAU, most=500, max_sites=4)) == 4
    assert fitting_decorations(["fcc"], CUAU, most=0) == []


def test_what_is_left_of_the_number_goes_to_cells_of_fewer_elements():
    found = fitting_decorations(["fcc", "bcc"], ["Au", "Cu", "Ni", "Pd"], most=500)
    assert len(found) <= 500
    largest = {k: max(len(one.atoms) for one in found if len(fractions(one)) == k) for k in (2, 3)}
    assert largest[2] > largest[3]
    assert len(found) == len({id(one) for one in found})
    assert min(len(fractions(one)) for one in found) == 2
    again = fitting_decorations(["fcc", "bcc"], ["Pd", "Ni", "Cu", "Au"], most=500)
    assert [one.atoms for one in again] == [one.atoms for one in found]


@pytest.mark.parametrize("parent", ["fcc", "hcp"])
def test_the_number_is_never_below_its_bound(parent):
    found = enumerate_decorations(parent, CUAU, 6)
    for n_sites in (2, 4, 6):
        number = sum(len(one.atoms) == n_sites and len(fractions(one)) == 2 for one in found)
        assert 0 <= least_number_of_decorations(parent, CUAU, n_sites) <= number
    # and no so far below it that it would be of no use
    assert least_number_of_decorations(parent, CUAU, 6) > number / 25


def test_four_elements_are_refused_before_they_are_enumerated():
    balanced = dict.fromkeys(("Ag", "Au", "Cu", "Ni"), (0.12, 0.4))
    with pytest.raises(InvalidInputError, match=r"fcc have more than \d+ decorations with 8 atoms; choose a smaller"):
        fitting_decorations(["fcc"], ["Ag", "Au", "Cu", "Ni"], most=None, max_sites=12, composition_range=balanced)


@pytest.mark.parametrize(
    ("parent", "max_sites", "limits", "message"),
    [
        ("fc", 4, None, "'fc' is no lattice"),
        ("fcc", 0, None, "max_sites is 0"),
        ("fcc", 13, None, "from 1 to 12"),
        ("fcc", 4, {"Ni": (0, 1)}, "names Ni, which is none of the elements Au, Cu"),
        ("fcc", 4, {"Au": (0.6, 0.3)}, "the least first"),
        ("fcc", 4, {"Au": (0.6, 1), "Cu": (0.6, 1)}, "least fractions sum to 1.2"),
        ("fcc", 4, {"Au": (0, 0.4), "Cu": (0, 0.4)}, "largest fractions sum to 0.8"),
    ],
)
def test_bad_input(parent, max_sites, limits, message):
    with pytest.raises(InvalidInputError, match=message):
        enumerate_decorations(parent, CUAU, max_sites, composition_range=limits)
