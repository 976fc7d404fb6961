"""Runs that have ended and go on: one more Workflow, once, and the newest result counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fireworks.core.fworker import FWorker
from fireworks.core.rocket import Rocket

from mlip_autopipe.launch import runs
from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.workflow import to_workflow
from tests.launch.launch_jobs import add


def more(run_id: str = "run-1") -> Any:
    return to_workflow(add(1, 2), run_id=run_id, project_name="al", goal="elastic", formula="Al")


def run_all(launchpad: Any) -> None:
    while launchpad.run_exists(FWorker()):
        Rocket(launchpad, FWorker(), None).run()


def test_a_run_that_has_ended_gets_one_more_workflow(mongomock_launchpad, submit_flow, clean_dir):
    submit_flow(mongomock_launchpad, add(1, 2))
    assert not runs.go_on(mongomock_launchpad, more()), "it has not ended"
    run_all(mongomock_launchpad)
    assert runs.go_on(mongomock_launchpad, more())
    (found,) = runs.list_runs(mongomock_launchpad.db)
    assert found.jobs == {"COMPLETED": 1, "READY": 1}
    assert not runs.go_on(mongomock_launchpad, more()), "it goes on already"
    run_all(mongomock_launchpad)
    (found,) = runs.list_runs(mongomock_launchpad.db)
    assert (found.state, found.jobs) == ("done", {"COMPLETED": 2})


@pytest.mark.live
def test_of_many_at_once_one_stores_it(live_launchpad, submit_flow):
    submit_flow(live_launchpad, add(1, 2))
    run_all(live_launchpad)
    barrier, stored = threading.Barrier(4), []

    def work() -> None:
        launchpad = connect(live_launchpad.location)
        workflow = more()
        barrier.wait()
        stored.append(runs.go_on(launchpad, workflow))
        launchpad.connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored) == [False, False, False, True]
    assert live_launchpad.workflows.count_documents({}) == 2


@pytest.mark.parametrize(("states", "expected"), [(["failed", "done"], "done"), (["done", "failed"], "failed")])
def test_the_newest_result_says_how_a_run_ended(
    mongomock_launchpad, submit_flow: Callable[..., Any], clean_dir, states, expected
):
    submit_flow(mongomock_launchpad, add(1, 2))
    run_all(mongomock_launchpad)
    for year, state in enumerate(states, start=2030):
        output = {"run_id": "run-1", "goal": "elastic", "state": state}
        document = {"uuid": f"p{year}", "index": 1, "completed_at": str(year), "output": output}
        mongomock_launchpad.db["outputs"].insert_one(document)
    assert runs.find_run(mongomock_launchpad.db, "run-1").state == expected
    assert runs.result_document(mongomock_launchpad.db, "run-1")["state"] == states[-1]
