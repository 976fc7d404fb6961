"""The reference's verdict on the mean volume of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.results import ValueWithError
from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.learning.volume_error import check_shift, frame_states, states_of
from mlip_autopipe.potentials.dataset import atoms_of

if TYPE_CHECKING:
    from mlip_autopipe.jobs.labelling import Labeller
    from mlip_autopipe.jobs.npt_production import NPTProduction
    from mlip_autopipe.schemas.npt import NPTProgress

LEAST_LABELS = 2


@dataclass(frozen=True)
class VolumeCheck:
    """How the reference would change the mean volume.

    Attributes
    ----------
    shift_A3_per_atom
        With its statistical error; None: not known.
    label_ids
        Of the labels behind it.
    failures
        Why frames have no label.
    """

    shift_A3_per_atom: ValueWithError | None = None
    label_ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def check_volume(production: NPTProduction, progress: NPTProgress, labels: Labeller) -> VolumeCheck:
    """Compare the potential with the reference on frames of a run; what cannot be labelled is left out.

    Parameters
    ----------
    production, progress
        The run.
    labels
        Computes labels of a cheap reference; those of an expensive one other jobs have made.
    """
    frames = [atoms_of(one) for one in progress.check_frames]
    compute = production.system.reference.cheap
    answers = [labels.label(one) if compute else labels.find(one) for one in frames]
    done = [k for k, one in enumerate(answers) if one.state == "done"]
    ids = [answers[k].label_id for k in done]
    failures = list(dict.fromkeys(one.reason for one in answers if one.state != "done"))
    if len(done) < LEAST_LABELS:
        return VolumeCheck(None, ids, failures)
    found = [answers[k].label for k in done]
    frames = [frames[k] for k in done]
    stresses = np.array([one.stress_eV_per_A3 for one in found if one is not None])
    reference = frame_states(frames, [float(one.energy_eV or 0.0) for one in found if one is not None], stresses)
    state, _ = production.equilibrium(progress)
    try:
        shift = check_shift(
            states_of(production.potential, frames),
            reference,
            len(frames[0]),
            state.volume_A3_per_atom.value,
            state.bulk_modulus_GPa,
            progress.temperature_K,
        )
    except AnalysisError as error:
        return VolumeCheck(None, ids, [*failures, str(error)])
    return VolumeCheck(shift, ids, failures)
