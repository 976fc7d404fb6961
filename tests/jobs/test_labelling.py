"""Labels for the loop: found or computed, tried twice, never beyond the budget, and no failure ends a job."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import bulk

from mlip_autopipe.jobs.labelling import TRIES, Labeller, labeller
from mlip_autopipe.reference.budget import BudgetLedger, set_limits
from mlip_autopipe.reference.labels import MAX_ATOMS, LabelStore
from mlip_autopipe.schemas.system import Budget
from tests.learning.calculators import COMPUTED
from tests.learning.tiny import tiny_plan
from tests.reference.fakes import FakeEngine, failure, fake_engine


class TwoWays(FakeEngine):
    """Notes which way it was asked to compute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ways: list[str] = []

    def compute(self, atoms: Any) -> Any:
        self.ways.append("as planned")
        return super().compute(atoms)

    def compute_harder(self, atoms: Any) -> Any:
        self.ways.append("harder")
        return super().compute(atoms)


@pytest.fixture
def engine() -> TwoWays:
    return TwoWays(fake_engine().settings)


@pytest.fixture
def make(memory_jobstore, engine):
    def labeller_of(run_id: str = "run-1", limit: int = 10) -> Labeller:
        budget = BudgetLedger(memory_jobstore, run_id, max_reference_calculations=limit, max_core_hours=1.0)
        return Labeller(LabelStore(memory_jobstore), engine, budget, run_id)

    return labeller_of


@pytest.fixture
def nacl():
    return bulk("NaCl", "rocksalt", a=5.6)


def test_a_label_is_computed_once(make, engine, nacl):
    found = make().label(nacl)
    assert found.state == "done"
    assert found.label.label_id == found.label_id == make().name_of(nacl)
    assert make().label(nacl).label == found.label
    assert engine.ways == ["as planned"]


def test_after_a_failure_the_harder_way_is_tried(make, engine, nacl):
    engine.fails = [failure("sloshing")]
    found = make().label(nacl)
    assert (found.state, found.label.tries) == ("done", 2)
    assert engine.ways == ["as planned", "harder"]


def test_what_failed_twice_is_given_up_and_its_reason_kept(make, engine, nacl):
    engine.fails = [failure("sloshing"), failure("still sloshing")]
    found = make().label(nacl)
    assert (found.state, found.reason, found.label.state) == ("failed", "still sloshing", "failed")
    again = make().label(nacl)
    assert (again.state, again.reason) == ("failed", "still sloshing")
    assert engine.ways == ["as planned", "harder"]
    assert make().find(nacl).state == "failed"


def test_a_job_killed_after_the_first_try_leaves_one_harder_try(make, engine, nacl, monkeypatch):
    engine.fails = [failure("sloshing"), failure("sloshing"), failure("sloshing")]
    with monkeypatch.context() as patch:
        patch.setattr("mlip_autopipe.jobs.labelling.TRIES", 1)
        assert make().label(nacl).state == "failed"
    assert make().label(nacl).state == "failed"
    assert engine.ways == ["as planned", "harder"]
    assert len(engine.fails) == 1


def test_what_failed_in_another_run_is_tried_the_harder_way_once(make, engine, nacl):
    engine.fails = [failure("no")] * 3
    assert make("other").label(nacl).state == "failed"
    assert make("mine").label(nacl).state == "failed"
    assert make("mine").label(nacl).state == "failed"
    assert engine.ways == ["as planned", "harder", "harder"]


def test_a_spent_budget_is_an_answer_and_nothing_is_computed(make, engine, nacl):
    small = make(limit=1)
    assert small.label(nacl).state == "done"
    found = small.label(bulk("Cu"))
    assert (found.state, found.label) == ("no_budget", None)
    assert "raise resources.max_reference_calculations" in found.reason
    assert len(engine.ways) == 1
    # what is there costs nothing
    assert small.label(nacl).state == "done"


def test_a_second_try_costs_no_second_calculation_of_the_budget(make, engine, nacl):
    engine.fails = [failure("sloshing")]
    assert make(limit=1).label(nacl).state == "done"


def test_finding_computes_nothing(make, engine, nacl):
    assert make().find(nacl).state == "no_budget"
    assert engine.ways == []
    make().label(nacl)
    assert make().find(nacl).state == "done"


def test_a_structure_that_cannot_be_a_document_is_a_failed_label(make, engine):
    n = round((MAX_ATOMS + 1) ** (1 / 3)) + 1
    found = make().label(bulk("Cu") * (n, n, n))
    assert found.state == "failed"
    assert f"at most {MAX_ATOMS}" in found.reason
    assert engine.ways == []


def test_other_errors_are_the_job_s_own(make, engine, nacl):
    engine.fails = [OSError(28, "no space left")]
    with pytest.raises(OSError, match="no space"):
        make().label(nacl)


class TestForARun:
    def test_the_reserve_is_kept_and_raised_limits_hold(self, memory_jobstore):
        plan = tiny_plan(max_reference_calculations=2)
        with labeller(memory_jobstore, plan, reserve=1) as labels:
            assert labels.label(bulk("Ni", a=3.5)).state == "done"
            assert labels.label(bulk("Ni", a=3.6)).state == "no_budget"
        with labeller(memory_jobstore, plan) as labels:
            assert labels.label(bulk("Ni", a=3.6)).state == "done"
            assert labels.label(bulk("Ni", a=3.7)).state == "no_budget"
        set_limits(memory_jobstore, plan.run_id, Budget(max_reference_calculations=3, max_core_hours=1.0, cores=1))
        with labeller(memory_jobstore, plan) as labels:
            assert labels.label(bulk("Ni", a=3.7)).state == "done"

    def test_the_engine_is_closed_whatever_happens(self, memory_jobstore, monkeypatch):
        closed: list[int] = []
        monkeypatch.setattr("mlip_autopipe.reference.ase_engine.ASEEngine.close", lambda self: closed.append(1))
        before = len(COMPUTED)
        with pytest.raises(KeyError), labeller(memory_jobstore, tiny_plan()):
            raise KeyError
        assert closed == [1]
        assert len(COMPUTED) == before


def test_twice_is_what_is_promised():
    assert TRIES == 2
