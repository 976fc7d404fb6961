"""Liquid and quenched structures: melt a structure with the current potential, cool it in steps, keep some frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.guards import GuardSettings

Stage = Literal["liquid", "cooling", "quenched"]

MELTED_FRACTION = 0.5
"""A liquid's atoms have moved (root mean square) by more than this part of the shortest distance at the start.

In a hot crystal it is about 0.1 (Lindemann).
"""

_CHUNK_STEPS = 100


@dataclass(frozen=True)
class MeltQuenchSettings:
    """How to melt and quench.

    Attributes
    ----------
    melt_temperature_K, final_temperature_K
        Of the liquid and after the quench. A small perfect crystal melts only well above its melting point.
    melt_steps, cooling_steps, hold_steps
        Steps at the melt temperature, on the way down, and at the final temperature.
    cooling_stages
        The temperature falls in this many equal steps.
    n_liquid, n_cooling, n_quenched
        Frames to keep: in the second half of the melt, on the way down, at the end.
    time_step_fs
        Time step.
    ensemble
        ``nvt_langevin``, or ``npt`` at `pressure_GPa`; the latter needs a potential that is sound at any density.
    volume_scale
        Multiplies the volume at the start; liquids are often some per cent less dense than crystals.
    max_volume_ratio, min_volume_ratio
        Largest and smallest volume, in units of the volume at the start.
    """

    melt_temperature_K: float
    final_temperature_K: float = 300.0
    melt_steps: int = 4000
    cooling_steps: int = 8000
    hold_steps: int = 1000
    cooling_stages: int = 10
    n_liquid: int = 3
    n_cooling: int = 2
    n_quenched: int = 2
    time_step_fs: float = 1.0
    ensemble: Literal["nvt_langevin", "npt"] = "nvt_langevin"
    pressure_GPa: float = 0.0
    volume_scale: float = 1.0
    max_volume_ratio: float = 1.8
    min_volume_ratio: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.final_temperature_K < self.melt_temperature_K:
            raise InvalidInputError(
                f"final_temperature_K ({self.final_temperature_K:g}) must lie between 0 and melt_temperature_K "
                f"({self.melt_temperature_K:g})"
            )
        for name, least in (
            ("melt_steps", 2 * max(self.n_liquid, 1)),
            ("cooling_stages", max(self.n_cooling, 1)),
            ("cooling_steps", self.cooling_stages),
            ("hold_steps", self.n_quenched),
            ("n_liquid", 0),
            ("n_cooling", 0),
            ("n_quenched", 0),
        ):
            if getattr(self, name) < least:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, must be at least {least}")
        if not 0 < self.min_volume_ratio < 1 < self.max_volume_ratio or not self.volume_scale > 0:
            raise InvalidInputError("the volume ratios must lie on both sides of 1, and volume_scale above 0")


@dataclass(frozen=True)
class MeltQuench:
    """What a melt and quench gave.

    Attributes
    ----------
    frames
        Structures in the order of time, without velocities. ``info`` holds ``stage``, ``temperature_K`` (of the
        thermostat) and ``rms_displacement_A`` (since the start, drift removed).
    melted
        Whether the last liquid frame is one, by its displacements; None without liquid frames.
    stopped
        Why the run ended early, in one sentence; None when it did not. Then the last frame is one of at most 100 steps
        before: the potential was at its limit there, so it is worth a label.
    """

    frames: tuple[Atoms, ...]
    melted: bool | None
    stopped: str | None


def melt_quench(
    atoms: Atoms,
    calculator: Any,
    settings: MeltQuenchSettings,
    *,
    seed: int,
    guards: GuardSettings | None = None,
) -> MeltQuench:
    """Melt a structure and quench it.

    Parameters
    ----------
    atoms
        Periodic start structure; its velocities are not used.
    calculator
        ASE calculator, for example of the current potential.
    settings
        Temperatures, steps and frames.
    seed
        Of velocities and thermostat; equal seeds give equal frames.
    guards
        Geometric limits of the dynamics; defaults when None. The volume is compared with the start of the whole run.

    Returns
    -------
    MeltQuench
        All frames, or those up to the moment when a guard fired or the potential could say nothing of a frame.

    Raises
    ------
    InvalidInputError
        The structure is not periodic.
    """
    from ase import Atoms as AseAtoms

    from mlip_autopipe.dynamics.guards import GuardSettings
    from mlip_autopipe.dynamics.run import run_md
    from mlip_autopipe.dynamics.state import temperature
    from mlip_autopipe.generation.perturb import shortest_distance
    from mlip_autopipe.potentials.errors import PredictionError

    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InvalidInputError("a melt needs a structure that is periodic along three independent cell vectors")
    now = AseAtoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=True, masses=atoms.get_masses())
    now.set_cell(now.cell.array * np.cbrt(settings.volume_scale), scale_atoms=True)
    start = now.copy()
    limits = guards or GuardSettings()
    volume = start.get_volume() / len(start)
    least, most = limits.volume_per_atom_A3 or (0.0, np.inf)
    allowed = (max(least, settings.min_volume_ratio * volume), min(most, settings.max_volume_ratio * volume))
    limits = limits.model_copy(update={"volume_per_atom_A3": allowed})
    frames: list[Atoms] = []
    melted: bool | None = None
    stopped: str | None = None
    kinetic_K = settings.melt_temperature_K
    before: _Segment | None = None
    for number, segment in enumerate(_plan(settings)):
        # atoms come hot from the segment before; against the new target alone the guard would take that for a run-away
        hottest = max(kinetic_K, segment.temperature_K)
        capped = limits.model_copy(update={"max_temperature_K": _largest_temperature(limits, hottest, len(now))})
        try:
            outcome = run_md(_dynamics(settings, segment, seed, number), now, calculator, segment.steps, guards=capped)
        except PredictionError as error:
            stopped = f"{segment.stage} at {segment.temperature_K:.0f} K: {error}"
            break
        if outcome.status == "guard":
            stopped = f"{segment.stage} at {segment.temperature_K:.0f} K: {getattr(outcome.event, 'message', '')}"
            break
        now, before, kinetic_K = outcome.atoms, segment, temperature(outcome.state)
        if segment.keep:
            frames.append(_frame(start, now, segment))
            if segment.stage == "liquid":
                melted = frames[-1].info["rms_displacement_A"] > MELTED_FRACTION * shortest_distance(start)
    if stopped and before and not before.keep:
        frames.append(_frame(start, now, before))
    return MeltQuench(tuple(frames), melted, stopped)


@dataclass(frozen=True)
class _Segment:
    stage: Stage
    temperature_K: float
    steps: int
    keep: bool = False


def _plan(settings: MeltQuenchSettings) -> Iterator[_Segment]:
    hot, cold = settings.melt_temperature_K, settings.final_temperature_K
    half = settings.melt_steps // 2
    yield from _chunks(_Segment("liquid", hot, settings.melt_steps - half))
    yield from _parts(_Segment("liquid", hot, half), settings.n_liquid)
    stages = settings.cooling_stages
    # middles of equal parts, so that frames are neither liquid nor quenched ones again
    kept = {int((k + 0.5) * stages / settings.n_cooling) for k in range(settings.n_cooling)}
    for stage, steps in enumerate(_split(settings.cooling_steps, stages)):
        temperature = hot + (cold - hot) * (stage + 1) / stages
        yield from _chunks(_Segment("cooling", temperature, steps, keep=stage in kept))
    yield from _parts(_Segment("quenched", cold, settings.hold_steps), settings.n_quenched)


def _parts(whole: _Segment, n: int) -> Iterator[_Segment]:
    """Cut a segment into n parts with a frame at the end of each."""
    for steps in _split(whole.steps, n or 1):
        yield from _chunks(replace(whole, steps=steps, keep=n > 0))


def _chunks(whole: _Segment) -> Iterator[_Segment]:
    """Cut a segment so finely that a stop loses little; only the last chunk's frame is kept."""
    n = ceil(whole.steps / _CHUNK_STEPS)
    for number, steps in enumerate(_split(whole.steps, n) if n else ()):
        yield replace(whole, steps=int(steps), keep=whole.keep and number == n - 1)


def _split(total: int, parts: int) -> NDArray[np.int_]:
    return np.diff(np.linspace(0, total, parts + 1).astype(int))


def _dynamics(settings: MeltQuenchSettings, segment: _Segment, seed: int, number: int) -> Any:
    from mlip_autopipe.dynamics.settings import MDSettings

    return MDSettings(
        ensemble=settings.ensemble,
        time_step_fs=settings.time_step_fs,
        temperature_K=segment.temperature_K,
        pressure_GPa=settings.pressure_GPa,
        # each segment needs its own random numbers, or the thermostat would repeat its kicks
        seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
    )


def _largest_temperature(limits: GuardSettings, temperature_K: float, n_atoms: int) -> float:
    """Limit of the temperature guard for a start at this temperature, as the guards set it for their target."""
    if limits.max_temperature_K is not None:
        return limits.max_temperature_K
    spread = 10.0 * np.sqrt(2.0 / max(3 * n_atoms - 3, 1))
    return float(temperature_K * max(limits.temperature_ratio, 1.0 + spread))


def _rms_displacement(start: Atoms, now: Atoms) -> float:
    # fractions, so that a change of the cell is no displacement
    moved = (now.positions @ np.linalg.inv(now.cell.array)) - (start.positions @ np.linalg.inv(start.cell.array))
    return float(np.sqrt((((moved - moved.mean(axis=0)) @ now.cell.array) ** 2).sum(axis=1).mean()))


def _frame(start: Atoms, now: Atoms, segment: _Segment) -> Atoms:
    from ase import Atoms as AseAtoms

    frame = AseAtoms(now.numbers, now.positions, cell=now.cell.array, pbc=True)
    frame.info = {
        "stage": segment.stage,
        "temperature_K": segment.temperature_K,
        "rms_displacement_A": _rms_displacement(start, now),
    }
    return frame
