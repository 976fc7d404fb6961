"""A run's own documents: whole, under names that follow from the run, found by any job."""

from __future__ import annotations

import pytest

from mlip_autopipe.jobs.records import RecordError, RunRecords
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.schemas.otf import GenerationDocument, LearningState
from tests.learning.tiny import finished, tiny_plan


def metrics(run_id: str, generation: int, **more) -> GenerationDocument:
    first = finished().generations[0]
    return first.model_copy(update={"run_id": run_id, "generation": generation, **more})


@pytest.fixture(params=["memory", pytest.param("live", marks=pytest.mark.live)])
def store(request):
    if request.param == "memory":
        yield request.getfixturevalue("memory_jobstore")
        return
    from mlip_autopipe.launch.jobstore import jobstore_for

    found = jobstore_for(request.getfixturevalue("live_launchpad"))
    found.connect()
    yield found
    found.close()


@pytest.mark.usefixtures("clean_dir")
class TestRecords:
    def test_plan_and_state_come_back_as_they_were(self, store):
        records, plan = RunRecords(store, "a"), tiny_plan()
        records.save_plan(plan)
        assert records.plan() == plan
        assert records.state() is None
        records.save_state(finished().state.model_copy(update={"run_id": "a"}))
        assert records.state() == finished().state.model_copy(update={"run_id": "a"})

    def test_the_last_state_is_the_only_one(self, store):
        records = RunRecords(store, "a")
        for generation in range(3):
            records.save_state(LearningState(run_id="a", generation=generation))
        assert records.state().generation == 2
        assert documents_of(store).count_documents({"output.kind": "learning_state"}) == 1

    def test_runs_do_not_see_each_other(self, store):
        RunRecords(store, "a").save_state(LearningState(run_id="a"))
        RunRecords(store, "a").save_generation(metrics("a", 1))
        assert RunRecords(store, "b").state() is None
        assert RunRecords(store, "b").generations() == []
        with pytest.raises(RecordError, match="run b has no document 'plan'"):
            RunRecords(store, "b").plan()
        with pytest.raises(RecordError, match="run b has no document 'learned:active'"):
            RunRecords(store, "b").learned()

    def test_generations_come_in_order_and_the_same_one_again_replaces_it(self, store):
        records = RunRecords(store, "a")
        for generation in (2, 10, 1):
            records.save_generation(metrics("a", generation))
        records.save_generation(metrics("a", 2, labels=99))
        assert [(one.generation, one.labels == 99) for one in records.generations()] == [
            (1, False),
            (2, True),
            (10, False),
        ]

    def test_arms_are_kept_apart(self, store):
        records = RunRecords(store, "a")
        records.save_generation(metrics("a", 1))
        records.save_generation(metrics("a", 1, arm="random"))
        assert [one.arm for one in records.generations()] == ["active"]
        assert [one.arm for one in records.generations("random")] == ["random"]

    def test_what_was_learned_comes_back(self, store):
        records = RunRecords(store, finished().system.run_id)
        records.save_learned(finished().learned)
        assert records.learned() == finished().learned

    def test_any_small_document(self, store):
        records = RunRecords(store, "a")
        assert records.find("note:1") is None
        records.save("note:1", {"text": "good"})
        assert records.find("note:1") == {"run_id": "a", "text": "good"}

    def test_they_are_ordinary_documents_of_the_jobstore(self, store):
        RunRecords(store, "a").save_generation(metrics("a", 1))
        (document,) = store.query({"metadata.run_id": "a"})
        assert document["name"] == "learning metrics"
        assert store.get_output(document["uuid"])["generation"] == 1

    def test_who_was_taken_for_dead_does_not_write_over_the_state_of_who_goes_on(self, store):
        RunRecords(store, "a").save_state(LearningState(run_id="a"))
        late, next_ = RunRecords(store, "a"), RunRecords(store, "a")
        theirs, ours = late.state(), next_.state()
        next_.save_state(ours.model_copy(update={"generation": 1}))
        next_.save_state(ours.model_copy(update={"generation": 2}))
        with pytest.raises(RecordError, match="another job advances the learning loop of run a"):
            late.save_state(theirs.model_copy(update={"generation": 1}))
        assert RunRecords(store, "a").state().generation == 2

    def test_of_two_that_begin_at_once_one_does(self, store):
        first, second = RunRecords(store, "a"), RunRecords(store, "a")
        assert first.state() is second.state() is None
        first.save_state(LearningState(run_id="a", generation=1))
        with pytest.raises(RecordError, match="another job"):
            second.save_state(LearningState(run_id="a"))
        assert RunRecords(store, "a").state().generation == 1

    def test_one_generation_is_found_by_its_number(self, store):
        RunRecords(store, "a").save_generation(metrics("a", 2))
        assert RunRecords(store, "a").generation(2) == metrics("a", 2)
        assert RunRecords(store, "a").generation(1) is None
