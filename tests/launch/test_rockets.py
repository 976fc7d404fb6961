"""Workers as processes: the whole way of a run, and every way to interrupt it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jobflow import Flow, run_locally
from launch_jobs import add, broken, fan_out, flaky, property_document, slow, total

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.launch import embedded, runs
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate
from mlip_autopipe.launch.pool import RocketPool

pytestmark = pytest.mark.live


def drain(pool, seconds=60):
    deadline = time.monotonic() + seconds
    while pool.poll():
        assert time.monotonic() < deadline, "the rockets do not come to an end"
        time.sleep(0.05)


def output(launchpad, job):
    store = jobstore_for(launchpad)
    store.connect()
    try:
        return store.get_output(job.uuid)
    finally:
        store.close()


def lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def test_every_job_is_seen_ready_running_completed_and_agrees_with_run_locally(
    live_launchpad, memory_jobstore, submit_flow, clean_dir
):
    start = fan_out(3)
    held = slow(str(clean_dir / "held"), 0.3, 5)
    end = total([start.output, held.output])
    flow = Flow([start, held, end], output=end.output)
    run_locally(flow, store=memory_jobstore, ensure_success=True)
    expected = memory_jobstore.get_output(end.uuid)

    submit_flow(live_launchpad, flow)
    seen: dict[int, list[str]] = {}
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            for document in live_launchpad.fireworks.find({}, {"fw_id": 1, "state": 1}):
                history = seen.setdefault(document["fw_id"], [])
                if document["state"] not in history:
                    history.append(document["state"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [sys.executable, "-m", "mlip_autopipe.launch.rocket", "--folder", str(clean_dir), "--run-id", "run-1"]
    worker = subprocess.run(command, timeout=60, check=False)
    stop.set()
    watcher.join()
    assert worker.returncode == 0
    assert output(live_launchpad, end) == expected == 11
    assert live_launchpad.fireworks.count_documents({"state": {"$ne": "COMPLETED"}}) == 0
    for document in live_launchpad.launches.find():
        states = [entry["state"] for entry in document["state_history"]]
        assert states == ["RUNNING", "COMPLETED"]
    order = ["WAITING", "READY", "RESERVED", "RUNNING", "COMPLETED"]
    for history in seen.values():
        assert [order.index(state) for state in history] == sorted(order.index(state) for state in history)
    watched = [set(history) for history in seen.values()]
    assert sum({"READY", "RUNNING", "COMPLETED"} <= history for history in watched) >= 2
    assert runs.find_run(live_launchpad.db, "run-1").state == "done"


def test_rockets_run_their_own_run_only_and_the_result_is_found(live_launchpad, submit_flow):
    submit_flow(live_launchpad, property_document("mine", 42), "mine")
    submit_flow(live_launchpad, add(1, 1), "other")
    with RocketPool(live_launchpad.location, 1, "mine", cores_per_rocket=1) as pool:
        drain(pool)
    assert runs.find_run(live_launchpad.db, "mine").state == "done"
    assert runs.find_run(live_launchpad.db, "other").state == "waiting"
    result = runs.result_document(live_launchpad.db, "mine")
    assert result == {"run_id": "mine", "goal": "elastic", "value": 42}


def test_without_time_no_job_is_begun(live_launchpad, submit_flow, monkeypatch):
    submit_flow(live_launchpad, add(1, 2))
    with monkeypatch.context() as patch:
        patch.setenv("MLIP_AUTOPIPE_JOB_END", str(time.time() + 1))
        with RocketPool(live_launchpad.location, 1, "run-1") as pool:
            drain(pool)
    assert live_launchpad.fireworks.distinct("state") == ["READY"]
    assert live_launchpad.launches.count_documents({}) == 0
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        drain(pool)
    assert live_launchpad.fireworks.distinct("state") == ["COMPLETED"]


def test_transient_failures_are_retried_in_place_and_visible(live_launchpad, submit_flow, clean_dir):
    job = flaky(str(clean_dir / "tries"), 2)
    submit_flow(live_launchpad, job)
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        drain(pool)
    assert output(live_launchpad, job) == "done"
    assert len(lines(clean_dir / "tries")) == 3
    document = live_launchpad.fireworks.find_one()
    assert (document["state"], len(document["launches"])) == ("COMPLETED", 1)
    attempts = document["spec"]["_attempts"]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2]
    assert attempts[0]["error"] == "TransientError: the file server is busy"
    assert {"time", "delay_s"} <= attempts[0].keys()


def test_failures_end_in_a_sentence_and_resume_goes_on_from_there(live_launchpad, submit_flow, clean_dir):
    first = add(1, 2)
    bad, busy = broken(str(clean_dir / "bad")), flaky(str(clean_dir / "busy"), 4)
    after = add(busy.output, "!")
    submit_flow(live_launchpad, Flow([first, bad, busy, add(bad.output, 1), after]))
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        drain(pool)
    assert len(lines(clean_dir / "bad")) == 1, "a permanent failure is not repeated"
    assert len(lines(clean_dir / "busy")) == 4
    assert runs.find_run(live_launchpad.db, "run-1").state == "failed"
    failures = {failure.job: failure for failure in runs.run_failures(live_launchpad.db, "run-1")}
    assert failures["broken"].sentence == "the SCF cycle of Al2 did not converge; raise the smearing"
    assert failures["broken"].attempts == []
    assert "ReferenceCalculationError" in failures["broken"].traceback
    assert Path(failures["broken"].launch_dir, "job.log").exists()
    assert failures["flaky"].sentence == "the file server is busy"
    assert len(failures["flaky"].attempts) == 3

    completed = live_launchpad.fireworks.find_one({"name": "add", "state": "COMPLETED"})
    assert len(runs.resume(live_launchpad, "run-1")) == 2
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        drain(pool)
    assert live_launchpad.fireworks.find_one({"fw_id": completed["fw_id"]})["launches"] == completed["launches"]
    assert len(lines(clean_dir / "bad")) == 2
    assert output(live_launchpad, after) == "done!"
    assert [failure.job for failure in runs.run_failures(live_launchpad.db, "run-1")] == ["broken"]


def test_a_killed_rocket_is_replaced_and_its_job_finished_once(live_launchpad, submit_flow, clean_dir, wait_for):
    path = str(clean_dir / "work")
    job = slow(path, 30, "value")
    submit_flow(live_launchpad, Flow([job, add(job.output, "!")]))
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        wait_for(lambda: lines(path))
        os.kill(int(lines(path)[0].split()[1]), signal.SIGKILL)
        wait_for(lambda: pool.poll() and len(lines(path)) == 2)
        Path(f"{path}.go").touch()
        drain(pool)
        assert "killed by signal 9" in pool.events[0]
    assert lines(path).count("end") == 1
    assert live_launchpad.db["outputs"].count_documents({"uuid": job.uuid}) == 1
    document = live_launchpad.fireworks.find_one({"name": "slow"})
    assert (document["state"], document["spec"]["_lost_launches"]) == ("COMPLETED", 1)
    assert "killed by signal 9" in document["spec"]["_attempts"][0]["error"]
    assert runs.find_run(live_launchpad.db, "run-1").state == "done"


def test_a_job_that_kills_its_workers_is_given_up(live_launchpad, submit_flow, clean_dir, monkeypatch):
    monkeypatch.setenv("MLIP_AUTOPIPE_MAX_LOST_LAUNCHES", "1")
    path = str(clean_dir / "work")
    submit_flow(live_launchpad, slow(path, 30, 1))
    killed = 0
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        while pool.poll():
            started = lines(path)
            if len(started) > killed:
                os.kill(int(started[killed].split()[1]), signal.SIGKILL)
                killed += 1
            time.sleep(0.02)
    assert killed == 2
    (failure,) = runs.run_failures(live_launchpad.db, "run-1")
    assert "not started again by itself" in failure.sentence
    assert len(failure.attempts) == 2


def test_sigterm_gives_the_job_back_at_once(live_launchpad, submit_flow, clean_dir, wait_for):
    path = str(clean_dir / "work")
    first, held = add(1, 2), slow(path, 30, 4)
    after = total([first.output, held.output])
    submit_flow(live_launchpad, Flow([first, held, after]))
    pool = RocketPool(live_launchpad.location, 1, "run-1")
    pool.start()
    wait_for(lambda: lines(path) and live_launchpad.fireworks.find_one({"name": "add"})["state"] == "COMPLETED")
    begun = time.monotonic()
    pool.stop()
    assert time.monotonic() - begun < 8
    states = {document["name"]: document["state"] for document in live_launchpad.fireworks.find()}
    assert states == {"add": "COMPLETED", "slow": "READY", "total": "WAITING"}
    assert live_launchpad.workflows.count_documents({"locked": {"$exists": True}}) == 0
    assert "_lost_launches" not in live_launchpad.fireworks.find_one({"name": "slow"})["spec"]

    Path(f"{path}.go").touch()
    with RocketPool(live_launchpad.location, 1, "run-1") as pool:
        drain(pool)
    assert output(live_launchpad, after) == 7
    assert len(live_launchpad.fireworks.find_one({"name": "add"})["launches"]) == 1


def test_rockets_leave_when_the_command_that_started_them_is_killed(live_launchpad, submit_flow, clean_dir, wait_for):
    path = str(clean_dir / "work")
    submit_flow(live_launchpad, slow(path, 30, 1))
    code = (
        "import time\nfrom pathlib import Path\nfrom mlip_autopipe.launch.location import locate\n"
        "from mlip_autopipe.launch.pool import RocketPool\n"
        "RocketPool(locate(None, Path('.')), 1, 'run-1').start()\ntime.sleep(60)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], cwd=clean_dir)
    wait_for(lambda: lines(path))
    command.kill()
    command.wait()
    wait_for(lambda: live_launchpad.fireworks.find_one()["state"] == "READY", 15)
    assert "end" not in lines(path)


def test_the_embedded_server_may_die_in_the_middle_of_a_run(clean_dir, submit_flow, wait_for):
    pytest.importorskip("secantus")
    (clean_dir / "my_launchpad.yaml").write_text(f"embedded: true\nport: {embedded._free_port()}\n")
    path = str(clean_dir / "work")
    launchpad = connect(locate(None, clean_dir))
    try:
        job = slow(path, 30, 4)
        after = add(job.output, 1)
        submit_flow(launchpad, Flow([job, after]))
        with RocketPool(launchpad.location, 1, "run-1") as pool:
            wait_for(lambda: lines(path))
            os.kill(embedded.find(clean_dir).pid, signal.SIGKILL)
            Path(f"{path}.go").touch()  # the job ends while there is no database
            wait_for(lambda: "end" in lines(path))
            time.sleep(0.3)
            drain(pool)
            assert "server had died" in pool.events[0]
        assert output(launchpad, after) == 5
        assert runs.find_run(launchpad.db, "run-1").state == "done"
    finally:
        launchpad.connection.close()
        embedded.stop(clean_dir, timeout_s=0.1)


def test_rockets_that_cannot_start_are_not_started_for_ever(live_launchpad, submit_flow, monkeypatch):
    submit_flow(live_launchpad, add(1, 2))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/bin/false")
    pool = RocketPool(live_launchpad.location, 1, "run-1")
    pool.start()
    with pytest.raises(EnvironmentProblemError, match=r"as soon as they start.*rocket\.log"):
        drain(pool)
    pool.stop()
