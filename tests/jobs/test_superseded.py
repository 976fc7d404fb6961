"""Blobs of a run do not pile up, and nothing that is needed is removed, whatever is killed when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.learning_run import LearningRun
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.jobs.run_potential import potential_of_run
from mlip_autopipe.jobs.superseded import KEPT_GENERATIONS, remove_garbage
from mlip_autopipe.reference.documents import documents_of
from tests.jobs.test_learn import KilledError, assert_same_end
from tests.learning.tiny import RICH, finished, memory_store, run, tiny_plan, uninterrupted

pytestmark = pytest.mark.usefixtures("clean_dir")

AT_ONCE = timedelta(seconds=-2)


def stored(store: Any, run_id: str) -> dict[str, list[int]]:
    """Lengths of a run's blobs by kind."""
    found: dict[str, list[int]] = {}
    for one in BlobStore(store).stored_by(run_id):
        found.setdefault(one.kind, []).append(one.length)
    return found


class TestTheLoop:
    def test_what_is_stored_stays_flat_over_generations(self, monkeypatch):
        plan, store, after = tiny_plan(**{**RICH, "audits_per_temperature": 4}), memory_store(), []
        train = LearningRun.train
        monkeypatch.setattr(
            LearningRun, "train", lambda self: train(self) or after.append(stored(store, self.state.run_id))
        )
        ran = run(plan, store)
        assert ran.learned.generations >= 8
        # each walker may need where it stands and where the temperature before ended
        assert {len(one["potential"]) for one in after[2:]} == {KEPT_GENERATIONS}
        assert max(len(one.get("checkpoint", [])) for one in after) <= 2 * plan.otf.walkers
        # all checkpoints are as large; a potential grows with its labels, but two are kept
        checkpoints = [sum(one.get("checkpoint", [])) for one in after]
        assert max(checkpoints[4:]) <= 1.1 * max(checkpoints[2:6])
        assert_nothing_but_whole_blobs(store)

    def test_handing_over_in_the_middle_of_dynamics_does_not_pile_up_either(self):
        plan, store = tiny_plan(segment_steps=200), memory_store()
        RunRecords(store, plan.run_id).save_plan(plan)
        loop = LearningRun(store, plan.run_id)
        loop.label(compute=True)
        loop.train()
        for _ in range(3):
            loop = LearningRun(store, plan.run_id)
            if loop.explore(0.02):
                break
            assert len(stored(store, plan.run_id).get("checkpoint", [])) <= 1
        assert loop.state.walkers[0].checkpoint_sha256 is None or BlobStore(store).has(
            loop.state.walkers[0].checkpoint_sha256
        )

    def test_the_potentials_that_documents_name_at_the_end_are_there(self):
        ran, blobs = finished(), BlobStore(finished().store)
        assert blobs.has(potential_of_run(ran.store, ran.system.run_id).potential_sha256)
        assert blobs.has(ran.learned.control_potential_sha256)
        assert [blobs.has(one.potential_sha256) for one in ran.generations[-KEPT_GENERATIONS:]] == [True, True]
        assert not blobs.has(ran.generations[0].potential_sha256)

    def test_another_run_with_the_same_seeds_keeps_its_first_potential(self):
        store = memory_store()
        other = tiny_plan(**RICH).model_copy(update={"run_id": "ni-another"})
        RunRecords(store, other.run_id).save_plan(other)
        waiting = LearningRun(store, other.run_id)
        waiting.label(compute=True)
        waiting.train()
        ran = run(tiny_plan(**RICH), store)
        assert ran.generations[0].potential_sha256 == waiting.state.potential_sha256
        assert LearningRun(store, other.run_id).potential.elements == ("Ni",)

    @pytest.mark.parametrize("call", [1, 3, 6])
    @pytest.mark.parametrize("where", ["remove", "_delete_chunks"])
    def test_a_kill_while_removing_loses_nothing_and_leaves_what_the_next_generation_removes(
        self, monkeypatch, call, where
    ):
        plan, store, calls = tiny_plan(**RICH), memory_store(), []
        original = getattr(BlobStore, where)

        def killed(self: BlobStore, *arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == call:
                raise KilledError(where)
            return original(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(BlobStore, where, killed)
            run(plan, store, ensure=False)
        assert len(calls) == call
        assert RunRecords(store, plan.run_id).state().phase != "finished"
        ran = run(plan, store)
        assert_same_end(ran)
        assert stored(store, plan.run_id) == stored(uninterrupted().store, plan.run_id)
        remove_garbage(store, AT_ONCE)
        assert_nothing_but_whole_blobs(store)
        assert stored(store, plan.run_id) == stored(uninterrupted().store, plan.run_id)


def assert_nothing_but_whole_blobs(store: Any) -> None:
    blobs = BlobStore(store)
    names = [one["_id"] for one in blobs._files.find({})]
    assert set(blobs._chunks.distinct("files_id")) == set(names)
    for name in names:
        assert blobs.get(name)


class TestTheDoctor:
    @pytest.fixture
    def ran(self):
        return run(tiny_plan())

    def test_what_documents_name_stays_and_the_rest_goes_when_it_is_old(self, ran):
        blobs, run_id = BlobStore(ran.store), ran.system.run_id
        before = {one.sha256 for one in blobs.stored_by(run_id)}
        named = blobs.put(b"of a property", "npt series", run_id)
        property_ = {"goal": "potential", "run_id": run_id, "provenance": {"series_sha256": {"300 K": [named]}}}
        documents_of(ran.store).insert_one({"uuid": "p", "index": 1, "name": "property", "output": property_})
        garbage = blobs.put(b"of a killed job", "npt checkpoint", run_id)
        assert remove_garbage(ran.store) == []
        assert blobs.has(garbage)
        (said,) = remove_garbage(ran.store, AT_ONCE)
        assert said == f"removed 1 blobs (0.0 MB) of run {run_id} that nothing names any more"
        assert {one.sha256 for one in blobs.stored_by(run_id)} == {*before, named}
        assert remove_garbage(ran.store, AT_ONCE) == []

    def test_potentials_of_generations_long_past_are_garbage(self, ran):
        blobs, run_id = BlobStore(ran.store), ran.system.run_id
        old = blobs.put(b"an early potential", "potential", run_id)
        first = ran.generations[0].model_copy(update={"potential_sha256": old, "generation": -5})
        ran.records.save_generation(first)
        remove_garbage(ran.store, AT_ONCE)
        assert not blobs.has(old)

    def test_what_belongs_to_no_run_that_learns_is_left_alone(self, memory_jobstore):
        sha256 = BlobStore(memory_jobstore).put(b"somebody's", "potential", "by hand")
        assert remove_garbage(memory_jobstore, AT_ONCE) == []
        assert BlobStore(memory_jobstore).has(sha256)
