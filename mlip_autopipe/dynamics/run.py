"""Run molecular dynamics under watch, stop in time, and go on later as if nothing had happened."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlip_autopipe.dynamics.checkpoint import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from mlip_autopipe.dynamics.guards import GuardEvent, Guards, GuardSettings, guard_reference
from mlip_autopipe.dynamics.integrators import Integrator, make_integrator
from mlip_autopipe.dynamics.state import ForceEvaluator, MDState, initial_state, temperature
from mlip_autopipe.dynamics.trajectory import TrajectoryWriter
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    import os

    from ase import Atoms

    from mlip_autopipe.dynamics.pressure_record import PressureRecord
    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.dynamics.watch import TriggerEvent, UncertaintyWatch

_RESERVE_S = 0.05
_FIRST_MEASURE_STEPS = 5

Status = Literal["finished", "triggered", "guard", "out_of_time"]
Replay = Literal["none", "exact", "diverged"]


@dataclass(frozen=True)
class MDOutcome:
    """How a call of `run_md` ended.

    Attributes
    ----------
    status
        ``finished`` (all steps done), ``triggered`` (the potential is unsure), ``guard`` (a guard stopped the run) or
        ``out_of_time`` (call again to go on).
    step, first_step
        Steps done in all, and before this call.
    state
        Where the run stands; after ``guard`` the frame that the guard refused.
    event
        What stopped the run, if something did.
    replay
        Whether steps from the last anchor were repeated to restore the calculator's history, and whether they led to
        the same bits. ``diverged``: the calculator is another one or not deterministic; the run went on from the
        stored state all the same.
    timing
        Seconds: ``wall``, ``steps`` (forces and integration), ``watch``, ``output``; and ``n_steps`` of this call.
    """

    status: Status
    step: int
    first_step: int
    state: MDState
    event: TriggerEvent | GuardEvent | None
    replay: Replay
    timing: dict[str, float] = field(default_factory=dict)

    @property
    def atoms(self) -> Atoms:
        """The last frame as ASE atoms with velocities."""
        return self.state.to_atoms()


def run_md(
    settings: MDSettings,
    atoms: Atoms,
    calculator: Any,
    n_steps: int,
    *,
    checkpoint_path: str | os.PathLike[str] | None = None,
    watch: UncertaintyWatch | None = None,
    guards: GuardSettings | None = None,
    trajectory_path: str | os.PathLike[str] | None = None,
    frame_interval: int = 10,
    pressures: PressureRecord | None = None,
    potential_sha256: str = "",
    wall_time_limit_s: float | None = None,
    checkpoint_interval_s: float = 60.0,
) -> MDOutcome:
    """Run until step `n_steps`, or until something stops the run.

    An existing checkpoint is continued: with the same potential bit-equal to a run that was never stopped (if the
    calculator is deterministic and forgets its history on ``reset``); with another potential from the very state at
    which the run stopped. Stops by trigger, time or the end leave a checkpoint at that step; a guard leaves
    one at the last anchor before. In between, checkpoints are written at anchors, so a killed run loses at most
    `checkpoint_interval_s` and one anchor interval.

    Parameters
    ----------
    settings
        The dynamics.
    atoms
        Start structure; with velocities, or they are drawn. Not changed, and not used when a checkpoint exists.
    calculator
        Any ASE calculator.
    n_steps
        Steps in all, those before the checkpoint included.
    checkpoint_path
        File of the checkpoint; None keeps none.
    watch
        Uncertainty watch.
    guards
        Limits of the geometric guards; defaults when None.
    trajectory_path, frame_interval
        HDF5 trajectory and steps between its frames; frames after the checkpoint are dropped on continuation.
    pressures
        Records the pressure tensor after the steps of this call.
    potential_sha256
        Identity of the potential, stored with frames and checkpoint.
    wall_time_limit_s
        Seconds this call may take; it stops early enough to write its checkpoint.
    checkpoint_interval_s
        Least seconds between two checkpoints.

    Raises
    ------
    InvalidInputError
        If the input does not make sense, or the checkpoint belongs to other atoms or settings.
    CheckpointError
        If the checkpoint is damaged.
    """
    if n_steps < 0 or frame_interval < 1:
        raise InvalidInputError(
            f"n_steps ({n_steps}) must not be negative and frame_interval ({frame_interval}) positive."
        )
    if wall_time_limit_s is not None and checkpoint_path is None:
        raise InvalidInputError("A wall_time_limit_s without checkpoint_path would lose the run: give both.")
    checkpoint = Path(checkpoint_path) if checkpoint_path else None
    run = _Run(settings, calculator, potential_sha256, checkpoint, watch, pressures)
    run.start(atoms, guards or GuardSettings())
    if trajectory_path is not None:
        run.open_trajectory(Path(trajectory_path), frame_interval)
    try:
        return run.loop(n_steps, wall_time_limit_s, checkpoint_interval_s)
    finally:
        if run.writer is not None:
            run.writer.close()


class _Run:
    """One call of `run_md`."""

    state: MDState
    anchor: MDState
    integrator: Integrator
    evaluate: ForceEvaluator
    guards: Guards

    def __init__(
        self,
        settings: MDSettings,
        calculator: Any,
        potential_sha256: str,
        checkpoint_path: Path | None,
        watch: UncertaintyWatch | None,
        pressures: PressureRecord | None,
    ) -> None:
        self.settings = settings
        self.calculator = calculator
        self.sha256 = potential_sha256
        self.checkpoint_path = checkpoint_path
        self.watch = watch
        self.pressures = pressures
        self.writer: TrajectoryWriter | None = None
        self.frame_interval = 0
        self.replay: Replay = "none"
        self.began = time.perf_counter()
        self.output_seconds = 0.0
        self.checkpoint_seconds = 0.0

    def start(self, atoms: Atoms, limits: GuardSettings) -> None:
        """Make or restore the state."""
        path = self.checkpoint_path
        if path is not None and path.exists():
            checkpoint = read_checkpoint(path)
            self._compare(checkpoint, atoms)
            self._restore(checkpoint)
        else:
            fix = self.settings.fix_centre_of_mass
            self.state = initial_state(atoms, self.settings.temperature_K, self.settings.seed, fix_centre_of_mass=fix)
            self._equip(self.state)
            self.evaluate.forget()
            self.evaluate(self.state)
            self._anchor()
            self.reference = guard_reference(self.state)
        self.first_step = self.state.step
        self.guards = Guards(limits, self.settings, self.reference, self.state)

    def open_trajectory(self, path: Path, frame_interval: int) -> None:
        """Open the trajectory up to the state's step."""
        state = self.state
        self.frame_interval = frame_interval
        self.writer = TrajectoryWriter(
            path, state.numbers, state.pbc, potential_sha256=self.sha256, keep_until_step=state.step
        )
        if state.step == 0 and self.writer.n_frames == 0:
            self._write_frame()

    def loop(self, n_steps: int, wall_time_limit_s: float | None, checkpoint_interval_s: float) -> MDOutcome:
        """Advance until something stops the run."""
        state, evaluate, step = self.state, self.evaluate, self.integrator.step
        guards, watch, frame_interval, pressures = self.guards, self.watch, self.frame_interval, self.pressures
        anchor_interval = self.settings.anchor_interval
        clock = time.perf_counter
        slowest = 0.0
        began_steps = last = clock()
        last_checkpoint = last
        watch_before = watch.seconds if watch else 0.0
        event: TriggerEvent | GuardEvent | None = guards.check(state)
        status: Status | None = "guard" if event else None
        while status is None:
            if watch is not None and (watch.due(state.step) or state.step >= n_steps > watch.last_step):
                event = watch.check(state)
                if event is not None:
                    status = "triggered"
                    break
                self._adapt(clock() - began_steps - (watch.seconds - watch_before))
            if state.step >= n_steps:
                status = "finished"
                break
            if wall_time_limit_s is not None:
                now = clock()
                slowest, last = max(slowest, now - last), now
                reserve = 2.0 * (slowest + self.checkpoint_seconds) + _RESERVE_S
                if now - self.began + reserve > wall_time_limit_s:
                    status = "out_of_time"
                    break
            step(state, evaluate)
            event = guards.check(state)
            if event is not None:
                status = "guard"
                break
            if pressures is not None:
                pressures.add(state)
            if watch is not None and state.step - self.first_step == _FIRST_MEASURE_STEPS:
                self._adapt(clock() - began_steps - (watch.seconds - watch_before))
            if frame_interval and state.step % frame_interval == 0:
                self._write_frame()
            if state.step % anchor_interval == 0:
                self._anchor()
                if self.checkpoint_path is not None and clock() - last_checkpoint >= checkpoint_interval_s:
                    self._checkpoint(self.state)
                    last_checkpoint = clock()
        if status != "guard":
            self._checkpoint(self.state)
        elif state.step > self.first_step:
            self._checkpoint(self.anchor)
        wall = clock() - self.began
        watched = (watch.seconds - watch_before) if watch else 0.0
        timing = {
            "wall": wall,
            "steps": clock() - began_steps - watched - self.output_seconds,
            "watch": watched,
            "output": self.output_seconds,
            "n_steps": float(state.step - self.first_step),
        }
        return MDOutcome(status, state.step, self.first_step, state, event, self.replay, timing)

    def _adapt(self, seconds: float) -> None:
        """Give the watch the mean time of a step, once there are enough steps to know it."""
        done = self.state.step - self.first_step
        if self.watch is not None and done >= _FIRST_MEASURE_STEPS:
            self.watch.adapt((seconds - self.output_seconds) / done)

    def _equip(self, state: MDState) -> None:
        self.integrator = make_integrator(self.settings, state)
        needs_stress = self.integrator.needs_stress or self.pressures is not None
        self.evaluate = ForceEvaluator(self.calculator, state, needs_stress=needs_stress)

    def _anchor(self) -> None:
        """Let the calculator forget, and remember the state: from here a new process makes the same bits."""
        self.evaluate.forget()
        self.anchor = self.state.copy()

    def _restore(self, checkpoint: Checkpoint) -> None:
        stop, self.reference = checkpoint.stop, checkpoint.reference
        if self.watch is not None:
            self.watch.recall(checkpoint.watch)
        self._equip(stop)
        self.evaluate.forget()
        if checkpoint.potential_sha256 == self.sha256:
            self.anchor, self.state = checkpoint.anchor, checkpoint.anchor.copy()
            if stop.same_point(self.anchor):
                return
            while self.state.step < stop.step:
                self.integrator.step(self.state, self.evaluate)
            self.replay = "exact" if self.state.same_point(stop) else "diverged"
            if self.replay == "exact":
                return
        # Another potential: same positions and velocities, its own forces.
        self.state = stop
        self.evaluate.forget()
        self.evaluate(stop)
        self._anchor()

    def _compare(self, checkpoint: Checkpoint, atoms: Atoms) -> None:
        path = self.checkpoint_path
        if checkpoint.settings != self.settings:
            old, new = checkpoint.settings.model_dump(), self.settings.model_dump()
            names = ", ".join(f"{k} (was {old[k]}, now {new[k]})" for k in new if old[k] != new[k])
            raise CheckpointError(
                f"{path} belongs to a run with other settings: {names}. Restore them, or choose another file."
            )
        if checkpoint.stop.numbers.tolist() != atoms.numbers.tolist():
            raise CheckpointError(f"{path} belongs to other atoms than those given: choose another checkpoint file.")

    def _write_frame(self) -> None:
        assert self.writer is not None
        start = time.perf_counter()
        state = self.state
        kelvin = temperature(state, fix_centre_of_mass=self.settings.fix_centre_of_mass)
        self.writer.append(state, state.step * self.settings.time_step_fs, kelvin)
        self.output_seconds += time.perf_counter() - start

    def _checkpoint(self, stop: MDState) -> None:
        start = time.perf_counter()
        # Frames first: a checkpoint must never be ahead of the trajectory.
        if self.writer is not None:
            self.writer.flush()
        if self.checkpoint_path is not None:
            memory = self.watch.memory() if self.watch else {}
            if memory:
                memory["last_step"] = min(memory["last_step"], stop.step)
            checkpoint = Checkpoint(self.settings, stop, self.anchor, self.sha256, memory, self.reference)
            write_checkpoint(self.checkpoint_path, checkpoint)
        elapsed = time.perf_counter() - start
        self.checkpoint_seconds = max(self.checkpoint_seconds, elapsed)
        self.output_seconds += elapsed
