"""FireWorks' own commands work in a project folder as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from jobflow import Flow
from launch_jobs import add, fan_out, flaky, total

from mlip_autopipe.launch import embedded, runs
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate
from mlip_autopipe.launch.workflow import to_workflow, write_workflow_yaml
from tests.browser import seen_in_a_browser

pytestmark = pytest.mark.live


def tool(name):
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert path, f"{name} is not installed beside {sys.executable}"
    return path


def run_tool(name, *arguments):
    command = [tool(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def embedded_launchpad(clean_dir):
    """The embedded server of an otherwise empty folder, found by the stock tools through the files written there."""
    pytest.importorskip("secantus")
    launchpad = connect(locate(None, clean_dir))
    yield launchpad
    launchpad.connection.close()
    assert embedded.stop(clean_dir, timeout_s=0.1)


def test_lpad_and_rlaunch_in_an_embedded_folder(embedded_launchpad, clean_dir):
    start = fan_out(2)
    busy = flaky(str(clean_dir / "tries"), 1)
    end = total([start.output, 1])
    flow = Flow([start, end, busy], output=end.output, name="from a file")
    workflow = to_workflow(flow, run_id="al-1", project_name="al", goal="elastic", formula="Al")
    write_workflow_yaml(workflow, clean_dir / "wf.yaml")
    run_tool("lpad", "add", "wf.yaml")
    listed = json.loads(run_tool("lpad", "get_wflows", "-d", "more"))
    assert listed["name"].startswith("from a file")
    assert runs.find_run(embedded_launchpad.db, "al-1").state == "waiting"

    log = run_tool("rlaunch", "rapidfire")
    assert "Traceback" not in log
    assert json.loads(run_tool("lpad", "get_wflows"))["state"] == "COMPLETED"
    assert runs.find_run(embedded_launchpad.db, "al").state == "done"
    store = jobstore_for(embedded_launchpad)
    store.connect()
    assert store.get_output(end.uuid) == 3
    assert store.get_output(busy.uuid) == "done"
    store.close()
    (document,) = embedded_launchpad.fireworks.find({"name": "flaky"})
    assert len(document["spec"]["_attempts"]) == 1
    found = json.loads(run_tool("lpad", "get_fws", "-q", '{"spec.run_id": "al-1"}', "-d", "ids"))
    assert sorted(found) == runs.find_run(embedded_launchpad.db, "al").fw_ids


def test_the_web_page_lists_the_workflow(live_launchpad, submit_flow, clean_dir):
    pytest.importorskip("gunicorn", reason="lpad webgui -s needs gunicorn")
    submit_flow(live_launchpad, Flow([add(1, 2)], name="a flow to see"))
    port = embedded._free_port()
    with Path("webgui.log").open("w") as log:
        server = subprocess.Popen([tool("lpad"), "webgui", "-s", "--port", str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/wf", timeout=5) as answer:
                    assert answer.status == 200
                    assert "a flow to see" in answer.read().decode()
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline, Path("webgui.log").read_text()
                time.sleep(0.1)
        fw_id = live_launchpad.get_fw_ids()[0]
        assert "a flow to see" in seen_in_a_browser(f"http://127.0.0.1:{port}/wf", clean_dir)
        assert "READY" in seen_in_a_browser(f"http://127.0.0.1:{port}/fw/{fw_id}", clean_dir)
    finally:
        server.terminate()
        server.wait(20)


def test_plain_jobflow_reads_the_results_through_the_written_file(embedded_launchpad, clean_dir):
    job = add(20, 3)
    workflow = to_workflow(job, run_id="r", project_name="p", goal="elastic", formula="Al")
    runs.submit(embedded_launchpad, workflow)
    run_tool("rlaunch", "-s", "singleshot")
    code = f"from jobflow import SETTINGS as s; s.JOB_STORE.connect(); print(s.JOB_STORE.get_output({job.uuid!r}))"
    environment = {"JOBFLOW_CONFIG_FILE": "jobflow.yaml", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip().endswith("23")
