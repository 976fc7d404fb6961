"""What a run has learned, read back from its JobStore: the potential, its data, its card.

A run stores one small document whose output has ``kind: "otf"``, the sha256 of its potential and the ids of its labels;
the potential itself is a blob, the labels are documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from mlip_autopipe.errors import AutoPipeError, InvalidInputError
from mlip_autopipe.jobs.blobs import BlobStore
from mlip_autopipe.reference.documents import Document, documents_of
from mlip_autopipe.reference.labels import LabelStore
from mlip_autopipe.schemas.label import ReferenceLabel

if TYPE_CHECKING:
    from jobflow import JobStore

    from mlip_autopipe.potentials.dataset import TrainingSet
    from mlip_autopipe.schemas.model_card import ModelCard

KIND = "otf"
SPLIT_KEY = "split"
"""Key of extended XYZ that says whether the potential was trained on a configuration."""


CONTROL_ARM = "random"
WEIGHT_KEYS = ("force_weights", "energy_weights", "stress_weights")


class MissingLabelError(AutoPipeError):
    """A label that a potential was trained on is not in the JobStore any more."""


@dataclass(frozen=True)
class LabelWeights:
    """Weights by label id; 1 where there is no entry.

    Attributes
    ----------
    force
        One per atom, 0 where the force is masked.
    energy, stress
        One number.
    """

    force: Mapping[str, ArrayLike] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)
    stress: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPotential:
    """What a run's document says of its potential.

    Attributes
    ----------
    label_ids, held_out_label_ids
        Trained on, and not.
    weights
        How labels count where not everything counts fully.
    temperature_K
        Lowest and highest of the dynamics that the labels come from.
    failure
        Why the potential is not what was asked for.
    warnings
        Of the run.
    """

    run_id: str
    potential_sha256: str
    label_ids: list[str]
    held_out_label_ids: list[str]
    weights: LabelWeights = field(default_factory=LabelWeights)
    temperature_K: tuple[float, float] | None = None
    failure: str | None = None
    warnings: list[str] = field(default_factory=list)


def potential_of_run(store: JobStore, run_id: str) -> RunPotential:
    """Return the newest potential of a run, without that of a control arm.

    Raises
    ------
    InvalidInputError
        The run has not trained any.
    """
    query = {
        "output.run_id": run_id,
        "output.kind": KIND,
        "output.arm": {"$ne": CONTROL_ARM},
        "output.potential_sha256": {"$type": "string"},
    }
    found = list(documents_of(store).find(query).sort("completed_at", -1).limit(1))
    if not found:
        raise InvalidInputError(
            f"run {run_id} has trained no potential; only runs that learn one have it (goals `potential` and "
            "`equilibrate`, or `via: potential`), once their first training is done"
        )
    output: Document = found[0]["output"]
    temperatures = output.get("temperatures_K") or []
    warnings = list(output.get("warnings") or [])
    failure = None
    if output.get("state") == "not_enough_evidence":
        failure = "; ".join(output.get("missing") or []) or "the budget was spent first"
    if output.get("state") == "learning":
        warnings.append("the run was still learning when this potential was exported")
    return RunPotential(
        run_id=run_id,
        potential_sha256=output["potential_sha256"],
        label_ids=list(output.get("label_ids") or []),
        held_out_label_ids=list(output.get("held_out_label_ids") or []),
        weights=LabelWeights(*(dict(output.get(key) or {}) for key in WEIGHT_KEYS)),
        temperature_K=(min(temperatures), max(temperatures)) if temperatures else None,
        failure=failure,
        warnings=warnings,
    )


def potential_bytes(store: JobStore, sha256: str) -> bytes:
    """Return the file of a potential; raises `BlobError` when it is missing or damaged."""
    return BlobStore(store).get(sha256)


def training_data(store: JobStore, label_ids: Iterable[str], weights: LabelWeights | None = None) -> TrainingSet:
    """Return the configurations of labels, in their order; failed labels are left out.

    Raises
    ------
    MissingLabelError
        A label is not there.
    """
    from mlip_autopipe.potentials.dataset import TrainingSet

    weights = weights or LabelWeights()
    return TrainingSet.of(
        replace(
            one,
            energy_weight=weights.energy.get(str(one.label_id), 1.0),
            stress_weight=weights.stress.get(str(one.label_id), 1.0),
        )
        for one in TrainingSet.from_labels(_labels(store, label_ids), weights.force)
    )


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
        for one in training_data(store, ids, found.weights):
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
        training_data(store, found.label_ids, found.weights),
        held_out=training_data(store, found.held_out_label_ids, found.weights),
        labels=_labels(store, [*found.label_ids, *found.held_out_label_ids]),
        potential_sha256=found.potential_sha256,
        created=created,
        temperature_K=found.temperature_K,
        run_id=found.run_id,
        failure=found.failure,
        warnings=found.warnings,
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
