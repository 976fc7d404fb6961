"""Quasirandom and random alloys; pair correlations counted from distances, without icet."""

from __future__ import annotations

import random

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.perturb import shortest_distance
from mlip_autopipe.generation.sqs import random_alloy, special_quasirandom_structure

pytest.importorskip("icet")

HALF = {"Cu": 0.5, "Au": 0.5}


def pair_correlations(atoms, cutoff):
    """Mean of spin products (first element +1, the other -1) per shell of neighbours."""
    i, j, d = neighbor_list("ijd", atoms, cutoff)
    spins = np.where(atoms.symbols == "Cu", 1, -1)
    shells = np.unique(np.round(d, 2))
    return np.array([(spins[i] * spins[j])[np.abs(d - shell) < 0.02].mean() for shell in shells])


def test_pairs_are_those_of_the_random_alloy_and_beat_random_decorations():
    fcc = bulk("Cu", a=3.6)
    found = special_quasirandom_structure(fcc, HALF, 32, seed=3)
    assert found.atoms.symbols.count("Cu") == 16
    assert shortest_distance(found.atoms) == pytest.approx(3.6 / np.sqrt(2))
    own = pair_correlations(found.atoms, 4.7)
    assert np.abs(own).max() < 0.04
    others = [pair_correlations(random_alloy(found.atoms, HALF, s), 4.7) for s in range(50)]
    assert np.abs(own).max() < 0.3 * np.mean([np.abs(o).max() for o in others])
    reported = [c.value for c in found.clusters if c.order == 2][:3]
    assert reported == pytest.approx(own, abs=1e-9)
    assert found.random_pair_range_A == pytest.approx(3.6 * np.sqrt(1.5))
    assert {c.order for c in found.clusters} == {2, 3}
    assert found.rms_error == pytest.approx(np.sqrt(np.mean([c.value**2 for c in found.clusters])))
    assert found.rms_error < 0.1


def test_target_of_another_composition():
    found = special_quasirandom_structure(bulk("Cu", a=3.6), {"Cu": 0.75, "Au": 0.25}, 16, seed=0)
    assert found.composition == {"": {"Cu": 0.75, "Au": 0.25}}
    pairs = [c for c in found.clusters if c.order == 2]
    assert [c.target for c in pairs] == pytest.approx([0.25] * len(pairs))
    assert pair_correlations(found.atoms, 2.7)[0] == pytest.approx(pairs[0].value)


def test_equal_seeds_give_equal_structures_and_leave_the_global_generator_alone():
    random.seed(5)
    before = random.getstate()
    one, two, other = (
        special_quasirandom_structure(bulk("Cu"), {"Cu": 0.25, "Ni": 0.75}, supercell=[3, 2, 2], seed=s, n_steps=50)
        for s in (1, 1, 2)
    )
    assert one.atoms == two.atoms
    assert one.atoms != other.atoms
    assert random.getstate() == before


def test_given_supercell_keeps_its_shape():
    parent = bulk("Fe", cubic=True)
    matrix = np.array([[2, 0, 0], [1, 2, 0], [0, 0, 2]])
    found = special_quasirandom_structure(parent, {"Fe": 0.5, "Cr": 0.5}, supercell=matrix, seed=0, n_steps=50)
    assert np.allclose(found.atoms.cell.array, matrix @ parent.cell.array)
    assert len(found.atoms) == 16


def test_only_named_sites_are_decorated():
    salt = bulk("NaCl", "rocksalt", a=5.6)
    found = special_quasirandom_structure(salt, {"Na": {"Na": 0.5, "K": 0.5}}, 16, seed=1, n_steps=200)
    assert found.composition == {"Na": {"Na": 0.5, "K": 0.5}}
    symbols = found.atoms.get_chemical_symbols()
    assert [symbols.count(s) for s in ("Na", "K", "Cl")] == [4, 4, 8]
    i, j = neighbor_list("ij", found.atoms, 2.9)
    assert {symbols[b] for a, b in zip(i, j, strict=True) if symbols[a] == "Cl"} == {"Na", "K"}


def test_three_elements_on_a_lattice_with_two_sites():
    found = special_quasirandom_structure(
        bulk("Ti", "hcp"), {"Ti": 0.5, "Al": 0.25, "V": 0.25}, 16, seed=0, n_steps=500
    )
    assert [found.atoms.symbols.count(s) for s in ("Ti", "Al", "V")] == [8, 4, 4]
    assert found.rms_error < 0.2


def test_composition_that_does_not_fit():
    fcc = bulk("Cu")
    with pytest.raises(InvalidInputError, match=r"Cu 0.75, Au 0.25; cells of 4, 8, 12, 16 atoms do, or use rounding"):
        special_quasirandom_structure(fcc, {"Cu": 0.75, "Au": 0.25}, 10, seed=0)
    near = special_quasirandom_structure(fcc, {"Cu": 0.7, "Au": 0.3}, 8, seed=0, rounding="nearest", n_steps=50)
    assert near.composition == {"": {"Cu": 0.75, "Au": 0.25}}
    with pytest.raises(InvalidInputError, match="cells of 20,"):
        special_quasirandom_structure(fcc, {"Cu": 0.95, "Au": 0.05}, 8, seed=0, rounding="nearest")
    third = special_quasirandom_structure(fcc, {"Cu": 0.333, "Au": 0.667}, 12, seed=0, n_steps=50)
    assert third.atoms.symbols.count("Cu") == 4


@pytest.mark.parametrize(
    ("composition", "kwargs", "message"),
    [
        ({"Cu": 0.5, "Au": 0.6}, {"n_atoms": 8}, "sum to 1"),
        ({"Cu": 0.5, "Qq": 0.5}, {"n_atoms": 8}, "Qq"),
        ({"Cu": 1.0}, {"n_atoms": 8}, "more than one element"),
        ({"Ni": HALF}, {"n_atoms": 8}, "no Ni site"),
        ({"Cu": HALF, "Au": 0.5}, {"n_atoms": 8}, "mixes"),
        (HALF, {}, "by n_atoms or by supercell"),
        (HALF, {"n_atoms": 0}, "no multiple"),
        (HALF, {"supercell": [1.5, 1, 1]}, "whole numbers"),
    ],
)
def test_bad_input(composition, kwargs, message):
    with pytest.raises(InvalidInputError, match=message):
        special_quasirandom_structure(bulk("Cu"), composition, seed=0, **kwargs)


def test_an_element_on_two_sublattices_is_refused():
    with pytest.raises(InvalidInputError, match="one sublattice"):
        special_quasirandom_structure(
            bulk("NaCl", "rocksalt", a=5.6), {"Na": {"Na": 0.5, "Cl": 0.5}}, supercell=[2, 2, 2], seed=0
        )


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=4), n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1)
)
@settings(max_examples=60, deadline=None)
def test_random_alloy_counts_are_the_share_within_one_atom(weights, n, seed):
    shares = dict(zip(("Cu", "Au", "Ni", "Pd"), np.array(weights) / sum(weights), strict=False))
    sites = Atoms("H" * n, np.random.default_rng(0).random((n, 3)), cell=[9, 9, 9], pbc=True)
    alloy = random_alloy(sites, shares, seed)
    assert len(alloy) == n
    for symbol, share in shares.items():
        assert abs(alloy.symbols.count(symbol) - share * n) < 1
        if abs(share * n - round(share * n)) < 1e-9:
            assert alloy.symbols.count(symbol) == round(share * n)
    assert np.array_equal(alloy.positions, sites.positions)


def test_random_alloy_is_right_on_average_and_on_every_site():
    sites = bulk("Cu").repeat((2, 2, 1))
    alloys = [random_alloy(sites, {"Cu": 0.9, "Au": 0.1}, np.random.default_rng(s)) for s in range(2000)]
    gold = np.mean([alloy.symbols == "Au" for alloy in alloys], axis=0)
    assert gold == pytest.approx([0.1] * 4, abs=0.03)
    assert gold.mean() == pytest.approx(0.1, abs=0.015)
    assert random_alloy(sites, HALF, 3) == random_alloy(sites, HALF, 3)
    with pytest.raises(InvalidInputError, match="sum to 1"):
        random_alloy(sites, {"Cu": 0.9}, 0)
