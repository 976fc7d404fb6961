"""A run that ended at its budget goes on with a larger one: the same run, with all that it had learned."""

from __future__ import annotations

from typing import Any

import pytest

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.learning_run import LearningRun
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.jobs.reopening import reopen_if_raised
from mlip_autopipe.reference.budget import current_limits, refusal_of, set_limits
from mlip_autopipe.schemas.system import SystemConfig
from tests.jobs.test_equilibrate import small_plan
from tests.jobs.test_learn import KilledError, kill_once, spent
from tests.learning.tiny import RICH, Ran, memory_store, run, tiny_plan, uninterrupted

STRICT: dict[str, Any] = {"temperatures_K": [300.0, 600.0], "held_out": 0, "max_refinements": 6}

pytestmark = pytest.mark.usefixtures("clean_dir")


def with_limit(plan: SystemConfig, limit: int, **more: Any) -> SystemConfig:
    budget = {"max_reference_calculations": limit, **more}
    return plan.model_copy(update={"budget": plan.budget.model_copy(update=budget)})


def starved_then_raised(plan: SystemConfig, limit: int, larger: int = 100, **more: Any) -> tuple[Ran, dict, Ran]:
    """Run with a budget and then, on what that left, with a larger one; also return what was learned in between."""
    store = memory_store()
    before = run(with_limit(plan, limit), store, **more)
    assert before.learned.state == "not_enough_evidence"
    learned = before.learned.model_dump()
    return before, learned, run(with_limit(plan, larger), store, **more)


class TestPotential:
    @pytest.mark.parametrize("cheap", [True, False])
    @pytest.mark.parametrize("limit", [4, 6, 9])
    def test_it_ends_as_if_it_had_never_stopped_and_nothing_is_computed_twice(self, limit, cheap):
        before, learned, ran = starved_then_raised(tiny_plan(cheap=cheap, **RICH), limit)
        assert ran.state.phase == "finished"
        assert ran.learned.state == "done"
        assert ran.learned.missing == []
        assert "budget" not in ran.learned.stop_reason
        assert not set(before.computed) & set(ran.computed)
        assert len(set(ran.computed)) == len(ran.computed) > 0
        assert ran.learned.label_ids[: len(learned["label_ids"])] == learned["label_ids"]
        assert spent(ran) == limit + len(ran.computed) == ran.learned.n_reference_calculations
        assert {one.temperature_K for one in ran.learned.audit_errors} == set(RICH["temperatures_K"])
        # the seeds that the first budget did not allow came first
        assert ran.learned.labels_by_origin["seed"] == uninterrupted().learned.labels_by_origin["seed"]
        assert [one.generation for one in ran.generations] == list(range(1, ran.learned.generations + 1))

    def test_labels_that_judged_go_on_judging_and_are_not_trained_on(self):
        _, learned, ran = starved_then_raised(tiny_plan(**RICH), 8)
        assert len(learned["held_out_label_ids"]) == 2
        assert ran.learned.held_out_label_ids == learned["held_out_label_ids"]
        assert not set(ran.learned.held_out_label_ids) & set(ran.learned.label_ids)
        assert ran.learned.held_out.labels == 2
        assert all(one.origin != "held_out" for generation in ran.generations for one in generation.fresh_errors)

    def test_the_random_arm_gets_as_many_more(self):
        plan = tiny_plan(**{**RICH, "control_arm": "random"})
        _, learned, ran = starved_then_raised(plan, 8)
        assert learned["control"] is None
        origins = ran.learned.labels_by_origin
        assert origins["random"] == sum(n for k, n in origins.items() if k not in ("seed", "held_out", "random"))
        assert ran.learned.control is not None
        assert BlobStore(ran.store).has(ran.learned.control_potential_sha256)

    def test_step_by_step(self):
        plan, store, computed = tiny_plan(**RICH), memory_store(), []
        for limit in (4, 5, 7, 10, 100):
            ran = run(with_limit(plan, limit), store)
            computed += ran.computed
            assert len(computed) == len(set(computed)) <= limit
        assert ran.learned.state == "done"

    def test_the_same_again_computes_nothing_and_says_the_same(self):
        plan = tiny_plan(**RICH)
        before, learned, _ = starved_then_raised(plan, 8, larger=8)
        again = run(with_limit(plan, 8), before.store)
        assert again.computed == []
        assert again.learned.model_dump() == learned

    def test_core_hours_count_too(self):
        plan, store = tiny_plan(**RICH), memory_store()
        before = run(with_limit(plan, 100, max_core_hours=1e-6), store)
        assert refusal_of(store, plan.run_id).name == "max_core_hours"
        more_labels = run(with_limit(plan, 200, max_core_hours=1e-6), store)
        assert more_labels.computed == [], "the other limit was not what stopped it"
        after = run(with_limit(plan, 100, max_core_hours=1.0), store)
        assert after.learned.state == "done"
        assert not set(before.computed) & set(after.computed)

    @pytest.mark.parametrize("cheap", [True, False])
    def test_a_limit_that_is_raised_before_the_run_has_ended_lets_it_go_on_at_once(self, monkeypatch, cheap):
        plan, store = tiny_plan(cheap=cheap, **RICH), memory_store()
        hold_out = LearningRun.hold_out

        def meanwhile(self: LearningRun) -> None:
            set_limits(store, plan.run_id, with_limit(plan, 100).budget)
            hold_out(self)

        monkeypatch.setattr(LearningRun, "hold_out", meanwhile)
        ran = run(with_limit(plan, 8), store)
        assert ran.learned.state == "done"
        assert len(ran.computed) == len(set(ran.computed)) > 8

    def test_only_labels_that_judge_were_missing(self):
        # enough for the loop, and then somebody lowered the limit
        plan, store = tiny_plan(**RICH), memory_store()
        needed = len(uninterrupted().computed)
        before = run(with_limit(plan, 100), store)
        records, state = RunRecords(store, plan.run_id), before.state
        lost = state.used.pop()
        assert lost.origin == "held_out"
        records.save_state(state.model_copy(update={"missing": ["a label (held_out) was not computed"]}))
        ledger(store, plan.run_id, {"refused": {"name": "max_reference_calculations", "limit": needed - 1}})
        ran = run(with_limit(plan, 100), store)
        assert ran.computed == []
        assert ran.learned.missing == []
        assert ran.learned.potential_sha256 == uninterrupted().learned.potential_sha256
        assert sorted(ran.learned.held_out_label_ids) == sorted(uninterrupted().learned.held_out_label_ids)


def ledger(store: Any, run_id: str, update: dict[str, Any]) -> None:
    from mlip_autopipe.reference.documents import ledger_of

    ledger_of(store).update_one({"_id": f"budget:{run_id}"}, {"$set": update})


class TestReopening:
    @pytest.fixture
    def starved(self):
        return run(with_limit(tiny_plan(**RICH), 8))

    def test_a_limit_that_was_not_raised_changes_nothing(self, starved):
        for limit in (7, 8):
            assert not reopen_if_raised(starved.store, with_limit(starved.system, limit))
        assert starved.state.phase == "finished"

    def test_a_run_that_was_refused_nothing_is_not_reopened(self):
        ran = run(tiny_plan())
        assert not reopen_if_raised(ran.store, with_limit(ran.system, 1000))
        assert ran.state.phase == "finished"

    def test_a_loop_that_has_not_ended_is_left_alone(self, starved):
        starved.records.save_state(starved.state.model_copy(update={"phase": "evaluate"}))
        assert not reopen_if_raised(starved.store, with_limit(starved.system, 100))
        assert starved.state.phase == "evaluate"

    def test_limits_that_were_raised_before_hold(self, starved):
        set_limits(starved.store, starved.system.run_id, with_limit(starved.system, 50, max_core_hours=7.0).budget)
        assert reopen_if_raised(starved.store, with_limit(starved.system, 40))
        limits = current_limits(starved.store, starved.system.run_id, starved.system.budget)
        assert (limits.max_reference_calculations, limits.max_core_hours) == (50, 7.0)

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("where", ["set_limits", "RunRecords.save_state", "forget_refusal"])
    def test_killed_on_the_way_it_is_done_by_the_next(self, starved, monkeypatch, where, moment):
        plan = with_limit(starved.system, 100)
        with monkeypatch.context() as patch:
            kill_once(patch, f"mlip_autopipe.jobs.reopening:{where}", 1, moment)
            with pytest.raises(KilledError):
                reopen_if_raised(starved.store, plan)
        ran = run(plan, starved.store)
        assert ran.learned.state == "done"
        assert not set(ran.computed) & set(starved.computed)


class TestOtherGoals:
    def test_elastic_constants_are_measured_anew(self):
        before, learned, ran = starved_then_raised(
            tiny_plan("elastic", target_property_error=8e-3, **STRICT), 8, finish=None
        )
        assert_better(before, learned, ran)
        assert ran.output.n_reference_calculations == len(set(ran.output.provenance["label_ids"]))

    def test_runs_at_constant_pressure_begin_anew_with_the_better_potential(self):
        plan = small_plan(target_property_error=5e-4, **STRICT)
        before, learned, ran = starved_then_raised(plan, 8, finish=None)
        assert_better(before, learned, ran)
        for kelvin in plan.equilibrate.temperatures_K:
            progress = ran.records.find(f"npt:{kelvin:g}")
            assert (progress["state"], progress["potential_sha256"]) == ("finished", ran.learned.potential_sha256)
            assert all(BlobStore(ran.store).has(name) for name in progress["series_sha256"])


def assert_better(before: Ran, learned: dict[str, Any], ran: Ran) -> None:
    """The new document rests on another potential, and on every label that the first one paid for."""
    assert (before.output.state, ran.output.state) == ("not_enough_evidence", "done")
    assert ran.output.provenance["potential"]["potential_sha256"] == ran.learned.potential_sha256
    assert ran.learned.potential_sha256 != learned["potential_sha256"]
    assert not set(before.computed) & set(ran.computed)
    assert set(learned["label_ids"]) < set(ran.learned.label_ids)
