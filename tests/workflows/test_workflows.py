"""The ready-made inputs and LaunchPad files are valid and up to date."""

from pathlib import Path

import pytest
import yaml

from mlip_autopipe.cli.plan import make_plan

FOLDER = Path(__file__).parents[2] / "workflows"
INPUTS = sorted(p for p in FOLDER.glob("*.yaml") if not p.name.endswith("_launchpad.yaml"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda p: p.name)
def test_inputs_can_be_planned(path):
    assert make_plan(path).estimate.n_reference_calculations > 0


def test_the_launchpad_file_is_the_export_of_its_input():
    stored = yaml.safe_load((FOLDER / "si_elastic_launchpad.yaml").read_text())
    system = make_plan(FOLDER / "si_elastic.yaml")
    assert stored["metadata"]["run_id"] == system.run_id, "run mlip-auto export workflows/si_elastic.yaml again"
    assert [fw["name"] for fw in stored["fws"]].count("fit elastic tensor") == 1
    assert len(stored["fws"]) == 6


@pytest.mark.live
def test_lpad_adds_it(live_launchpad, live_location):
    import subprocess
    import sys

    lpad = Path(sys.executable).parent / "lpad"
    command = [lpad, "-l", live_location.file, "add", FOLDER / "si_elastic_launchpad.yaml"]
    subprocess.run(command, cwd=live_location.folder, check=True, capture_output=True)
    states = [fw["state"] for fw in live_launchpad.fireworks.find({}, {"state": 1})]
    assert sorted(states) == ["READY"] + ["WAITING"] * 5
