"""Long chains of jobs go on in new Workflows, once, and stay one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow
from launch_jobs import add, count_down, fan_out, spread_down

from mlip_autopipe.launch import continuation, runs
from mlip_autopipe.launch.continuation import CONTINUES
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.maintenance import requeue_launches_under
from mlip_autopipe.launch.pool import RocketPool

LIMIT = 5
USUAL_LIMIT = continuation.MAX_FIREWORKS
"""Holds in other processes."""

# threads that say that a launch is alive do not go with a database in memory
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(continuation, "MAX_FIREWORKS", LIMIT)


@pytest.fixture
def launchpad(mongomock_launchpad, clean_dir):
    return mongomock_launchpad


@pytest.fixture
def drain(launchpad) -> Callable[..., None]:
    """Run what is READY, in this process."""
    from fireworks.core.fworker import FWorker
    from fireworks.core.rocket import Rocket

    def run(most: int = 1000) -> None:
        for _ in range(most):
            if not launchpad.run_exists(FWorker()):
                return
            Rocket(launchpad, FWorker(), None).run()

    return run


def sizes(launchpad: Any) -> list[int]:
    return [len(workflow["nodes"]) for workflow in launchpad.workflows.find().sort("nodes", 1)]


def test_a_short_chain_stays_in_its_workflow(launchpad, memory_jobstore, submit_flow, drain):
    job = count_down(LIMIT - 1)
    submit_flow(launchpad, job)
    drain()
    assert sizes(launchpad) == [LIMIT]
    assert memory_jobstore.get_output(job.uuid) == "lift-off"


def test_a_long_one_goes_on_in_others_and_ends_with_the_same_output(launchpad, memory_jobstore, submit_flow, drain):
    job = count_down(12)
    submit_flow(launchpad, job)
    drain()
    assert sizes(launchpad) == [LIMIT, LIMIT, 3]
    assert launchpad.fireworks.distinct("state") == ["COMPLETED"]
    assert memory_jobstore.get_output(job.uuid, which="last") == "lift-off"
    documents = sorted(memory_jobstore.query({"uuid": job.uuid}), key=lambda one: one["index"])
    assert [one["index"] for one in documents] == list(range(1, 14))


def test_to_users_it_is_one_run(launchpad, submit_flow, drain):
    submit_flow(launchpad, count_down(12))
    drain()
    (found,) = runs.list_runs(launchpad.db)
    assert (found.run_id, found.state, found.jobs) == ("run-1", "done", {"COMPLETED": 13})
    assert (found.project_name, found.goal, found.formula) == ("al", "elastic", "Al")
    assert launchpad.fireworks.distinct("spec.run_id") == ["run-1"]
    first, *others = launchpad.workflows.find().sort("nodes", 1)
    assert CONTINUES not in first["metadata"]
    assert [one["metadata"][CONTINUES] for one in others] == [max(first["nodes"]), max(others[0]["nodes"])]
    assert {one["name"] for one in others} == {first["name"]}


def test_while_the_chain_goes_on_elsewhere_the_run_is_not_done(launchpad, submit_flow, drain):
    submit_flow(launchpad, count_down(12))
    drain(LIMIT)
    assert sizes(launchpad) == [LIMIT, 1]
    assert runs.find_run(launchpad.db, "run-1").state == "ready"


def test_whoever_waits_for_the_output_gets_that_of_the_last_job(launchpad, memory_jobstore, submit_flow, drain):
    job = count_down(12)
    end = add(job.output, "!")
    submit_flow(launchpad, Flow([job, end], output=end.output))
    drain()
    assert memory_jobstore.get_output(end.uuid) == "lift-off!"
    assert len(sizes(launchpad)) == 1, "a job that somebody waits for stays where they are"


def test_several_jobs_that_follow_move_together(launchpad, memory_jobstore, submit_flow, drain):
    job = spread_down(4)
    submit_flow(launchpad, job)
    drain()
    assert launchpad.fireworks.distinct("state") == ["COMPLETED"]
    assert memory_jobstore.get_output(job.uuid, which="last") == "lift-off"
    assert sizes(launchpad) == [7, 6]
    moved = launchpad.workflows.find_one({f"metadata.{CONTINUES}": {"$exists": True}})
    waiting = {child for children in moved["links"].values() for child in children}
    assert len(set(moved["nodes"]) - waiting) == 2


def test_jobs_beside_a_chain_are_left_alone(launchpad, memory_jobstore, submit_flow, drain):
    start = fan_out(6)
    submit_flow(launchpad, start)
    drain()
    assert len(sizes(launchpad)) == 1
    assert memory_jobstore.get_output(start.uuid, which="last") == sum(2 * k for k in range(6))


class TestKilledMaker:
    """The job that continues elsewhere dies after it has stored what follows, and runs again."""

    def kill_at(self, monkeypatch: pytest.MonkeyPatch, launchpad: Any, name: str) -> None:
        """Let a method of the LaunchPad end the next process that calls it; processes are exceptions here."""
        original = getattr(launchpad, name)

        def die(*arguments: Any, **keywords: Any) -> Any:
            monkeypatch.setattr(launchpad, name, original)
            raise KeyboardInterrupt

        monkeypatch.setattr(launchpad, name, die)

    def again(self, launchpad: Any) -> None:
        """What the pool does for a rocket that was killed."""
        assert requeue_launches_under(launchpad, Path.cwd(), reason="killed", lost=True)

    @pytest.mark.parametrize("followed", [True, False])
    def test_what_follows_is_stored_once(
        self, launchpad, memory_jobstore, submit_flow, drain, monkeypatch, clean_dir, followed
    ):
        path = str(clean_dir / "steps")
        job = count_down(LIMIT + 1, path)
        submit_flow(launchpad, job)
        drain(LIMIT - 1)
        self.kill_at(monkeypatch, launchpad, "complete_launch")
        with pytest.raises(KeyboardInterrupt):
            drain(1)
        assert sizes(launchpad) == [LIMIT, 1]
        if followed:  # another rocket was faster than the one that finds the dead job
            drain(1)
        self.again(launchpad)
        drain()
        assert launchpad.fireworks.distinct("state") == ["COMPLETED"]
        assert sizes(launchpad) == [LIMIT, 2]
        assert memory_jobstore.get_output(job.uuid, which="last") == "lift-off"
        # its own step is done again, no other one is
        steps = Path(path).read_text().split()
        assert sorted(steps, reverse=True) == ["6", "5", "4", "3", "2", "2", "1", "0"]

    def test_what_was_stored_and_not_started_is_started(self, launchpad, memory_jobstore, submit_flow, drain):
        job = count_down(LIMIT + 1)
        submit_flow(launchpad, job)
        drain(LIMIT)
        following = launchpad.workflows.find_one({f"metadata.{CONTINUES}": {"$exists": True}})
        # as a process leaves it that dies within `add_wf`, before the first Fireworks become READY
        launchpad.fireworks.update_many({"fw_id": {"$in": following["nodes"]}}, {"$set": {"state": "WAITING"}})
        drain()
        assert memory_jobstore.count({"output": "lift-off"}) == 0
        launchpad.rerun_fw(following["metadata"][CONTINUES])
        drain()
        assert memory_jobstore.get_output(job.uuid, which="last") == "lift-off"
        assert sizes(launchpad) == [LIMIT, 2]


@pytest.mark.live
def test_by_rockets_of_other_processes(live_launchpad, submit_flow, clean_dir, wait_for):
    job = count_down(USUAL_LIMIT + 1)
    submit_flow(live_launchpad, job)
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        wait_for(lambda: not pool.poll(), 120)
    assert sizes(live_launchpad) == [USUAL_LIMIT, 2]
    (found,) = runs.list_runs(live_launchpad.db)
    assert found.state == "done"
    with jobstore_for(live_launchpad) as store:
        assert store.get_output(job.uuid, which="last") == "lift-off"
