"""The end of a run that learns a potential for diffusion: production under watch, back to learning, or the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobflow import Flow, Job, Response, job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.jobs.following import followed_by
from mlip_autopipe.schemas.diffusion import DiffusionDocument, DiffusionRun, Role

FINISH = "mlip_autopipe.jobs.diffusion:diffusion"


@job(config=STORE_EXPOSED)
def diffusion(run_id: str) -> Response[Any]:
    """Start, or go on with, one job per production run, and what concludes from them.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    """
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction

    production = DiffusionProduction(current_store(), run_id)
    runs = production.runs()
    for run in runs:
        production.save(run)  # who asks how far all is sees the runs that wait, too
    return Response(replace=_round(run_id, [one for one in runs if one.state == "running"]))


@job(config=STORE_EXPOSED)
def diffusion_run(run_id: str, temperature_K: float, role: Role, number: int) -> Response[Any] | str:
    """Advance one production run; when time is over the same job goes on.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    temperature_K, role, number
        Which of its production runs.

    Returns
    -------
    str
        ``finished``, ``triggered`` (the potential was unsure), ``stopped``, or ``running`` when another run of the
        round has triggered, so that this one would be repeated in any case. Not the run itself: what a job says is
        kept for ever, and with it the frames that it names.
    """
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.jobs.learn import LONGEST_JOB_S
    from mlip_autopipe.jobs.wall_time import seconds_left

    left = seconds_left()
    seconds = LONGEST_JOB_S if left is None else min(left, LONGEST_JOB_S)
    production = DiffusionProduction(current_store(), run_id)
    run = production.go_on((temperature_K, role, number), seconds, Path.cwd())
    if run.state != "running" or production.is_in_vain():
        return run.state
    following = diffusion_run(run_id, temperature_K, role, number)
    following.name = _title(run)
    return Response(replace=following)


@job(config=STORE_EXPOSED, output_schema=DiffusionDocument)
def conclude_diffusion(run_id: str, runs: list[Any]) -> Response[Any] | DiffusionDocument:
    """Send unsure frames back to learning, make runs longer that tell too little, or write the property document.

    Parameters
    ----------
    run_id
        The run.
    runs
        Outputs of `diffusion_run`; only make this job wait for them.
    """
    from mlip_autopipe.jobs.diffusion_document import build_diffusion_document, lengthened
    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.jobs.diffusion_relearning import relearn
    from mlip_autopipe.jobs.learn import next_job
    from mlip_autopipe.reference.labels import LabelStore

    store = current_store()
    production = DiffusionProduction(store, run_id)
    if (state := relearn(store, production)) is not None:
        return Response(replace=next_job(state, FINISH, 0))
    # runs that stopped for the sake of another one go on when nothing came of it
    going = [one for one in production.runs() if one.state == "running"]
    if going := going or lengthened(production):
        return Response(replace=_round(run_id, going))
    return build_diffusion_document(production, LabelStore(store))


def _round(run_id: str, runs: list[DiffusionRun]) -> Flow:
    jobs: list[Job] = []
    # where one is unsure all are repeated, and the hottest are the likeliest
    for run in sorted(runs, key=lambda one: one.temperature_K, reverse=True):
        one = diffusion_run(run_id, run.temperature_K, run.role, run.number)
        one.name = _title(run)
        jobs.append(one)
    after = conclude_diffusion(run_id, [one.output for one in jobs])
    after.name = "diffusion coefficients"
    return followed_by(jobs, after)


def _title(run: DiffusionRun) -> str:
    what = "run" if run.role == "mean" else "posterior sample"
    where = f", {run.stage} from step {run.step}" if run.step else ""
    return f"diffusion: {run.temperature_K:g} K, {what} {run.number + 1}{where}"
