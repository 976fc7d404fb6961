"""What a run has learned, read back from its JobStore: the potential, its data, its card.

A run stores one small document whose output has ``kind: "otf"``, the sha256 of its potential and the ids of its labels;
the potential itself is a blob, the labels are documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from mlip_autopipe.errors import AutoPipeError, InvalidInputError
from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.reference.documents import documents_of
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.label import ReferenceLabel

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.potentials.dataset import TrainingSet
    from mlip_autopipe.schemas.model_card import ModelCard

KIND = "otf"
SPLIT_KEY = "split"
"""Key of extended XYZ that says whether the potential was trained on a configuration."""


class MissingLabelError(AutoPipeError):
    """A label that a potential was trained on is not in the JobStore any more."""


@dataclass(frozen=True)
class RunPotential:
    """What a run's document says of its potential; `force_weights` by label id, for labels with masked atoms."""

    run_id: str
    potential_sha256: str
    label_ids: list[str]
    held_out_label_ids: list[str]
    force_weights: dict[str, list[float]]


def potential_of_run(store: JobStore, run_id: str) -> RunPotential:
    """Return the newest potential of a run.

    Raises
    ------
    InvalidInputError
        The run has not trained any.
    """
    query = {"output.run_id": run_id, "output.kind": KIND, "output.potential_sha256": {"$type": "string"}}
    found = list(documents_of(store).find(query).sort("completed_at", -1).limit(1))
    if not found:
        raise InvalidInputError(
            f"run {run_id} has trained no potential; only runs that learn one have it (goals `potential` and "
            "`equilibrate`, or `via: potential`), once their first training is done"
        )
    output: dict[str, Any] = found[0]["output"]
    return RunPotential(
        run_id=run_id,
        potential_sha256=output["potential_sha256"],
        label_ids=list(output.get("label_ids") or []),
        held_out_label_ids=list(output.get("held_out_label_ids") or []),
        force_weights=dict(output.get("force_weights") or {}),
    )


def potential_bytes(store: JobStore, sha256: str) -> bytes:
    """Return the file of a potential; raises `BlobError` when it is missing or damaged."""
    return BlobStore(store).get(sha256)


def training_data(store: JobStore, label_ids: Iterable[str], force_weights: Mapping[str, ArrayLike]) -> TrainingSet:
    """Return the configurations of labels, in their order.

    Parameters
    ----------
    store
        A connected JobStore.
    label_ids
        Labels that are done; failed ones are left out.
    force_weights
        Per label id: one weight per atom, 0 where its force is masked. All 1 where there is no entry.

    Raises
    ------
    MissingLabelError
        A label is not there.
    """
    from mlip_autopipe.potentials.dataset import TrainingSet

    return TrainingSet.from_labels(_labels(store, label_ids), force_weights)


def dataset_of_run(store: JobStore, found: RunPotential) -> TrainingSet:
    """Return all labels of a potential; ``atoms.info["split"]`` is ``training`` or ``held_out``.

    Raises
    ------
    MissingLabelError
        A label is not there.
    """
    from mlip_autopipe.potentials.dataset import TrainingSet

    parts = {"training": found.label_ids, "held_out": found.held_out_label_ids}
    whole = []
    for name, ids in parts.items():
        for one in training_data(store, ids, found.force_weights):
            one.atoms.info[SPLIT_KEY] = name
            whole.append(one)
    return TrainingSet.of(whole)


def model_card_of_run(store: JobStore, found: RunPotential, *, created: datetime) -> ModelCard:
    """Return the card of a run's potential; it predicts all its labels, which takes seconds.

    Raises
    ------
    BlobError, PotentialFileError
        The potential is missing or damaged.
    MissingLabelError
        A label is not there.
    """
    from mlip_autopipe.potentials.card import build_model_card
    from mlip_autopipe.potentials.registry import load_potential

    data = potential_bytes(store, found.potential_sha256)
    return build_model_card(
        load_potential(data, sha256=found.potential_sha256),
        training_data(store, found.label_ids, found.force_weights),
        held_out=training_data(store, found.held_out_label_ids, found.force_weights),
        labels=_labels(store, [*found.label_ids, *found.held_out_label_ids]),
        potential_sha256=found.potential_sha256,
        created=created,
        run_id=found.run_id,
    )


def _labels(store: JobStore, label_ids: Iterable[str]) -> list[ReferenceLabel]:
    labels = LabelStore(store)
    found = []
    for label_id in label_ids:
        if (label := labels.get(label_id)) is None:
            raise MissingLabelError(
                f"label {label_id[:12]}, on which the potential rests, is not in the JobStore any more; was it deleted?"
            )
        found.append(label)
    return found
