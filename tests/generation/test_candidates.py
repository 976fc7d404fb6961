import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.io.ase import AseAtomsAdaptor

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.candidates import make_candidates, same_after_relaxation, unknown_ground_states
from mlip_autopipe.generation.enumeration import enumerate_decorations
from mlip_autopipe.generation.matching import Crystal
from mlip_autopipe.generation.ordered_prototypes import PROTOTYPES, decorated, prototype
from tests.generation.test_matching import disguised

VOLUMES = {"Au": 17.0, "Cu": 12.0}
L1_2 = decorated(prototype("L1_2"), ("Au", "Cu"), VOLUMES)


@pytest.fixture(scope="module")
def gold_copper():
    return make_candidates(["Cu", "Au"], max_sites=4, n_sqs=0)


def by_name(candidates):
    return {one.name: one for one in candidates}


def test_elements_are_there_on_every_lattice(gold_copper):
    named = by_name(gold_copper)
    for symbol, a in (("Au", 4.08), ("Cu", 3.61)):
        fcc = named[f"fcc {symbol}"]
        assert (fcc.kind, fcc.parent, len(fcc.atoms)) == ("element", "fcc", 1)
        assert fcc.atoms.get_volume() == pytest.approx(a**3 / 4)
        assert {f"bcc {symbol}", f"hcp {symbol}"} <= set(named)
    assert sum(one.kind == "element" for one in gold_copper) == 6
    assert named["fcc Au"].composition == {"Au": 1.0, "Cu": 0.0}
    assert named["L1_2 AuCu3"].composition == {"Au": 0.25, "Cu": 0.75}
    assert list(named["L1_2 AuCu3"].composition) == ["Au", "Cu"]


def test_no_structure_occurs_twice_and_none_is_missing(gold_copper):
    crystals = [Crystal(one.atoms) for one in gold_copper]
    same = [(i, j) for i in range(len(crystals)) for j in range(i) if crystals[i].is_same(crystals[j])]
    assert not same
    assert len({one.name for one in gold_copper}) == len(gold_copper)
    for parent in ("fcc", "bcc", "hcp"):
        for wanted in enumerate_decorations(parent, ["Au", "Cu"], 4):
            crystal = Crystal(wanted.atoms, primitive=True)
            found = [one for one, known in zip(gold_copper, crystals, strict=True) if crystal.is_same(known)]
            assert [one.parent for one in found] == [parent]


def test_the_telling_name_stays(gold_copper):
    named = by_name(gold_copper)
    assert named["L1_2 AuCu3"].kind == "prototype"
    # of the two decorations of L1_0, B2, B32, L1_1 and B19 one is left, of L1_2 and D0_22 both
    assert [name for name in named if name.startswith("L1_0")] == ["L1_0 AuCu"]
    assert {"L1_2 AuCu3", "L1_2 Au3Cu", "D0_22 AuCu3", "D0_22 Au3Cu"} <= set(named)
    # cells of two atoms: L1_0 and L1_1 of fcc and B2 of bcc have their names; of bcc one other is left
    two = [one.name for one in gold_copper if one.kind == "enumerated" and len(one.atoms) == 2]
    assert two == ["bcc-0001 Au1Cu1", "hcp-0001 Au1Cu1"]
    assert {one.name for one in PROTOTYPES if len(one.sublattices) == 2 or one.repeated} == {
        name.split()[0] for name in named if named[name].kind == "prototype"
    }


def test_equal_arguments_give_equal_candidates_and_the_order_of_the_elements_does_not_matter(gold_copper):
    again = make_candidates(["Au", "Cu"], max_sites=4, n_sqs=0)
    assert [(one.name, one.atoms, one.composition) for one in again] == [
        (one.name, one.atoms, one.composition) for one in gold_copper
    ]


def test_quasirandom_structures():
    arguments = {"parents": ["bcc"], "max_sites": 1, "prototypes": (), "sqs_sites": 4}
    found = make_candidates(["Fe", "Cr"], n_sqs=2, **arguments)
    assert [one.name for one in found] == ["bcc Cr", "bcc Fe", "sqs bcc Cr2Fe2", "sqs bcc Cr3Fe1"]
    assert (found[2].kind, found[2].parent) == ("quasirandom", "bcc")
    assert make_candidates(["Fe", "Cr"], n_sqs=1, **arguments)[2].atoms == found[2].atoms


def test_the_number_of_candidates_sets_the_size_of_the_cells():
    for most in (60, 110, 200):
        found = make_candidates(["Au", "Cu"], max_candidates=most, parents=["fcc", "bcc"], n_sqs=0)
        assert 0.5 * most < len(found) <= most
    with pytest.raises(
        InvalidInputError, match="max_candidates is 10, but there are 47 candidates before any is enumerated"
    ):
        make_candidates(["Au", "Cu"], max_candidates=10, parents=["fcc", "bcc"], n_sqs=0)


def test_four_elements_do_not_explode():
    found = make_candidates(["Al", "Co", "Cr", "Ni"], max_candidates=450, n_sqs=0)
    assert len(found) <= 450
    assert {sum(x > 0 for x in one.composition.values()) for one in found} == {1, 2, 3}
    named = by_name(found)
    assert {"L2_1 AlCo2Ni", "L2_1 AlCoNi2", "D8_b Co2Cr"} <= set(named)
    half_heusler = sorted(name for name in named if name.startswith("C1_b AlCoNi"))
    assert half_heusler == [f"C1_b AlCoNi ({symbol} on 4c)" for symbol in ("Al", "Co", "Ni")]


def test_all_but_the_elements_keep_the_limits():
    limits = {"Au": (0.2, 0.3)}
    found = make_candidates(["Au", "Cu"], parents=["fcc"], max_sites=4, composition_range=limits, n_sqs=1, sqs_sites=4)
    others = {round(one.composition["Au"], 6) for one in found if one.kind != "element"}
    assert others == {0.2, 0.25}
    assert sum(one.kind == "element" for one in found) == 2
    assert "L1_2 AuCu3" in by_name(found)
    assert "L1_2 Au3Cu" not in by_name(found)


def test_given_structures():
    nickel_like = bulk("Cu", "sc", a=2.6)
    mine = {"mine.cif": AseAtomsAdaptor.get_structure(nickel_like), "a copy": disguised(L1_2, 3)}
    found = by_name(make_candidates(["Au", "Cu"], max_sites=1, n_sqs=0, user_structures=mine))
    assert (found["mine.cif"].kind, found["mine.cif"].parent) == ("given", None)
    assert found["mine.cif"].atoms.get_volume() == pytest.approx(2.6**3)
    assert "a copy" not in found
    assert "L1_2 AuCu3" in found
    listed = make_candidates(["Au", "Cu"], max_sites=1, n_sqs=0, prototypes=(), user_structures=[L1_2])
    assert [one.name for one in listed if one.kind == "given"] == ["given-1 AuCu3"]


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (bulk("Ni"), "structure 1 of user_structures holds Ni, which is none of the elements Au, Cu"),
        (Atoms("Cu"), "structure 1 of user_structures is no crystal"),
        (Atoms("Cu2", [[0, 0, 0], [0.3, 0, 0]], cell=[4, 4, 4], pbc=True), "overlapping atoms"),
        (L1_2, r"AuCu3\) lies outside of composition_range"),
    ],
)
def test_given_structures_that_do_not_belong(structure, message):
    with pytest.raises(InvalidInputError, match=message):
        make_candidates(
            ["Au", "Cu"], max_sites=1, composition_range={"Au": (0.4, 1)}, user_structures=[structure], n_sqs=0
        )


@pytest.mark.parametrize(
    ("elements", "more", "message"),
    [
        (["Cu"], {}, "needs two different elements at least"),
        (["Cu", "Cu"], {}, "each named once"),
        (["Cu", "Xy"], {}, "'Xy' is no chemical element"),
        (["Cu", "N"], {}, "candidates that hold N cannot be built, because N is a gas of molecules; leave"),
        (["Cu", "Fm"], {}, "no size of Fm is tabulated; leave this element out"),
        (["Cu", "Au"], {"parents": ["fcc", "fcd"]}, "'fcd' is no lattice that can be decorated; did you mean 'fcc'"),
        (["Cu", "Au"], {"parents": []}, "each lattice once"),
        (["Cu", "Au"], {"prototypes": ["B3"]}, "'B3' is no known ordered prototype; did you mean 'B32'"),
        (["Cu", "Au"], {"composition_range": {"Cu": (0.6, 1), "Au": (0.6, 1)}}, "cannot be met"),
        (["Cu", "Au"], {"max_sites": 20, "prototypes": ()}, "max_sites is 20"),
    ],
)
def test_bad_input(elements, more, message):
    with pytest.raises(InvalidInputError, match=message):
        make_candidates(elements, n_sqs=0, **more)


def test_ground_states_that_are_no_parent():
    found = by_name(make_candidates(["Si", "Al"], parents=["fcc"], max_sites=1, prototypes=(), n_sqs=0))
    assert set(found) == {"fcc Al", "fcc Si", "diamond Si"}
    assert found["diamond Si"].parent is None
    assert list(unknown_ground_states(["Al", "Mn", "Si"])) == ["Mn"]


def relaxed(atoms, seed, rattle_A=0.01):
    other = make_supercell(atoms, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    other.rattle(rattle_A, seed=seed)
    return other


def test_what_became_the_same_is_one_phase():
    l1_0 = decorated(prototype("L1_0"), ("Au", "Cu"), VOLUMES)
    structures = [L1_2, l1_0, relaxed(L1_2, 1), decorated(prototype("D0_22"), ("Au", "Cu"), VOLUMES), relaxed(l1_0, 2)]
    energies = [-3.0, -3.1, -3.0004, -3.0002, -3.1006]
    assert same_after_relaxation(structures, energies) == [[0, 2], [1, 4], [3]]
    assert same_after_relaxation(structures, [-3.0, -3.1, -3.0014, -3.0002, -3.1006]) == [[0], [1, 4], [2], [3]]
    swollen = structures[2].copy()
    swollen.set_cell(1.01 * swollen.cell, scale_atoms=True)
    assert same_after_relaxation([L1_2, swollen], [-3.0, -3.0]) == [[0], [1]]
    assert same_after_relaxation([L1_2, swollen], [-3.0, -3.0], volume_tolerance=0.05) == [[0, 1]]
    assert same_after_relaxation([], []) == []


def test_a_supercell_that_lost_its_distortion_is_the_small_cell():
    double = relaxed(bulk("Cu").repeat((2, 1, 1)), 4, rattle_A=0.003)
    assert same_after_relaxation([double, bulk("Cu")], [-3.5, -3.5]) == [[0, 1]]


def test_small_steps_do_not_join_what_is_far_apart():
    energies = [-3.0, -3.0008, -3.0016, -3.0024]
    assert same_after_relaxation([L1_2] * 4, energies) == [[0, 1], [2, 3]]


@given(order=st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_depend_on_the_order(order):
    structures = [L1_2, relaxed(L1_2, 1), relaxed(L1_2, 2), bulk("Cu"), relaxed(bulk("Cu"), 3), bulk("Au")]
    energies = [-3.0, -3.0003, -2.9996, -3.5, -3.5004, -3.2]
    groups = same_after_relaxation([structures[k] for k in order], [energies[k] for k in order])
    assert {frozenset(order[k] for k in group) for group in groups} == {frozenset(g) for g in ((0, 1, 2), (3, 4), (5,))}
    assert groups == sorted(groups)


def test_energies_must_belong_to_the_structures():
    with pytest.raises(InvalidInputError, match="2 structures need as many finite energies"):
        same_after_relaxation([L1_2, L1_2], [np.nan, -3.0])
