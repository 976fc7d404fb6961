"""Plans of phase diagrams."""

from __future__ import annotations

import pytest
from ase.build import bulk
from ase.io import write

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics import missing_reasons
from mlip_autopipe.heuristics.phase_diagram import parent_of

from .conftest import EMT


@pytest.mark.parametrize(
    ("elements", "parent"),
    [(["Cu", "Au"], "fcc"), (["Fe", "Cr"], "bcc"), (["Ti", "Mg", "Al"], "hcp"), (["Ga", "In"], "fcc")],
)
def test_the_lattice_is_that_of_most_elements(elements, parent):
    assert parent_of(elements) == parent


def test_every_choice_has_a_reason_and_the_goal_covers_compositions(expand):
    system = expand({"elements": ["Cu", "Au"]}, simulation_goal="phase_diagram", reference=EMT)
    assert missing_reasons(system) == []
    plan = system.phase_diagram
    assert plan.elements == ["Au", "Cu"]
    assert plan.composition_range == {"Au": (0.0, 1.0), "Cu": (0.0, 1.0)}
    assert plan.temperatures_K is None
    assert {"Cu", "Au"} <= {one.name.split()[0] for one in system.otf.others}  # both ends are learned
    assert system.otf.pool_labels > 0
    hot = {"simulation_goal": "phase_diagram", "reference": EMT, "temperatures_K": [500, 300]}
    asked = expand({"elements": ["Cu", "Au"]}, **hot)
    assert asked.phase_diagram.temperatures_K == [300.0, 500.0]
    assert asked.otf.temperatures_K == system.otf.temperatures_K  # of the relaxed crystals, whatever is asked later


def test_vibrations_are_for_who_asks_for_them(expand):
    alloy = {"elements": ["Cu", "Au"]}
    plan = expand(alloy, simulation_goal="phase_diagram", reference=EMT).phase_diagram
    assert plan.vibrations == "none"
    assert plan.vibration_temperatures_K == [0.0, 300.0, 600.0, 900.0, 1200.0]  # they melt at 1358 and 1337 K
    hot = expand(alloy, simulation_goal="phase_diagram", reference=EMT, temperatures_K=[500, 300]).phase_diagram
    assert hot.vibration_temperatures_K == [0.0, 300.0, 500.0]
    asked = {"phase_diagram.vibrations": "harmonic", "phase_diagram.vibration_temperatures_K": [400]}
    plan = expand(alloy, simulation_goal="phase_diagram", reference=EMT, overrides=asked).phase_diagram
    assert (plan.vibrations, plan.vibration_temperatures_K) == ("harmonic", [400.0])


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("vibrations", "anharmonic", "'none', 'harmonic' or 'quasiharmonic' .*not anharmonic"),
        ("vibrations", True, "must be a word, not true"),
        ("vibration_temperatures_K", [300, -5], r"greater than or equal to 0 \(a list of numbers\)"),
        ("vibration_temperatures_K", [], "at least 1 item"),
        ("vibration_temperatures_K", list(range(21)), "at most 20 items"),
        ("vibration_temperatures_K", 300, "list of numbers"),
        ("vibration_temperature_K", [300], r"did you mean phase_diagram\.vibration_temperatures_K"),
    ],
)
def test_vibrations_that_do_not_exist_get_one_sentence(expand, name, value, sentence):
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        expand(
            {"elements": ["Cu", "Au"]},
            simulation_goal="phase_diagram",
            reference=EMT,
            overrides={f"phase_diagram.{name}": value},
        )
    assert str(caught.value).startswith("overrides: phase_diagram")
    assert "\n" not in str(caught.value)


def test_limits_and_structures_of_the_user_enter_the_plan(expand, tmp_path):
    write(tmp_path / "b2.vasp", bulk("CuAu", "cesiumchloride", a=3.1), format="vasp")
    target = {
        "elements": ["Cu", "Au"],
        "composition_range": {"Au": [0.2, 0.6]},
        "structures": [str(tmp_path / "b2.vasp")],
    }
    plan = expand(target, simulation_goal="phase_diagram", reference=EMT).phase_diagram
    assert plan.composition_range == {"Au": (0.2, 0.6), "Cu": (0.0, 1.0)}
    (given,) = plan.structures
    assert len(given["sites"]) == 2


@pytest.mark.parametrize(
    ("name", "value"), [("elements", ["Cu"]), ("composition_range", {"Cu": [0.8, 0.2]}), ("structures", [])]
)
def test_what_the_target_system_says_is_not_overridden(expand, name, value):
    with pytest.raises(InvalidInputError, match=rf"cannot set phase_diagram\.{name};.*target_system\.{name}"):
        expand(
            {"elements": ["Cu", "Au"]},
            simulation_goal="phase_diagram",
            reference=EMT,
            overrides={f"phase_diagram.{name}": value},
        )


def test_a_structure_with_another_element_is_refused(expand, tmp_path):
    write(tmp_path / "b2.vasp", bulk("CuZn", "cesiumchloride", a=2.9), format="vasp")
    target = {"elements": ["Cu", "Au"], "structures": [str(tmp_path / "b2.vasp")]}
    with pytest.raises(InvalidInputError, match=r"holds Zn, which target_system\.elements does not"):
        expand(target, simulation_goal="phase_diagram", reference=EMT)


def test_three_elements_get_more_candidates(expand):
    three = expand({"elements": ["Cu", "Ag", "Au"]}, simulation_goal="phase_diagram", reference=EMT)
    two = expand({"elements": ["Cu", "Au"]}, simulation_goal="phase_diagram", reference=EMT)
    assert three.phase_diagram.max_candidates > two.phase_diagram.max_candidates
