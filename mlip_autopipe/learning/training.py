"""One training: judge the potential by the fresh labels, calibrate it, then let it learn them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.learning.candidates import FRESH
from mlip_autopipe.schemas.otf import FreshError, OTFSettings, UsedLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlip_autopipe.potentials.base import FitReport, Potential
    from mlip_autopipe.potentials.dataset import Configuration


@dataclass(frozen=True, eq=False)
class Labelled:
    """A label of the run: how it counts, and what is trained on."""

    used: UsedLabel
    configuration: Configuration


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a training gave: the potential, its report, and how wrong the one before was on the fresh labels."""

    potential: Potential
    report: FitReport
    fresh: list[FreshError]


def learn(
    potential: Potential | None,
    settings: OTFSettings,
    newest: Sequence[Labelled],
    everything: Callable[[], Sequence[Labelled]],
    generation: int,
) -> Lesson:
    """Judge, calibrate and train.

    Parameters
    ----------
    potential
        Trained on all labels before the newest; None before the first training.
    settings
        Backend and its keywords.
    newest
        What is new.
    everything
        Gives all labels in order, the newest included; called only when the model is chosen again, so that a generation
        costs the same however many came before.
    generation
        For the record.

    Raises
    ------
    TrainingError
        There is no label to train on, or the fit gave no usable potential.
    """
    from mlip_autopipe.potentials.dataset import TrainingSet
    from mlip_autopipe.potentials.registry import make_potential

    if potential is None:
        potential = make_potential(settings.backend, **settings.potential)
        return Lesson(potential, potential.fit(TrainingSet.of(one.configuration for one in everything())), [])
    fresh = []
    for one in newest:
        if one.used.origin in (*FRESH, "pool"):
            fresh.append(judge(potential, one))
        if one.used.origin in FRESH:
            # frames of the pool are none of those that the watch sees, and do not calibrate it
            potential.observe(one.configuration, generation=generation)
    report = potential.add([one.configuration for one in newest])
    if report.reselect:
        # the window of fresh labels still speaks for this kind of potential; labels to come replace it
        calibration = potential.calibration
        report = potential.fit(TrainingSet.of(one.configuration for one in everything()))
        potential.calibration = calibration
    return Lesson(potential, report, fresh)


def judge(potential: Potential, one: Labelled) -> FreshError:
    """Compare a prediction with a label that was not trained on; masked atoms do not count."""
    from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO

    used, configuration = one.used, one.configuration
    found = potential.predict_with_uncertainty(configuration.atoms)
    counting = configuration.force_weights > 0
    assert configuration.forces_eV_per_A is not None, "every reference engine gives forces"
    assert found.force_std_eV_per_A is not None, "it was asked for"
    difference = (found.forces_eV_per_A - configuration.forces_eV_per_A)[counting]
    std = found.force_std_eV_per_A[counting]
    length = np.linalg.norm(difference, axis=1)
    energy = None
    if configuration.energy_eV is not None and configuration.energy_weight > 0:
        energy = (found.energy_eV - configuration.energy_eV) / len(configuration.atoms)
    return FreshError(
        label_id=used.label_id,
        origin=used.origin,
        start=used.start,
        temperature_K=used.temperature_K,
        atoms=int(counting.sum()),
        energy_error_eV_per_atom=energy,
        force_rmse_eV_per_A=float(np.sqrt((difference**2).mean())),
        force_max_eV_per_A=float(length.max()),
        predicted_rms_eV_per_A=float(np.sqrt((std**2).mean())),
        covered_fraction=float((length <= GAUSSIAN_RATIO * std).mean()),
    )
