"""A run that ended at its budget, through the command line: what is said, and that a larger budget lets it go on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlip_autopipe.cli.run import _go_on
from mlip_autopipe.errors import BudgetExhaustedError
from mlip_autopipe.reference.budget import BudgetLedger
from tests.cli.test_app import write
from tests.cli.test_run import MLIP_AUTO, call, project, results  # noqa: F401 - a fixture
from tests.flows.test_otf import LOGGED
from tests.learning.tiny import SMALL, tiny_plan

LEARN = {
    "target_system": {"elements": ["Ni"], "crystal_structure": "fcc"},
    "simulation_goal": "potential",
    "reference": {"engine": "ase", "calculator": LOGGED},
    "potential": {"kwargs": {"largest": 20}},
    "overrides": {
        **{f"otf.{key}": value for key, value in SMALL.items()},
        "otf.temperatures_K": [300.0, 900.0],
        # with some seeds the uncertainty of so small a potential does not hold, and the run ends for want of evidence
        "otf.seed": 1,
        "otf.force_std_trigger_eV_per_A": 0.03,
        "otf.target_force_error_eV_per_A": 0.2,
    },
}


@pytest.fixture
def learn(project, monkeypatch):  # noqa: F811
    monkeypatch.setenv("EMT_LOG", str(project / "computed"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def run(limit: int, **changes: object) -> subprocess.CompletedProcess:
        resources = {"max_reference_calculations": limit, "cores": 1}
        write(project / "input.yaml", **{**LEARN, **changes}, resources=resources)
        return call(project, "run", "input.yaml")

    return run


def computed(folder: Path) -> int:
    return len((folder / "computed").read_text().splitlines())


@pytest.mark.live
def test_a_larger_budget_lets_the_same_run_go_on(project, learn):  # noqa: F811
    first = learn(5)
    assert first.returncode == 3, first.stdout + first.stderr
    before = results(project)
    assert computed(project) == before["n_reference_calculations"] == 5

    same = learn(5)
    assert same.returncode == 3
    assert "done already: it stopped at its budget; raise resources.max_reference_calculations above 5" in same.stdout
    assert computed(project) == 5

    raised = learn(60)
    assert raised.returncode == 0, raised.stdout + raised.stderr
    assert "goes on with a larger budget: resources.max_reference_calculations was 5 and is 60 now" in raised.stdout
    after = results(project)
    assert (after["run_id"], after["state"]) == (before["run_id"], "done")
    assert after["potential_sha256"] != before["potential_sha256"]
    labels = [one["provenance"]["label_ids"] for one in (before, after)]
    assert set(labels[0]) <= set(labels[1])
    # every label was computed once, those of the first part in the first part
    assert computed(project) == after["n_reference_calculations"] > 5

    # one run, done; the newest document is its result
    (run,) = json.loads(call(project, "status", "--json").stdout)
    assert (run["run_id"], run["state"], set(run["jobs"])) == (after["run_id"], "done", {"COMPLETED"})
    assert json.loads(call(project, "results", "--json").stdout) == after
    card = json.loads((project / "results" / f"{after['project_name']}.model_card.json").read_text())
    assert card["potential_sha256"] == after["potential_sha256"]

    again = learn(100)
    assert again.returncode == 0
    assert "is done already; showing its results" in again.stdout
    assert computed(project) == after["n_reference_calculations"]


@pytest.mark.live
def test_a_submitted_run_goes_on_with_stock_rockets(project, learn):  # noqa: F811
    assert learn(5).returncode == 3
    before = computed(project)
    write(project / "input.yaml", **LEARN, resources={"max_reference_calculations": 60, "cores": 1})
    submitted = call(project, "submit", "input.yaml")
    assert "goes on with a larger budget" in submitted.stdout
    subprocess.run(
        [Path(sys.executable).parent / "rlaunch", "-s", "rapidfire"], cwd=project, check=True, capture_output=True
    )
    shown = call(project, "results", "--json")
    assert shown.returncode == 0, shown.stderr
    assert computed(project) == json.loads(shown.stdout)["n_reference_calculations"] > before


class TestWhatIsSaid:
    @pytest.fixture
    def ended(self, mongomock_launchpad, memory_jobstore, monkeypatch):
        """A run that has ended in some state, refused a label at some limit or not."""
        monkeypatch.setattr("mlip_autopipe.launch.jobstore.jobstore_for", lambda launchpad: memory_jobstore)

        def make(state: str, refused_at: int | None = None):
            plan = tiny_plan(max_reference_calculations=10)
            output = {"run_id": plan.run_id, "goal": plan.goal, "state": state}
            mongomock_launchpad.db["outputs"].insert_one({"completed_at": "2030", "output": output})
            if refused_at is not None:
                limits = {"max_reference_calculations": refused_at, "max_core_hours": 1.0, "kept": refused_at}
                with pytest.raises(BudgetExhaustedError):
                    BudgetLedger(memory_jobstore, plan.run_id, **limits).reserve("a label")
            return mongomock_launchpad, plan

        return make

    @pytest.mark.parametrize(
        ("state", "refused_at", "sentence"),
        [
            ("done", None, "is done already; showing its results"),
            ("done", 5, "is done already; showing its results"),
            ("not_enough_evidence", None, "no limit of `resources` stopped it"),
            ("not_enough_evidence", None, "otf.max_refinements under `overrides`"),
            ("failed", 10, "raise resources.max_reference_calculations above 10"),
            ("not_enough_evidence", 20, "raise resources.max_reference_calculations above 20"),
        ],
    )
    def test_why_it_does_not_go_on_and_what_would_help(self, ended, capsys, state, refused_at, sentence):
        launchpad, plan = ended(state, refused_at)
        _go_on(launchpad, plan)
        assert sentence in capsys.readouterr().out
        assert launchpad.workflows.count_documents({}) == 0


def test_only_resources_leave_a_run_its_name():
    from mlip_autopipe.heuristics.engine import HeuristicEngine
    from mlip_autopipe.schemas.loading import parse_user_config

    def run_id(resources: dict, **overrides: object) -> str:
        user = {**LEARN, "project_name": "ni", "resources": resources}
        user["overrides"] = {**LEARN["overrides"], **overrides}
        return HeuristicEngine().expand(parse_user_config(user)).run_id

    planned = run_id({})
    assert run_id({"max_reference_calculations": 7, "max_core_hours": 0.1, "cores": 1}) == planned
    for name, value in (("max_refinements", 7), ("max_generations", 7), ("target_force_error_eV_per_A", 0.3)):
        assert run_id({}, **{f"otf.{name}": value}) != planned, name
