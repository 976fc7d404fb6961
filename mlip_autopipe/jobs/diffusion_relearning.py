"""Frames at which production was unsure go back to learning; what was simulated with that potential is not used.

Each round of production is repeated from its start, so one that ends early gives more than the frame that ended it: the
frames at which the other runs were nearly unsure are learned with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.learning.cutting import small_enough

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
    from mlip_autopipe.schemas.otf import LearningState

PROGRESS = "diffusion_progress"
NEARLY = 0.8
"""Of what makes a run stop: frames beyond are learned with those that did, which saves rounds of production."""
MOST_FRAMES = 8


def relearn(store: JobStore, production: DiffusionProduction) -> LearningState | None:
    """Return the state from which learning goes on with the unsure frames; None where there is nothing to gain.

    Parameters
    ----------
    store
        A connected JobStore.
    production
        Its runs have all ended.
    """
    from mlip_autopipe.potentials.dataset import atoms_of

    runs = production.runs()
    if not any(one.state == "triggered" for one in runs) or not may_relearn(production):
        return None
    records = RunRecords(store, production.run_id)
    state = records.state()
    assert state is not None, "production comes after learning"
    limit = NEARLY * production.otf.force_std_trigger_eV_per_A
    unsure = [one for one in runs if one.state == "triggered" or one.max_force_std_eV_per_A > limit]
    unsure.sort(key=lambda one: one.max_force_std_eV_per_A, reverse=True)
    pending = []
    for one in unsure[:MOST_FRAMES]:
        assert one.unsure_frame is not None, "the frame of the largest deviation is kept"
        found = candidate(
            atoms_of(one.unsure_frame),
            "trigger",
            f"production at {one.temperature_K:g} K was {'' if one.state == 'triggered' else 'nearly '}unsure",
            start=len(production.otf.others),
            temperature_K=one.temperature_K,
            step=one.step,
        )
        pending.append(small_enough(found, production.otf, production.potential, state.generation + one.number))
    state = state.model_copy(
        update={"phase": "label", "after_label": "train", "pending": pending, "stop_reason": None, "missing": []}
    )
    records.save_state(state)
    # last: a job that is killed in between does the same again
    done = relearnings(production)
    records.save(PROGRESS, {"kind": PROGRESS, "relearnings": done + 1, "sent_back": production.potential_sha256})
    return state


def may_relearn(production: DiffusionProduction) -> bool:
    """Whether learning may go on: not too often, and not twice from the same potential (the budget is spent then)."""
    found = production.records.find(PROGRESS) or {}
    again = found.get("sent_back") == production.potential_sha256
    return not again and relearnings(production) < production.settings.max_relearnings


def relearnings(production: DiffusionProduction) -> int:
    """Return how often frames went back."""
    return int((production.records.find(PROGRESS) or {}).get("relearnings", 0))
