"""The phase diagram goal through the command line with a server and rockets of its own, and its files."""

from __future__ import annotations

import json

import pytest
from ase.io import read

from tests.cli.test_app import write
from tests.cli.test_run import call, project, results
from tests.jobs.test_phase_diagram import SMALL

__all__ = ["project"]

MEGABYTE = 1_000_000


@pytest.mark.live
def test_phases_come_with_probabilities_and_files_for_other_programs(project):
    write(
        project / "input.yaml",
        project_name="cu-au",
        target_system={"elements": ["Cu", "Au"]},
        simulation_goal="phase_diagram",
        reference={"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
        potential={"kwargs": {"largest": 100}},
        resources={"max_reference_calculations": 60},
        overrides=SMALL,
    )
    outcome = call(project, "run", "input.yaml")
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    assert "hull: relax candidates 1 to 12" in outcome.stdout
    assert "Phases on and near the hull" in outcome.stdout
    found = results(project)
    assert found["elements"] == ["Au", "Cu"]
    keys = {"formula", "formation_energy_eV_per_atom", "e_above_hull_eV_per_atom", "probability_stable", "source"}
    assert all(keys <= set(one) for one in found["entries"])
    assert {found["entries"][k]["source"] for k in found["hull_vertices"]} == {"reference"}
    assert found["n_reference_calculations"] <= 60
    assert found["provenance"]["label_ids"]
    assert "@module" not in json.dumps(found)
    assert len(json.dumps(found)) < MEGABYTE
    folder = project / "results"
    assert (folder / "hull.png").read_bytes().startswith(b"\x89PNG")
    assert not any("structure" in one for one in found["entries"])
    phases = read(folder / "phases.extxyz", ":")
    for one, atoms in zip(found["entries"], phases, strict=True):
        assert atoms.info["name"] == one["name"]
        assert atoms.get_chemical_formula() == one["formula"]
        assert atoms.get_volume() / len(atoms) == pytest.approx(one["volume_A3_per_atom"], rel=1e-6)
    # what was written is what the command for a user's own entries reads
    for name in ("hull.csv", "pymatgen_entries.json", "phases.extxyz"):
        again = json.loads(call(project, "analyse", "hull", str(folder / name), "--json").stdout)
        assert len(again["entries"]) == len(found["entries"])
        for one, other in zip(again["entries"], found["entries"], strict=True):
            assert one["e_above_hull_eV_per_atom"] == pytest.approx(other["e_above_hull_eV_per_atom"], abs=1e-9)
