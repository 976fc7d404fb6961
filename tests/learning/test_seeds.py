"""The first training structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlip_autopipe.learning.seeds import seed_structures
from mlip_autopipe.learning.starts import Start
from mlip_autopipe.potentials.dataset import atoms_of
from tests.learning.tiny import tiny_settings

PRIMITIVE = bulk("Ni", a=3.52)
CUBE = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
DOUBLE = ((2, 0, 0), (0, 2, 0), (0, 0, 2))


def nickel(supercell=CUBE) -> list[Start]:
    return [Start("Ni", PRIMITIVE, supercell)]


def strain_of(cell: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The symmetric small strain between two cells."""
    gradient = np.linalg.solve(start, cell).T
    return (gradient + gradient.T) / 2 - np.eye(3)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9])
def test_supercells_and_primitive_cells_in_turn_and_rattles_that_span_the_range(n):
    settings = tiny_settings(seed_structures=n)
    seeds = [atoms_of(one.structure) for one in seed_structures(nickel(DOUBLE), settings)]
    assert [len(one) for one in seeds] == [8 if k % 2 == 0 else 1 for k in range(n)]
    (start,) = nickel(DOUBLE)
    large = start.cell
    rattles = []
    for one in seeds[::2]:
        ideal = large.get_scaled_positions() @ one.cell.array
        moved = one.positions - ideal
        fractional = moved @ np.linalg.inv(one.cell.array)
        moved = (fractional - np.round(fractional)) @ one.cell.array
        rattles.append(float(np.sqrt((moved**2).mean())))
    # the largest is the largest that is asked for, as far as 24 random numbers show it
    assert max(rattles) < 1.6 * settings.seed_rattle_A
    if n > 2:
        assert rattles[0] < 0.5 * settings.seed_rattle_A
        assert rattles[-1] > 0.5 * settings.seed_rattle_A


def test_strains_stay_within_their_limit_and_are_not_small():
    settings = tiny_settings(seed_structures=12, seed_strain=0.04)
    primitive = [
        strain_of(atoms_of(one.structure).cell.array, PRIMITIVE.cell.array)
        for one in seed_structures(nickel(), settings)[1::2]
    ]
    assert max(np.abs(one).max() for one in primitive) <= 0.04 + 1e-9
    assert max(np.abs(one).max() for one in primitive) > 0.01


def test_the_same_seed_gives_the_same_structures_and_another_one_others():
    first, again = (seed_structures(nickel(), tiny_settings(seed=3)) for _ in range(2))
    assert first == again
    assert seed_structures(nickel(), tiny_settings(seed=4))[0].structure != first[0].structure


def test_they_are_seeds_that_count_fully():
    for one in seed_structures(nickel(), tiny_settings()):
        assert one.origin == "seed"
        assert one.detail
        assert one.force_weights is None
        assert (one.energy_weight, one.stress_weight) == (1.0, 1.0)


def test_point_defects_follow_in_turn():
    seeds = seed_structures(nickel(DOUBLE), tiny_settings(seed_structures=1, defect_seeds=2))
    assert [len(one.structure["numbers"]) for one in seeds] == [8, 7, 9]
    assert "vacancy" in seeds[1].detail
    assert "interstitial" in seeds[2].detail


def test_several_crystals_share_the_seeds_and_every_one_gets_cells_of_both_kinds():
    copper = Start("Cu", bulk("Cu", a=3.61), DOUBLE)
    seeds = seed_structures([*nickel(DOUBLE), copper], tiny_settings(seed_structures=4, defect_seeds=2))
    assert [one.start for one in seeds] == [0, 0, 1, 1, 0, 1]
    for one in seeds:
        assert set(one.structure["numbers"]) == {29 if one.start else 28}
        assert ("Cu" if one.start else "Ni") in one.detail
    assert [len(one.structure["numbers"]) for one in seeds[:4]] == [8, 1, 8, 1]
    assert "vacancy" in seeds[4].detail
    assert "Cu interstitial" in seeds[5].detail
