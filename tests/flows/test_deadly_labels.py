"""Labels that end every worker which computes them, in rockets on a real server: the loop goes on without them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mlip_autopipe.jobs.learning_run import LearningRun, atoms_of_candidate
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.launch import runs
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.pool import RocketPool
from mlip_autopipe.reference.labels import MAX_DEATHS, LabelStore
from mlip_autopipe.schemas.otf import Candidate
from mlip_autopipe.schemas.system import SystemConfig
from tests.flows.test_otf import drain, submit, wait_for
from tests.learning.tiny import memory_store, tiny_plan

pytestmark = pytest.mark.live


@pytest.mark.parametrize("cheap", [True, False])
def test_the_loop_goes_on_without_labels_that_kill_their_workers(live_launchpad, clean_dir, monkeypatch, cheap):
    plan = tiny_plan(calculator="tests.reference.calculators.Deadly", cheap=cheap, seed_structures=4)
    seeds = seeds_of(plan)
    volumes = [f"{atoms_of_candidate(one).get_volume():.4f}" for one in seeds[:2]]
    monkeypatch.setenv("DEADLY_VOLUMES", ",".join(volumes))
    monkeypatch.setenv("DEADLY_LOG", str(clean_dir / "begun"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    submit(live_launchpad, plan)
    with RocketPool(live_launchpad.location, 1, plan.run_id) as pool:
        drain(pool)
    assert begun(clean_dir) == dict.fromkeys(volumes, MAX_DEATHS)
    found = runs.find_run(live_launchpad.db, plan.run_id)
    assert (found.state, set(found.jobs)) == ("done", {"COMPLETED"}), "nobody had to help"
    with jobstore_for(live_launchpad) as store:
        learned = RunRecords(store, plan.run_id).learned()
    assert learned.state == "done"
    assert [one.origin for one in learned.left_out] == ["seed", "seed"]
    assert all(one.reason.startswith(f"the worker died {MAX_DEATHS} times") for one in learned.left_out)
    assert learned.labels_by_origin["seed"] == 2
    assert any("2 labels failed and were left out" in sentence for sentence in learned.warnings)


def test_stopping_the_rockets_again_and_again_is_no_death(live_launchpad, clean_dir, monkeypatch):
    plan = tiny_plan(calculator="tests.reference.calculators.Deadly")
    volume = f"{atoms_of_candidate(seeds_of(plan)[0]).get_volume():.4f}"
    monkeypatch.setenv("DEADLY_VOLUMES", volume)
    monkeypatch.setenv("DEADLY_LOG", str(clean_dir / "begun"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("DEADLY_HOW", "sleep")
    submit(live_launchpad, plan)
    for times in range(1, MAX_DEATHS + 1):
        with RocketPool(live_launchpad.location, 1, plan.run_id):
            wait_for(lambda times=times: begun(clean_dir) == {volume: times})
    monkeypatch.setenv("DEADLY_HOW", "live")
    with RocketPool(live_launchpad.location, 1, plan.run_id) as pool:
        drain(pool)
    with jobstore_for(live_launchpad) as store:
        assert RunRecords(store, plan.run_id).learned().left_out == []
        labels = LabelStore(store).labels_of_run(plan.run_id)
    assert {(label.state, label.deaths) for label in labels} == {("done", 0)}


def begun(folder: Path) -> Counter[str]:
    log = folder / "begun"
    return Counter(line.split()[1] for line in log.read_text().splitlines()) if log.exists() else Counter()


def seeds_of(plan: SystemConfig) -> list[Candidate]:
    store = memory_store()
    RunRecords(store, plan.run_id).save_plan(plan)
    return LearningRun(store, plan.run_id).state.pending
