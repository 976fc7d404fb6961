"""Whole runs through the command line, a server of their own, and rockets in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlip_autopipe.cli.run import widest_level
from tests.cli.test_app import write

pytestmark = pytest.mark.live

MLIP_AUTO = [sys.executable, "-m", "mlip_autopipe.cli.app"]
SI = {
    "project_name": "si",
    "target_system": {"elements": ["Si"], "crystal_structure": "diamond"},
    "simulation_goal": "elastic",
}
SW = {"engine": "ase", "calculator": "mlip_autopipe.reference.classical.stillinger_weber_silicon"}


@pytest.fixture
def project(clean_dir: Path):
    """An empty folder whose embedded server is stopped afterwards."""
    yield clean_dir
    subprocess.run([*MLIP_AUTO, "db", "stop"], cwd=clean_dir, check=True, capture_output=True)


def call(folder: Path, *arguments: object, env: dict | None = None) -> subprocess.CompletedProcess:
    command = [*MLIP_AUTO, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False
    )


def results(folder: Path) -> dict:
    return json.loads((folder / "results" / "results.json").read_text())


def assert_silicon(found: dict, c11: float, c12: float, c44: float) -> None:
    assert found["C11_GPa"] == pytest.approx(c11, rel=0.05)
    assert found["C12_GPa"] == pytest.approx(c12, rel=0.05)
    assert found["C44_GPa"] == pytest.approx(c44, rel=0.05)
    assert found["born_stable"] is True
    assert found["state"] == "done"


def test_silicon_from_a_minimal_input_on_a_cheap_reference(project):
    write(project / "input.yaml", **SI, reference=SW)
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    found = results(project)
    # Stillinger and Weber's silicon: 151.4, 76.4, 56.4 GPa (doi:10.1103/PhysRevB.31.5262; Cowley, PRL 60, 2379)
    assert_silicon(found, 151.4, 76.4, 56.4)
    # 3 to relax one degree of freedom, and for each of 4 strains a first and two or three ionic steps
    assert 3 + 4 * 2 <= found["n_reference_calculations"] <= 4 + 4 * 4
    assert len(set(found["provenance"]["label_ids"])) == found["n_reference_calculations"]
    assert found["convention"]
    assert (project / "results" / "elastic.png").exists()

    # the same input again costs nothing and shows the same
    again = call(project, "run", "input.yaml", "--out", "again")
    assert again.returncode == 0
    assert "done already" in again.stdout
    assert json.loads((project / "again" / "results.json").read_text()) == found

    # what the other commands see
    status = json.loads(call(project, "status", "--json").stdout)
    assert [(run["run_id"], run["state"]) for run in status] == [(found["run_id"], "done")]
    assert json.loads(call(project, "results", "--json").stdout) == found
    assert found["run_id"] in call(project, "results").stdout.replace("\n", "")
    assert "no run 'sii'" in call(project, "results", "sii").stderr
    assert "running" in call(project, "db", "status").stdout
    assert "nothing to mend" in call(project, "doctor").stdout
    stock = subprocess.run(
        [Path(sys.executable).parent / "lpad", "get_wflows"], cwd=project, capture_output=True, text=True, check=True
    )
    assert "COMPLETED" in stock.stdout


@pytest.mark.gpaw
def test_silicon_from_a_minimal_input_by_dft(project):
    write(project / "input.yaml", **SI, reference={"engine": "gpaw"}, resources={"cores": 2})
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    found = results(project)
    assert_silicon(found, 153.1, 57.0, 74.3)  # published PBE values
    assert 3 + 4 * 2 <= found["n_reference_calculations"] <= 5 + 4 * 5
    assert found["provenance"]["engine_versions"][0].startswith("gpaw")


@pytest.mark.slow
@pytest.mark.gpaw
def test_aluminium_by_dft_with_what_the_heuristics_choose(project):
    target = {"elements": ["Al"], "crystal_structure": "fcc"}
    write(project / "input.yaml", project_name="al", target_system=target, reference={"engine": "gpaw"})
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    found = results(project)
    # measured at 0 K: Kamm and Alers, J. Appl. Phys. 35, 327 (1964), doi:10.1063/1.1713309
    assert found["C11_GPa"] == pytest.approx(114.3, rel=0.06)
    assert found["C12_GPa"] == pytest.approx(61.9, rel=0.06)
    assert found["C44_GPa"] == pytest.approx(31.6, rel=0.06)


def test_the_budget_is_kept_and_raising_it_goes_on(project):
    write(project / "input.yaml", resources={"max_reference_calculations": 5})
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 3, outcome.stdout + outcome.stderr
    assert "max_reference_calculations" in outcome.stdout
    assert not (project / "results" / "results.json").exists()
    write(project / "input.yaml", resources={"max_reference_calculations": 50})
    assert call(project, "run", "input.yaml").returncode == 0
    assert results(project)["state"] == "done"


def test_interrupting_leaves_a_resumable_run_and_no_label_is_lost(project):
    log = project / "calculations.log"
    env = {"EMT_LOG": str(log), "PYTHONPATH": str(Path(__file__).parent)}
    write(project / "input.yaml", reference={"engine": "ase", "calculator": "slow_emt.SlowEMT"})
    process = subprocess.Popen(
        [*MLIP_AUTO, "run", "input.yaml"], cwd=project, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 2)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in printed
    before = len(log.read_text().splitlines())

    outcome = call(project, "run", "input.yaml", env=env)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    total = len(log.read_text().splitlines())
    found = results(project)
    # every finished label was kept: at most the one that was under way is computed again
    assert found["n_reference_calculations"] <= total <= found["n_reference_calculations"] + 1
    assert total > before


def test_an_unstable_crystal_is_stored_as_failed(project):
    # simple cubic copper is not stable against shear
    write(project / "input.yaml", target_system={"elements": ["Cu"], "crystal_structure": "sc"})
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 1
    found = results(project)
    assert found["state"] == "failed"
    assert found["born_stable"] is False
    assert "Debye" not in outcome.stdout
    assert [run["state"] for run in json.loads(call(project, "status", "--json").stdout)] == ["failed"]
    again = call(project, "run", "input.yaml")
    assert again.returncode == 1
    assert "is done already" in again.stdout


def test_submit_then_stock_rocket_then_results(project):
    write(project / "input.yaml")
    assert call(project, "submit", "input.yaml").returncode == 0
    subprocess.run(
        [Path(sys.executable).parent / "rlaunch", "-s", "rapidfire"], cwd=project, check=True, capture_output=True
    )
    shown = call(project, "results", "--json", "--out", "results")
    assert shown.returncode == 0
    assert json.loads(shown.stdout) == results(project)
    assert json.loads(shown.stdout)["formula"] == "Cu"


def test_export_can_be_added_with_lpad(project):
    write(project / "input.yaml")
    assert call(project, "db", "start").returncode == 0
    assert call(project, "export", "input.yaml").returncode == 0
    bin_ = Path(sys.executable).parent
    subprocess.run([bin_ / "lpad", "add", "input_launchpad.yaml"], cwd=project, check=True, capture_output=True)
    # `run` finds the run that lpad added, and runs it instead of a second one
    assert call(project, "run", "input.yaml").returncode == 0
    assert len(json.loads(call(project, "status", "--json").stdout)) == 1


def wait_for(condition, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("links", "widest"),
    [
        ({"1": [2], "2": [3], "3": []}, 1),
        ({"1": [2, 3, 4, 5], "2": [5], "3": [5], "4": [5], "5": []}, 3),
        ({"5": [], "1": [2, 3], "2": [4], "3": [4, 5], "4": [5]}, 2),
        ({"1": [], "2": [], "3": []}, 3),
    ],
)
def test_as_many_rockets_as_jobs_side_by_side(links, widest):
    assert widest_level([int(i) for i in links], links) == widest
