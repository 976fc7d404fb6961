"""Train a potential on a dataset without a run: split, fit, calibrate on what was held out, describe."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.base import Blob, FitReport, Potential
from mlip_autopipe.potentials.card import build_model_card
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.registry import make_potential, potential_class
from mlip_autopipe.potentials.split import split_held_out
from mlip_autopipe.schemas.model_card import ModelCard
from mlip_autopipe.schemas.words import suggestion

DEFAULT_HELD_OUT: Final = 0.2


@dataclass(frozen=True)
class TrainedAlone:
    """A potential, its bytes, its card, and the data on either side of the split."""

    potential: Potential
    blob: Blob
    report: FitReport
    card: ModelCard
    training: TrainingSet
    held_out: TrainingSet


def train_alone(
    dataset: TrainingSet,
    *,
    created: datetime,
    backend: str = "polymlp",
    held_out_fraction: float = DEFAULT_HELD_OUT,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> TrainedAlone:
    """Train a potential on a part of a dataset, and calibrate its uncertainty on the rest.

    The coverage in the card is that of each held-out configuration by the interval that the others lead to. They are
    not trained on afterwards: the errors in the card are those of the potential that is delivered.

    Parameters
    ----------
    dataset
        At least two configurations, and forces.
    created
        For the card, with time zone.
    backend
        Name of a potential.
    held_out_fraction
        See `split_held_out`; 0 trains on everything and calibrates nothing.
    seed
        Of the split.
    settings
        Keywords of the backend; left out: its defaults.

    Raises
    ------
    InvalidInputError
        Too few configurations, no forces, an unknown backend, or settings that it does not take.
    TrainingError
        The fit gave no usable potential.
    """
    potential = _make(backend, settings or {})
    training, held_out = split_held_out(dataset, held_out_fraction, seed)
    if training.force_components == 0:
        raise InvalidInputError(
            f"none of {len(training)} training configurations has forces that count; label structures with forces"
        )
    report = potential.fit(training)
    for one in held_out:
        potential.observe(one)
    blob = potential.save()
    card = build_model_card(
        potential,
        training,
        held_out=held_out,
        potential_sha256=blob.sha256,
        created=created,
        coverage_method="leave_one_out",
        seeds={"split": seed},
    )
    return TrainedAlone(potential, blob, report, card, training, held_out)


def _make(backend: str, settings: Mapping[str, Any]) -> Potential:
    known = inspect.signature(potential_class(backend)).parameters
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        for name in settings:
            if name not in known:
                raise InvalidInputError(f"potential {backend} has no setting {name!r}{suggestion(name, known)}")
    try:
        return make_potential(backend, **settings)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"potential {backend} does not take these settings: {error}") from error
