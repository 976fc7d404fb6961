"""Long runs at constant pressure with a learned potential, in stretches that can be stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlip_autopipe.learning.exploration import THERMOSTAT_TIME_FS
from mlip_autopipe.learning.npt_series import NPTSeries, series_of
from mlip_autopipe.learning.stretches import run_stretch

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.learning.crystal import RelaxedCrystal
    from mlip_autopipe.potentials.base import ForceField
    from mlip_autopipe.schemas.otf import OTFSettings
    from mlip_autopipe.schemas.system import EquilibrateSettings

_STREAM = 3


@dataclass(frozen=True, eq=False)
class NPTStretch:
    """How far a run came.

    Attributes
    ----------
    status
        ``finished``, ``out_of_time`` (the same call goes on) or ``guard`` (it left what a potential can describe).
    step
        Steps done in all.
    checkpoint
        Bytes to go on from; None when a guard stopped the run before the first one.
    series
        Frames of this stretch.
    message
        What the guard said.
    """

    status: Literal["finished", "out_of_time", "guard"]
    step: int
    checkpoint: bytes | None
    series: NPTSeries
    message: str = ""


def npt_settings(
    settings: EquilibrateSettings, otf: OTFSettings, crystal: RelaxedCrystal, temperature_K: float
) -> MDSettings:
    """Return the dynamics of a production run.

    The barostat's rate follows from the crystal's own compressibility, so that soft and hard crystals relax their
    volume in the same time; the seed from the plan's and from the place of the temperature.
    """
    from mlip_autopipe.dynamics.settings import MDSettings

    entropy = (settings.seed, _STREAM, settings.temperatures_K.index(temperature_K))
    return MDSettings(
        ensemble=otf.ensemble,
        time_step_fs=settings.time_step_fs,
        temperature_K=temperature_K,
        thermostat_time_fs=THERMOSTAT_TIME_FS,
        compressibility_per_GPa=1 / crystal.bulk_modulus_GPa,
        seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]),
    )


def advance(
    dynamics: MDSettings,
    start: Atoms,
    force_field: ForceField,
    n_steps: int,
    *,
    frame_interval: int,
    keep_steps: int,
    files: Path,
    checkpoint: bytes | None = None,
    potential_sha256: str = "",
    seconds_left: float | None = None,
) -> NPTStretch:
    """Run until step `n_steps`, or until time is over.

    Parameters
    ----------
    dynamics
        Of `npt_settings`.
    start
        The crystal at rest in the cell of the run.
    force_field
        Moves the atoms.
    n_steps
        Steps in all, those before the checkpoint included.
    frame_interval, keep_steps
        Steps between frames of the series, and between those whose positions it keeps.
    files
        Path without suffix: the trajectory (``.h5``) and the checkpoint of this stretch are left there.
    checkpoint
        Of the stretch before.
    potential_sha256
        Name of the potential.
    seconds_left
        Stop in time.
    """
    from mlip_autopipe.dynamics.trajectory import Trajectory

    done = run_stretch(
        dynamics,
        start,
        force_field,
        n_steps,
        frame_interval=frame_interval,
        files=files,
        checkpoint=checkpoint,
        potential_sha256=potential_sha256,
        seconds_left=seconds_left,
    )
    status = done.outcome.status
    assert status != "triggered", "a run without a watch is not triggered"
    with Trajectory(done.trajectory) as frames:
        series = series_of(frames, force_field, start, done.begun, keep_steps)
    return NPTStretch(status, done.outcome.step, done.checkpoint, series, done.message)
