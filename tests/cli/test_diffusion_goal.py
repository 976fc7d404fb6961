"""The diffusion goal through the command line with a server and rockets of its own, and its report."""

from __future__ import annotations

import json

import pytest

from mlip_autopipe.dynamics.trajectory import Trajectory
from tests.cli.test_app import write
from tests.cli.test_run import call, project, results

__all__ = ["project"]

SMALL = {
    "project_name": "ni-diffusion",
    "target_system": {"elements": ["Ni"]},
    "simulation_goal": "diffusion",
    "temperatures_K": [600, 900],
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
    "potential": {"kwargs": {"largest": 20}},
    "overrides": {
        "otf.supercell": [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
        "otf.others": [],
        "otf.segment_steps": 20,
        "otf.temperatures_K": [600, 900],
        "diffusion.supercell": [[2, 0, 0], [0, 2, 0], [0, 0, 2]],
        "diffusion.frame_interval": 2,
        "diffusion.lattice_steps": 40,
        "diffusion.steps": 200,
        "diffusion.replicas": 1,
        "diffusion.model_runs": 1,
        "diffusion.max_steps": 200,
    },
}


@pytest.mark.live
def test_a_run_that_is_too_short_says_so_and_still_shows_what_it_measured(project):
    write(project / "input.yaml", **SMALL)
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 3, outcome.stderr + outcome.stdout
    assert "diffusion: 600 K, run 1" in outcome.stdout
    assert "posterior sample 1" in outcome.stdout
    assert "Tracer diffusion coefficients" in outcome.stdout
    found = results(project)
    assert found["temperatures_K"] == [600, 900]
    nickel = found["species"]["Ni"]
    assert len(nickel["D_cm2_s"]) == len(nickel["D_stderr_cm2_s"]) == 2
    assert set(nickel["D_stderr_parts_cm2_s"]) >= {"statistics", "model", "finite_size"}
    assert {"activation_energy_eV", "activation_energy_stderr_eV", "D0_cm2_s"} <= set(nickel)
    assert found["n_reference_calculations"] > 0
    assert found["provenance"]["frames_sha256"]
    assert any("hops" in sentence for sentence in found["missing"])
    assert (project / "results" / "diffusion.png").read_bytes().startswith(b"\x89PNG")
    exported_trajectories_say_the_same(project, found)


def exported_trajectories_say_the_same(project, found):
    exported = call(project, "trajectory", "export", "ni-diffusion", "--out", "runs")
    assert exported.returncode == 0, exported.stderr
    files = sorted(path.name for path in (project / "runs").iterdir())
    assert files == ["600K-run-1.h5", "600K-sample-1.h5", "900K-run-1.h5", "900K-sample-1.h5"]
    assert sorted(line.split("/")[1].split(":")[0] for line in exported.stdout.splitlines()) == files
    with Trajectory(project / "runs" / "900K-run-1.h5") as trajectory:
        assert trajectory.potential_sha256 == [found["provenance"]["potential"]["potential_sha256"]]
        assert trajectory.n_sound == 101
    analysed = call(
        project, "analyse", "diffusion", "runs/900K-run-1.h5", "--temperature", 900, "--phase", "solid", "--json",
        "--start", 10,
    )  # fmt: skip
    measured = json.loads(analysed.stdout)
    assert measured["n_frames"] == 91  # without the transient, as the goal's own analysis
    assert measured["species"]["Ni"]["D_cm2_s"] == pytest.approx(found["species"]["Ni"]["D_cm2_s"][1], rel=1e-3)

    converted = call(project, "trajectory", "convert", "runs/900K-run-1.h5", "--out", "run.extxyz", "--every", 2)
    assert converted.stdout == "wrote run.extxyz: 51 frames of 7 atoms\n"
