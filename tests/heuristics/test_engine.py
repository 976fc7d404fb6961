"""The whole plan: completeness, goals, determinism."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.heuristics import HeuristicEngine, missing_reasons
from mlip_autopipe.heuristics.choices import leaf_paths
from mlip_autopipe.heuristics.run_id import plan_run_id
from mlip_autopipe.schemas.loading import parse_user_config
from mlip_autopipe.schemas.system import SystemConfig

from .conftest import EMT

TARGETS = [
    {"elements": ["Al"]},
    {"elements": ["Al"], "composition": {"Al": 1.0}},
    {"composition": {"Al": 1.0}},
    {"elements": ["Si"], "crystal_structure": "diamond"},
    {"elements": ["Fe"]},
    {"elements": ["Mg"]},
    {"elements": ["W"]},
    {"elements": ["Bi"]},
    {"elements": ["Na", "Cl"], "crystal_structure": "rocksalt", "composition": {"Na": 0.5, "Cl": 0.5}},
    {"elements": ["Zn", "O"], "crystal_structure": "wurtzite"},
]


@pytest.fixture
def cu3au(tmp_path: Path) -> Path:
    cell = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0, 0.5, 0.5]])
    cell.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    return tmp_path / "POSCAR"


@pytest.mark.parametrize("target", TARGETS)
def test_every_choice_has_a_reason_and_a_source(expand, target):
    config = expand(target)
    assert missing_reasons(config) == []
    assert all(r.reason and r.source for r in config.reasons.values())
    assert set(config.reasons) == set(leaf_paths(config))


def test_a_missing_reason_is_found(expand):
    config = expand({"elements": ["Al"]})
    del config.reasons["elastic.strain_amplitude"]
    del config.reasons["reference.parameters.kpts"]
    assert missing_reasons(config) == ["reference.parameters.kpts", "elastic.strain_amplitude"]


def test_plan_survives_json(expand):
    config = expand({"elements": ["Fe"]})
    assert SystemConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("target", "n_atoms", "n_directions"),
    [({"elements": ["Al"]}, 1, 1), ({"elements": ["W"]}, 1, 1), ({"elements": ["Mg"]}, 2, 2)],
)
def test_fewest_strains(expand, target, n_atoms, n_directions):
    config = expand(target)
    assert config.material.n_atoms == n_atoms
    assert len(config.elastic.directions) == n_directions


def test_cu3au_from_a_file(expand, cu3au):
    config = expand({"structure": str(cu3au)})
    assert config.material.formula == "Cu3Au"
    assert config.material.is_metal
    assert config.material.n_atoms == 4
    assert config.reference.parameters["smearing_eV"] > 0
    assert len(config.elastic.directions) == 1
    assert config.reasons["material.structure"].source == "input.yaml: target_system.structure"


def test_conventional_cell_is_reduced_and_said_so(expand, tmp_path):
    from ase.build import bulk

    write(tmp_path / "al.vasp", bulk("Al", cubic=True))
    config = expand({"structure": str(tmp_path / "al.vasp")})
    assert config.material.n_atoms == 1
    assert any("primitive" in w for w in config.warnings)
    assert config.run_id != expand({"elements": ["Si"]}).run_id


def test_guessed_lattice_constant_warns(expand):
    assert any("guess" in w for w in expand({"elements": ["Na", "Cl"], "crystal_structure": "rocksalt"}).warnings)
    assert expand({"elements": ["Al"]}).warnings == []


def test_strain_settings(expand):
    elastic = expand({"elements": ["Si"]}).elastic
    assert elastic.strain_amplitude == 0.005
    assert elastic.half_amplitude_check
    assert elastic.ion_fmax_eV_per_A == 0.002
    smaller = expand({"elements": ["Si"]}, overrides={"elastic.strain_amplitude": 0.0025}).elastic
    assert smaller.ion_fmax_eV_per_A == 0.001
    cheap = expand({"elements": ["Al"]}, reference=EMT)
    assert cheap.reference.cheap
    assert cheap.elastic.ion_fmax_eV_per_A == 1e-4
    assert cheap.relaxation.stress_tolerance_GPa <= 0.05


@pytest.mark.parametrize(
    ("target", "goal", "sentence"),
    [
        ({"elements": ["Cu", "Au"], "composition": {"Cu": 0.5, "Au": 0.5}}, "phase_diagram", "covers compositions"),
        ({"elements": ["Na", "Cl"], "crystal_structure": "rocksalt"}, "phase_diagram", "decorates fcc, bcc, hcp"),
        ({"elements": ["Cu", "Au"], "structures": ["/nowhere/POSCAR"]}, "phase_diagram", "does not exist"),
        ({"elements": ["Al"], "structures": ["POSCAR"]}, "elastic", "structures has no meaning for goal elastic"),
        ({"elements": ["Al"]}, "phase_diagram", "needs at least two elements"),
        ({"elements": ["Cu", "Au"], "composition": {"Cu": 0.75, "Au": 0.25}, "crystal_structure": "fcc"}, "elastic",
         "random alloy"),
        ({"elements": ["Na", "Cl"], "composition": {"Na": 0.25, "Cl": 0.75}, "crystal_structure": "rocksalt"},
         "elastic", "random alloy"),
        ({"elements": ["Cu", "Au"], "crystal_structure": "fcc"}, "equilibrate", r"add composition \(Cu: 0.5, Au: 0.5"),
        ({"elements": ["Na", "Cl"], "crystal_structure": "rocksalt", "composition_range": {"Na": [0.2, 0.5]}},
         "potential", "element's prototype"),
        ({"elements": ["Cu", "Au"], "crystal_structure": "fcc", "composition_range": {"Au": [0.2, 0.5]}},
         "equilibrate", "no meaning for goal equilibrate"),
        ({"elements": ["Na", "Cl"]}, "elastic", "add crystal_structure"),
        ({"elements": ["Al"], "crystal_structure": "rocksalt"}, "elastic", "needs two elements"),
        ({"elements": ["O"]}, "elastic", "is a molecule"),
        ({"elements": ["Mn"]}, "elastic", "crystal_structure"),
        ({"structure": "/nowhere/POSCAR"}, "elastic", "does not exist"),
    ],
)  # fmt: skip
def test_impossible_inputs(expand, target, goal, sentence):
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        expand(target, simulation_goal=goal)
    assert "\n" not in str(caught.value)


def test_unknown_engine_names_the_nearest(expand):
    with pytest.raises(InvalidInputError, match="gpaw"):
        expand({"elements": ["Al"]}, reference={"engine": "gpa"})


def test_molecule_has_no_elastic_constants(expand, tmp_path):
    from ase.build import molecule

    write(tmp_path / "h2o.xyz", molecule("H2O"))
    with pytest.raises(InvalidInputError, match="not periodic"):
        expand({"structure": str(tmp_path / "h2o.xyz")})


def test_run_id_names_project_and_plan(expand):
    config = expand({"elements": ["Al"]})
    project, digest = config.run_id.rsplit("-", 1)
    assert project == "test"
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert expand({"elements": ["Al"]}).run_id == config.run_id


@pytest.mark.parametrize(
    "more",
    [
        {"resources": {"max_reference_calculations": 500}},
        {"resources": {"max_core_hours": 3.5, "cores": 1}},
        {"overrides": {"budget.cores": 7}},
        {"overrides": {"reference.cheap": False}},
    ],
)
def test_run_id_ignores_what_changes_no_number(expand, more):
    plan = expand({"elements": ["Al"]}, overrides={"reference.cheap": False})
    assert expand({"elements": ["Al"]}, **more).run_id == plan.run_id


@pytest.mark.parametrize(
    "overrides",
    [
        {"elastic.strain_amplitude": 0.003},
        {"reference.parameters.cutoff_eV": 500},
        {"reference.parameters.kpts": [4, 4, 4]},
        {"elastic.half_amplitude_check": False},
        {"relaxation.fmax_eV_per_A": 0.01},
        {"material.is_magnetic": True},
    ],
)
def test_run_id_changes_with_the_numbers(expand, overrides):
    assert expand({"elements": ["Al"]}, overrides=overrides).run_id != expand({"elements": ["Al"]}).run_id


def test_run_id_is_the_same_in_another_process():
    code = (
        "from mlip_autopipe.heuristics import HeuristicEngine as H;"
        "from mlip_autopipe.schemas.loading import parse_user_config as p;"
        "print(H().expand(p({'project_name':'x','target_system':{'elements':['Cu']},'simulation_goal':'elastic',"
        "'reference':{'engine':'ase','calculator':'ase.calculators.emt.EMT'}})).run_id)"
    )
    here = HeuristicEngine().expand(
        parse_user_config(
            {"project_name": "x", "target_system": {"elements": ["Cu"]}, "simulation_goal": "elastic", "reference": EMT}
        )
    )
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == here.run_id


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.integers(0, 2**16))
def test_run_id_does_not_see_the_last_bits(expand, noise):
    config = expand({"elements": ["Si"]})
    rng = np.random.default_rng(noise)
    data = config.model_dump()
    lattice = np.array(data["material"]["structure"]["lattice"]["matrix"])
    data["material"]["structure"]["lattice"]["matrix"] = (lattice + 1e-14 * rng.normal(size=(3, 3))).tolist()
    for site in data["material"]["structure"]["sites"]:
        site["abc"] = [x + 1e-14 * rng.normal() for x in site["abc"]]
    assert plan_run_id(SystemConfig.model_validate(data)) == config.run_id


def test_files_count_by_content(expand, tmp_path):
    (tmp_path / "potential.txt").write_text("1")
    config = expand(
        {"elements": ["Al"]},
        reference={**EMT, "kwargs": {"label": str(tmp_path / "potential.txt")}} | {"calculator": f"{__name__}.emt"},
    )
    assert list(config.reference.files) == [str(tmp_path / "potential.txt")]
    moved = config.model_copy(deep=True)
    moved.reference.files = {"/elsewhere/p": next(iter(config.reference.files.values()))}
    moved.reference.parameters["kwargs"] = {"label": "/elsewhere/p"}
    assert plan_run_id(moved) == config.run_id


def emt(label: str):
    from ase.calculators import emt as module

    return module.EMT()


@pytest.mark.parametrize(("symbol", "kpts", "smeared"), [("Al", 18, True), ("Si", 6, False), ("Fe", 21, True)])
def test_default_engine(symbol, kpts, smeared):
    """Three lines of input are enough; the plan is GPAW's."""
    config = HeuristicEngine().expand(
        parse_user_config({"project_name": "x", "target_system": {"elements": [symbol]}, "simulation_goal": "elastic"})
    )
    assert config.reference.engine == "gpaw"
    assert not config.reference.cheap
    assert missing_reasons(config) == []
    parameters = config.reference.parameters
    assert list(parameters["kpts"]) == [kpts] * 3
    assert (parameters["smearing"]["width"] > 0) is smeared
    assert parameters["spin_polarised"] is (symbol == "Fe")


def test_a_value_inside_a_group_of_the_default_engine():
    data = {"project_name": "x", "target_system": {"elements": ["Al"]}, "simulation_goal": "elastic"}
    config = HeuristicEngine().expand(
        parse_user_config({**data, "overrides": {"reference.parameters.smearing.width": "2e-1"}})
    )
    assert config.reference.parameters["smearing"]["width"] == 0.2
    with pytest.raises(InvalidInputError, match=r"did you mean reference\.parameters\.smearing\.width"):
        HeuristicEngine().expand(parse_user_config({**data, "overrides": {"reference.parameters.smearing.widht": 0.2}}))


class TestAlloys:
    ALLOY = {"elements": ["Cu", "Au"], "crystal_structure": "fcc"}  # noqa: RUF012

    def test_a_potential_without_a_composition_covers_all(self, expand):
        plan = expand(self.ALLOY, simulation_goal="potential", reference=EMT)
        assert plan.material.formula == "CuAu"
        assert plan.material.n_atoms == 32
        names = [one.name for one in plan.otf.others]
        assert names == ["Cu (fcc)", "Au (fcc)", "Cu24Au8 (fcc)", "Cu8Au24 (fcc)"]
        sizes = [round(np.linalg.det(np.array(one.supercell))) for one in plan.otf.others]
        assert sizes[2:] == [1, 1]
        assert all(32 <= size <= 54 for size in sizes[:2])
        assert plan.otf.ensemble == "npt"  # the quasirandom cells have no symmetry, the alloy's lattice has
        assert plan.otf.seed_structures == 10
        assert plan.otf.held_out == 10
        assert plan.otf.pool_labels == 5
        assert missing_reasons(plan) == []
        assert "whole range" in plan.reasons["otf.others"].reason
        assert plan.run_id == expand(self.ALLOY, simulation_goal="potential", reference=EMT).run_id

    def test_a_composition_is_that_alloy_alone(self, expand):
        target = {**self.ALLOY, "composition": {"Cu": 0.75, "Au": 0.25}}
        plan = expand(target, simulation_goal="potential", reference=EMT)
        assert plan.material.formula == "Cu3Au"
        assert plan.otf.others == []
        assert any("Cu24Au8 (fcc) is a guess" in warning for warning in plan.warnings)

    def test_a_range_is_explored_within_its_limits(self, expand):
        target = {**self.ALLOY, "composition_range": {"Au": [0, 0.5]}}
        plan = expand(target, simulation_goal="potential", reference=EMT)
        assert plan.material.formula == "Cu3Au"
        assert [one.name for one in plan.otf.others] == [
            "Cu (fcc)", "Cu16Au16 (fcc)", "Cu28Au4 (fcc)", "Cu20Au12 (fcc)"
        ]  # fmt: skip

    def test_equilibrate_says_what_a_quasirandom_cell_can_tell(self, expand):
        target = {**self.ALLOY, "composition": {"Cu": 0.5, "Au": 0.5}}
        plan = expand(target, simulation_goal="equilibrate", reference=EMT)
        assert any("volume per atom, density" in warning for warning in plan.warnings)
