"""``mlip-auto trajectory``: runs of a database as files, and files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ase.io import iread

from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.jobs.diffusion_production import DiffusionProduction
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.launch.jobstore import jobstore_for
from tests.analysis.trajectory_files import CELL, SYMBOLS, positions_A, write_as
from tests.jobs.test_diffusion import plan
from tests.learning.tiny import run


def add_run(launchpad: Any, run_id: str, goal: str) -> None:
    from jobflow import Flow, job

    from mlip_autopipe.launch import runs
    from mlip_autopipe.launch.workflow import to_workflow

    @job
    def nothing() -> None:
        """Stand for a run's jobs."""

    flow = Flow([nothing()])
    runs.submit(launchpad, to_workflow(flow, run_id=run_id, project_name="ni", goal=goal, formula="Ni"))


@pytest.mark.live
class TestExport:
    def test_of_a_run_that_is_not_done(self, live_launchpad, invoke):
        store = jobstore_for(live_launchpad)
        store.connect()
        found = run(plan(steps=60), store)
        production = DiffusionProduction(store, found.system.run_id)
        production.go_on((600.0, "mean", 0), 60, Path.cwd())
        add_run(live_launchpad, found.system.run_id, "diffusion")
        outcome = invoke("trajectory", "export", found.system.run_id)
        assert outcome.code == 0, outcome.err
        folder = Path(f"{found.system.run_id}-trajectories")
        assert outcome.out.splitlines() == [
            "300K-run-1.h5: no frames yet",
            "300K-sample-1.h5: no frames yet",
            f"wrote {folder}/600K-run-1.h5: 31 frames of 7 atoms, "
            f"{60 * production.settings.time_step_fs / 1000:.4g} ps (finished)",
            "600K-sample-1.h5: no frames yet",
        ]
        assert [one.name for one in folder.iterdir()] == ["600K-run-1.h5"]
        with Trajectory(folder / "600K-run-1.h5") as trajectory:
            positions = production.positions(production.run(600.0, "mean", 0))
            np.testing.assert_allclose(trajectory.read(), positions, atol=1e-5)

        Path("occupied").write_text("a file")
        outcome = invoke("trajectory", "export", "ni", "--out", "occupied/here")
        assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
        assert "occupied is a file" in outcome.err

        for one in production.run(600.0, "mean", 0).frames_sha256:
            production.blobs.remove(one, production.run_id)
        outcome = invoke("trajectory", "export", "ni", "--out", "lost")
        assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
        assert "there is no blob" in outcome.err
        assert list(Path("lost").iterdir()) == []
        store.close()

    def test_where_there_is_nothing(self, live_launchpad, invoke):
        add_run(live_launchpad, "ni-20300101-000000-abcd", "elastic")
        system = plan()
        add_run(live_launchpad, system.run_id, "diffusion")
        for name, words in (
            ("nickel", "no run 'nickel'"),
            ("ni-20300101-000000-abcd", "has goal 'elastic'; only runs of goal 'diffusion' keep trajectories"),
            (system.run_id, "has no trajectories yet"),
        ):
            outcome = invoke("trajectory", "export", name)
            assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
            assert words in outcome.err
        store = jobstore_for(live_launchpad)
        store.connect()
        RunRecords(store, system.run_id).save_plan(system)
        store.close()
        outcome = invoke("trajectory", "export", system.run_id)
        assert outcome.code == 2
        assert "production begins when its potential is learned" in outcome.err
        assert not list(Path().glob("*trajectories"))


def test_without_a_database(clean_dir, invoke):
    outcome = invoke("trajectory", "export", "ni")
    assert outcome.code == 2
    assert "no runs yet" in outcome.err
    assert list(clean_dir.iterdir()) == []


@pytest.fixture
def trajectory(clean_dir: Path) -> Path:
    return write_as("h5", clean_dir, positions_A(300))


class TestConvert:
    @pytest.mark.parametrize("name", ["out.extxyz", "deep/out.xyz", "out.traj"])
    def test_every_frame(self, name, trajectory, invoke):
        outcome = invoke("trajectory", "convert", trajectory, "-o", name)
        assert outcome.code == 0, outcome.err
        assert outcome.out == f"wrote {name}: 300 frames of 8 atoms\n"
        frames = list(iread(name))
        assert len(frames) == 300
        assert frames[0].get_chemical_symbols() == SYMBOLS
        assert frames[299].info["time_fs"] == 20.0 * 299
        away = (frames[299].positions - positions_A(300)[299]) @ np.linalg.inv(CELL)
        assert np.abs(away - away.round()).max() < 1e-5
        assert np.abs(away.round()).max() > 0

    @pytest.mark.parametrize("name", ["out.extxyz", "out.traj"])
    def test_some_frames_unwrapped(self, name, trajectory, invoke):
        outcome = invoke("trajectory", "convert", trajectory, "-o", name, "--every", 7, "--unwrapped")
        assert outcome.out == f"wrote {name}: 43 frames of 8 atoms\n"
        found = np.array([atoms.positions for atoms in iread(name)])
        assert np.abs(found - positions_A(300)[::7]).max() < 1e-5

    def test_what_is_sound_of_a_damaged_file(self, trajectory, invoke):
        with h5py.File(trajectory, "r+", libver=("v110", "v110")) as file:
            file["positions"][200:] = 0
        outcome = invoke("trajectory", "convert", trajectory, "-o", "out.traj")
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert "frame 200 is missing or not finite; the first 200 frames are sound" in outcome.err
        assert len(list(iread("out.traj"))) == 200

    def test_a_file_without_any_sound_frame(self, trajectory, invoke):
        with h5py.File(trajectory, "r+", libver=("v110", "v110")) as file:
            file["positions"][...] = 0
        outcome = invoke("trajectory", "convert", trajectory, "-o", "out.traj")
        assert outcome.code == 2
        assert "no frame is sound" in outcome.err
        with h5py.File(trajectory, "r+", libver=("v110", "v110")) as file:
            file["n_frames"][()] = 0
        outcome = invoke("trajectory", "convert", trajectory, "-o", "out.traj")
        assert outcome.code == 2
        assert "holds no frames" in outcome.err
        assert not Path("out.traj").exists()

    @pytest.mark.parametrize(
        ("file", "out", "words"),
        [
            ("run.h5", "out.pdb", "no known format: name it .extxyz or .xyz"),
            ("run.h5", "out", "no known format"),
            ("none.h5", "out.traj", "no trajectory file none.h5"),
            ("text.h5", "out.traj", "text.h5 is no readable HDF5 file"),
            ("other.h5", "out.traj", "other.h5 is not a trajectory of this program"),
            ("same.traj", "same.traj", "same.traj is the trajectory itself"),
            ("run.h5", None, "Missing option '--out'"),
        ],
    )
    def test_mistakes(self, file, out, words, trajectory, invoke):
        Path("text.h5").write_text("no HDF5")
        Path("same.traj").write_bytes(trajectory.read_bytes())
        with h5py.File("other.h5", "w") as other:
            other["x"] = 1
        before = {one: one.read_bytes() for one in Path().iterdir()}
        outcome = invoke("trajectory", "convert", file, *(() if out is None else ("-o", out)))
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert words in outcome.err
        assert {one: one.read_bytes() for one in Path().iterdir()} == before

    def test_a_folder_that_cannot_be_written(self, trajectory, invoke):
        Path("occupied").write_text("a file")
        outcome = invoke("trajectory", "convert", trajectory, "-o", "occupied/out.traj")
        assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
        assert "occupied is a file" in outcome.err
        Path("out.traj").mkdir()
        outcome = invoke("trajectory", "convert", trajectory, "-o", "out.traj")
        assert (outcome.code, len(outcome.err.splitlines())) == (1, 1)
        assert "out.traj cannot be written" in outcome.err
