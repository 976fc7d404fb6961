"""The end of a run that learns a potential for lattice constant and thermal expansion: run, let the reference judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobflow import Job, Response, job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.jobs.following import followed_by
from mlip_autopipe.schemas.equilibrate import EquilibrateDocument
from mlip_autopipe.schemas.npt import NPTProgress


@job(config=STORE_EXPOSED)
def equilibrate(run_id: str) -> Response[Any]:
    """Start one run per temperature, and what makes the property document of them.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    """
    from mlip_autopipe.jobs.records import RunRecords

    system = RunRecords(current_store(), run_id).plan()
    assert system.equilibrate is not None, "the plan of an equilibrate goal has an equilibrate section"
    runs: list[Job] = []
    labels: list[Job] = []
    for temperature in system.equilibrate.temperatures_K:
        run = npt_run(run_id, temperature)
        run.name = f"npt: {temperature:g} K"
        runs.append(run)
        # cheap labels are made where they are needed; expensive ones side by side
        for index in range(0 if system.reference.cheap else system.equilibrate.check_labels):
            label = label_check_frame(run_id, temperature, index, run.output)
            label.name = f"label check frame {index + 1} at {temperature:g} K"
            labels.append(label)
    after = equilibrate_document(run_id, [one.output for one in runs], [one.output for one in labels])
    after.name = "lattice constant and thermal expansion"
    return Response(replace=followed_by([*runs, *labels], after))


@job(config=STORE_EXPOSED)
def npt_run(run_id: str, temperature_K: float) -> Response[Any] | NPTProgress:
    """Run molecular dynamics at constant pressure until the lattice constant is known well enough.

    What is done is stored on the way; when time is over the same job goes on.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    temperature_K
        One of the plan's.

    Returns
    -------
    NPTProgress
        ``finished``, or ``stopped`` with a reason.
    """
    from mlip_autopipe.jobs.learn import LONGEST_JOB_S
    from mlip_autopipe.jobs.npt_production import NPTProduction
    from mlip_autopipe.jobs.wall_time import seconds_left

    left = seconds_left()
    seconds = LONGEST_JOB_S if left is None else min(left, LONGEST_JOB_S)
    progress = NPTProduction(current_store(), run_id).go_on(temperature_K, seconds, Path.cwd())
    if progress.state != "running":
        return progress
    following = npt_run(run_id, temperature_K)
    following.name = f"npt: {temperature_K:g} K, from step {progress.step}"
    return Response(replace=following)


@job(config=STORE_EXPOSED)
def label_check_frame(run_id: str, temperature_K: float, index: int, run: Any = None) -> str:
    """Label one of the frames that judge the potential.

    Parameters
    ----------
    run_id, temperature_K
        The run of molecular dynamics.
    index
        Of the frame.
    run
        Its output; only makes this job wait for it.

    Returns
    -------
    str
        ``done``, ``failed``, ``no_budget`` or, when there are fewer frames, ``not wanted``; none of them stops the run.
    """
    from mlip_autopipe.jobs.labelling import labeller
    from mlip_autopipe.jobs.npt_production import NPTProduction
    from mlip_autopipe.potentials.dataset import atoms_of

    store = current_store()
    production = NPTProduction(store, run_id)
    frames = production.progress(temperature_K).check_frames
    if index >= len(frames):
        return "not wanted"
    with labeller(store, production.system) as labels:
        return labels.label(atoms_of(frames[index])).state


@job(config=STORE_EXPOSED, output_schema=EquilibrateDocument)
def equilibrate_document(run_id: str, runs: list[Any], labels: list[Any]) -> EquilibrateDocument:
    """Make the property document of all runs.

    Parameters
    ----------
    run_id
        The run.
    runs, labels
        Outputs of `npt_run` and `label_check_frame`; only make this job wait for them.
    """
    from mlip_autopipe.jobs.equilibrate_check import check_volume
    from mlip_autopipe.jobs.equilibrate_document import build_equilibrate_document
    from mlip_autopipe.jobs.labelling import labeller
    from mlip_autopipe.jobs.npt_production import NPTProduction
    from mlip_autopipe.reference.labels import LabelStore

    store = current_store()
    production = NPTProduction(store, run_id)
    progresses = [production.progress(one) for one in production.settings.temperatures_K]
    with labeller(store, production.system) as reference:
        checks = [check_volume(production, one, reference) for one in progresses]
    return build_equilibrate_document(production, progresses, checks, LabelStore(store))
