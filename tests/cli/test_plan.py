"""``mlip-auto plan`` shows everything and runs nothing."""

import json

from mlip_autopipe.schemas.system import SystemConfig
from tests.cli.test_app import write


def test_plan_shows_reasons_jobs_and_cost(invoke, clean_dir, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    outcome = invoke("plan", write(clean_dir / "input.yaml"))
    assert outcome.code == 0
    for word in ("elastic.strain_amplitude", "relax cell", "fit elastic tensor", "<- 1", "core-hours", "input.yaml"):
        assert word in outcome.out
    assert sorted(p.name for p in clean_dir.iterdir()) == ["input.yaml"]


def test_plan_as_json_is_the_system_config(invoke, clean_dir):
    outcome = invoke("plan", write(clean_dir / "input.yaml"), "--json")
    system = SystemConfig.model_validate(json.loads(outcome.out))
    assert system.material.formula == "Cu"
    assert system.reasons


def test_gpaw_can_be_planned_without_running_it(invoke, clean_dir):
    outcome = invoke("plan", write(clean_dir / "input.yaml", reference={"engine": "gpaw"}), "--json")
    system = SystemConfig.model_validate(json.loads(outcome.out))
    assert not system.reference.cheap
    assert system.reference.parameters["smearing"]["width"] > 0
