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


def test_a_structure_with_another_element_is_refused(expand, tmp_path):
    write(tmp_path / "b2.vasp", bulk("CuZn", "cesiumchloride", a=2.9), format="vasp")
    target = {"elements": ["Cu", "Au"], "structures": [str(tmp_path / "b2.vasp")]}
    with pytest.raises(InvalidInputError, match=r"holds Zn, which target_system\.elements does not"):
        expand(target, simulation_goal="phase_diagram", reference=EMT)


def test_three_elements_get_more_candidates(expand):
    three = expand({"elements": ["Cu", "Ag", "Au"]}, simulation_goal="phase_diagram", reference=EMT)
    two = expand({"elements": ["Cu", "Au"]}, simulation_goal="phase_diagram", reference=EMT)
    assert three.phase_diagram.max_candidates > two.phase_diagram.max_candidates
