"""The end of a run whose goal is the potential itself: judge it and write its card."""

from __future__ import annotations

from datetime import UTC, datetime

from jobflow import job

from mlip_autopipe.jobs.context import STORE_EXPOSED, current_store
from mlip_autopipe.schemas.otf import OTFDocument
from mlip_autopipe.schemas.potential import PotentialDocument
from mlip_autopipe.schemas.property import Gate

MIN_COVERAGE = 0.75
"""Of the nominal 90 %, over all labels that were predicted before or without training: less misleads."""
MORE_LABELS = "raise resources.max_reference_calculations or, under overrides, otf.held_out"


@job(config=STORE_EXPOSED, output_schema=PotentialDocument)
def deliver_potential(run_id: str) -> PotentialDocument:
    """Write the property document of a learned potential.

    Parameters
    ----------
    run_id
        A run whose loop has ended.
    """
    from mlip_autopipe.jobs.elastic_document import provenance
    from mlip_autopipe.jobs.records import RunRecords
    from mlip_autopipe.jobs.run_potential import model_card_of_run, potential_of_run
    from mlip_autopipe.reference.labels import LabelStore

    store = current_store()
    records = RunRecords(store, run_id)
    system, otf = records.plan(), records.learned()
    assert system.otf is not None, "a plan that learns has a section otf"
    card = model_card_of_run(store, potential_of_run(store, run_id), created=datetime.now(UTC))
    target = system.otf.target_force_error_eV_per_A
    gates, untold = _coverage(otf)
    error = None if otf.held_out is None else otf.held_out.force_rmse_eV_per_A
    enough = otf.state == "done" and not untold and (error is None or error <= target)
    missing = [*otf.missing, *untold]
    if error is not None and error > target:
        missing.append(
            f"on {otf.held_out.labels if otf.held_out else 0} held-out labels the force error is {1e3 * error:.0f} "
            f"meV/A, the target {1e3 * target:.0f}: raise resources.max_reference_calculations or otf.max_refinements"
        )
    return PotentialDocument(
        run_id=run_id,
        project_name=system.project_name,
        state=("done" if enough else "not_enough_evidence") if all(gate.passed for gate in gates) else "failed",
        formula=system.material.formula,
        potential_sha256=otf.potential_sha256,
        force_rmse_eV_per_A=error,
        target_force_error_eV_per_A=target,
        learned=otf,
        card=card,
        gates=gates,
        n_reference_calculations=otf.n_reference_calculations,
        missing=missing,
        warnings=list(dict.fromkeys([*system.warnings, *otf.warnings, *card.warnings])),
        provenance=provenance(system, otf.label_ids, LabelStore(store), otf=otf),
    )


def _coverage(otf: OTFDocument) -> tuple[list[Gate], list[str]]:
    """Return whether the stated 90 % interval held, and what is missing to tell.

    The gate fails when the coverage is too small beyond chance, labels being the sample: the atoms of a frame are wrong
    together, and a potential that states its uncertainty rightly may miss those of one label in ten or twenty.
    """
    from mlip_autopipe.analysis.coverage import LEAST_LABELS, covered_share

    counts = [*otf.covered, *(otf.held_out.covered if otf.held_out else [])]
    if len(counts) < LEAST_LABELS:
        return [], [f"too few labels tell whether the stated uncertainty holds; {MORE_LABELS}"]
    found = covered_share(*zip(*counts, strict=True))
    share = f"{100 * found.share:.0f} +- {100 * found.stderr:.0f} % of the atoms of {found.labels} labels"
    gate = Gate(
        name="uncertainty_holds",
        passed=found.upper >= MIN_COVERAGE,
        detail=f"the 90 % interval held for {share} that were not trained on; it fails when that is below "
        f"{100 * MIN_COVERAGE:.0f} % with 95 % confidence",
    )
    if gate.passed and found.share < MIN_COVERAGE:
        return [gate], [f"the 90 % interval held for {share}, too few to tell whether by chance; {MORE_LABELS}"]
    return [gate], []
