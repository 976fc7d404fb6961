"""Plans for diffusion."""

from __future__ import annotations

import numpy as np
import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics import missing_reasons

from .conftest import EMT


@pytest.fixture
def plan(expand):
    def make(target=None, **more):
        return expand(target or {"elements": ["Cu"]}, simulation_goal="diffusion", reference=EMT, **more)

    return make


def test_a_crystal_gets_several_hot_runs_each_of_which_is_learned_before(plan):
    found = plan()
    settings = found.diffusion
    melting = found.material.melting_point_K
    assert settings.phase == "solid"
    assert len(settings.temperatures_K) >= 3
    assert all(0.6 * melting < kelvin < melting for kelvin in settings.temperatures_K)
    assert set(settings.temperatures_K) < set(found.otf.temperatures_K)
    assert max(found.otf.temperatures_K) > max(settings.temperatures_K)
    assert missing_reasons(found) == []


def test_a_metal_moves_by_a_vacancy_which_is_learned_too(plan):
    found = plan()
    assert found.diffusion.vacancies == 1
    (defective,) = found.otf.others
    assert "vacancy" in defective.name
    sites = round(abs(np.linalg.det(np.array(found.otf.supercell)))) * found.material.n_atoms
    assert abs(len(defective.structure["sites"]) + 1 - sites) <= 0.3 * sites


def test_an_ionic_conductor_needs_none(expand):
    target = {"elements": ["Ag", "I"], "crystal_structure": "zincblende"}
    found = expand(target, simulation_goal="diffusion", temperatures_K=[500, 600, 700])
    assert found.diffusion.vacancies == 0
    assert found.otf.others == []


def test_temperatures_above_melting_ask_for_the_liquid(plan):
    found = plan(temperatures_K=[1500, 1700, 1900])
    assert found.diffusion.phase == "liquid"
    assert found.diffusion.vacancies == 0
    assert found.otf.others == []


@pytest.mark.parametrize(
    ("kelvins", "sentence"),
    [([1000, 2000], "both sides of the melting point"), ([1500, 4000], "above the boiling point")],
)
def test_impossible_temperatures(plan, kelvins, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        plan(temperatures_K=kelvins)


def test_a_time_step_follows_the_lightest_atom(plan, expand):
    heavy = plan({"elements": ["Au"]}).diffusion.time_step_fs
    light = expand({"elements": ["Li"]}, simulation_goal="diffusion").diffusion.time_step_fs
    assert light < heavy
