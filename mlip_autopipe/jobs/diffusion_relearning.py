"""Frames at which production was unsure go back to learning; what was simulated with that potential is not used."""

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

    unsure = [one for one in production.runs() if one.state == "triggered" and one.unsure_frame is not None]
    if not unsure or not may_relearn(production):
        return None
    records = RunRecords(store, production.run_id)
    state = records.state()
    assert state is not None, "production comes after learning"
    pending = []
    for one in unsure:
        assert one.unsure_frame is not None
        found = candidate(
            atoms_of(one.unsure_frame),
            "trigger",
            f"production at {one.temperature_K:g} K was unsure",
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
