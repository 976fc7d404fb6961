"""Plans of cheap systems."""

from collections.abc import Callable
from typing import Any

import pytest

from mlip_autopipe.heuristics.engine import HeuristicEngine
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.system import SystemConfig


@pytest.fixture
def plan() -> Callable[..., SystemConfig]:
    def make(elements: str = "Cu", crystal_structure: str = "fcc", **more: Any) -> SystemConfig:
        user = parse_user_config(
            {
                "project_name": "test",
                "target_system": {"elements": elements.split(), "crystal_structure": crystal_structure},
                "simulation_goal": "elastic",
                "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
                **more,
            }
        )
        return HeuristicEngine().expand(user)

    return make
