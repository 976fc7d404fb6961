"""One stretch of molecular dynamics under watch: until the potential is unsure, or an audit is due."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlip_autopipe.learning.candidates import candidate
from mlip_autopipe.schemas.otf import Candidate, OTFSettings, Walker

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.dynamics.run import MDOutcome
    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.potentials.base import Potential

THERMOSTAT_TIME_FS: Final = 200.0
RESTART_AFTER_GUARDS: Final = 2
"""Guard events in a row after which a walker starts again from the crystal: its state is beyond repair."""
HISTORY_POINTS: Final = 200
_LEAST_RATIO: Final = 0.45
"""Of the sum of covalent radii: nearer atoms are no structure that a reference engine is asked about."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """How far a walker came.

    Attributes
    ----------
    walker
        Its new state; `checkpoint_sha256` is not set yet.
    checkpoint
        Bytes to go on from; None: start afresh.
    candidate
        What wants a label; None when time ran out or the walker has nothing left to do.
    out_of_time
        The same call goes on later.
    steps
        Done in this stretch.
    history
        Temperature (K), step and largest force standard deviation (eV/A) of every check.
    """

    walker: Walker
    checkpoint: bytes | None
    candidate: Candidate | None
    out_of_time: bool
    steps: int
    history: list[tuple[float, float, float]] = field(default_factory=list)


def explore(
    walker: Walker,
    settings: OTFSettings,
    start: Atoms,
    potential: Potential,
    *,
    potential_sha256: str,
    checkpoint: bytes | None,
    seconds_left: float | None = None,
) -> Stretch:
    """Move a walker until it needs a label.

    Parameters
    ----------
    walker
        Where it stands.
    settings
        Temperatures, ensemble, trigger, length of a segment.
    start
        Structure of its first step at this temperature (not used when there is a checkpoint).
    potential
        Moves the atoms and says how sure it is.
    potential_sha256
        Its name; a checkpoint of another potential goes on with new forces from the same state.
    checkpoint
        Of the stretch before.
    seconds_left
        Stop in time.
    """
    from mlip_autopipe.dynamics.run import run_md
    from mlip_autopipe.dynamics.watch import UncertaintyWatch

    watch = UncertaintyWatch(
        potential.force_std,
        settings.force_std_trigger_eV_per_A,
        every=settings.check_every,
        max_every=max(1, settings.segment_steps // 4),
    )
    with tempfile.TemporaryDirectory(prefix="exploration-") as folder:
        path = Path(folder) / "md.checkpoint"
        if checkpoint is not None:
            path.write_bytes(checkpoint)
        outcome = run_md(
            md_settings(walker, settings),
            start,
            potential.calculator(),
            walker.segment_end,
            checkpoint_path=path,
            watch=watch,
            potential_sha256=potential_sha256,
            wall_time_limit_s=seconds_left,
        )
        left = path.read_bytes() if path.exists() else None
    temperature = settings.temperatures_K[walker.temperature_index]
    history = [(temperature, float(step), float(value)) for step, value in watch.history]
    return _stretch(walker, settings, outcome, left, history)


def sample_frames(
    potential: Potential, settings: OTFSettings, start: Atoms, temperature_K: float, n: int, seed: int
) -> list[Atoms]:
    """Return frames at random times of a run that nothing stops but a guard; fewer when one does.

    Parameters
    ----------
    potential
        Moves the atoms.
    settings
        Ensemble, time step and length of a segment, within which one frame is taken.
    start
        First structure.
    temperature_K
        Of the run.
    n
        Number of frames.
    seed
        Of velocities, thermostat and times.
    """
    from mlip_autopipe.dynamics.run import run_md
    from mlip_autopipe.dynamics.settings import MDSettings

    rng = np.random.default_rng(seed)
    dynamics = MDSettings(
        ensemble=settings.ensemble,
        time_step_fs=settings.time_step_fs,
        temperature_K=temperature_K,
        thermostat_time_fs=THERMOSTAT_TIME_FS,
        seed=seed,
    )
    frames: list[Atoms] = []
    with tempfile.TemporaryDirectory(prefix="sampling-") as folder:
        path = Path(folder) / "md.checkpoint"
        for k in range(n):
            # the first half segment brings the crystal to temperature
            end = round((k + 0.5 + 0.5 * float(rng.random())) * settings.segment_steps)
            outcome = run_md(dynamics, start, potential.calculator(), end, checkpoint_path=path)
            if outcome.status != "finished":
                break
            frames.append(outcome.atoms)
    return frames


def md_settings(walker: Walker, settings: OTFSettings) -> MDSettings:
    """Return the dynamics of a walker at its temperature."""
    from mlip_autopipe.dynamics.settings import MDSettings

    entropy = (settings.seed, walker.index, walker.temperature_index, walker.attempt)
    return MDSettings(
        ensemble=settings.ensemble,
        time_step_fs=settings.time_step_fs,
        temperature_K=settings.temperatures_K[walker.temperature_index],
        thermostat_time_fs=THERMOSTAT_TIME_FS,
        seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]),
    )


def thinned(history: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Return at most `HISTORY_POINTS` points, the largest value of each stretch."""
    if len(history) <= HISTORY_POINTS:
        return history
    parts = np.array_split(np.arange(len(history)), HISTORY_POINTS)
    return [history[max(part, key=lambda i: history[i][2])] for part in parts]


def _stretch(
    walker: Walker,
    settings: OTFSettings,
    outcome: MDOutcome,
    checkpoint: bytes | None,
    history: list[tuple[float, float, float]],
) -> Stretch:
    temperature = settings.temperatures_K[walker.temperature_index]
    steps = outcome.step - outcome.first_step
    more: dict[str, Any] = {
        "walker": walker.index,
        "start": walker.start,
        "temperature_K": temperature,
        "step": outcome.step,
    }
    if history and history[-1][1] == outcome.step:
        more["predicted_max_std_eV_per_A"] = history[-1][2]
    moved = walker.model_copy(update={"step": outcome.step, "guards": 0})
    if outcome.status == "out_of_time":
        return Stretch(moved, checkpoint, None, out_of_time=True, steps=steps, history=history)
    if outcome.status == "triggered":
        assert outcome.event is not None
        frame = outcome.event.atoms
        if not _is_plausible(frame):  # the potential has led astray without a guard's noticing: start again
            return _after_guard(walker, settings, frame, checkpoint, steps, history, more, "implausible structure")
        found = candidate(frame, "trigger", f"unsure at {temperature:g} K", **more)
        return Stretch(moved, checkpoint, found, out_of_time=False, steps=steps, history=history)
    if outcome.status == "guard":
        assert outcome.event is not None
        why = getattr(outcome.event, "message", "")
        return _after_guard(walker, settings, outcome.event.atoms, checkpoint, steps, history, more, why)
    found = candidate(outcome.atoms, "audit", f"audit at {temperature:g} K", **more)
    return Stretch(moved, checkpoint, found, out_of_time=False, steps=steps, history=history)


def _after_guard(
    walker: Walker,
    settings: OTFSettings,
    frame: Atoms,
    checkpoint: bytes | None,
    steps: int,
    history: list[tuple[float, float, float]],
    more: dict[str, Any],
    why: str,
) -> Stretch:
    """Label what the guard refused, if it is a structure at all, else the last good state, and go on from there."""
    from mlip_autopipe.dynamics.checkpoint import from_bytes

    guards = walker.guards + 1
    good = from_bytes(checkpoint) if checkpoint is not None else None
    shown = frame if _is_plausible(frame) else (good.stop.to_atoms() if good is not None else None)
    found = None if shown is None else candidate(shown, "guard", why, **more)
    if guards > RESTART_AFTER_GUARDS or good is None:
        # a segment that failed: where no run holds, there is an end to starting again, too
        again = {"attempt": walker.attempt + 1, "step": 0, "segment_end": settings.segment_steps, "guards": 0}
        failed = {"segments": walker.segments + 1, "passed": 0, "checkpoint_sha256": None}
        moved = walker.model_copy(update={**again, **failed})
        return Stretch(moved, None, found, out_of_time=False, steps=steps, history=history)
    moved = walker.model_copy(update={"guards": guards, "step": good.stop.step})
    return Stretch(moved, checkpoint, found, out_of_time=False, steps=steps, history=history)


def _is_plausible(atoms: Atoms) -> bool:
    """Whether a reference engine can be asked: finite, and no two atoms far inside each other."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return False
    if atoms.pbc.all() and abs(atoms.get_volume()) < 1e-3 * len(atoms):
        return False
    radii = covalent_radii[atoms.numbers]
    first, second, distance = neighbor_list("ijd", atoms, 2 * _LEAST_RATIO * float(radii.max()))
    return not bool((distance < _LEAST_RATIO * (radii[first] + radii[second])).any())
