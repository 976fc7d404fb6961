"""Jobs of the learning loop: one advances it, one labels a structure; each leaves the next behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobflow import Job, Response, job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.jobs.following import followed_by
from mlip_autopipe.schemas.system import SystemConfig

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.jobs.learning_run import LearningRun
    from mlip_autopipe.schemas.otf import LearningState

LONGEST_JOB_S = 1800.0
"""After so long the next job takes over, so that queues with short limits and people watching are served."""
POLL_S = 0.5
LEAST_JOB_S = 10.0
"""A job goes on for so long even when its time is over already, so that no chain of jobs turns without getting on."""


@job(config=STORE_EXPOSED)
def start_learning(system: dict[str, Any], finish: str | None = None, reserve: int = 0) -> Response[Any]:
    """Keep the plan in the JobStore and begin; later jobs carry the run's name only.

    A loop that had ended at its budget goes on if that is larger in this plan.

    Parameters
    ----------
    system
        The `SystemConfig`.
    finish
        Name of the job (``package.module:function``) that turns the potential into the property, called with the run's
        name; None: the output is the `OTFDocument`.
    reserve
        Reference calculations that are left for it.
    """
    from mlip_autopipe.jobs.records import RunRecords

    plan = SystemConfig.model_validate(system)
    RunRecords(current_store(), plan.run_id).save_plan(plan)
    return _advance(plan.run_id, finish, reserve)


@job(config=STORE_EXPOSED)
def learn(
    run_id: str, finish: str | None, reserve: int, round_: str = "", labels: list[str] | None = None
) -> Response[Any]:
    """Advance the loop until it ends, labels are needed that other jobs compute, or time is over.

    Parameters
    ----------
    run_id
        The run; its plan and state are read from the JobStore.
    finish, reserve
        As in `start_learning`.
    round_
        The labels (see `_round_of`) that other jobs have made.
    labels
        What they say; only makes this job wait for them.
    """
    return _advance(run_id, finish, reserve, labelled=round_)


@job(config=STORE_EXPOSED)
def label_candidate(run_id: str, round_: str, index: int, reserve: int) -> str:
    """Label one of the structures that wait in the run's state.

    Returns
    -------
    str
        ``done``, ``failed``, ``no_budget`` or, when the loop has gone on since, ``not wanted``; none of them stops it.
    """
    from mlip_autopipe.jobs.labelling import labeller
    from mlip_autopipe.jobs.learning_run import atoms_of_candidate
    from mlip_autopipe.jobs.records import RecordError, RunRecords

    store = current_store()
    records = RunRecords(store, run_id)
    state = records.state()
    if state is None:
        raise RecordError(f"run {run_id} has no learning state in this JobStore")
    if _round_of(state) != round_:
        return "not wanted"
    with labeller(store, records.plan(), reserve=reserve) as labels:
        return labels.label(atoms_of_candidate(state.pending[index])).state


def _advance(run_id: str, finish: str | None, reserve: int, labelled: str = "") -> Response[Any]:
    from mlip_autopipe.jobs.learning_run import LearningRun

    store = current_store()
    with _alone(store, run_id):
        return _advanced(LearningRun(store, run_id, reserve=reserve), finish, reserve, labelled)


def _advanced(run: LearningRun, finish: str | None, reserve: int, labelled: str) -> Response[Any]:
    from mlip_autopipe.jobs.reopening import reopen_if_raised

    cheap, ends = run.system.reference.cheap, time.monotonic() + _seconds_for_this_job()
    began_at = run.state.generation
    while True:
        phase = run.state.phase
        if phase == "finished":
            # the budget may have been raised since: in the plan of a run that was ended, or while it ran
            more = reopen_if_raised(run.store, run.system)
            return _finished(run, finish) if more is None else Response(replace=next_job(more, finish, reserve))
        if phase == "label" and not cheap and _round_of(run.state) != labelled:
            return _fan_out(run, finish, reserve)
        over = time.monotonic() > ends or run.state.generation - began_at >= run.settings.generations_per_job
        if phase != "label" and over:
            return Response(replace=next_job(run.state, finish, reserve))
        if phase == "label":
            run.label(compute=cheap)
        elif phase == "train":
            run.train()
        elif phase == "explore":
            if not run.explore(max(0.0, ends - time.monotonic())):
                return Response(replace=next_job(run.state, finish, reserve))
        elif phase == "refine":
            run.refine()
        elif phase == "held_out":
            run.hold_out()
        else:
            run.evaluate()


@contextmanager
def _alone(store: JobStore, run_id: str) -> Iterator[None]:
    """Wait until no other job advances the run: one whose worker was taken for dead may still be at it."""
    from mlip_autopipe.reference.claims import Claims
    from mlip_autopipe.reference.documents import ledger_of

    claims = Claims(ledger_of(store))
    while True:
        with claims.holding(f"loop:{run_id}") as mine:
            if mine:
                yield
                return
        time.sleep(POLL_S)


def _seconds_for_this_job() -> float:
    from mlip_autopipe.jobs.wall_time import seconds_left

    left = seconds_left()
    return LONGEST_JOB_S if left is None else min(LONGEST_JOB_S, max(LEAST_JOB_S, left))


def _fan_out(run: LearningRun, finish: str | None, reserve: int) -> Response[Any]:
    """Label every structure in a job of its own, and go on when all are done."""
    from mlip_autopipe.jobs.learning_run import kept_for_the_end

    state = run.state
    kept = reserve + kept_for_the_end(state, run.settings)
    jobs: list[Job] = []
    for index, one in enumerate(state.pending):
        labelling = label_candidate(state.run_id, _round_of(state), index, kept)
        labelling.name = f"label {one.detail or one.origin} (generation {state.generation + 1})"
        jobs.append(labelling)
    after = next_job(state, finish, reserve, _round_of(state), [one.output for one in jobs])
    return Response(replace=followed_by(jobs, after))


def next_job(state: LearningState, finish: str | None, reserve: int, round_: str = "", labels: Any = None) -> Job:
    """Return the job that goes on from a state; parameters as in `learn`."""
    following = learn(state.run_id, finish, reserve, round_, labels)
    following.name = f"learn: {state.phase} (generation {state.generation + 1})"
    return following


def _round_of(state: LearningState) -> str:
    """Name the structures that wait, so that a job that comes late or twice does not take them for others."""
    return f"{state.generation}/{len(state.used)}/{len(state.left_out)}/{state.after_label}/{len(state.pending)}"


def _finished(run: LearningRun, finish: str | None) -> Response[Any]:
    if finish is None:
        return Response(output=run.records.learned())
    from importlib import import_module

    module, _, name = finish.partition(":")
    following: Job = getattr(import_module(module), name)(run.state.run_id)
    following.name = name.replace("_", " ")
    return Response(replace=following)

