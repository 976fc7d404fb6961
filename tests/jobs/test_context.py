"""What a job finds around it."""

import pytest
from jobflow import job, run_locally

from mlip_autopipe.jobs.context import STORE_EXPOSED, cores_of_this_job, current_store, labelled_calculator
from mlip_autopipe.schemas.system import Budget, ReferenceSettings

EMT = ReferenceSettings(
    engine="ase", parameters={"calculator": "ase.calculators.emt.EMT", "kwargs": {}}, cheap=True
)


@job(config=STORE_EXPOSED)
def two_energies(limit: int) -> list[float]:
    from ase.build import bulk

    budget = Budget(max_reference_calculations=limit, max_core_hours=1.0, cores=1)
    with labelled_calculator(EMT, budget, "run-1") as calculator:
        energies = []
        for a in (3.6, 3.7):
            atoms = bulk("Cu", a=a)
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
        assert len(calculator.label_ids) == 2
        assert current_store() is not None
    return energies


def test_a_job_labels_into_its_own_store(memory_jobstore, clean_dir):
    asked = two_energies(5)
    run_locally(asked, store=memory_jobstore, log=False, ensure_success=True)
    first, second = memory_jobstore.get_output(asked.uuid)
    assert first < second
    assert len(list(memory_jobstore.query({"name": "reference label"}))) == 2


def test_the_budget_stops_a_job_until_the_user_raises_it(memory_jobstore, clean_dir):
    from mlip_autopipe.reference.budget import set_limits

    with pytest.raises(RuntimeError):
        run_locally(two_energies(1), store=memory_jobstore, log=False, ensure_success=True)
    assert len(list(memory_jobstore.query({"name": "reference label"}))) == 1
    set_limits(memory_jobstore, "run-1", Budget(max_reference_calculations=2, max_core_hours=1.0, cores=1))
    run_locally(two_energies(1), store=memory_jobstore, log=False, ensure_success=True)
    assert len(list(memory_jobstore.query({"name": "reference label"}))) == 2


def test_cores_come_from_the_launcher(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores_of_this_job() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert cores_of_this_job() == 1
