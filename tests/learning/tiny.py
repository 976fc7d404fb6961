"""Plans that learn nickel by EMT in a second, and one finished run that many tests look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore

from mlip_autopipe.flows.otf import OTFMaker
from mlip_autopipe.heuristics.engine import HeuristicEngine
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.otf import GenerationDocument, LearningState, OTFDocument, OTFSettings
from mlip_autopipe.schemas.system import SystemConfig
from tests.learning.calculators import COMPUTED

WATCHED = "tests.learning.calculators.WatchedEMT"
SMALL: dict[str, Any] = {
    "segment_steps": 20,
    "temperatures_K": [300.0],
    "supercell": [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
    "audits_per_temperature": 1,
    "seed_structures": 3,
    "defect_seeds": 0,
    "draws": 2,
    "held_out": 2,
    "held_out_strain": 0.0,
    "max_refinements": 1,
    "pool_labels": 0,
    "melt_temperature_K": None,
    # otherwise the watch goes by measured time, and no run is like another
    "check_every": 5,
}

RICH: dict[str, Any] = {
    "temperatures_K": [300.0, 900.0],
    "audits_per_temperature": 2,
    "force_std_trigger_eV_per_A": 0.03,
    "walkers": 2,
}
"""Both walkers, both temperatures, audits and triggers, in six generations."""


def tiny_plan(
    goal: str = "potential",
    *,
    calculator: str = WATCHED,
    cheap: bool = True,
    max_reference_calculations: int = 100,
    max_core_hours: float = 1.0,
    potential: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    **otf: Any,
) -> SystemConfig:
    """Return a plan for nickel; further keywords replace settings of the loop, `overrides` others of the plan."""
    plan = _expanded(goal, json.dumps(overrides or {}))
    assert plan.otf is not None
    backend = {"largest": 20, **(potential or {})}
    settings = {**plan.otf.model_dump(), **SMALL, "potential": backend, **otf}
    reference = {**plan.reference.parameters, "calculator": calculator}
    limits = {"max_reference_calculations": max_reference_calculations, "max_core_hours": max_core_hours}
    return plan.model_copy(
        update={
            "otf": OTFSettings.model_validate(settings),
            "reference": plan.reference.model_copy(update={"cheap": cheap, "parameters": reference}),
            "budget": plan.budget.model_copy(update=limits),
        }
    )


@cache
def _expanded(goal: str, overrides: str) -> SystemConfig:
    """Make a plan with the heuristics' own settings, once: that takes as long as a tiny run."""
    user = {
        "project_name": "ni",
        "target_system": {"elements": ["Ni"], "crystal_structure": "fcc"},
        "simulation_goal": goal,
        "via": "potential",
        "reference": {"engine": "ase", "calculator": WATCHED},
        "resources": {"cores": 2},
        "overrides": json.loads(overrides),
    }
    return HeuristicEngine().expand(parse_user_config(user))


def tiny_settings(**otf: Any) -> OTFSettings:
    """Return the loop's settings alone."""
    settings = tiny_plan().otf
    assert settings is not None
    return settings.model_copy(update=otf)


def memory_store() -> JobStore:
    """Return a connected JobStore in memory."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


@dataclass
class Ran:
    """A run that has ended, in memory."""

    system: SystemConfig
    store: JobStore
    flow: Flow
    computed: list[bytes]
    """Structures that the reference computed."""

    @property
    def records(self) -> RunRecords:
        return RunRecords(self.store, self.system.run_id)

    @property
    def state(self) -> LearningState:
        found = self.records.state()
        assert found is not None
        return found

    @property
    def learned(self) -> OTFDocument:
        return self.records.learned()

    @property
    def generations(self) -> list[GenerationDocument]:
        return self.records.generations()

    @property
    def output(self) -> Any:
        """What the flow's output refers to."""
        return self.flow.output.resolve(self.store)


def run(system: SystemConfig, store: JobStore | None = None, *, finish: str | None = "", ensure: bool = True) -> Ran:
    """Run the loop to its end with jobflow alone; by default without the goal's last job."""
    store = store or memory_store()
    flow = OTFMaker(finish=finish).make(system)
    before = len(COMPUTED)
    run_locally(flow, store=store, log=False, ensure_success=ensure)
    return Ran(system, store, flow, COMPUTED[before:])


@cache
def uninterrupted() -> Ran:
    """Return a run of the `RICH` plan that nothing disturbed: look, do not touch."""
    return run(tiny_plan(**RICH))


@cache
def finished() -> Ran:
    """Return a whole run of goal `potential` with a random arm: look, do not touch."""
    return run(tiny_plan(**{**RICH, "audits_per_temperature": 3, "control_arm": "random"}), finish=None)
