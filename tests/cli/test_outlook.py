"""How far a run has come, in a sentence."""

from __future__ import annotations

from typing import Any

import mongomock
import pytest

from mlip_autopipe.cli.outlook import Outlook


@pytest.fixture
def db():
    return mongomock.MongoClient()["test"]


def put(db: Any, **output: Any) -> None:
    key = {k: output[k] for k in ("kind", "number") if k in output}
    document = {"uuid": f"r:{key}", "output": {"run_id": "r", **output}}
    db["outputs"].replace_one({f"output.{k}": v for k, v in key.items()}, document, True)


def state(db: Any, phase: str) -> None:
    put(db, kind="learning_state", phase=phase, generation=4, used=[{}] * 9, potential_sha256="p")


def test_a_run_that_does_not_learn_has_none(db):
    assert Outlook(db, "r").sentence() is None


def test_learning_says_generation_phase_and_labels(db):
    state(db, "explore")
    assert Outlook(db, "r").sentence() == "learning, generation 5: exploring, 9 labels"


def test_production_says_how_much_is_left_once_its_pace_is_known(db):
    now = 0.0
    state(db, "finished")
    outlook = Outlook(db, "r", clock=lambda: now)
    assert outlook.sentence() is None
    common = {"kind": "diffusion_run", "potential_sha256": "p", "wanted_steps": 1000}
    put(db, **common, number=0, step=100, state="running", stage="production")
    put(db, **common, number=1, step=900, state="running", stage="lattice")
    db["outputs"].insert_one({"uuid": "of a job", "output": {"run_id": "r", **common, "step": 7, "state": "running"}})
    assert outlook.sentence() == "production: 5 % of 2 runs, 2 going"
    now = 60.0
    put(db, **common, number=0, step=1000, state="finished", stage="production")
    # 900 steps a minute, 1000 to go
    assert outlook.sentence() == "production: 50 % of 2 runs, 1 going, about 70 s left at this pace"


def test_runs_with_a_potential_of_yesterday_do_not_count(db):
    state(db, "finished")
    put(db, kind="diffusion_run", potential_sha256="old", number=0, wanted_steps=10, step=5, state="running")
    assert Outlook(db, "r").sentence() is None
