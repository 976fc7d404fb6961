"""One run at constant pressure, stretch by stretch: whatever stops the job, what is stored goes on."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.errors import AnalysisError
from mlip_autopipe.jobs.production import Production
from mlip_autopipe.learning.npt_production import NPTStretch, advance, npt_settings
from mlip_autopipe.learning.npt_series import NPTSeries, joined, keep_steps
from mlip_autopipe.learning.volume_error import MODEL_FRAMES, check_frames, model_shifts
from mlip_autopipe.schemas.npt import NPTProgress

if TYPE_CHECKING:
    from ase import Atoms
    from jobflow import JobStore

    from mlip_autopipe.analysis.equilibrium import EquilibriumState
    from mlip_autopipe.analysis.results import GateResult
    from mlip_autopipe.schemas.system import EquilibrateSettings

STORE_EVERY_S = 120.0
"""A job that is killed loses no more than this."""
LEAST_STRETCH_S = 1.0
LASTING = ("still_solid",)
"""Checks that a longer run would not pass either."""


class NPTProduction(Production):
    """The runs of a plan in this process.

    Parameters
    ----------
    store
        A connected JobStore that holds the run's plan and what was learned.
    run_id
        The run.
    """

    def __init__(self, store: JobStore, run_id: str) -> None:
        super().__init__(store, run_id)
        assert self.system.equilibrate is not None, "the plan of an equilibrate goal has an equilibrate section"
        self.settings: EquilibrateSettings = self.system.equilibrate

    @cached_property
    def cell(self) -> Atoms:
        """The crystal at rest in the cell of the runs."""
        return self.crystal.repeated(self.settings.supercell)

    def progress(self, temperature_K: float) -> NPTProgress:
        """Return where the run at a temperature stands; with another potential than before it begins anew."""
        found = self.records.find(f"npt:{temperature_K:g}")
        if found is not None and found.get("potential_sha256") in (None, self.potential_sha256):
            return NPTProgress.model_validate(found)
        return NPTProgress(
            run_id=self.run_id,
            temperature_K=temperature_K,
            potential_sha256=self.potential_sha256,
            wanted_steps=self.settings.steps,
        )

    def series(self, progress: NPTProgress) -> NPTSeries:
        """Return the frames of a run."""
        pieces = [NPTSeries.from_bytes(self.blobs.get(one)) for one in progress.series_sha256]
        return joined(pieces, self._keep_steps(progress))

    def equilibrium(self, progress: NPTProgress) -> tuple[EquilibriumState, list[GateResult]]:
        """Return the averages of a run, and what must hold for them.

        Raises
        ------
        AnalysisError
            It is too short.
        """
        from mlip_autopipe.analysis.equilibrium import equilibrium_state
        from mlip_autopipe.analysis.equilibrium_gates import equilibrium_gates

        series = self.series(progress)
        run = series.npt_run(self.crystal, self.settings.supercell, progress.temperature_K)
        state = equilibrium_state(run)
        return state, equilibrium_gates(run, state, series.square_displacements_A2, self.crystal.nearest_neighbour_A)

    def go_on(self, temperature_K: float, seconds_left: float, folder: Path) -> NPTProgress:
        """Advance a run until it is long enough or time is over, and store where it stands.

        Parameters
        ----------
        temperature_K
            One of the plan's.
        seconds_left
            Stop in time.
        folder
            Where trajectory and checkpoint are written.

        Returns
        -------
        NPTProgress
            ``running`` when time was over: the same call goes on.
        """
        ends = time.monotonic() + seconds_left
        progress, pace_s = self.progress(temperature_K), None
        while progress.state == "running":
            if progress.step >= progress.wanted_steps and not self._extended(progress):
                self._conclude(progress)
                break
            left = ends - time.monotonic()
            if left < LEAST_STRETCH_S:
                break
            started, before, checkpoint = time.monotonic(), progress.step, progress.checkpoint_sha256
            stretch = self._stretch(progress, pace_s, left, folder)
            pace_s = (time.monotonic() - started) / max(1, stretch.step - before)
            progress.step = stretch.step
            if len(stretch.series):
                progress.series_sha256.append(self._put(stretch.series.to_bytes(), "npt series"))
            if stretch.checkpoint is not None:
                progress.checkpoint_sha256 = self._put(stretch.checkpoint, "npt checkpoint")
            if stretch.status == "guard":
                progress.state, progress.reason = "stopped", stretch.message
            self._save(progress)
            if checkpoint not in (None, progress.checkpoint_sha256):
                self._remove_checkpoint(checkpoint, progress)
        return progress

    def _stretch(self, progress: NPTProgress, pace_s: float | None, left: float, folder: Path) -> NPTStretch:
        """Run to an anchor, from which nothing is replayed, in about `STORE_EVERY_S` if the pace is known."""
        dynamics = npt_settings(self.settings, self.otf, self.crystal, progress.temperature_K)
        anchor, interval = dynamics.anchor_interval, self.settings.frame_interval
        anchors = 1 if pace_s is None else max(1, int(STORE_EVERY_S / (pace_s * anchor)))
        stop = (progress.step // anchor + anchors) * anchor
        sha256 = progress.checkpoint_sha256
        return advance(
            dynamics,
            self.cell,
            self.potential,
            min(stop, progress.wanted_steps),
            frame_interval=interval,
            keep_steps=self._keep_steps(progress),
            files=folder / f"{self.run_id}-{progress.temperature_K:g}K",
            checkpoint=None if sha256 is None else self.blobs.get(sha256),
            potential_sha256=self.potential_sha256,
            # the rest of the time is for the stresses of the frames, one evaluation each
            seconds_left=left * interval / (interval + 1),
        )

    def _extended(self, progress: NPTProgress) -> bool:
        """Make a run twice as long if its averages need it and the plan allows it."""
        try:
            state, gates = self.equilibrium(progress)
        except AnalysisError:  # too few frames: longer is what it needs
            precise = False
        else:
            progress.length_error = length_error(state)
            sound = all(gate.passed or gate.name in LASTING for gate in gates)
            precise = sound and progress.length_error <= self.settings.target_length_error
        if precise or progress.extensions >= self.settings.max_extensions:
            return False
        progress.extensions += 1
        progress.wanted_steps *= 2
        return True

    def _conclude(self, progress: NPTProgress) -> None:
        """Ask the potential how sure it was along the run, and choose frames for the reference."""
        from mlip_autopipe.reference.labels import structure_document

        series, temperature = self.series(progress), progress.temperature_K
        try:
            state, _ = self.equilibrium(progress)
            progress.model_shifts_A3_per_atom = model_shifts(
                self.potential,
                series,
                state.n_discarded,
                self.cell,
                state.bulk_modulus_GPa,
                temperature,
                draws=self.settings.draws,
                seed=self.settings.seed,
            ).tolist()
        except AnalysisError as error:
            progress.state, progress.reason = "stopped", str(error)
        else:
            start, number = state.n_discarded, self.settings.check_labels
            places = series.sampled(start, MODEL_FRAMES)
            stds = [self.potential.force_std(series.atoms(place, self.cell)) for place in places]
            progress.max_force_std_eV_per_A = [float(np.max(one)) for one in stds]
            frames = check_frames(
                self.potential, self.crystal, self.otf, series, start, self.cell, temperature, number
            )
            progress.check_frames = [structure_document(one) for one in frames]
            progress.state = "finished"
        self._save(progress)

    def _keep_steps(self, progress: NPTProgress) -> int:
        return keep_steps(progress.wanted_steps, self.settings.frame_interval)

    def _put(self, data: bytes, kind: str) -> str:
        return self.blobs.put(data, kind, self.run_id)

    def _remove_checkpoint(self, sha256: str, progress: NPTProgress) -> None:
        """Remove what the stored progress has left behind, unless another job of the same run has stored its own."""
        if self.progress(progress.temperature_K).checkpoint_sha256 == progress.checkpoint_sha256:
            self.blobs.remove(sha256, self.run_id)

    def _save(self, progress: NPTProgress) -> None:
        self.records.save(f"npt:{progress.temperature_K:g}", progress.model_dump(mode="json"))


def length_error(state: EquilibriumState) -> float:
    """Return the largest relative statistical error of the lattice lengths that the symmetry leaves free."""
    lengths = [state.lattice_parameters[name] for name in state.free_parameters if name.endswith("_A")]
    return max(one.stderr / one.value for one in lengths)
