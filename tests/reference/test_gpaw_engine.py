from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlip_autopipe.errors import EnvironmentProblemError
from mlip_autopipe.reference.base import ElectronicStructure, KPointSpacing, LadderExhaustedError
from mlip_autopipe.reference.gpaw_engine import CONVERGENCE, MAX_ITERATIONS, GPAWEngine, mesh_of
from mlip_autopipe.reference.ladder import Rung
from mlip_autopipe.schemas.config import ReferenceRequest
from mlip_autopipe.schemas.system import ReferenceSettings

from .fakes import REASON

_FERMI_03 = {"name": "fermi-dirac", "width": 0.3}
REQUEST = ReferenceRequest(engine="gpaw")


def _electronic(**changes):
    values = {
        "kpts": (6, 6, 4),
        "kpts_reason": REASON,
        "smearing_eV": 0.1,
        "smearing_reason": REASON,
        "spin_polarised": False,
        "spin_reason": REASON,
        "initial_magmoms": None,
        "is_metal": True,
        "elements": ["Al"],
        **changes,
    }
    return ElectronicStructure(**values)


def _engine(**changes):
    parameters = {
        "xc": "PBE",
        "cutoff_eV": 200.0,
        "kpts": [2, 1, 1],
        "smearing": {"name": "fermi-dirac", "width": 0.1},
        "spin_polarised": False,
        "convergence": dict(CONVERGENCE),
        "max_iterations": 100,
        **changes,
    }
    return GPAWEngine(ReferenceSettings(engine="gpaw", parameters=parameters, cheap=False))


class TestParameters:
    def test_they_are_complete_and_each_has_a_reason(self):
        chosen = GPAWEngine.choose_parameters(REQUEST, _electronic())
        assert {key: value for key, (value, _) in chosen.items()} == {
            "xc": "PBE",
            "cutoff_eV": 400.0,
            "kpts": [6, 6, 4],
            "smearing": {"name": "fermi-dirac", "width": 0.1},
            "spin_polarised": False,
            "convergence": CONVERGENCE,
            "max_iterations": MAX_ITERATIONS,
        }
        assert chosen["kpts"][1] is chosen["smearing"][1] is REASON
        assert all(reason.reason and reason.source for _, reason in chosen.values())

    def test_the_width_of_the_smearing_is_the_chosen_one(self):
        chosen = GPAWEngine.choose_parameters(REQUEST, _electronic(is_metal=False, smearing_eV=0))
        assert chosen["smearing"][0] == {"name": "fermi-dirac", "width": 0.0}

    def test_localised_states_need_more_plane_waves(self):
        value, reason = GPAWEngine.choose_parameters(REQUEST, _electronic(elements=["Si", "O", "Fe"]))["cutoff_eV"]
        assert value == 500.0
        assert "O, Fe" in reason.reason

    def test_choosing_does_not_share_the_table(self):
        GPAWEngine.choose_parameters(REQUEST, _electronic())["convergence"][0]["density"] = 1.0
        assert GPAWEngine.choose_parameters(REQUEST, _electronic())["convergence"][0]["density"] == 1e-6

    def test_the_version_names_code_and_setups(self):
        pytest.importorskip("gpaw")
        assert _engine().version == f"gpaw {version('gpaw')}, gpaw-data {version('gpaw-data')}"

    def test_without_gpaw_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gpaw", None)
        monkeypatch.setattr("mlip_autopipe.reference.gpaw_engine.find_spec", lambda name: None)
        with pytest.raises(EnvironmentProblemError, match=r"pip install 'mlip-autopipe\[gpaw\]'"):
            GPAWEngine.check_available()


class FakeCalculator:
    """Answers with numbers, or raises what is listed first."""

    def __init__(self, errors, energy=-1.0):
        self.errors, self.energy = errors, energy

    def get_property(self, name, atoms):
        if self.errors:
            raise self.errors.pop(0)
        n = len(atoms)
        known = {"energy": self.energy, "free_energy": self.energy}
        return {**known, "forces": np.zeros((n, 3)), "stress": np.zeros(6)}[name]

    @property
    def dft(self):
        return self

    def change(self, occupations):
        self.occupations = occupations


class TestLadder:
    """The engine's own ladder, with calculators that fail on order."""

    @pytest.fixture
    def engine(self, monkeypatch):
        engine = _engine()
        engine.made, engine.calculators, engine.errors, engine.energies = [], [], [], []

        def make(parameters):
            engine.made.append(parameters)
            engine.calculators.append(
                FakeCalculator(engine.errors, engine.energies.pop(0) if engine.energies else -1.0)
            )
            return engine.calculators[-1]

        monkeypatch.setattr(engine, "_make", make)
        return engine

    def test_rungs_change_numerics_and_end_with_the_planned_physics(self):
        rungs = _engine()._rungs()
        assert rungs[0] == Rung("as planned")
        physics = {"xc", "cutoff_eV", "kpts", "smearing", "spin_polarised", "convergence"}
        assert all(not physics & set(rung.changes) for rung in rungs)
        assert all(rung.changes["max_iterations"] == 300 for rung in rungs[1:])
        (wide,) = [rung.first for rung in rungs if rung.first]
        assert wide == {"smearing": {"name": "fermi-dirac", "width": pytest.approx(0.3)}}

    def test_the_harder_ladder_changes_numerics_only_and_works_more_on_every_rung(self):
        engine = _engine()
        usual, harder = engine._rungs(), engine._harder_rungs()
        physics = {"xc", "cutoff_eV", "kpts", "smearing", "spin_polarised", "convergence"}
        assert all(not physics & set(rung.changes) for rung in harder)
        assert not {rung.name for rung in harder} & {rung.name for rung in usual}
        most = max(rung.changes.get("max_iterations", 0) for rung in usual)
        assert all(rung.changes["max_iterations"] > most for rung in harder)
        gentlest = min(rung.changes["mixer"]["beta"] for rung in usual if "mixer" in rung.changes)
        assert all(rung.changes["mixer"]["beta"] < gentlest for rung in harder)
        assert [bool(rung.first) for rung in harder] == [False, True]
        (widest,) = [rung.first["smearing"]["width"] for rung in usual if rung.first]
        assert harder[-1].first["smearing"]["width"] > widest

    def test_what_failed_is_computed_harder_in_that_order(self, engine):
        engine.errors = [RuntimeError("sloshing")]
        result = engine.compute_harder(bulk("Si"))
        assert [a.step for a in result.attempts] == [rung.name for rung in engine._harder_rungs()]
        assert [a.converged for a in result.attempts] == [False, True]
        assert len(result.warnings) == 1
        assert engine.made[1]["smearing"]["width"] > 0.1
        assert engine.calculators[1].occupations == engine.settings.parameters["smearing"]
        # what a rung changed is not what the next structure starts with
        engine.compute(bulk("Si"))
        assert "mixer" not in engine.made[-1]

    def test_a_failed_rung_is_followed_by_the_next(self, engine):
        engine.errors = [RuntimeError("sloshing")]
        result = engine.compute(bulk("Si"))
        assert [a.converged for a in result.attempts] == [False, True]
        assert [p["max_iterations"] for p in engine.made] == [100, 300]
        assert result.warnings == ["the GPAW calculation of Si2 converged only with more iterations"]

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
    def test_a_full_disk_is_raised_at_once(self, engine, error):
        engine.errors = [error]
        with pytest.raises(type(error)):
            engine.compute(bulk("Si"))
        assert len(engine.made) == 1

    def test_numbers_that_are_not_finite_are_a_failed_rung(self, engine):
        engine.energies = [np.nan, -3.0]
        result = engine.compute(bulk("Si"))
        assert result.energy_eV == -3.0
        assert "not finite" in result.attempts[0].message

    def test_small_moves_of_ions_reuse_the_wave_functions_and_nothing_else_does(self, engine):
        start = bulk("Si")
        engine.compute(start)
        small, big, strained, magnetic, slab = (start.copy() for _ in range(5))
        small.positions[1] += 0.05
        big.positions[1] += 0.5
        strained.set_cell(start.cell * 1.001, scale_atoms=True)
        magnetic.set_initial_magnetic_moments([1, 1])
        slab.pbc = (True, True, False)
        engine.compute(small)
        assert len(engine.made) == 1
        for n, other in enumerate((big, strained, slab), start=2):
            engine.compute(other)
            assert len(engine.made) == n
        engine.compute(magnetic.copy())  # moments mean nothing without spin, but the boundary changed
        assert len(engine.made) == 5

    def test_a_start_that_does_not_suit_is_replaced_without_climbing(self, engine):
        atoms = bulk("Si")
        engine.compute(atoms)
        atoms.positions[1] += 0.05
        engine.errors.append(RuntimeError("symmetry broken"))
        result = engine.compute(atoms)
        assert [a.step for a in result.attempts] == ["as planned"]
        assert not result.warnings
        assert [p["max_iterations"] for p in engine.made] == [100, 100]

    def test_a_full_disk_is_raised_when_continuing_too(self, engine):
        atoms = bulk("Si")
        engine.compute(atoms)
        atoms.positions[1] += 0.05
        engine.errors.append(OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space"):
            engine.compute(atoms)
        assert len(engine.made) == 1

    def test_what_a_rung_changed_is_not_what_the_next_structure_starts_with(self, engine):
        atoms = bulk("Si")
        engine.errors = [RuntimeError("sloshing")]
        engine.compute(atoms)
        atoms.positions[1] += 0.05
        engine.compute(atoms)
        assert [p["max_iterations"] for p in engine.made] == [100, 300, 100]


def test_a_fixed_mesh_is_that_of_every_cell():
    assert mesh_of(bulk("Si") * (2, 1, 1), [4, 3, 2]) == (4, 3, 2)


def test_the_mesh_of_a_cell_follows_from_the_spacing_in_every_rung():
    engine, made = _engine(kpts={"spacing_per_A": 0.5}), []
    engine._make = lambda parameters: made.append(parameters) or FakeCalculator([])
    cube = Atoms("Si", cell=[5.0, 10.0, 20.0], pbc=True)
    engine.compute(cube)
    engine.compute_harder(cube)
    assert [parameters["kpts"] for parameters in made[:2]] == [(3, 2, 1)] * 2


def test_a_spacing_stands_for_the_mesh_where_cells_differ():
    spacing = KPointSpacing(0.2, 1, [2.0, 2.0, 2.0])
    chosen = GPAWEngine.choose_parameters(REQUEST, _electronic(k_spacing=spacing))
    assert chosen["kpts"][0] == {
        "spacing_per_A": 0.2,
        "primitive_atoms": 1,
        "primitive_lengths_per_A": [2.0, 2.0, 2.0],
    }


@pytest.fixture(scope="module")
def silicon():
    atoms = bulk("Si", a=5.5)
    atoms.positions[1] += [0.02, 0.03, -0.05]
    return atoms


@pytest.fixture(scope="module")
def untroubled(silicon, tmp_path_factory):
    pytest.importorskip("gpaw")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("untroubled"))
        engine = _engine()
        result = engine.compute(silicon)
        engine.close()
    return result


def _assert_same(result, other, *, energy=1e-6, force=1e-4, stress=1e-5):
    assert result.energy_eV == pytest.approx(other.energy_eV, abs=energy)
    assert result.forces_eV_per_A == pytest.approx(other.forces_eV_per_A, abs=force)
    assert result.stress_eV_per_A3 == pytest.approx(other.stress_eV_per_A3, abs=stress)


@pytest.mark.gpaw
@pytest.mark.usefixtures("clean_dir")
class TestGPAW:
    def test_forces_and_stress_belong_to_the_energy(self, silicon, untroubled):
        assert len(untroubled.attempts) == 1
        assert not untroubled.warnings
        assert untroubled.magmoms is None
        direction, energies = np.array([0.6, 0.0, 0.8]), []
        engine = _engine()
        for sign in (1, -1):
            atoms = silicon.copy()
            atoms.positions[1] += sign * 0.01 * direction
            energies.append(engine.compute(atoms).energy_eV)
        slope = -(energies[0] - energies[1]) / 0.02
        assert untroubled.forces_eV_per_A[1] @ direction == pytest.approx(slope, abs=0.02)
        assert abs(slope) > 0.1

    def test_shear_yz_is_index_3_and_positive_strain_gives_positive_stress(self, clean_dir):
        # a shear leaves the volume and, to first order, the number of plane waves: no Pulay stress in the energies
        engine, energies, stresses = _engine(kpts=[2, 2, 2]), [], []
        for e4 in (0.04, 0.02, 0.03):
            strain = np.zeros((3, 3))
            strain[1, 2] = strain[2, 1] = e4 / 2
            atoms = bulk("Si", a=5.4)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            result = engine.compute(atoms)
            energies.append(result.energy_eV)
            stresses.append(result.stress_eV_per_A3)
        stress = stresses[2]
        slope = (energies[0] - energies[1]) / 0.02 / bulk("Si", a=5.4).get_volume()
        assert stress[3] == pytest.approx(slope, rel=0.25)
        assert stress[3] > 0.005
        assert np.abs(stress[4:]).max() < 1e-5

    def test_compressed_is_negative(self):
        small, large = (_engine(kpts=[2, 2, 2]).compute(bulk("Si", a=a)).stress_eV_per_A3[:3] for a in (5.1, 5.9))
        assert (small < -0.02).all()
        assert (large > 0.02).all()

    def test_a_run_with_trouble_gives_the_same_numbers(self, silicon, untroubled):
        engine = _engine(max_iterations=5)
        result = engine.compute(silicon)
        assert [(a.step, a.converged) for a in result.attempts] == [("as planned", False), ("more iterations", True)]
        assert "ConvergenceError" in result.attempts[0].message
        _assert_same(result, untroubled)

    @pytest.mark.parametrize(
        "rung",
        [
            *_engine()._rungs()[2:],
            _engine()._harder_rungs()[0],
            pytest.param(_engine()._harder_rungs()[1], marks=pytest.mark.slow),
        ],
        ids=lambda rung: rung.name,
    )
    def test_every_rung_reaches_the_planned_numbers(self, silicon, untroubled, rung):
        from mlip_autopipe.reference.base import EngineResult

        energy, forces, stress, _ = _engine()._calculate(silicon, rung)
        _assert_same(EngineResult(energy, forces, stress), untroubled)

    def test_what_never_converges_is_an_error_with_all_attempts_and_their_text(self, silicon, clean_dir):
        engine = _engine(max_iterations=1)
        with pytest.raises(LadderExhaustedError, match="calculation of Si2 failed after as planned, more") as e:
            engine.compute(silicon)
        engine.close()
        assert len(e.value.attempts) == 5
        assert (clean_dir / "gpaw.txt").read_text().count("Input parameters:") == 5

    def test_ionic_steps_that_reuse_the_calculator_give_the_same_numbers(self, silicon, untroubled):
        engine = _engine()
        start = silicon.copy()
        start.positions[1] -= [0.01, -0.01, 0.02]
        engine.compute(start)
        result = engine.compute(silicon)
        assert not result.warnings
        _assert_same(result, untroubled, force=1e-5, stress=1e-6)

    def test_a_broken_symmetry_is_no_trouble(self, silicon, untroubled):
        engine = _engine()
        engine.compute(bulk("Si", a=5.5))
        result = engine.compute(silicon)
        assert [a.step for a in result.attempts] == ["as planned"]
        _assert_same(result, untroubled)

    def test_an_atom_with_a_spin(self, clean_dir):
        atom = Atoms("H", positions=[[2.5, 2.5, 2.5]], cell=[5.0, 5.1, 5.2], pbc=True, magmoms=[1.0])
        spin = {"kpts": [1, 1, 1], "smearing": {"name": "fermi-dirac", "width": 0.01}}
        polarised = _engine(spin_polarised=True, **spin).compute(atom)
        assert polarised.magmoms[0] > 0.2  # what lies inside the atom's sphere
        paired = _engine(**spin).compute(atom)  # moments of the structure are no obstacle
        assert paired.magmoms is None
        assert polarised.energy_eV < paired.energy_eV - 0.5

    def test_iron_keeps_its_moment_when_ions_move(self):
        atoms = bulk("Fe", cubic=True)
        atoms.set_initial_magnetic_moments([2.5, 2.5])
        engine = _engine(spin_polarised=True, cutoff_eV=300.0, kpts=[1, 1, 2], smearing=_FERMI_03)
        engine.compute(atoms)
        atoms.positions[1, 2] += 0.03
        moved = engine.compute(atoms)
        assert len(moved.magmoms) == 2
        assert min(moved.magmoms) > 1.5

    def test_a_wrong_functional_is_a_failure_with_a_reason(self, silicon):
        with pytest.raises(LadderExhaustedError, match="NOT_A_FUNCTIONAL"):
            _engine(xc="NOT_A_FUNCTIONAL").compute(silicon)

    def test_the_mesh_contains_gamma_and_has_the_planned_size(self, silicon):
        engine = _engine(kpts=[2, 1, 2])
        engine.compute(silicon)
        points = engine._calculator.dft.ibzwfs.ibz.bz.kpt_Kc
        assert len(points) == 4
        assert np.abs(points).sum(axis=1).min() < 1e-12
