"""From a plan to its flow: one Maker per goal."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.schemas.system import SystemConfig

if TYPE_CHECKING:
    from jobflow import Flow

MAKERS: dict[str, str] = {"elastic": "mlip_autopipe.flows.elastic:ElasticMaker"}
"""Maker by goal, imported when the goal is asked for."""


def build_flow(system: SystemConfig) -> Flow:
    """Return the jobflow Flow of a plan.

    Raises
    ------
    InvalidInputError
        No Maker exists for the plan's goal.
    """
    if system.goal not in MAKERS:
        raise InvalidInputError(
            f"goal {system.goal!r} is not available in this version; available: {', '.join(MAKERS)}"
        )
    module, name = MAKERS[system.goal].split(":")
    flow: Flow = getattr(importlib.import_module(module), name)(name=system.project_name).make(system)
    return flow
