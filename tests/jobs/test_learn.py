"""The whole loop through jobflow alone: how it ends, and that nothing which may happen on the way changes the end."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import bson
import pytest
from jobflow import CURRENT_JOB

from mlip_autopipe.errors import BudgetExhaustedError
from mlip_autopipe.jobs import learn as module
from mlip_autopipe.jobs.learning_run import LearningRun
from mlip_autopipe.jobs.records import RecordError, RunRecords
from mlip_autopipe.reference.budget import BudgetLedger, set_limits
from mlip_autopipe.schemas.otf import OTFDocument
from mlip_autopipe.schemas.potential import PotentialDocument
from tests.learning.calculators import COMPUTED, WatchedEMT
from tests.learning.tiny import RICH, Ran, finished, memory_store, run, tiny_plan, uninterrupted

pytestmark = pytest.mark.usefixtures("clean_dir")

TEMPERATURES = set(RICH["temperatures_K"])


def assert_same_end(ran: Ran) -> None:
    """The same labels, in the same order, gave the same potential to the last bit; the same steps led there."""
    expected = uninterrupted()
    assert ran.learned.potential_sha256 == expected.learned.potential_sha256
    assert ran.learned.label_ids == expected.learned.label_ids
    assert ran.learned.held_out_label_ids == expected.learned.held_out_label_ids
    assert ran.learned.md_steps == expected.learned.md_steps
    assert len(ran.generations) == len(expected.generations)


def job_documents(ran: Ran) -> list[dict[str, Any]]:
    """What the jobs of the chain left, in order."""
    uuid = ran.flow.jobs[0].uuid
    return sorted(ran.store.query({"uuid": uuid}), key=lambda document: document["index"])


class TestTheWholeLoop:
    def test_it_goes_through_all_temperatures_with_both_walkers(self):
        ran = uninterrupted()
        assert ran.state.phase == "finished"
        assert ran.learned.state == "done"
        assert {error.temperature_K for error in ran.learned.audit_errors} == TEMPERATURES
        assert {label.walker for label in ran.state.used if label.origin in ("audit", "trigger")} == {0, 1}
        assert {"seed", "audit", "trigger", "held_out"} == set(ran.learned.labels_by_origin)
        assert ran.state.pending == []

    def test_the_output_of_the_flow_is_what_the_last_job_returned(self):
        document = finished().output
        assert isinstance(document, PotentialDocument)
        assert document.run_id == finished().system.run_id
        assert document.potential_sha256 == finished().learned.potential_sha256
        assert document.card.potential_sha256 == document.potential_sha256

    def test_without_a_last_job_it_is_what_was_learned(self):
        document = uninterrupted().output
        assert isinstance(document, OTFDocument)
        assert document == uninterrupted().learned

    def test_no_structure_is_computed_twice_and_every_one_is_counted(self):
        ran = finished()
        assert len(set(ran.computed)) == len(ran.computed) == ran.learned.n_reference_calculations
        assert sum(ran.learned.labels_by_origin.values()) == len(ran.computed)

    def test_every_generation_has_its_document(self):
        ran = finished()
        assert [one.generation for one in ran.generations] == list(range(1, ran.learned.generations + 1))
        assert sum(sum(one.new_labels.values()) for one in ran.generations) == len(ran.learned.label_ids)
        assert sum(one.md_steps for one in ran.generations) == ran.learned.md_steps
        for one in ran.generations:
            assert {"train"} <= set(one.wall_s) <= {"label", "train", "explore", "refine"}
            assert set(one.core_s) == set(one.wall_s)

    def test_no_stored_document_is_large(self):
        for document in finished().store.docs_store._collection.find({}):
            assert len(bson.encode(document)) < 100_000, document["name"]

    def test_the_same_flow_again_computes_nothing_and_says_the_same(self):
        store = memory_store()
        first = run(tiny_plan(), store, finish=None)
        again = run(tiny_plan(), store, finish=None)
        assert again.computed == []
        assert again.output.potential_sha256 == first.output.potential_sha256


class TestJobsShareTheWork:
    def test_a_chain_of_short_jobs_ends_the_same(self):
        ran = run(tiny_plan(generations_per_job=1, **RICH))
        assert_same_end(ran)
        documents = job_documents(ran)
        assert len(documents) >= ran.learned.generations
        assert [document["index"] for document in documents] == list(range(1, len(documents) + 1))

    def test_an_expensive_reference_gets_a_job_per_label_and_ends_the_same(self):
        ran = run(tiny_plan(cheap=False, **RICH))
        assert_same_end(ran)
        labelling = [document for document in ran.store.query({}) if document["name"].startswith("label ")]
        assert [document["output"] for document in labelling] == ["done"] * len(ran.computed)
        # those of a round wait for nothing but the job that asked for them
        per_generation = Counter(document["name"].rpartition("(")[2] for document in labelling)
        assert per_generation["generation 2)"] == 2
        assert len(job_documents(ran)) == 1 + len(per_generation)

    def test_a_label_job_that_comes_too_late_does_nothing(self):
        ran = uninterrupted()
        before = len(COMPUTED)
        assert in_job(ran.store, lambda: module.label_candidate.original(ran.system.run_id, "0/0/0/train/3", 0, 0)) == (
            "not wanted"
        )
        assert len(COMPUTED) == before

    def test_a_label_job_of_an_unknown_run_says_so(self):
        with pytest.raises(RecordError, match="nobody has no learning state"):
            in_job(memory_store(), lambda: module.label_candidate.original("nobody", "", 0, 0))


class TestTime:
    @pytest.mark.parametrize(
        ("left_s", "expected_s"), [(None, module.LONGEST_JOB_S), (60.0, 60.0), (1e9, module.LONGEST_JOB_S)]
    )
    def test_a_job_takes_what_the_queue_leaves_it(self, monkeypatch, left_s, expected_s):
        monkeypatch.setattr("mlip_autopipe.jobs.wall_time.seconds_left", lambda: left_s)
        assert module._seconds_for_this_job() == expected_s

    def test_a_job_whose_time_is_over_gets_on_a_little_and_does_not_take_half_an_hour(self, monkeypatch):
        monkeypatch.setattr("mlip_autopipe.jobs.wall_time.seconds_left", lambda: 0.0)
        assert module._seconds_for_this_job() == module.LEAST_JOB_S < 60

    def test_jobs_that_run_out_of_time_in_the_middle_of_dynamics_make_the_same_steps(self, monkeypatch):
        plan = tiny_plan(segment_steps=250, check_every=25)
        expected = run(plan)
        monkeypatch.setenv("MLIP_AUTOPIPE_JOB_END", str(time.time() - 1000))
        monkeypatch.setattr(module, "LEAST_JOB_S", 1.0)
        # dynamics sees a clock on which every look takes 10 ms; elsewhere time stands still
        looks = itertools.count()
        clock = SimpleNamespace(perf_counter=lambda: 0.01 * next(looks))
        standing = SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: 0.0, process_time=lambda: 0.0)
        monkeypatch.setattr("mlip_autopipe.dynamics.run.time", clock)
        monkeypatch.setattr("mlip_autopipe.jobs.learn.time", standing)
        monkeypatch.setattr("mlip_autopipe.jobs.learning_run.time", standing)
        ran = run(plan)
        names = [document["name"] for document in job_documents(ran)]
        assert names.count("learn: explore (generation 2)") >= 2
        assert [document["index"] for document in job_documents(ran)] == list(range(1, len(names) + 1))
        assert ran.learned.md_steps == expected.learned.md_steps
        assert ran.learned.potential_sha256 == expected.learned.potential_sha256
        assert ran.learned.label_ids == expected.learned.label_ids


class KilledError(Exception):
    """Ends a job in the middle of a phase."""


KILLS = [
    # where, at which call, before or after it
    ("mlip_autopipe.reference.labels:LabelStore._put", 2, "after"),
    ("mlip_autopipe.reference.ase_engine:ASEEngine.compute", 5, "before"),
    ("mlip_autopipe.jobs.learning_run:learn", 1, "after"),
    ("mlip_autopipe.jobs.learning_run:learn", 3, "before"),
    ("mlip_autopipe.jobs.learning_run:explore", 2, "before"),
    ("mlip_autopipe.jobs.learning_run:explore", 3, "after"),
    ("mlip_autopipe.jobs.blobs:BlobStore.put", 2, "after"),
    ("mlip_autopipe.jobs.records:RunRecords.save_generation", 2, "after"),
    ("mlip_autopipe.jobs.records:RunRecords.save_learned", 3, "after"),
    ("mlip_autopipe.jobs.records:RunRecords.save_state", 4, "before"),
    ("mlip_autopipe.jobs.records:RunRecords.save_state", 7, "after"),
    ("mlip_autopipe.jobs.learning_run:evaluate", 1, "after"),
]


class TestInterruption:
    @pytest.mark.parametrize(("where", "call", "moment"), KILLS)
    def test_a_killed_job_goes_on_from_the_last_phase(self, monkeypatch, where, call, moment):
        plan, store = tiny_plan(**RICH), memory_store()
        with monkeypatch.context() as patch:
            kills = kill_once(patch, where, call, moment)
            killed = run(plan, store, ensure=False)
        assert kills == [call]
        state = RunRecords(store, plan.run_id).state()
        assert state is None or state.phase != "finished"
        ran = run(plan, store)
        assert_same_end(ran)
        computed = [*killed.computed, *ran.computed]
        assert len(computed) == len(set(computed)) == len(uninterrupted().computed)

    def test_two_jobs_that_believe_to_be_alone_do_the_work_once(self, monkeypatch):
        monkeypatch.setattr(module, "POLL_S", 0.01)
        plan, store = tiny_plan(**RICH), memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        ended: list[str] = []

        def advance() -> None:
            monkeypatch.setattr(module, "current_store", lambda: store)
            module._advance(plan.run_id, None, 0)
            ended.append("finished")

        before = len(COMPUTED)
        threads = [threading.Thread(target=advance) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 2
        assert len(COMPUTED) - before == len(uninterrupted().computed)
        assert RunRecords(store, plan.run_id).learned().md_steps == uninterrupted().learned.md_steps


def kill_once(patch: pytest.MonkeyPatch, where: str, call: int, moment: str) -> list[int]:
    """Let a function raise at one of its calls; return the list in which that call is noted."""
    module_name, _, path = where.partition(":")
    owner, _, name = path.rpartition(".")
    holder = attrgetter(owner)(resolve_name(module_name)) if owner else resolve_name(module_name)
    original, calls, kills = getattr(holder, name), [], []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == call and moment == "before":
            kills.append(call)
            raise KilledError(where)
        found = original(*args, **kwargs)
        if len(calls) == call:
            kills.append(call)
            raise KilledError(where)
        return found

    patch.setattr(holder, name, wrapped)
    return kills


class TestBudget:
    @pytest.mark.parametrize("limit", [3, 4, 5, 6, 10, 13, 14, 15])
    def test_it_is_never_exceeded_and_the_best_answer_so_far_is_given(self, limit):
        plan = tiny_plan(max_reference_calculations=limit, **RICH)
        ran = run(plan)
        needed = len(uninterrupted().computed)
        assert needed == 14
        assert len(ran.computed) == min(limit, needed)
        assert spent(ran) == len(ran.computed) == ran.learned.n_reference_calculations
        # the labels that judge are kept
        assert ran.learned.labels_by_origin["held_out"] == 2
        if limit >= needed:
            assert_same_end(ran)
            return
        assert f"budget of {limit} reference calculations is spent" in ran.learned.stop_reason
        audited = {error.temperature_K for error in ran.learned.audit_errors}
        assert (ran.learned.state == "done") is (audited == TEMPERATURES)
        for temperature in TEMPERATURES - audited:
            assert any(f"{temperature:g}" in sentence for sentence in ran.learned.missing)
            assert any(f"{temperature:g}" in sentence for sentence in ran.learned.warnings)
        for sentence in ran.learned.missing:
            assert "raise resources.max_reference_calculations" in sentence

    @pytest.mark.parametrize(("limit", "reserve", "cheap"), [(2, 0, True), (4, 2, False), (1, 3, True)])
    def test_not_one_label_is_a_failure_that_a_larger_budget_mends(self, limit, reserve, cheap):
        # two held-out labels and those that are reserved for the end come first
        plan = tiny_plan(max_reference_calculations=limit, cheap=cheap, **RICH)
        store = memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        with pytest.raises(BudgetExhaustedError, match=r"not one label to train on: .*raise resources") as raised:
            advance_alone(store, plan.run_id, reserve)
        assert raised.value.exit_code == 3
        set_limits(store, plan.run_id, plan.budget.model_copy(update={"max_reference_calculations": 50}))
        advance_alone(store, plan.run_id, reserve)
        learned = RunRecords(store, plan.run_id).learned()
        assert learned.potential_sha256 == uninterrupted().learned.potential_sha256

    def test_core_hours_count_too(self):
        ran = run(tiny_plan(max_core_hours=1e-6, **RICH))
        # one label at least is made before anything is known to be spent
        assert 1 <= len(ran.computed) < len(uninterrupted().computed)
        assert "core-hours" in ran.learned.stop_reason
        assert ran.learned.state == "not_enough_evidence"


def spent(ran: Ran) -> int:
    """Return how many calculations the run has paid for."""
    return BudgetLedger(ran.store, ran.system.run_id, max_reference_calculations=1, max_core_hours=1).spent()[0]


class TestFailingReference:
    @pytest.fixture
    def fails(self, monkeypatch) -> Callable[..., Counter[bytes]]:
        """Let the reference fail where a condition on atoms and number of the try says so; return the tries."""

        def when(condition: Callable[[Any, int], bool]) -> Counter[bytes]:
            tries: Counter[bytes] = Counter()

            def trouble(atoms: Any) -> bool:
                key = atoms.positions.tobytes() + atoms.cell.array.tobytes()
                tries[key] += 1
                return condition(atoms, tries[key])

            monkeypatch.setattr(WatchedEMT, "trouble", staticmethod(trouble))
            return tries

        return when

    def test_what_fails_once_is_computed_the_harder_way(self, fails, monkeypatch):
        from mlip_autopipe.reference.ase_engine import ASEEngine

        harder: list[Any] = []
        monkeypatch.setattr(ASEEngine, "compute_harder", lambda self, atoms: harder.append(1) or self.compute(atoms))
        tries = fails(lambda atoms, n: n == 1)
        ran = run(tiny_plan(**RICH))
        assert_same_end(ran)
        assert set(tries.values()) == {2}
        assert len(harder) == len(tries)
        assert ran.learned.left_out == []
        assert spent(ran) == len(tries), "two tries of a structure are one calculation of the budget"

    @pytest.mark.parametrize("cheap", [True, False])
    def test_what_fails_twice_is_left_out_with_its_reason_and_the_loop_goes_on(self, fails, cheap):
        tries = fails(lambda atoms, n: len(atoms) == 1)
        ran = run(tiny_plan(cheap=cheap, **RICH))
        (left_out,) = ran.learned.left_out
        assert (left_out.origin, left_out.generation) == ("seed", 1)
        assert "the density did not settle" in left_out.reason
        assert any("the density did not settle" in sentence for sentence in ran.learned.warnings)
        assert max(tries.values()) == 2
        assert sum(n == 2 for n in tries.values()) == 1
        assert ran.learned.labels_by_origin["seed"] == 2
        assert left_out.label_id not in ran.learned.label_ids
        assert ran.learned.n_reference_calculations == len(tries) == spent(ran)
        assert ran.learned.state == "done"
        (first, *_) = ran.generations
        assert first.left_out == [left_out]

    def test_a_reference_that_fails_on_all_large_cells_ends_without_evidence(self, fails):
        fails(lambda atoms, n: len(atoms) > 1)
        ran = run(tiny_plan(max_segments_per_temperature=2, **RICH))
        assert ran.learned.state == "not_enough_evidence"
        assert ran.learned.labels_by_origin == {"seed": 1}
        assert any("300, 900 K is not known" in sentence for sentence in ran.learned.missing)

    def test_a_reference_that_always_fails_is_no_question_of_the_budget(self, fails):
        fails(lambda atoms, n: True)
        plan, store = tiny_plan(**RICH), memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        with pytest.raises(Exception, match=r"not one of 3 structures .* the density did not settle") as raised:
            advance_alone(store, plan.run_id)
        assert raised.value.exit_code == 1

    def test_a_job_killed_between_the_two_tries_leaves_one(self, fails, monkeypatch):
        tries = fails(lambda atoms, n: len(atoms) == 1)
        plan, store = tiny_plan(**RICH), memory_store()
        with monkeypatch.context() as patch:
            kill_once(patch, "mlip_autopipe.reference.ase_engine:ASEEngine.compute_harder", 1, "before")
            run(plan, store, ensure=False)
        ran = run(plan, store)
        assert max(tries.values()) == 2
        assert len(ran.learned.left_out) == 1


class TestDynamicsThatDoNotHold:
    def test_an_immature_potential_that_blows_up_is_taught_by_what_the_guards_saw(self):
        # one seed, no questions to the watch, and a crystal far above its melting point
        plan = tiny_plan(
            seed_structures=1, temperatures_K=[1500.0], force_std_trigger_eV_per_A=1e6, segment_steps=100
        )
        ran = run(plan)
        assert ran.learned.labels_by_origin["guard"] >= 2
        assert ran.learned.labels_by_origin["audit"] >= 1, "it recovered"
        assert ran.state.walkers[0].attempt >= 1, "it began again"
        guards = {label.label_id for label in ran.state.used if label.origin == "guard"}
        assert guards <= set(ran.learned.label_ids)
        fresh = [error for one in ran.generations for error in one.fresh_errors if error.origin == "guard"]
        assert {error.label_id for error in fresh} == guards, "they calibrate, too"

    def test_where_no_run_holds_the_loop_comes_to_an_end(self, monkeypatch):
        from mlip_autopipe.potentials.polymlp import PolymlpPotential
        from tests.learning.wild import Exploding

        monkeypatch.setattr(PolymlpPotential, "calculator", lambda self: Exploding())
        plan = tiny_plan(temperatures_K=[300.0, 600.0], max_segments_per_temperature=2, max_refinements=0)
        ran = run(plan)
        assert ran.learned.state == "not_enough_evidence"
        assert "audit" not in ran.learned.labels_by_origin
        assert any("300, 600 K is not known" in sentence for sentence in ran.learned.missing)


def in_job(store: Any, function: Callable[[], Any]) -> Any:
    """Call what a job calls while it runs with this JobStore."""
    CURRENT_JOB.store = store
    try:
        return function()
    finally:
        CURRENT_JOB.reset()


def advance_alone(store: Any, run_id: str, reserve: int = 0) -> None:
    """Run all phases in this process."""
    loop = LearningRun(store, run_id, reserve=reserve)
    steps = {
        "label": lambda: loop.label(compute=True),
        "train": loop.train,
        "explore": loop.explore,
        "refine": loop.refine,
        "held_out": loop.hold_out,
        "evaluate": loop.evaluate,
    }
    while loop.state.phase != "finished":
        steps[loop.state.phase]()
