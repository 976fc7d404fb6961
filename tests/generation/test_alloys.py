"""Random alloys: compositions of a range, lattice constants, structures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.alloys import alloy, composition_grid, vegard

FCC_32 = ((-2, 2, 2), (2, -2, 2), (2, 2, -2))


class TestGrid:
    def test_two_elements_in_quarters_the_middle_first(self):
        grid = composition_grid(["Cu", "Au"])
        assert grid[0] == {"Cu": 0.5, "Au": 0.5}
        assert sorted(one["Au"] for one in grid) == [0, 0.25, 0.5, 0.75, 1]

    def test_three_elements_corners_middles_of_edges_and_centre(self):
        grid = composition_grid(["Cu", "Au", "Ag"])
        assert grid[0] == pytest.approx({"Cu": 1 / 3, "Au": 1 / 3, "Ag": 1 / 3})
        assert sorted(sorted(one.values()) for one in grid[1:]) == [[0, 0, 1]] * 3 + [[0, 0.5, 0.5]] * 3

    def test_limits_move_the_corners(self):
        grid = composition_grid(["Cu", "Au"], {"Au": (0.1, 0.5)})
        assert sorted(round(one["Au"], 6) for one in grid) == [0.1, 0.2, 0.3, 0.4, 0.5]

    def test_limits_that_leave_one_composition_give_it_once(self):
        assert composition_grid(["Cu", "Au"], {"Au": (0.25, 1.0), "Cu": (0.75, 1.0)}) == [{"Cu": 0.75, "Au": 0.25}]

    def test_no_composition_is_said(self):
        with pytest.raises(InvalidInputError, match="widen the limits"):
            composition_grid(["Cu", "Au"], {"Au": (0, 0.2), "Cu": (0, 0.2)})

    @given(
        limits=st.lists(st.tuples(st.floats(0, 0.33), st.floats(0.34, 1)), min_size=2, max_size=4),
    )
    def test_every_composition_lies_within_its_limits_and_sums_to_one(self, limits):
        symbols = ["Cu", "Au", "Ag", "Pd"][: len(limits)]
        scale = 0.5 if len(limits) == 4 else 1.0  # so that the lower limits leave room
        bounds = {s: (scale * low, high) for s, (low, high) in zip(symbols, limits, strict=True)}
        if sum(high for _, high in bounds.values()) < 1:
            return
        for one in composition_grid(symbols, bounds):
            assert sum(one.values()) == pytest.approx(1)
            assert all(bounds[s][0] - 1e-6 <= x <= bounds[s][1] + 1e-6 for s, x in one.items())


class TestVegard:
    def test_is_linear_between_the_elements(self):
        copper, gold = (vegard("fcc", {symbol: 1.0}).a_A for symbol in ("Cu", "Au"))
        assert vegard("fcc", {"Cu": 0.75, "Au": 0.25}).a_A == pytest.approx(0.75 * copper + 0.25 * gold, abs=1e-4)
        # measured: 3.73 to 3.75 A for Cu3Au (Okamoto et al., Bull. Alloy Phase Diagrams 8, 454 (1987))
        assert 3.70 < vegard("fcc", {"Cu": 0.75, "Au": 0.25}).a_A < 3.76

    def test_mixes_axial_ratios_too(self):
        magnesium, titanium = (vegard("hcp", {symbol: 1.0}).c_over_a for symbol in ("Mg", "Ti"))
        found = vegard("hcp", {"Mg": 0.5, "Ti": 0.5})
        assert found.c_over_a == pytest.approx((magnesium + titanium) / 2)
        assert not found.measured


class TestAlloy:
    def test_has_the_composition_and_sits_on_the_sites_of_its_lattice(self):
        found = alloy("fcc", {"Cu": 0.75, "Au": 0.25}, FCC_32)
        assert found.structure.composition.as_dict() == {"Cu": 24, "Au": 8}
        assert found.name == "Cu24Au8 (fcc)"
        shortest = found.guess.a_A / np.sqrt(2)
        distances = found.structure.distance_matrix + 10 * np.eye(32)
        np.testing.assert_allclose(distances.min(axis=1), shortest, atol=1e-6)
        assert len(found.parent) == 1

    def test_is_random_rather_than_ordered(self):
        """Unlike pairs among nearest neighbours: 3/4 * 1/4 * 2 of all in the random alloy, half of all in L1_2."""
        found = alloy("fcc", {"Cu": 0.75, "Au": 0.25}, FCC_32)
        a = found.guess.a_A
        centre, point, _, _ = found.structure.get_neighbor_list(0.75 * a)
        numbers = np.array(found.structure.atomic_numbers)
        assert (numbers[centre] != numbers[point]).mean() == pytest.approx(0.375, abs=0.03)

    def test_a_pure_element_is_its_primitive_cell(self):
        found = alloy("bcc", {"Fe": 1.0, "Cr": 0.0}, FCC_32)
        assert len(found.structure) == 1
        assert found.name == "Fe (bcc)"

    @settings(max_examples=5, deadline=None)
    @given(share=st.floats(0.05, 0.95))
    def test_takes_the_nearest_composition_that_its_cell_can_hold(self, share):
        found = alloy("fcc", {"Cu": 1 - share, "Au": share}, FCC_32)
        assert found.structure.composition["Au"] == pytest.approx(32 * share, abs=0.5 + 1e-6)
