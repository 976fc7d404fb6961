"""Looking at an empty place leaves no traces."""

import json


def test_nothing_was_ever_stored(invoke, clean_dir):
    outcome = invoke("status")
    assert outcome.code == 0
    assert "no runs yet" in outcome.out
    assert json.loads(invoke("status", "--json").out) == []
    assert invoke("status", "al").code == 2
    assert invoke("results").code == 2
    assert "nothing to mend" in invoke("doctor").out
    assert "not running" in invoke("db", "status").out
    assert "was not running" in invoke("db", "stop").out
    assert list(clean_dir.iterdir()) == []


def test_a_failed_run_says_why(invoke, live_launchpad, live_location, monkeypatch):
    from jobflow import job

    from mlip_autopipe.launch.runs import submit
    from mlip_autopipe.launch.workflow import to_workflow
    from tests.cli import test_status as here

    monkeypatch.setenv("COLUMNS", "200")
    flow = job(here.cannot)()
    workflow = to_workflow(flow, run_id="al-1", project_name="al", goal="elastic", formula="Al")
    submit(live_launchpad, workflow)
    from fireworks.core.rocket_launcher import launch_rocket

    launch_rocket(live_launchpad, strm_lvl="CRITICAL")
    outcome = invoke("status", "al")
    assert "failed" in outcome.out
    assert "the sun is too bright" in outcome.out
    found = json.loads(invoke("status", "al-1", "--json").out)
    assert found["failures"][0]["sentence"].endswith("the sun is too bright")
    assert invoke("results", "al").code == 2


def cannot() -> None:
    raise ValueError("the sun is too bright")
