"""The elastic flow: how it is wired, and what comes out of it by jobflow alone and through the queue."""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from jobflow import Flow, run_locally

from mlip_autopipe.flows.elastic import ElasticMaker
from mlip_autopipe.schemas.elastic import ElasticDocument


def jobs_of(flow: Flow) -> dict[str, list[str]]:
    """Names of the jobs, and the names of those each of them waits for."""
    names = {job.uuid: job.name for job, _ in flow.iterflow()}
    return {job.name: sorted(names[p] for p in parents) for job, parents in flow.iterflow()}


def run(flow: Flow, store: Any) -> ElasticDocument:
    run_locally(flow, store=store, log=False, ensure_success=True)
    return ElasticDocument.model_validate(store.get_output(flow.jobs[-1].uuid))


def test_a_cheap_reference_gets_all_strains_in_one_job(plan):
    assert jobs_of(ElasticMaker().make(plan())) == {
        "relax cell": [],
        "strains 1-4 of 4": ["relax cell"],
        "fit elastic tensor": ["relax cell", "strains 1-4 of 4"],
    }


def test_an_expensive_reference_gets_one_job_per_strain(plan):
    system = plan("Si", "diamond", reference={"engine": "gpaw"})
    jobs = jobs_of(ElasticMaker().make(system))
    assert len(jobs) == 6
    assert jobs["strain 3 of 4"] == ["relax cell"]
    assert jobs["fit elastic tensor"] == ["relax cell", *(f"strain {i} of 4" for i in range(1, 5))]


@pytest.mark.parametrize(
    ("elements", "structure", "strains"), [("Cu", "fcc", 4), ("Cu", "hcp", 8), ("Cu Au", "cesiumchloride", 4)]
)
def test_the_number_of_strains_is_planned(plan, elements, structure, strains):
    system = plan(elements, structure)
    assert 4 * len(system.elastic.directions) == strains


def test_copper_by_emt(plan, memory_jobstore, clean_dir):
    system = plan()
    document = run(ElasticMaker().make(system), memory_jobstore)
    assert document.state == "done"
    assert document.space_group == "Fm-3m"
    tensor = np.array(document.elastic_tensor_GPa)
    # central differences of the stress at strains of 1e-4: 172.59, 115.43, 89.90
    assert tensor[0, 0] == pytest.approx(172.59, abs=0.2)
    assert tensor[0, 1] == pytest.approx(115.43, abs=0.2)
    assert tensor[3, 3] == pytest.approx(89.90, abs=0.2)
    assert all(gate.passed for gate in document.gates)
    assert document.run_id == system.run_id
    assert document.n_reference_calculations == len(set(document.provenance["label_ids"]))
    assert document.provenance["settings_hashes"]
    assert abs(document.pressure_GPa) < system.relaxation.stress_tolerance_GPa
    for stored in memory_jobstore.query():
        assert len(json.dumps(stored["output"], default=str)) < 1_000_000


def test_hexagonal_copper_has_five_constants(plan, memory_jobstore, clean_dir):
    document = run(ElasticMaker().make(plan("Cu", "hcp")), memory_jobstore)
    assert document.crystal_system == "hexagonal"
    assert sorted(document.independent_constants_GPa) == ["C11", "C12", "C13", "C33", "C44"]
    tensor = np.array(document.elastic_tensor_ieee_GPa)
    assert tensor[5, 5] == pytest.approx((tensor[0, 0] - tensor[0, 1]) / 2, abs=1e-8)
    assert document.state == "done"


def test_the_same_flow_again_computes_nothing(plan, memory_jobstore, clean_dir, monkeypatch):
    first = run(ElasticMaker().make(plan()), memory_jobstore)

    def never(*args: object) -> None:
        raise AssertionError("a stored label was computed again")

    monkeypatch.setattr("mlip_autopipe.reference.ase_engine.ASEEngine.compute", never)
    second = run(ElasticMaker().make(plan()), memory_jobstore)
    assert second.elastic_tensor_GPa == first.elastic_tensor_GPa


def test_an_ion_relaxation_that_does_not_end_is_a_failed_gate(plan, memory_jobstore, clean_dir):
    system = plan("Cu", "hcp", overrides={"elastic.ion_max_steps": 1})
    document = run(ElasticMaker().make(system), memory_jobstore)
    assert document.state == "failed"
    assert [gate.name for gate in document.gates if not gate.passed] == ["relaxed"]
    assert any("did not relax" in warning for warning in document.warnings)


@pytest.mark.live
def test_the_queue_gives_the_same_as_run_locally(plan, memory_jobstore, live_launchpad, live_location):
    """A worker process pulls the jobs; each goes READY -> RUNNING -> COMPLETED; the result is that of run_locally."""
    from mlip_autopipe.launch.runs import result_document, submit
    from mlip_autopipe.launch.workflow import to_workflow

    system = plan()
    local = run(ElasticMaker().make(system), memory_jobstore)
    workflow = to_workflow(
        ElasticMaker().make(system), run_id=system.run_id, project_name="test", goal="elastic", formula="Cu"
    )
    fw_ids = submit(live_launchpad, workflow)
    collection = live_launchpad.fireworks
    seen: dict[int, list[str]] = {i: [] for i in fw_ids}

    def look() -> set[str]:
        for found in collection.find({"fw_id": {"$in": fw_ids}}, {"fw_id": 1, "state": 1}):
            history = seen[found["fw_id"]]
            if not history or history[-1] != found["state"]:
                history.append(found["state"])
        return {history[-1] for history in seen.values()}

    assert look() == {"READY", "WAITING"}
    command = [sys.executable, "-m", "mlip_autopipe.launch.rocket", "--launchpad", str(live_location.file)]
    command += ["--folder", str(live_location.folder), "--run-id", system.run_id]
    worker = subprocess.Popen(command, cwd=live_location.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while look() != {"COMPLETED"}:
        assert time.monotonic() < deadline, seen
        time.sleep(0.002)
    assert worker.wait(timeout=30) == 0
    assert len(fw_ids) == 3
    for fw_id in fw_ids:
        assert seen[fw_id][-1] == "COMPLETED"
        launch = live_launchpad.get_fw_by_id(fw_id).launches[-1]
        assert [entry["state"] for entry in launch.state_history] == ["RUNNING", "COMPLETED"]
    first = min(fw_ids)  # the others become READY and RUNNING within one update of the workflow
    assert [state for state in seen[first] if state != "RESERVED"] == ["READY", "RUNNING", "COMPLETED"]
    queued = ElasticDocument.model_validate(result_document(live_launchpad.db, system.run_id))
    assert queued.elastic_tensor_GPa == local.elastic_tensor_GPa
    assert queued.provenance["label_ids"] == local.provenance["label_ids"]
