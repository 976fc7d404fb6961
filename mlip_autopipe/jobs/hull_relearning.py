"""Candidates whose stability is in doubt go to the reference, and the potential learns them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.reference.labels import structure_document
from mlip_autopipe.schemas.phase_diagram import HullLabel

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.jobs.hull_doubt import HullDoubt
    from mlip_autopipe.jobs.hull_search import HullSearch, RelaxedCandidates
    from mlip_autopipe.schemas.label import ReferenceLabel
    from mlip_autopipe.schemas.otf import LearningState

FIRST_WEIGHT = 10.0
"""Of a candidate's first label: its stress counts beside thousands of forces of hot frames."""


def finished_labels(store: JobStore, search: HullSearch) -> tuple[list[ReferenceLabel | None], set[int]]:
    """Return the labels that were asked for, None where there is none (yet), and the candidates whose label failed."""
    from mlip_autopipe.jobs.labelling import labeller
    from mlip_autopipe.potentials.dataset import atoms_of

    done: list[ReferenceLabel | None] = []
    given_up: set[int] = set()
    asked = search.progress().labels
    if not asked:
        return done, given_up
    with labeller(store, search.system) as labels:
        for one in asked:
            found = labels.find(atoms_of(one.structure))
            done.append(found.label if found.state == "done" else None)
            if found.state == "failed":
                given_up.add(one.candidate)
    return done, given_up


def learn_candidates(
    store: JobStore, search: HullSearch, relaxed: RelaxedCandidates, found: HullDoubt
) -> LearningState | None:
    """Return the state from which learning goes on with the candidates in doubt; None where there is nothing to gain.

    Parameters
    ----------
    store
        A connected JobStore.
    search
        The search; its progress is stored.
    relaxed
        The candidates by the newest potential.
    found
        Which labels are wanted.
    """
    progress = search.progress()
    if not found.wanted or progress.rounds >= search.settings.max_rounds:
        return None
    if progress.sent_back == search.potential_sha256:  # nothing was learned from the last ones: the budget is spent
        return None
    if not found.needed and _left(store, search) < len(found.audits):  # a test is no reason to call a budget too small
        return None
    records = RunRecords(store, search.run_id)
    state = records.state()
    assert state is not None, "the hull comes after learning"
    sizes = relaxed.sizes
    energies = relaxed.energies_eV / sizes
    pending = [
        candidate(
            relaxed.structures[k],
            "property",
            f"{search.candidates.names[k]}, stable with probability {found.probabilities[k]:.2f}",
            # the first label moves the fit by what it says of energies; where its stress was not believed, it must be
            stress_weight=search.otf.property_stress_weight if found.energies.times_labelled[k] else FIRST_WEIGHT,
        )
        for k in found.wanted
    ]
    state = state.model_copy(
        update={"phase": "label", "after_label": "train", "pending": pending, "stop_reason": None, "missing": []}
    )
    records.save_state(state)
    # last: a job that is killed in between does the same again
    window = search.settings.window_eV_per_atom
    above = np.zeros(len(sizes))
    above[found.kept] = found.hull.e_above_hull_eV_per_atom
    search.save_progress(
        progress.model_copy(
            update={
                "rounds": progress.rounds + 1,
                "checked": progress.checked or not found.needed,
                "sent_back": search.potential_sha256,
                "labels": [
                    *progress.labels,
                    *(
                        HullLabel(
                            candidate=k,
                            structure=structure_document(relaxed.structures[k]),
                            predicted_eV_per_atom=float(energies[k]),
                            stated_eV_per_atom=float(found.energies.stated_eV[k]),
                            round=progress.rounds,
                        )
                        for k in found.wanted
                    ),
                ],
                "dropped": [int(k) for k in np.flatnonzero(above > window)],
            }
        )
    )
    return state


def _left(store: JobStore, search: HullSearch) -> int:
    """Return how many reference calculations the budget has left."""
    from mlip_autopipe.reference.budget import BudgetLedger, current_limits

    budget = current_limits(store, search.run_id, search.system.budget)
    ledger = BudgetLedger(
        store,
        search.run_id,
        max_reference_calculations=budget.max_reference_calculations,
        max_core_hours=budget.max_core_hours,
    )
    return budget.max_reference_calculations - ledger.spent()[0]
