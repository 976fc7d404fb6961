"""Blobs that nothing needs any more: found by what the run's documents name, and removed.

Nothing is noted when a blob is superseded. What the documents name is kept and the rest removed, so a job that is
killed between storing a new state and removing what the old one named leaves only what the next call finds again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.jobs.records import RunRecords

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.schemas.otf import LearningState

KEPT_GENERATIONS: Final = 2
"""The newest potential, and the one before; earlier ones can be fitted again, since all labels are kept."""
OF_THE_LOOP: Final = ("potential", "checkpoint")
"""Kinds of blobs that only the learning loop stores."""
UNDER_WAY: Final = timedelta(days=1)
"""What was stored more recently may be about to be named: far longer than any phase of a job."""
_SHA256 = re.compile("[0-9a-f]{64}")


def remove_superseded(blobs: BlobStore, records: RunRecords, state: LearningState) -> None:
    """Remove the potentials and checkpoints of a learning loop that its state has left behind.

    Only for the job that advances the loop, which is alone, and after it has stored the state.

    Parameters
    ----------
    blobs, records
        The run's.
    state
        As stored.
    """
    needed = set(_names_in(state.model_dump(mode="json")))
    left = [one.sha256 for one in blobs.stored_by(state.run_id, OF_THE_LOOP) if one.sha256 not in needed]
    if not left:
        return
    needed.update(_names_in(records.find(f"learned:{state.arm}")))
    for generation in range(state.generation - KEPT_GENERATIONS + 1, state.generation + 1):
        found = records.generation(generation, state.arm)
        needed.update(() if found is None else (found.potential_sha256,))
    for sha256 in left:
        if sha256 not in needed:
            blobs.remove(sha256, state.run_id)


def remove_garbage(store: JobStore, older_than: timedelta = UNDER_WAY) -> list[str]:
    """Remove what killed jobs have left of all runs' blobs, harmless while others work.

    Parameters
    ----------
    store
        A connected JobStore.
    older_than
        Younger blobs are kept, whether anything names them or not.

    Returns
    -------
    list of str
        One sentence per run, and one for what belongs to none; empty when nothing was removed.
    """
    blobs, done = BlobStore(store), []
    before = datetime.now(UTC) - older_than
    for run_id in blobs.runs():
        old = [one for one in blobs.stored_by(run_id) if one.put_at < before]
        state = RunRecords(store, run_id).state()
        if not old or state is None:  # not a run's: whoever stored it knows what it is for
            continue
        needed = _named_by_documents(store, run_id, state.generation)
        garbage = [one for one in old if one.sha256 not in needed]
        for one in garbage:
            blobs.remove(one.sha256, run_id)
        if garbage:
            size_MB = sum(one.length for one in garbage) / 1e6
            done.append(f"removed {len(garbage)} blobs ({size_MB:.1f} MB) of run {run_id} that nothing names any more")
    if size := blobs.remove_leftovers(older_than):
        done.append(f"removed {size / 1e6:.1f} MB that killed jobs had left of blobs")
    return done


def _named_by_documents(store: JobStore, run_id: str, generation: int) -> set[str]:
    """Return every sha256 in the documents of a run, without the metrics of generations that are not kept."""
    from mlip_autopipe.reference.documents import documents_of
    from mlip_autopipe.reference.labels import LABEL_NAME

    named: set[str] = set()
    for document in documents_of(store).find({"output.run_id": run_id, "name": {"$ne": LABEL_NAME}}, {"output": 1}):
        output = document["output"]
        if output.get("kind") != "otf_generation" or output["generation"] > generation - KEPT_GENERATIONS:
            named.update(_names_in(output))
    return named


def _names_in(value: Any) -> Iterator[str]:
    """Yield everything in a document that may be the name of a blob."""
    if isinstance(value, str):
        if _SHA256.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names_in(inner)
