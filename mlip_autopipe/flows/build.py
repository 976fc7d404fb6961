"""From a plan to its flow: one Maker per goal."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.system import SystemConfig

if TYPE_CHECKING:
    from jobflow import Flow

LEARN = "mlip_autopipe.flows.otf:OTFMaker"
MAKERS: dict[tuple[str, str], str] = {
    ("elastic", "reference"): "mlip_autopipe.flows.elastic:ElasticMaker",
    ("elastic", "potential"): LEARN,
    ("equilibrate", "potential"): LEARN,
    ("diffusion", "potential"): LEARN,
    ("potential", "potential"): LEARN,
}
"""Maker by goal and way, imported when it is asked for."""


def build_flow(system: SystemConfig) -> Flow:
    """Return the jobflow Flow of a plan.

    Raises
    ------
    InvalidInputError
        No Maker exists for the plan's goal.
    """
    target = MAKERS.get((system.goal, system.via))
    if target is None:
        available = ", ".join(dict.fromkeys(goal for goal, _ in MAKERS))
        raise InvalidInputError(f"goal {system.goal!r} is not available in this version; available: {available}")
    module, name = target.split(":")
    flow: Flow = getattr(importlib.import_module(module), name)(name=system.project_name).make(system)
    return flow
