import numpy as np
import pytest
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlip_autopipe.generation.enumeration import enumerate_decorations
from mlip_autopipe.generation.matching import Crystal, Distinct, distance_moments
from mlip_autopipe.generation.ordered_prototypes import decorated, prototype

VOLUMES = {"Au": 17.0, "Cu": 12.0}
DECORATIONS = [one.atoms for one in enumerate_decorations("fcc", ["Au", "Cu"], 4)]


def disguised(atoms, seed, repeat=1):
    """Return the same crystal, turned, shifted, scaled, in other vectors and with its atoms in another order."""
    rng = np.random.default_rng(seed)
    shear = np.eye(3, dtype=int)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        step = np.eye(3, dtype=int)
        step[i, j] = rng.integers(-2, 3)
        shear = step @ shear
    cell = make_supercell(atoms, np.diag([repeat, 1, 1]) @ shear)
    cell = cell[rng.permutation(len(cell))]
    turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    cell.set_cell(cell.cell.array @ turn * rng.uniform(0.8, 1.2), scale_atoms=True)
    cell.positions += rng.uniform(-3, 3, 3)
    cell.wrap()
    return cell


@given(place=st.integers(0, len(DECORATIONS) - 1), seed=st.integers(0, 2**31), repeat=st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_a_crystal_is_known_in_any_disguise(place, seed, repeat):
    atoms = DECORATIONS[place]
    other = disguised(atoms, seed, repeat)
    assert distance_moments(other) == pytest.approx(distance_moments(atoms), rel=1e-9, abs=1e-12)
    assert Crystal(atoms).is_same(Crystal(other))
    assert Crystal(other).is_same(Crystal(atoms))


def test_the_moments_alone_tell_decorations_apart():
    moments = [distance_moments(atoms) for atoms in DECORATIONS]
    keys = [Crystal(atoms).key for atoms in DECORATIONS]
    for i in range(len(moments)):
        for j in range(i):
            if keys[i] == keys[j]:
                assert np.abs(moments[i] - moments[j]).max() > 1e-2


def test_same_moments_are_not_enough():
    # mirror images have equal distances; other elements on the same sites do not
    copper, gold = Crystal(bulk("Cu")), Crystal(bulk("Au"))
    assert not copper.is_same(gold)
    fcc, stretched = bulk("Cu"), bulk("Cu", cubic=True)
    stretched.set_cell(stretched.cell * np.array([1, 1, 1.05]), scale_atoms=True)
    assert not Crystal(fcc).is_same(Crystal(stretched))
    assert Crystal(fcc).is_same(Crystal(stretched), moments=1.0, tolerances={"ltol": 0.2, "stol": 0.3, "angle_tol": 5})


def test_copies_are_not_added_but_members_of_a_family_are_not_compared():
    found = Distinct()
    l1_2 = decorated(prototype("L1_2"), ("Au", "Cu"), VOLUMES)
    assert found.add(l1_2)
    assert not found.add(disguised(l1_2, 1, repeat=2))
    assert found.add(decorated(prototype("L1_2"), ("Cu", "Au"), VOLUMES))
    assert found.add(decorated(prototype("D0_22"), ("Au", "Cu"), VOLUMES))
    assert not found.add(l1_2, family="fcc")
    l1_0 = decorated(prototype("L1_0"), ("Au", "Cu"), VOLUMES)
    assert found.add(l1_0, family="fcc", primitive=True)
    assert found.add(l1_0, family="fcc", primitive=True)
    assert not found.add(l1_0, family="bcc")
