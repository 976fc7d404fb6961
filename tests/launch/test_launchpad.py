from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fireworks import Firework, LaunchPad, ScriptTask, Workflow
from jobflow import Flow
from launch_jobs import add, fan_out, large, total

from mlip_autopipe.launch import runs
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad, connect
from mlip_autopipe.launch.location import LaunchPadLocation
from mlip_autopipe.launch.workflow import to_workflow, write_workflow_yaml

IDS = """
import sys
from pathlib import Path
from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate
launchpad = connect(locate(None, Path(sys.argv[1])))
for _ in range(40):
    print("fw", launchpad.get_new_fw_id())
    print("launch", launchpad.get_new_launch_id())
"""


def script(n):
    return Firework(ScriptTask.from_str("true"), name=f"step {n}")


@pytest.mark.live
def test_ids_are_distinct_under_four_processes(live_launchpad):
    command = [sys.executable, "-c", IDS, str(live_launchpad.location.folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert len(ids) == len(set(ids)) == 4 * 80


@pytest.mark.live
def test_connecting_again_changes_nothing(live_launchpad):
    live_launchpad.add_wf(Workflow([script(1), script(2)]))
    before = live_launchpad.fw_id_assigner.find_one()
    again = connect(live_launchpad.location)
    assert again.fw_id_assigner.find_one() == before
    assert again.get_fw_ids() == [1, 2]
    assert again.get_new_fw_id(3) == 3
    assert again.get_new_fw_id() == 6
    again.connection.close()


@pytest.mark.live
def test_what_we_query_is_indexed(live_launchpad):
    indexes = {name: set(live_launchpad.db[name].index_information()) for name in ("fireworks", "workflows", "outputs")}
    assert {"spec.run_id_1", "spec.run_id_1_state_1"} <= indexes["fireworks"]
    assert {"metadata.run_id_1", "metadata.project_name_1"} <= indexes["workflows"]
    assert {"uuid_1", "uuid_1_index_1", "output.run_id_1"} <= indexes["outputs"]


def test_lost_counters_go_on_behind_what_is_stored(mongomock_launchpad):
    mongomock_launchpad.add_wf(Workflow([script(1), script(2)]))
    mongomock_launchpad.fw_id_assigner.delete_many({})
    mongomock_launchpad.initialise()
    assert mongomock_launchpad.get_new_fw_id() == 3


def test_workflows_are_stored_as_fireworks_does(mongomock_launchpad):
    first, second, third = script(1), script(2), script(3)
    workflow = Workflow([first, second, third], {first: [second, third]}, name="w")
    assert sorted(mongomock_launchpad.add_wf(workflow).values()) == [1, 2, 3]
    stored = {fw["name"]: (fw["fw_id"], fw["state"]) for fw in mongomock_launchpad.fireworks.find()}
    assert stored == {"step 1": (1, "READY"), "step 2": (2, "WAITING"), "step 3": (3, "WAITING")}
    assert mongomock_launchpad.workflows.find_one()["fw_states"] == {"1": "READY", "2": "WAITING", "3": "WAITING"}
    mongomock_launchpad.bulk_add_wfs([script(4), Workflow([script(5)])])
    assert mongomock_launchpad.get_fw_ids({"state": "READY"}) == [1, 4, 5]
    assert mongomock_launchpad.workflows.count_documents({}) == 3


def test_a_firework_without_workflow_is_never_run(mongomock_launchpad, submit_flow, monkeypatch):
    from fireworks import FWorker

    monkeypatch.setattr("mlip_autopipe.launch.launchpad.ORPHAN_S", 0.0)
    submit_flow(mongomock_launchpad, add(1, 2))
    mongomock_launchpad.workflows.delete_many({})
    assert mongomock_launchpad.checkout_fw(FWorker(), "/tmp") == (None, None)
    assert mongomock_launchpad.get_fw_ids() == []


def test_from_dict_keeps_the_class_and_ignores_our_keys(mongomock_launchpad):
    copy = AutoPipeLaunchPad.from_dict({"host": "h", "port": 5, "name": "n", "embedded": True})
    assert (type(copy), copy.host, copy.port, copy.name) == (AutoPipeLaunchPad, "h", 5, "n")


def test_runs_of_a_folder(mongomock_launchpad, submit_flow):
    a = add(1, 2)
    submit_flow(mongomock_launchpad, Flow([a, add(a.output, 1)], name="two"), "al-1")
    submit_flow(mongomock_launchpad, add(1, 2), "al-2")
    db = mongomock_launchpad.db
    assert [run.run_id for run in runs.list_runs(db)] == ["al-2", "al-1"]
    run = runs.find_run(db, "al-1")
    assert (run.name, run.project_name, run.goal, run.formula) == ("two", "al", "elastic", "Al")
    assert (run.state, run.jobs, run.fw_ids) == ("waiting", {"READY": 1, "WAITING": 1}, [1, 2])
    assert runs.find_run(db, "al").run_id == "al-2"
    assert runs.result_document(db, "al-1") is None
    with pytest.raises(Exception, match="did you mean 'al-1'"):
        runs.find_run(db, "all-1")


def test_a_run_is_submitted_once(mongomock_launchpad):
    def workflow():
        return to_workflow(add(1, 2), run_id="al-1", project_name="al", goal="elastic", formula="Al")

    assert runs.submit(mongomock_launchpad, workflow()) == [1]
    assert runs.submit(mongomock_launchpad, workflow()) == [1]
    assert mongomock_launchpad.fireworks.count_documents({}) == 1
    # whoever claimed it died before storing anything
    mongomock_launchpad.fireworks.delete_many({})
    mongomock_launchpad.workflows.delete_many({})
    mongomock_launchpad.db[runs.RUNS].update_one({}, {"$set": {"pid": 2**22 + 1}})
    assert runs.submit(mongomock_launchpad, workflow()) == [2]


def test_dynamic_jobs_keep_run_and_firetask(mongomock_launchpad, memory_jobstore, submit_flow, clean_dir):
    from fireworks.core.rocket_launcher import rapidfire

    start = fan_out(3)
    after = total([start.output, 1])
    submit_flow(mongomock_launchpad, Flow([start, after]))
    rapidfire(mongomock_launchpad, m_dir=str(clean_dir), strm_lvl="CRITICAL")
    assert memory_jobstore.get_output(after.uuid) == 7
    documents = list(mongomock_launchpad.fireworks.find())
    assert len(documents) == 7  # jobflow adds one that hands on the output
    assert {document["state"] for document in documents} == {"COMPLETED"}
    assert {document["spec"]["run_id"] for document in documents} == {"run-1"}
    for document in documents:
        task = document["spec"]["_tasks"][0]
        assert task["_fw_name"] == "{{mlip_autopipe.launch.firetask.ResilientJobFiretask}}"
        assert task["store"] is None
    assert {doc["metadata"]["run_id"] for doc in memory_jobstore.query(properties=["metadata"])} == {"run-1"}


@pytest.mark.parametrize(
    "word", ["no", "1e5", "0x1f", "2024-01-01", "null", "~", "1_000", "12:30", "a: b", "ü #", "-3"]
)
def test_workflow_files_keep_every_string(tmp_path, word):
    workflow = to_workflow(add(word, "x"), run_id=word, project_name=word, goal="elastic", formula="No")
    path = write_workflow_yaml(workflow, tmp_path / "wf.yaml")
    read = Workflow.from_file(str(path))
    assert read.metadata == {"run_id": word, "project_name": word, "goal": "elastic", "formula": "No"}
    assert read.fws[0].spec["run_id"] == word
    assert read.fws[0].tasks[0]["job"].function_args == (word, "x") or read.fws[0].tasks[0]["job"].function_args == [
        word,
        "x",
    ]


@pytest.mark.live
def test_the_jobstore_is_in_the_same_database(live_launchpad):
    for source in (live_launchpad, live_launchpad.location, LaunchPad.from_file("my_launchpad.yaml")):
        store = jobstore_for(source)
        store.connect()
        job = large(1000)
        job.run(store)
        assert store.get_output(job.uuid, load=True) == {"blob": list(range(1000)), "n": 1000}
        assert "blob_uuid" in live_launchpad.db["outputs"].find_one({"uuid": job.uuid})["output"]["blob"]
        store.close()


def test_a_jobstore_for_every_kind_of_login(tmp_path):
    uri = "mongodb://me:pw@h/db"
    store = jobstore_for(LaunchPadLocation(tmp_path, embedded=False, host=uri, uri_mode=True, name="n"))
    assert (store.docs_store.uri, store.docs_store.database, store.additional_stores["data"].uri) == (uri, "n", uri)
    login = {"username": "me", "password": "pw", "authsource": "admin", "mongoclient_kwargs": {"tls": True}}
    store = jobstore_for(LaunchPadLocation(tmp_path, embedded=False, host="h", port=5, name="n", **login))
    docs = store.docs_store
    assert (docs.host, docs.port, docs.database, docs.username, docs.auth_source) == ("h", 5, "n", "me", "admin")
    assert docs.mongoclient_kwargs == {"tls": True}


def test_status_needs_no_heavy_import():
    code = (
        "import sys; from mlip_autopipe.launch import database, embedded, location, runs; "
        "print([m for m in ('fireworks', 'jobflow', 'maggma', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
