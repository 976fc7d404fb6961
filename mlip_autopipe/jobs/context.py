"""What every job that labels structures needs: the engine, the label store and the run's budget."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobflow import CURRENT_JOB, JobConfig

from mlip_autopipe.schemas.system import Budget, ReferenceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import JobStore

    from mlip_autopipe.reference.calculator import LabelledCalculator

STORE_EXPOSED = JobConfig(expose_store=True)
"""Jobs that read or write labels need the JobStore while they run."""


def current_store() -> JobStore:
    """Return the JobStore of the running job (the job must be configured with `STORE_EXPOSED`)."""
    return CURRENT_JOB.store


@contextmanager
def labelled_calculator(
    reference: ReferenceSettings, budget: Budget, run_id: str
) -> Iterator[LabelledCalculator]:
    """Yield an ASE calculator whose every evaluation is a stored label, and close its engine afterwards."""
    from mlip_autopipe.jobs.wall_time import end_of_job
    from mlip_autopipe.reference.budget import BudgetLedger, current_limits
    from mlip_autopipe.reference.calculator import LabelledCalculator
    from mlip_autopipe.reference.labels import LabelStore
    from mlip_autopipe.reference.registry import make_engine

    store = current_store()
    limits = current_limits(store, run_id, budget)
    engine = make_engine(reference, cores=cores_of_this_job())
    try:
        yield LabelledCalculator(
            engine=engine,
            labels=LabelStore(store, ends_at=end_of_job()),
            budget=BudgetLedger(
                store,
                run_id,
                max_reference_calculations=limits.max_reference_calculations,
                max_core_hours=limits.max_core_hours,
            ),
            run_id=run_id,
        )
    finally:
        engine.close()


def cores_of_this_job() -> int:
    """Cores that this process owns: what its launcher says in OMP_NUM_THREADS, else one."""
    import os

    return max(1, int(os.environ.get("OMP_NUM_THREADS") or 1))
