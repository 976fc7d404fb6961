"""Each kind of wreckage that a dead worker can leave is found, named and mended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fireworks import FWorker
from fireworks.core.rocket import Rocket
from jobflow import Flow
from launch_jobs import add, fan_out, total

from mlip_autopipe.launch import runs
from mlip_autopipe.launch.maintenance import repair, requeue_launches_under

QUICK = {"observe_s": 0.2, "claim_expiration_s": 0.0}


@pytest.fixture
def launchpad(mongomock_launchpad, clean_dir):
    return mongomock_launchpad


def run_all(launchpad):
    while launchpad.run_exists(FWorker()):
        Rocket(launchpad, FWorker(), None).run()


def silent_for(launchpad, launch_id, seconds):
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    launchpad.ping_launch(launch_id, ptime=then)


def test_nothing_is_said_when_all_is_well(launchpad, submit_flow):
    start = fan_out(2)
    submit_flow(launchpad, Flow([start, total([start.output, 1])]))
    assert repair(launchpad, **QUICK) == []
    launchpad.checkout_fw(FWorker(), "/tmp/somewhere")
    assert repair(launchpad, **QUICK) == []
    run_all(launchpad)
    assert repair(launchpad, **QUICK) == []


def test_a_silent_job_is_lost_three_times_then_given_up(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    for count in (1, 2, 3):
        _, launch_id = launchpad.checkout_fw(FWorker(), "/tmp/somewhere")
        launchpad.launches.update_one({"launch_id": launch_id}, {"$set": {"ping_s": 60}})
        silent_for(launchpad, launch_id, 200)
        assert repair(launchpad, expiration_s=100, **QUICK) == [], "four of its own intervals have not passed"
        silent_for(launchpad, launch_id, 600)
        (said,) = repair(launchpad, **QUICK)
        assert "no sign of life" in said
        document = launchpad.fireworks.find_one()
        assert (document["state"], document["spec"]["_lost_launches"]) == ("READY", count)
    _, launch_id = launchpad.checkout_fw(FWorker(), "/tmp/somewhere")
    launchpad.launches.update_one({"launch_id": launch_id}, {"$set": {"ping_s": 60}})
    silent_for(launchpad, launch_id, 600)
    (said,) = repair(launchpad, **QUICK)
    assert "failed" in said
    (failure,) = runs.run_failures(launchpad.db, "run-1")
    assert "4 times" in failure.sentence
    runs.resume(launchpad, "run-1")
    run_all(launchpad)
    assert runs.find_run(launchpad.db, "run-1").state == "done"


def test_a_worker_that_pings_hourly_is_not_lost_after_minutes(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    _, launch_id = launchpad.checkout_fw(FWorker(), "/tmp/somewhere")
    silent_for(launchpad, launch_id, 3000)
    assert repair(launchpad, **QUICK) == []


def test_a_lock_without_owner_is_freed_and_a_held_one_is_not(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    launchpad.workflows.update_one({}, {"$set": {"locked": True}})
    (said,) = repair(launchpad, **QUICK)
    assert "lock" in said
    assert "locked" not in launchpad.workflows.find_one()


def test_a_claim_whose_worker_died_is_given_back(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    launchpad._get_a_fw_to_run({})
    assert launchpad.fireworks.find_one()["state"] == "RESERVED"
    assert repair(launchpad) == [], "it may be starting"
    (said,) = repair(launchpad, **QUICK)
    assert "right after pulling it" in said
    assert launchpad.fireworks.find_one()["state"] == "READY"


def test_a_reservation_in_a_queue_is_left_alone(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    launchpad.reserve_fw(FWorker(), "/tmp/somewhere")
    assert repair(launchpad, **QUICK) == []


@pytest.mark.parametrize("stage", ["nothing stored", "new jobs stored", "new jobs and the end stored"])
def test_an_end_that_was_stored_in_part_is_completed(launchpad, submit_flow, memory_jobstore, monkeypatch, stage):
    start = fan_out(2)
    after = total([start.output, 1])
    submit_flow(launchpad, Flow([start, after]))

    class Death(BaseException):
        pass

    def dying_update(wf, updated_ids):
        fireworks = sorted((wf.id_fw[fw_id] for fw_id in updated_ids), key=lambda firework: firework.fw_id)
        if any(firework.state == "COMPLETED" for firework in fireworks):
            if stage == "new jobs stored":
                launchpad._upsert_fws([firework for firework in fireworks if firework.fw_id < 0])
            elif stage == "new jobs and the end stored":
                launchpad._upsert_fws(fireworks)
            raise Death
        return original(wf, updated_ids)

    original = launchpad._update_wf
    with monkeypatch.context() as patch:
        patch.setattr(launchpad, "_update_wf", dying_update)
        with pytest.raises(Death):
            Rocket(launchpad, FWorker(), None).run()
    launchpad.workflows.update_one({}, {"$set": {"locked": True}})  # a killed process cannot free it

    monkeypatch.setattr("mlip_autopipe.launch.maintenance.CLAIM_EXPIRATION_S", -5.0)
    said = repair(launchpad, **QUICK)
    assert any("lock" in sentence for sentence in said)
    assert any("put right" in sentence for sentence in said)
    assert repair(launchpad, **QUICK) == []
    run_all(launchpad)
    assert runs.find_run(launchpad.db, "run-1").state == "done"
    assert memory_jobstore.get_output(after.uuid) == 3
    uuids = [document["spec"]["_tasks"][0]["job"]["uuid"] for document in launchpad.fireworks.find()]
    indexes = [document["spec"]["_tasks"][0]["job"]["index"] for document in launchpad.fireworks.find()]
    assert len(set(zip(uuids, indexes, strict=True))) == len(uuids) == 6, "no job is there twice"


def test_a_submission_that_died_before_the_end_is_completed(launchpad, submit_flow):
    submit_flow(launchpad, add(1, 2))
    launchpad.fireworks.update_one({}, {"$set": {"state": "WAITING"}})
    (said,) = repair(launchpad, **QUICK)
    assert "waiting for nothing" in said
    assert launchpad.fireworks.find_one()["state"] == "READY"


def test_only_launches_under_the_folder_are_requeued(launchpad, submit_flow, tmp_path):
    submit_flow(launchpad, Flow([add(1, 2), add(3, 4)]))
    launchpad.checkout_fw(FWorker(), str(tmp_path / "rocket-1" / "0001"))
    launchpad.checkout_fw(FWorker(), str(tmp_path / "rocket-12" / "0001"))
    (fw_id,) = requeue_launches_under(launchpad, tmp_path / "rocket-1", reason="gone", lost=True)
    states = {document["fw_id"]: document["state"] for document in launchpad.fireworks.find()}
    assert sorted(states.values()) == ["READY", "RUNNING"]
    assert states[fw_id] == "READY"


def test_a_late_worker_cannot_end_a_job_that_was_given_to_another(launchpad, submit_flow, tmp_path):
    submit_flow(launchpad, add(1, 2))
    _, late = launchpad.checkout_fw(FWorker(), str(tmp_path / "late"))
    requeue_launches_under(launchpad, tmp_path / "late", reason="gone", lost=True)
    launchpad.checkout_fw(FWorker(), str(tmp_path / "new"))
    launchpad.complete_launch(late, state="COMPLETED")
    assert launchpad.fireworks.find_one()["state"] == "RUNNING"
    assert requeue_launches_under(launchpad, tmp_path / "late", reason="gone", lost=True) == []
