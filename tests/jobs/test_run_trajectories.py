"""Frames of production runs, blob by blob, and as files."""

from __future__ import annotations

import io
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.frames import BLOCK_FRAMES, ArrayFrames
from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.jobs import run_trajectories
from mlip_autopipe.jobs.blobs import BlobError
from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.jobs.run_trajectories import (
    export_trajectory,
    file_name,
    has_frames,
    production_frames,
    production_of_run,
)
from mlip_autopipe.schemas.diffusion import DiffusionRun
from tests.jobs.test_diffusion import plan
from tests.learning.tiny import run, tiny_plan

STEPS = 600
"""A frame every two of them: more than one block."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[DiffusionProduction, DiffusionRun]:
    """A run at 600 K that was stored in several blobs, and no other; do not touch."""
    found = run(plan(steps=STEPS, max_steps=STEPS))
    production = production_of_run(found.store, found.system.run_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlip_autopipe.jobs.diffusion_production.STORE_EVERY_S", 0.0)
        done = production.go_on((600.0, "mean", 0), 60, tmp_path_factory.mktemp("run"))
    assert done.state == "finished"
    assert len(done.frames_sha256) >= 3
    return production, done


def in_one_blob(production: DiffusionProduction, done: DiffusionRun) -> DiffusionRun:
    buffer = io.BytesIO()
    np.save(buffer, production.positions(done))
    return done.model_copy(update={"frames_sha256": [production.blobs.put(buffer.getvalue(), "test", "test")]})


@pytest.mark.parametrize("stored", ["in pieces", "in one blob"])
def test_frames_are_those_of_the_blobs_in_their_order_with_times(stored, ran):
    production, done = ran
    if stored == "in one blob":
        done = in_one_blob(production, done)
    blocks = list(production_frames(production, done))
    expected = production.positions(done)
    assert len(expected) == STEPS // 2 + 1
    np.testing.assert_array_equal(np.concatenate([one.positions_A for one in blocks]), expected)
    assert max(len(one.positions_A) for one in blocks) <= BLOCK_FRAMES
    times_fs = np.concatenate([one.times_fs for one in blocks])
    np.testing.assert_allclose(times_fs, np.arange(len(expected)) * 2 * production.settings.time_step_fs)
    cell = production.cell(done)
    for one in blocks:
        assert one.species == ("Ni",) * 7
        assert one.unwrapped
        assert one.pbc.all()
        assert (one.cells_A == cell.cell.array).all()


def test_the_analysis_finds_the_same_as_in_arrays(ran, tmp_path):
    production, done = ran
    cell = production.cell(done)
    arrays = ArrayFrames(production.positions(done), cell.get_chemical_symbols(), cell.cell.array, unwrapped=True)
    export_trajectory(production, done, tmp_path / "run.h5")
    whole, streamed, file = (
        fit_diffusion_coefficient(calculate_msd(frames, start=10), 600, 2 * production.settings.time_step_fs)
        for frames in (arrays, production_frames(production, done), tmp_path / "run.h5")
    )
    # sums are rounded elsewhere where the blocks are cut elsewhere
    assert streamed.groups["Ni"].D_cm2_s == pytest.approx(whole.groups["Ni"].D_cm2_s, rel=1e-6)
    np.testing.assert_allclose(streamed.groups["Ni"].msd_A2, whole.groups["Ni"].msd_A2, rtol=1e-6)
    np.testing.assert_allclose(file.groups["Ni"].msd_A2, whole.groups["Ni"].msd_A2, rtol=1e-4)


def test_one_blob_is_in_memory_at_a_time(ran, monkeypatch):
    production, done = ran
    load, loaded, alive = run_trajectories._positions_A, [], []

    def counting(*arguments: Any) -> Any:
        alive.append(sum(one() is not None for one in loaded))
        found = load(*arguments)
        loaded.append(weakref.ref(found))
        return found

    monkeypatch.setattr(run_trajectories, "_positions_A", counting)
    assert sum(len(one.positions_A) for one in production_frames(production, done)) == STEPS // 2 + 1
    assert alive == [0] * len(done.frames_sha256)


def test_a_file_holds_what_is_known_of_the_run(ran, tmp_path):
    production, done = ran
    path = tmp_path / file_name(done)
    path.write_text("an older file")
    written = export_trajectory(production, done, path)
    assert path.name == "600K-run-1.h5"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert written == (STEPS // 2 + 1, 7, pytest.approx(STEPS * production.settings.time_step_fs / 1000))
    cell = production.cell(done)
    with Trajectory(path) as trajectory:
        assert trajectory.closed_cleanly
        assert trajectory.n_sound == len(trajectory) == written.n_frames
        np.testing.assert_allclose(trajectory.read(), production.positions(done), atol=1e-5)
        np.testing.assert_array_equal(trajectory.steps, np.arange(0, STEPS + 1, 2))
        np.testing.assert_allclose(trajectory.times_fs, trajectory.steps * production.settings.time_step_fs)
        np.testing.assert_allclose(trajectory.cells, np.broadcast_to(cell.cell.array, (len(trajectory), 3, 3)))
        assert trajectory.numbers.tolist() == [28] * 7
        assert trajectory.pbc.all()
        assert {trajectory.potential_of(k) for k in (0, 299)} == {production.potential_sha256}


def test_other_stages_have_no_frames(ran, tmp_path):
    production, done = ran
    before = done.model_copy(update={"stage": "lattice"})
    assert not has_frames(before)
    assert list(production_frames(production, before)) == []
    assert [has_frames(one) for one in production.runs()].count(True) == 1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"temperature_K": 1250.5, "number": 2}, "1250.5K-run-3.h5"),
        ({"role": "draw"}, "600K-sample-1.h5"),
    ],
)
def test_names(changes, name, ran):
    assert file_name(ran[1].model_copy(update=changes)) == name


def test_nothing_is_written_when_a_blob_is_lost(ran, tmp_path):
    production, done = ran
    lost = done.model_copy(update={"frames_sha256": [*done.frames_sha256[:2], "0" * 64]})
    (tmp_path / "old.h5").write_text("an older file")
    for path in (tmp_path / "old.h5", tmp_path / "new.h5"):
        with pytest.raises(BlobError, match="no blob 000000000000"):
            export_trajectory(production, lost, path)
    assert [one.name for one in tmp_path.iterdir()] == ["old.h5"]
    assert (tmp_path / "old.h5").read_text() == "an older file"


def test_runs_without_production(ran, memory_jobstore):
    with pytest.raises(InvalidInputError, match="run nothing has no trajectories yet"):
        production_of_run(memory_jobstore, "nothing")
    learning, other = plan(), tiny_plan("potential")
    for system in (learning, other):
        RunRecords(memory_jobstore, system.run_id).save_plan(system)
    with pytest.raises(InvalidInputError, match="no trajectories yet: production begins when"):
        production_of_run(memory_jobstore, learning.run_id)
    with pytest.raises(InvalidInputError, match="has goal 'potential'; only runs of goal 'diffusion'"):
        production_of_run(memory_jobstore, other.run_id)


def test_paths_may_be_relative(ran, clean_dir):
    export_trajectory(*ran, Path("here.h5"))
    assert Path("here.h5").is_file()
