"""From a plan to its flow: one Maker per goal."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mlip_autopipe.schemas.system import SystemConfig

if TYPE_CHECKING:
    from jobflow import Flow

LEARN = "mlip_autopipe.flows.otf:OTFMaker"
MAKERS: dict[tuple[str, str], str] = {
    ("elastic", "reference"): "mlip_autopipe.flows.elastic:ElasticMaker",
    ("elastic", "potential"): LEARN,
    ("equilibrate", "potential"): LEARN,
    ("diffusion", "potential"): LEARN,
    ("phase_diagram", "potential"): LEARN,
    ("potential", "potential"): LEARN,
}
"""Maker by goal and way, imported when it is asked for."""


def build_flow(system: SystemConfig) -> Flow:
    """Return the jobflow Flow of a plan."""
    module, name = MAKERS[system.goal, system.via].split(":")
    flow: Flow = getattr(importlib.import_module(module), name)(name=system.project_name).make(system)
    return flow
