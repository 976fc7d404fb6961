"""One Maker per goal."""

from mlip_autopipe.flows.build import MAKERS, build_flow
from mlip_autopipe.schemas.config import GOALS


def test_the_flow_of_a_plan(plan):
    flow = build_flow(plan())
    assert flow.name == "test"
    assert flow.output is not None


def test_every_goal_has_a_maker():
    assert {goal for goal, _ in MAKERS} == set(GOALS)
