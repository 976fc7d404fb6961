"""The end of a run that learns a potential for a phase diagram: relax, doubt, label, learn again; then temperature."""

from __future__ import annotations

from typing import Any

from jobflow import Job, Response, job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.jobs.following import followed_by
from mlip_autopipe.schemas.phase_diagram import PhaseDiagramDocument

FINISH = "mlip_autopipe.jobs.phase_diagram:phase_diagram"


@job(config=STORE_EXPOSED)
def phase_diagram(run_id: str) -> Response[Any]:
    """Start one job per batch of candidates, and what concludes from them.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    """
    from mlip_autopipe.jobs.hull_search import HullSearch

    search = HullSearch(current_store(), run_id)
    progress, batches = search.progress(), search.batches()
    jobs: list[Job] = []
    for number, members in enumerate(batches):
        one = relax_candidates(run_id, number)
        one.name = f"hull: relax candidates {members[0] + 1} to {members[-1] + 1} of {progress.n_candidates}"
        jobs.append(one)
    after = settle_hull(run_id, [one.output for one in jobs])
    after.name = "hull"
    return Response(replace=followed_by(jobs, after))


@job(config=STORE_EXPOSED)
def relax_candidates(run_id: str, batch: int) -> str:
    """Relax a batch of candidates by the newest potential.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    batch
        Which.

    Returns
    -------
    str
        ``done``; the structures are in the JobStore.
    """
    from mlip_autopipe.jobs.hull_relearning import finished_labels
    from mlip_autopipe.jobs.hull_search import HullSearch

    store = current_store()
    search = HullSearch(store, run_id)
    labels, _ = finished_labels(store, search)
    asked = search.progress().labels
    newest = {one.candidate: label for one, label in zip(asked, labels, strict=True) if label is not None}
    search.relax(batch, newest)
    return "done"


@job(config=STORE_EXPOSED)
def settle_hull(run_id: str, batches: list[Any]) -> Response[Any]:
    """Send the candidates in doubt to the reference and back to learning, or go on to temperature and vibrations.

    Parameters
    ----------
    run_id
        The run.
    batches
        Outputs of `relax_candidates`; only make this job wait for them.
    """
    from mlip_autopipe.jobs.hull_relearning import learn_candidates
    from mlip_autopipe.jobs.hull_search import HullSearch
    from mlip_autopipe.jobs.learn import next_job
    from mlip_autopipe.jobs.phase_diagram_document import settled_hull

    store = current_store()
    search = HullSearch(store, run_id)
    relaxed, found, _ = settled_hull(store, search)
    if (state := learn_candidates(store, search, relaxed, found)) is not None:
        return Response(replace=next_job(state, FINISH, 0))
    jobs: list[Job] = []
    if search.settings.temperatures_K != []:
        one = alloy_temperature(run_id)
        one.name = "hull: temperature"
        jobs.append(one)
    if search.settings.vibrations != "none":
        one = alloy_vibrations(run_id)
        one.name = "hull: vibrations"
        jobs.append(one)
    after = conclude_phase_diagram(run_id, [one.output for one in jobs])
    after.name = "phase diagram"
    return Response(replace=followed_by(jobs, after))


@job(config=STORE_EXPOSED)
def alloy_temperature(run_id: str) -> str:
    """Expand the energies on the lattice of the stable alloys and run Monte Carlo.

    Parameters
    ----------
    run_id
        A run whose hull is settled, or whose budget is spent.

    Returns
    -------
    str
        ``done``; the diagram, or why there is none, is in the JobStore.
    """
    from mlip_autopipe.jobs.alloy_temperature import add_temperature
    from mlip_autopipe.jobs.context import cores_of_this_job
    from mlip_autopipe.jobs.hull_search import HullSearch
    from mlip_autopipe.jobs.phase_diagram_document import flags_of, settled_hull

    store = current_store()
    search = HullSearch(store, run_id)
    relaxed, found, _ = settled_hull(store, search)
    _, fits = flags_of(search, relaxed, found)
    add_temperature(search, found, fits, threads=cores_of_this_job())
    return "done"


@job(config=STORE_EXPOSED)
def alloy_vibrations(run_id: str) -> str:
    """Compute the phonons of the phases on and near the hull, and hulls of their free energies.

    Parameters
    ----------
    run_id
        A run whose hull is settled, or whose budget is spent.

    Returns
    -------
    str
        ``done``; the free energies, or why there are none, are in the JobStore.
    """
    from mlip_autopipe.jobs.alloy_vibrations import add_vibrations
    from mlip_autopipe.jobs.hull_search import HullSearch
    from mlip_autopipe.jobs.phase_diagram_document import settled_hull

    store = current_store()
    search = HullSearch(store, run_id)
    relaxed, found, _ = settled_hull(store, search)
    add_vibrations(search, relaxed, found)
    return "done"


@job(config=STORE_EXPOSED, output_schema=PhaseDiagramDocument)
def conclude_phase_diagram(run_id: str, parts: list[Any]) -> PhaseDiagramDocument:
    """Write the property document.

    Parameters
    ----------
    run_id
        A run whose hull is settled, or whose budget is spent.
    parts
        Outputs of `alloy_temperature` and `alloy_vibrations`; only make this job wait for them.
    """
    from mlip_autopipe.jobs.hull_search import HullSearch
    from mlip_autopipe.jobs.phase_diagram_document import build_phase_diagram_document

    store = current_store()
    return build_phase_diagram_document(store, HullSearch(store, run_id))
