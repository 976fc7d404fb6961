"""One Maker per goal."""

import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.flows.build import MAKERS, build_flow


def test_the_flow_of_a_plan(plan):
    flow = build_flow(plan())
    assert flow.name == "test"
    assert flow.output is not None


def test_goals_without_a_maker_are_refused(plan):
    system = plan().model_copy(update={"goal": "phase_diagram"})
    with pytest.raises(InvalidInputError, match="available: elastic"):
        build_flow(system)
    assert {goal for goal, _ in MAKERS} == {"elastic", "equilibrate", "potential", "diffusion"}
