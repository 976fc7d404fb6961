from __future__ import annotations

import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError, ReferenceCalculationError
from mlip_autopipe.reference.ase_engine import ASEEngine, file_digest, make_calculator
from mlip_autopipe.reference.base import ElectronicStructure
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.loading import load_user_config

from .fakes import REASON

FLAWED = f"{__package__}.calculators"


@pytest.fixture
def crystal():
    """Copper without any symmetry: no component of force or stress is zero."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1.01, 0.02, 0.0], [0.0, 0.98, 0.03], [0.01, 0.0, 1.0]]), True)
    atoms.rattle(0.05, seed=3)
    return atoms


def _request(calculator, **kwargs):
    return ReferenceRequest(engine="ase", calculator=calculator, kwargs=kwargs)


def _electronic(*elements):
    return ElectronicStructure((1, 1, 1), REASON, 0.1, REASON, False, REASON, None, True, elements)


class TestNumbers:
    def test_they_are_the_calculators(self, ase_settings, crystal):
        result = ASEEngine(ase_settings()).compute(crystal)
        crystal.calc = EMT()
        assert result.energy_eV == pytest.approx(crystal.get_potential_energy())
        assert result.forces_eV_per_A == pytest.approx(crystal.get_forces())
        assert result.stress_eV_per_A3 == pytest.approx(crystal.get_stress())
        assert [(a.step, a.converged) for a in result.attempts] == [("as planned", True)]

    @pytest.mark.parametrize("index", range(6))
    def test_stress_is_the_energy_derivative_in_voigt_order(self, ase_settings, crystal, index):
        # independent of ASE's own finite differences: sigma = dE/d(eps) / V, engineering shear for yz, xz, xy
        row, column = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][index]
        engine, step, energies = ASEEngine(ase_settings()), 1e-5, []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[row, column] += sign * step / 2
            strain[column, row] += sign * step / 2
            atoms = crystal.copy()
            atoms.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(engine.compute(atoms).energy_eV)
        derivative = (energies[0] - energies[1]) / (2 * step) / crystal.get_volume()
        stress = engine.compute(crystal).stress_eV_per_A3
        assert stress[index] == pytest.approx(derivative, abs=1e-6)
        assert min(abs(np.subtract.outer(stress, stress))[np.triu_indices(6, 1)]) > 1e-4  # no order looks right by luck

    def test_forces_are_energy_derivatives(self, ase_settings, crystal):
        engine, energies = ASEEngine(ase_settings()), []
        for shift in (1e-4, -1e-4):
            atoms = crystal.copy()
            atoms.positions[1, 2] += shift
            energies.append(engine.compute(atoms).energy_eV)
        forces = engine.compute(crystal).forces_eV_per_A
        assert forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)

    @pytest.mark.parametrize(("a", "sign"), [(3.5, -1), (3.7, 1)])
    def test_compressed_is_negative_and_stretched_positive(self, ase_settings, a, sign):
        stress = ASEEngine(ase_settings()).compute(bulk("Cu", a=a)).stress_eV_per_A3
        assert (sign * stress[:3] > 0.01).all()
        assert stress[3:] == pytest.approx(np.zeros(3), abs=1e-8)

    def test_constraints_do_not_hide_forces(self, ase_settings, crystal):
        engine = ASEEngine(ase_settings())
        free = engine.compute(crystal)
        crystal.set_constraint(FixAtoms(range(4)))
        held = engine.compute(crystal)
        assert np.abs(free.forces_eV_per_A).max() > 0.1
        assert held.forces_eV_per_A == pytest.approx(free.forces_eV_per_A)

    def test_the_energy_is_the_one_that_forces_belong_to(self, ase_settings, crystal):
        assert ASEEngine(ase_settings(f"{FLAWED}.Smeared")).compute(crystal).energy_eV == -2.0
        assert ASEEngine(ase_settings(f"{FLAWED}.SaysNothing")).compute(crystal).energy_eV == 1.0

    def test_a_missing_stress_comes_from_finite_differences_and_says_so(self, ase_settings, crystal):
        result = ASEEngine(ase_settings(f"{FLAWED}.WithoutStress")).compute(crystal)
        exact = ASEEngine(ase_settings()).compute(crystal)
        assert result.stress_eV_per_A3 == pytest.approx(exact.stress_eV_per_A3, abs=1e-6)
        assert "finite differences" in result.warnings[0]
        assert not exact.warnings

    def test_the_input_is_not_touched(self, ase_settings, crystal):
        before = crystal.copy()
        ASEEngine(ase_settings()).compute(crystal)
        assert crystal == before
        assert crystal.calc is None


class TestRefusal:
    @pytest.mark.parametrize("how", ["Unconverged", "UnconvergedByNumpy", "UnconvergedByMethod"])
    def test_unconverged_numbers(self, ase_settings, crystal, how):
        with pytest.raises(ReferenceCalculationError, match=f"{how} failed on Cu4: it did not converge"):
            ASEEngine(ase_settings(f"{FLAWED}.{how}")).compute(crystal)

    @pytest.mark.parametrize("where", ["energy", "forces", "stress"])
    def test_numbers_that_are_not_finite(self, ase_settings, crystal, where):
        with pytest.raises(ReferenceCalculationError, match="not finite"):
            ASEEngine(ase_settings(f"{FLAWED}.NotANumber", where=where)).compute(crystal)

    def test_what_a_calculator_raises_is_said_and_the_next_structure_starts_afresh(self, ase_settings, crystal):
        engine = ASEEngine(ase_settings(f"{FLAWED}.Raises"))
        for _ in range(2):
            with pytest.raises(ReferenceCalculationError, match="failed on Cu4: RuntimeError: the charge sloshes"):
                engine.compute(crystal)

    @pytest.mark.parametrize(("how", "error"), [("full_disk", OSError), ("no_memory", MemoryError)])
    def test_the_machines_problems_are_raised_as_they_are(self, ase_settings, crystal, how, error):
        engine = ASEEngine(ase_settings(f"{FLAWED}.{how}"))
        for _ in range(2):
            with pytest.raises(error):
                engine.compute(crystal)

    def test_an_element_without_parameters(self, ase_settings):
        with pytest.raises(ReferenceCalculationError, match="EMT failed on Si2"):
            ASEEngine(ase_settings()).compute(bulk("Si"))


class TestNames:
    @pytest.mark.parametrize(
        ("dotted", "says"),
        [
            ("EMT", "'EMT' is not a dotted name; write it as package.module.Class"),
            ("..EMT", "is not a dotted name"),
            ("ase.calculators.emt.", "is not a dotted name"),
            ("ase.calculators.no_such.EMT", "there is no module ase.calculators.no_such; write"),
            ("nosuchpackage.EMT", "there is no module nosuchpackage; write"),
            ("ase.calculators.emt.EMTT", "module ase.calculators.emt has no EMTT"),
            ("ase.calculators.emt.parameters", "cannot be made"),
            (f"{FLAWED}.no_calculator", "gave a str, which is no ASE calculator"),
        ],
    )
    def test_wrong_ones_are_answered_in_a_sentence(self, dotted, says):
        with pytest.raises(InvalidInputError) as raised:
            make_calculator(dotted, {})
        assert says in str(raised.value)

    def test_a_wrong_keyword_is_named(self):
        with pytest.raises(InvalidInputError, match=r"FromFile cannot be made with kwargs .*'flies'.*TypeError"):
            make_calculator(f"{FLAWED}.FromFile", {"flies": []})

    def test_a_module_that_lacks_another_one(self, clean_dir, monkeypatch):
        (clean_dir / "needy_calculator.py").write_text("import no_such_dependency\n")
        (clean_dir / "broken_calculator.py").write_text("1 / 0\n")
        monkeypatch.syspath_prepend(clean_dir)
        with pytest.raises(EnvironmentProblemError, match="needs the module no_such_dependency, which is not inst"):
            make_calculator("needy_calculator.Calc", {})
        with pytest.raises(EnvironmentProblemError, match="cannot be imported: ZeroDivisionError"):
            make_calculator("broken_calculator.Calc", {})

    def test_emt_says_at_planning_which_elements_it_knows(self):
        with pytest.raises(InvalidInputError, match="EMT has no parameters for Si, Fe; it knows Al, Cu"):
            ASEEngine.choose_parameters(_request("ase.calculators.emt.EMT"), _electronic("Cu", "Si", "Fe"))

    def test_parameters_are_the_users_words_with_their_source(self):
        chosen = ASEEngine.choose_parameters(_request("ase.calculators.emt.EMT", asap_cutoff=True), _electronic("Cu"))
        assert {key: value for key, (value, _) in chosen.items()} == {
            "calculator": "ase.calculators.emt.EMT",
            "kwargs": {"asap_cutoff": True},
        }
        assert all("input.yaml" in reason.source for _, reason in chosen.values())


class TestVersion:
    def test_it_is_that_of_the_package(self, ase_settings):
        import ase

        assert ASEEngine(ase_settings()).version == f"ase {ase.__version__}"

    def test_a_factory_and_what_it_makes_both_count(self, ase_settings):
        from importlib.metadata import version

        pytest.importorskip("matscipy")
        engine = ASEEngine(ase_settings("mlip_autopipe.reference.classical.stillinger_weber_silicon"))
        assert engine.version == f"mlip-autopipe {version('mlip-autopipe')}, matscipy {version('matscipy')}"

    def test_a_loose_module_counts_by_content(self, ase_settings, clean_dir, monkeypatch):
        from mlip_autopipe.reference import ase_engine

        monkeypatch.syspath_prepend(clean_dir)
        hashes = []
        for text in ("", "# other physics\n", ""):
            (clean_dir / "loose_calculator.py").write_text(f"from ase.calculators.emt import EMT as Base\n{text}"
                                                           "class Mine(Base):\n    pass\n")
            monkeypatch.delitem(sys.modules, "loose_calculator", raising=False)
            ase_engine._module_version.cache_clear()
            hashes.append(ASEEngine(ase_settings("loose_calculator.Mine")).settings_hash)
        assert hashes[0] == hashes[2] != hashes[1]


class TestFiles:
    @pytest.fixture
    def potential(self, clean_dir):
        path = clean_dir / "deep" / "cu.pot"
        path.parent.mkdir()
        path.write_text("cutoff 5.0\n")
        return path

    def test_they_become_absolute_and_are_known_by_content(self, potential, ase_settings):
        request = _request(f"{FLAWED}.FromFile", files=["deep/cu.pot"], label="cu.pot")
        chosen = ASEEngine.choose_parameters(request, _electronic("Cu"))
        parameters = {key: value for key, (value, _) in chosen.items()}
        assert parameters["kwargs"] == {"files": [str(potential)], "label": "cu.pot"}
        assert ASEEngine.named_files(parameters) == {str(potential): file_digest(str(potential))}

    def test_the_home_folder_is_found(self, clean_dir, monkeypatch):
        monkeypatch.setenv("HOME", str(clean_dir))
        (clean_dir / "p.pot").write_text("1")
        chosen = ASEEngine.choose_parameters(_request(f"{FLAWED}.FromFile", files=["~/p.pot"]), _electronic("Cu"))
        assert chosen["kwargs"][0]["files"] == [str(clean_dir / "p.pot")]

    def test_text_that_is_no_file_stays(self):
        odd = {"a": "~nobody/x", "b": "zero\0byte", "c": "x" * 5000, "d": 1, "e": None}
        assert ASEEngine.named_files(odd) == {}

    def test_content_decides_the_hash_and_place_does_not(self, potential, ase_settings):
        def hashed(path):
            settings = ase_settings(f"{FLAWED}.FromFile")
            settings.parameters["kwargs"] = {"files": [str(path)]}
            settings.files = ASEEngine.named_files(settings.parameters)
            return ASEEngine(settings).settings_hash

        other = potential.with_name("same-text.pot")
        other.write_text(potential.read_text())
        different = potential.with_name("different.pot")
        different.write_text("cutoff 6.0\n")
        assert hashed(potential) == hashed(other) != hashed(different)

    @pytest.mark.parametrize("change", [lambda p: p.write_text("cutoff 6.0\n"), lambda p: p.unlink()])
    def test_a_changed_or_missing_file_is_refused(self, potential, ase_settings, change):
        settings = ase_settings(f"{FLAWED}.FromFile")
        settings.parameters["kwargs"] = {"files": [str(potential)]}
        settings.files = ASEEngine.named_files(settings.parameters)
        ASEEngine(settings)
        change(potential)
        with pytest.raises(InvalidInputError, match=r"cu\.pot of calculator .* is missing or has changed since"):
            ASEEngine(settings)

    def test_relative_files_belong_to_the_input_file(self, potential, monkeypatch):
        text = f"""\
project_name: cu
target_system: {{elements: [Cu]}}
simulation_goal: elastic
reference: {{engine: ase, calculator: {FLAWED}.FromFile, kwargs: {{files: [cu.pot], label: no.pot}}}}
"""
        (potential.parent / "input.yaml").write_text(text)
        request = load_user_config("deep/input.yaml").reference  # the working directory is one above
        assert request.kwargs == {"files": [str(potential)], "label": "no.pot"}

    def test_a_plan_knows_its_files(self, potential):
        from mlip_autopipe.heuristics import HeuristicEngine
        from mlip_autopipe.schemas.loading import parse_user_config

        data = {
            "project_name": "cu",
            "target_system": {"elements": ["Cu"]},
            "simulation_goal": "elastic",
            "reference": {"engine": "ase", "calculator": f"{FLAWED}.FromFile", "kwargs": {"files": [str(potential)]}},
        }
        config = HeuristicEngine().expand(parse_user_config(data))
        assert config.reference.files == {str(potential): file_digest(str(potential))}


def test_a_calculator_with_nothing_but_energy_and_forces_gets_a_stress(ase_settings, crystal):
    """ASE's finite differences ask for a free energy unless told that there is none."""
    settings = ase_settings(f"{FLAWED}.EnergyAndForces")
    result = ASEEngine(settings).compute(crystal)
    expected = ASEEngine(ase_settings()).compute(crystal)
    assert result.stress_eV_per_A3 == pytest.approx(expected.stress_eV_per_A3, abs=1e-6)
