"""How the loop is set up for a material and a goal."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.geometry import minkowski_reduce
from pymatgen.core import Lattice, Structure

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.generation.prototypes import prototype_structure
from mlip_autopipe.heuristics.engine import HeuristicEngine
from mlip_autopipe.heuristics.learning import MIN_ATOMS, choose_supercell, explored_temperatures, time_step_fs
from mlip_autopipe.schemas.loading import parse_user_config


@pytest.fixture
def learning(expand):
    def make(elements=("Cu",), goal="elastic", **more):
        return expand({"elements": list(elements)}, simulation_goal=goal, via="potential", **more)

    return make


class TestTemperatures:
    def test_fractions_of_the_melting_point_from_cold_to_hot(self):
        found, why = explored_temperatures("potential", None, 1358.0)
        assert found == [250.0, 550.0, 800.0, 1100.0]
        assert "1358 K" in why
        assert explored_temperatures("elastic", None, 1358.0)[0][-1] < 1358 / 2

    def test_soft_crystals_are_not_frozen(self):
        found, _ = explored_temperatures("potential", None, 84.0)  # argon
        assert min(found) >= 50
        assert len(set(found)) == len(found)

    def test_what_is_asked_for_is_explored_and_a_little_more(self):
        assert explored_temperatures("equilibrate", [600.0, 300.0], 1358.0)[0] == [300.0, 600.0, 900.0]
        assert explored_temperatures("potential", [600.0, 300.0], 1358.0)[0] == [300.0, 600.0]

    def test_one_temperature_is_approached_from_below(self):
        assert explored_temperatures("potential", [800.0], None)[0] == [400.0, 800.0]

    def test_without_a_melting_point_there_is_a_usual_choice(self):
        found, why = explored_temperatures("elastic", None, None)
        assert found == [300.0, 600.0]
        assert "no melting point" in why


@pytest.mark.parametrize(("element", "step"), [("Al", 2.0), ("Cu", 3.0), ("Li", 1.0), ("C", 1.5)])
def test_the_time_step_follows_the_lightest_atom(element, step):
    assert time_step_fs(prototype_structure([element], "diamond")) == step
    heavy = Structure(Lattice.cubic(4), [element, "Au"], [[0, 0, 0], [0.5] * 3])
    assert time_step_fs(heavy) == step


@pytest.mark.parametrize("name", ["fcc", "bcc", "hcp", "diamond", "sc"])
def test_the_supercell_is_large_enough_and_compact(name):
    structure = prototype_structure(["Cu"], name)
    matrix, n_atoms = choose_supercell(structure, MIN_ATOMS)
    assert MIN_ATOMS <= n_atoms <= 1.7 * MIN_ATOMS + len(structure)
    cell = np.array(matrix) @ structure.lattice.matrix
    assert abs(np.linalg.det(np.array(matrix))) * len(structure) == pytest.approx(n_atoms)
    # images are farther apart than in a cube of the same volume, as in a close-packed arrangement
    shortest = np.linalg.norm(minkowski_reduce(cell)[0], axis=1).min()
    assert shortest > 1.0 * abs(np.linalg.det(cell)) ** (1 / 3)


def test_the_supercell_is_one_of_the_primitive_cell():
    structure = prototype_structure(["Ni"], "fcc")
    matrix, n_atoms = choose_supercell(structure, 32)
    assert len(make_supercell(bulk("Ni"), np.array(matrix))) == n_atoms


class TestChoices:
    def test_cheap_references_are_asked_more_often(self, learning):
        cheap = learning(overrides={"reference.cheap": True}).otf
        expensive = learning(overrides={"reference.cheap": False}).otf
        assert cheap.segment_steps < expensive.segment_steps
        assert cheap.audits_per_temperature > expensive.audits_per_temperature
        assert cheap.walkers == 1
        assert expensive.walkers >= 1

    def test_walkers_of_an_expensive_reference_use_the_cores(self, learning):
        plan = learning(overrides={"reference.cheap": False}, resources={"cores": 3})
        assert plan.otf.walkers == 3

    def test_the_trigger_follows_the_target(self, learning):
        usual = learning().otf
        strict = learning(overrides={"otf.target_force_error_eV_per_A": 0.01}).otf
        assert usual.force_std_trigger_eV_per_A == pytest.approx(2.5 * usual.target_force_error_eV_per_A)
        assert strict.force_std_trigger_eV_per_A == pytest.approx(0.025)

    def test_the_random_arm_needs_held_out_labels(self, learning):
        assert learning().otf.held_out == 0
        assert learning(overrides={"otf.control_arm": "random"}).otf.held_out > 0
        assert learning(goal="potential").otf.held_out > 0

    def test_the_watch_goes_by_its_cost_unless_runs_shall_be_repeatable(self, learning):
        assert learning().otf.check_every is None
        assert learning(overrides={"otf.check_every": 10}).otf.check_every == 10
        with pytest.raises(InvalidInputError, match="check_every should be greater than or equal to 1"):
            learning(overrides={"otf.check_every": 0})

    def test_cells_that_are_not_cubic_change_their_shape(self, learning):
        assert learning(["Cu"]).otf.ensemble == "npt"
        assert learning(["Mg"]).otf.ensemble == "npt_anisotropic"

    def test_every_choice_has_a_reason(self, learning):
        plan = learning()
        for name in type(plan.otf).model_fields:
            assert plan.reasons[f"otf.{name}"].reason, name


@pytest.mark.parametrize("temperatures_K", [None, [300.0], [200.0, 900.0]])
@pytest.mark.parametrize("element", ["Cu", "K"])
def test_learning_reaches_as_hot_as_the_runs_that_use_the_potential(element, temperatures_K):
    user = {
        "project_name": "hot",
        "target_system": {"elements": [element]},
        "simulation_goal": "equilibrate",
        **({} if temperatures_K is None else {"temperatures_K": temperatures_K}),
    }
    plan = HeuristicEngine().expand(parse_user_config(user))
    assert max(plan.otf.temperatures_K) >= max(plan.equilibrate.temperatures_K)
