"""The diffusion goal through the command line with a server and rockets of its own, and its report."""

from __future__ import annotations

import pytest

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
        "diffusion.max_steps": 200,
    },
}


@pytest.mark.live
def test_a_run_that_is_too_short_says_so_and_still_shows_what_it_measured(project):
    write(project / "input.yaml", **SMALL)
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 3, outcome.stderr + outcome.stdout
    assert "diffusion: 600 K, run 1" in outcome.stdout
    assert "posterior sample 2" in outcome.stdout
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
