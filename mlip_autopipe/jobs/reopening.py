"""A learning loop that ended at its budget goes on when the budget is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.learning.reopening import reopened
from mlip_autopipe.reference.budget import current_limits, forget_refusal, refusal_of, set_limits

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.schemas.otf import LearningState
    from mlip_autopipe.schemas.system import Budget, SystemConfig


def reopen_if_raised(store: JobStore, plan: SystemConfig) -> LearningState | None:
    """Let a finished loop go on if it was refused labels at a limit that is higher now.

    Only for a job that is alone with the loop. Killed on the way, it is done again by the next call.

    Parameters
    ----------
    store
        A connected JobStore.
    plan
        With the limits that hold now; those that were raised since the run was planned hold, too.

    Returns
    -------
    LearningState or None
        From where it goes on; None: nothing was raised, or nothing was refused.
    """
    records, refusal = RunRecords(store, plan.run_id), refusal_of(store, plan.run_id)
    state = records.state()
    if state is None or state.phase != "finished" or refusal is None:
        return None
    limits = _larger(plan.budget, current_limits(store, plan.run_id, plan.budget))
    if not refusal.is_lifted_by(limits):
        return None
    set_limits(store, plan.run_id, limits)
    state = reopened(state)
    records.save_state(state)
    forget_refusal(store, plan.run_id)
    return state


def _larger(one: Budget, other: Budget) -> Budget:
    limits = ("max_reference_calculations", "max_core_hours")
    return one.model_copy(update={name: max(getattr(one, name), getattr(other, name)) for name in limits})
