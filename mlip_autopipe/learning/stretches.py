"""A long run of molecular dynamics in stretches, each of which can be stored before the next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.dynamics.pressure_record import PressureRecord
    from mlip_autopipe.dynamics.run import MDOutcome
    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.dynamics.watch import UncertaintyWatch
    from mlip_autopipe.potentials.base import ForceField


@dataclass(frozen=True, eq=False)
class Stretch:
    """How far a run came.

    Attributes
    ----------
    outcome
        Of the dynamics.
    begun
        Frames up to this step were there before; -1: none.
    checkpoint
        Bytes to go on from; None when a guard stopped the run before the first one.
    trajectory
        File with the frames, those of earlier stretches perhaps among them.
    """

    outcome: MDOutcome
    begun: int
    checkpoint: bytes | None
    trajectory: Path

    @property
    def message(self) -> str:
        """What stopped the run, or nothing."""
        return "" if self.outcome.event is None else getattr(self.outcome.event, "message", "")


def run_stretch(
    dynamics: MDSettings,
    start: Atoms,
    force_field: ForceField,
    n_steps: int,
    *,
    frame_interval: int,
    files: Path,
    checkpoint: bytes | None = None,
    potential_sha256: str = "",
    seconds_left: float | None = None,
    watch: UncertaintyWatch | None = None,
    pressures: PressureRecord | None = None,
) -> Stretch:
    """Run until step `n_steps`, or until time is over or something stops the run.

    Parameters
    ----------
    dynamics
        Ensemble, step, temperature and seed.
    start
        Not used when there is a checkpoint.
    force_field
        Moves the atoms.
    n_steps
        Steps in all, those before the checkpoint included.
    frame_interval
        Steps between frames.
    files
        Path without suffix: the trajectory (``.h5``) and the checkpoint of this stretch are left there.
    checkpoint
        Of the stretch before.
    potential_sha256
        Name of the potential.
    seconds_left
        Stop in time.
    watch
        Stops the run where the potential is unsure.
    pressures
        Records the pressure tensor along this stretch.
    """
    from mlip_autopipe.dynamics.checkpoint import from_bytes
    from mlip_autopipe.dynamics.run import run_md

    trajectory, state = files.with_name(f"{files.name}.h5"), files.with_name(f"{files.name}.checkpoint")
    if checkpoint is None:
        # what an attempt left here that was killed before anything of it was stored
        trajectory.unlink(missing_ok=True)
        state.unlink(missing_ok=True)
    else:
        state.write_bytes(checkpoint)
    outcome = run_md(
        dynamics,
        start,
        force_field.calculator(),
        n_steps,
        checkpoint_path=state,
        trajectory_path=trajectory,
        frame_interval=frame_interval,
        potential_sha256=potential_sha256,
        wall_time_limit_s=seconds_left,
        watch=watch,
        pressures=pressures,
    )
    return Stretch(
        outcome=outcome,
        begun=-1 if checkpoint is None else from_bytes(checkpoint).stop.step,
        checkpoint=state.read_bytes() if state.exists() else None,
        trajectory=trajectory,
    )
