"""Production runs of the diffusion goal: lattice constant first, then long runs at constant volume under watch."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip_autopipe.jobs.production import Production
from mlip_autopipe.learning.exploration import THERMOSTAT_TIME_FS
from mlip_autopipe.learning.stretches import Stretch, run_stretch
from mlip_autopipe.schemas.diffusion import DiffusionRun, Role, Stage

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore
    from numpy.typing import NDArray

    from mlip_autopipe.dynamics.settings import MDSettings
    from mlip_autopipe.dynamics.watch import UncertaintyWatch
    from mlip_autopipe.potentials.base import ForceField
    from mlip_autopipe.schemas.system import DiffusionSettings

STORE_EVERY_S = 60.0
"""A job that is killed loses no more than this."""
LEAST_STRETCH_S = 1.0
MELT_FACTOR = 1.6
"""A liquid begins as a crystal that is melted at so many times its temperature."""
MELTING_FS = 10_000.0
PRESSURE_FS = 10.0
"""Between pressure tensors of a liquid, whose fluctuations tell the viscosity: they lose memory within some 100 fs."""
TRANSIENT_FS = 5_000.0
"""Of production, that do not count; half of the lattice stage where that is shorter."""
_STREAM = 5
_ROLES: dict[Role, int] = {"mean": 0, "draw": 1}
_STAGES: tuple[Stage, ...] = ("melt", "lattice", "production")


class DiffusionProduction(Production):
    """The production runs of a plan in this process.

    Parameters
    ----------
    store
        A connected JobStore that holds the run's plan and what was learned.
    run_id
        The run.
    """

    def __init__(self, store: JobStore, run_id: str) -> None:
        super().__init__(store, run_id)
        assert self.system.diffusion is not None, "the plan of a diffusion goal has a diffusion section"
        self.settings: DiffusionSettings = self.system.diffusion

    def members(self) -> list[tuple[float, Role, int]]:
        """Return temperature, role and number of all runs."""
        settings = self.settings
        kinds: list[tuple[Role, int]] = [("mean", k) for k in range(settings.replicas)]
        kinds += [("draw", k) for k in range(settings.model_runs)]
        return [(kelvin, role, number) for kelvin in settings.temperatures_K for role, number in kinds]

    def run(self, temperature_K: float, role: Role, number: int) -> DiffusionRun:
        """Return where a run stands; with another potential than before it begins anew."""
        found = self.records.find(_name(temperature_K, role, number))
        if found is not None and found["potential_sha256"] == self.potential_sha256:
            return DiffusionRun.model_validate(found)
        return DiffusionRun(
            run_id=self.run_id,
            temperature_K=temperature_K,
            role=role,
            number=number,
            potential_sha256=self.potential_sha256,
            wanted_steps=self.settings.steps,
            stage="melt" if self.settings.phase == "liquid" else "lattice",
        )

    def runs(self) -> list[DiffusionRun]:
        """Return all runs."""
        return [self.run(*member) for member in self.members()]

    def save(self, run: DiffusionRun) -> None:
        """Keep where a run stands."""
        self.records.save(_name(run.temperature_K, run.role, run.number), run.model_dump(mode="json"))

    def positions(self, run: DiffusionRun) -> NDArray[np.float32]:
        """Return unwrapped positions in A of all frames, (frames, atoms, 3)."""
        return np.concatenate([_array_of(self.blobs.get(one)) for one in run.frames_sha256])

    def pressures_GPa(self, run: DiffusionRun) -> NDArray[np.float32]:
        """Return pressure tensors (n, 6) every `pressure_interval` steps without the transient.

        There are none of solids, and none of runs with posterior samples.
        """
        if not run.pressures_sha256:
            return np.empty((0, 6), dtype=np.float32)
        records = np.concatenate([_array_of(self.blobs.get(one)) for one in run.pressures_sha256])
        return records[self.transient_frames * self.settings.frame_interval // self.pressure_interval :]

    @property
    def pressure_interval(self) -> int:
        """Steps between pressure tensors."""
        return max(1, round(PRESSURE_FS / self.settings.time_step_fs))

    @property
    def transient_frames(self) -> int:
        """Frames at the start of a run that do not count: atoms come from the crystal and warm up."""
        warming = min(self.settings.lattice_steps // 2, round(TRANSIENT_FS / self.settings.time_step_fs))
        return max(1, warming // self.settings.frame_interval)

    def cell(self, run: DiffusionRun) -> Atoms:
        """Return the start of a stage.

        That is the crystal with its vacancies, or for a liquid where the stage before ended; production has the mean
        volume of the lattice stage.
        """
        from mlip_autopipe.dynamics.checkpoint import from_bytes
        from mlip_autopipe.generation.perturb import with_vacancies

        if run.start_sha256 is not None:
            cell = from_bytes(self.blobs.get(run.start_sha256)).stop.to_atoms()
            cell.set_momenta(None)
        else:
            cell = self.crystal.repeated(self.settings.supercell)
            if self.settings.vacancies:
                cell = with_vacancies(cell, self.settings.vacancies, np.random.default_rng(self._entropy(run, 0)))
        if run.stage == "production":
            assert run.volume_A3_per_atom is not None, "the lattice stage came before"
            stretch = (run.volume_A3_per_atom * len(cell) / cell.get_volume()) ** (1 / 3)
            cell.set_cell(cell.cell.array * stretch, scale_atoms=True)
        return cell

    def go_on(self, member: tuple[float, Role, int], seconds_left: float, folder: Path) -> DiffusionRun:
        """Advance a run until it is long enough, unsure, or time is over, and store where it stands.

        Parameters
        ----------
        member
            Of `members`.
        seconds_left
            Stop in time.
        folder
            Where trajectory and checkpoint are written.

        Returns
        -------
        DiffusionRun
            ``running`` when time was over: the same call goes on.
        """
        ends, run, pace_s = time.monotonic() + seconds_left, self.run(*member), None
        while run.state == "running":
            if run.stage != "production" and run.step >= self._last_step(run):
                self._next_stage(run)
            if run.stage == "production" and run.step >= run.wanted_steps:
                run.state = "finished"
                self.save(run)
                break
            if self.is_in_vain():
                break
            left = ends - time.monotonic()
            if left < LEAST_STRETCH_S:
                break
            pace_s = self._advance(run, pace_s, left, folder)
        return run

    def _advance(self, run: DiffusionRun, pace_s: float | None, left: float, folder: Path) -> float:
        """Run to an anchor, from which nothing is replayed, store, and return the seconds that a step takes."""
        from mlip_autopipe.dynamics.pressure_record import PressureRecord

        dynamics, watch, pressures = self._dynamics(run), self._watch(), None
        if run.stage == "production" and run.role == "mean" and self.settings.phase == "liquid":
            pressures = PressureRecord(self.pressure_interval)
        anchors = 1 if pace_s is None else max(1, int(STORE_EVERY_S / (pace_s * dynamics.anchor_interval)))
        last = self._last_step(run)
        stop = min((run.step // dynamics.anchor_interval + anchors) * dynamics.anchor_interval, last)
        began, before, old = time.monotonic(), run.step, run.checkpoint_sha256
        done = run_stretch(
            dynamics,
            self.cell(run),
            self._force_field(run),
            stop,
            frame_interval=self.settings.frame_interval,
            files=folder / f"{run.temperature_K:g}K-{run.role}-{run.number}-{run.stage}",
            checkpoint=None if old is None else self.blobs.get(old),
            potential_sha256=run.potential_sha256,
            seconds_left=left,
            watch=watch,
            pressures=pressures,
        )
        self._take(run, done, watch.least_sure)
        if pressures is not None and len(pressures.tensors_GPa):
            stored = self.blobs.put(_bytes_of(pressures.tensors_GPa), "diffusion pressures", self.run_id)
            run.pressures_sha256.append(stored)
        self.save(run)
        if old not in (None, run.checkpoint_sha256):
            self.blobs.remove(old, self.run_id)
        return (time.monotonic() - began) / max(1, run.step - before)

    def _take(self, run: DiffusionRun, done: Stretch, least_sure: tuple[float, Atoms] | None) -> None:
        from mlip_autopipe.reference.labels import structure_document

        run.step = done.outcome.step
        if least_sure is not None and not least_sure[0] <= run.max_force_std_eV_per_A:
            run.max_force_std_eV_per_A = float(np.nan_to_num(least_sure[0], nan=np.finfo(float).max))
            run.unsure_frame = structure_document(least_sure[1])
        frames, volumes = _frames_of(done)
        if run.stage != "production":
            frames = volumes.astype(np.float32)  # they alone are kept of the stages before
        if len(frames):
            run.frames_sha256.append(self.blobs.put(_bytes_of(frames), "diffusion frames", self.run_id))
        if done.checkpoint is not None:
            run.checkpoint_sha256 = self.blobs.put(done.checkpoint, "diffusion checkpoint", self.run_id)
        status = done.outcome.status
        if status == "triggered":
            run.state = "triggered"
            run.reason = f"the potential was unsure at step {run.step} ({run.max_force_std_eV_per_A:.2g} eV/A)"
        elif status == "guard":
            run.state, run.reason = "stopped", done.message

    def _last_step(self, run: DiffusionRun) -> int:
        if run.stage == "production":
            return run.wanted_steps
        melting = round(MELTING_FS / self.settings.time_step_fs)
        return min(self.settings.lattice_steps, melting) if run.stage == "melt" else self.settings.lattice_steps

    def _next_stage(self, run: DiffusionRun) -> None:
        """Begin the next stage: a liquid where this one ended, a solid from the crystal."""
        from mlip_autopipe.analysis.statistics import mean_with_error

        if run.stage == "lattice":
            volumes = self.positions(run).astype(float)
            found, n_atoms = mean_with_error(volumes[len(volumes) // 2 :]), len(self.cell(run))
            run.volume_A3_per_atom = float(found.mean) / n_atoms
            run.volume_stderr_A3_per_atom = float(found.stderr) / n_atoms
        left_behind = [*run.frames_sha256, run.start_sha256]
        if self.settings.phase == "liquid":
            run.start_sha256 = run.checkpoint_sha256
        else:
            left_behind.append(run.checkpoint_sha256)
        run.stage = "lattice" if run.stage == "melt" else "production"
        run.step, run.checkpoint_sha256, run.frames_sha256 = 0, None, []
        self.save(run)
        for one in left_behind:
            if one is not None:
                self.blobs.remove(one, self.run_id)

    def is_in_vain(self) -> bool:
        """Whether a run was unsure and its frame will be learned: all others would be repeated then."""
        from mlip_autopipe.jobs.diffusion_relearning import may_relearn

        return any(one.state == "triggered" for one in self.runs()) and may_relearn(self)

    def _dynamics(self, run: DiffusionRun) -> MDSettings:
        from mlip_autopipe.dynamics.settings import MDSettings

        # the Nose-Hoover chain disturbs diffusion least; nothing holds the shape of a liquid's cell
        before: Any = "npt" if self.settings.phase == "liquid" else self.otf.ensemble
        ensemble = "nvt_nose_hoover" if run.stage == "production" else before
        return MDSettings(
            ensemble=ensemble,
            time_step_fs=self.settings.time_step_fs,
            temperature_K=run.temperature_K * (MELT_FACTOR if run.stage == "melt" else 1.0),
            thermostat_time_fs=THERMOSTAT_TIME_FS,
            compressibility_per_GPa=1 / self.crystal.bulk_modulus_GPa,
            seed=int(np.random.SeedSequence(self._entropy(run, 1 + _STAGES.index(run.stage))).generate_state(1)[0]),
        )

    def _watch(self) -> UncertaintyWatch:
        from mlip_autopipe.dynamics.watch import UncertaintyWatch

        return UncertaintyWatch(
            self.potential.force_std,
            self.otf.force_std_trigger_eV_per_A,
            every=self.otf.check_every,
            max_every=max(1, self.otf.segment_steps // 4),
        )

    def _force_field(self, run: DiffusionRun) -> ForceField:
        if run.role == "mean":
            return self.potential
        return self.potential.draw(self.settings.model_runs, seed=self.settings.seed)[run.number]

    def _entropy(self, run: DiffusionRun, what: int) -> tuple[int, ...]:
        kelvin = self.settings.temperatures_K.index(run.temperature_K)
        return (self.settings.seed, _STREAM, kelvin, _ROLES[run.role], run.number, what)


def _name(temperature_K: float, role: Role, number: int) -> str:
    return f"diffusion:{temperature_K:g}:{role}:{number}"


def _frames_of(done: Stretch) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return positions and volumes of the frames of this stretch."""
    from mlip_autopipe.dynamics.trajectory import Trajectory

    with Trajectory(done.trajectory) as trajectory:
        first = int(np.searchsorted(trajectory.steps, done.begun, side="right"))
        positions = trajectory.read(first).astype(np.float32)
        return positions, np.abs(np.linalg.det(np.asarray(trajectory.cells)[first:]))


def _bytes_of(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _array_of(blob: bytes) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(io.BytesIO(blob), allow_pickle=False)
    return found
