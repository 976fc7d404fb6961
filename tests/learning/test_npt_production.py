"""Production runs in stretches: nothing is lost between them, wherever they go on."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.learning.crystal import relax_crystal
from mlip_autopipe.learning.npt_production import advance, npt_settings
from mlip_autopipe.learning.npt_series import joined
from mlip_autopipe.potentials.base import ForceField, Prediction
from mlip_autopipe.schemas.system import RelaxationSettings
from tests.learning.tiny import tiny_plan

RELAXATION = RelaxationSettings(fmax_eV_per_A=1e-3, stress_tolerance_GPa=0.01, max_steps=100, keep_symmetry=True)
SUPERCELL = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]


class FromEMT(ForceField):
    elements = ("Ni",)

    def predict(self, atoms):
        frame = atoms.copy()
        frame.calc = EMT()
        return Prediction(frame.get_potential_energy(), frame.get_forces(), frame.get_stress())


@pytest.fixture(scope="module")
def crystal():
    return relax_crystal(bulk("Ni", a=3.5), EMT(), RELAXATION, 0.01)


@pytest.fixture(scope="module")
def plan():
    return tiny_plan("equilibrate", overrides={"equilibrate.temperatures_K": [300.0, 400.0]})


class Astray(FromEMT):
    """Pushes an atom into its neighbour after some evaluations."""

    evaluations = 0

    def predict(self, atoms):
        self.evaluations += 1
        found = super().predict(atoms)
        if self.evaluations > 12:
            found.forces_eV_per_A[0] += 1e3
        return found


def run(plan, crystal, n_steps, files, force_field=None, **more):
    dynamics = npt_settings(plan.equilibrate, plan.otf, crystal, 300.0)
    start, moves = crystal.repeated(SUPERCELL), force_field or FromEMT()
    return advance(dynamics, start, moves, n_steps, frame_interval=5, keep_steps=10, files=files, **more)


def test_stretches_in_other_folders_give_the_very_same_run(plan, crystal, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    whole = run(plan, crystal, 60, tmp_path / "a" / "run")
    first = run(plan, crystal, 25, tmp_path / "b" / "run")
    second = run(plan, crystal, 60, tmp_path / "c" / "run", checkpoint=first.checkpoint)
    again = joined([first.series, second.series], 10)
    assert (whole.status, first.step, second.step) == ("finished", 25, 60)
    assert whole.series.steps.tolist() == list(range(0, 61, 5))
    for name in vars(whole.series):
        assert np.array_equal(getattr(again, name), getattr(whole.series, name)), name


def test_the_same_folder_does_not_count_frames_twice(plan, crystal, tmp_path):
    first = run(plan, crystal, 25, tmp_path / "run")
    second = run(plan, crystal, 40, tmp_path / "run", checkpoint=first.checkpoint)
    assert joined([first.series, second.series], 10).steps.tolist() == list(range(0, 41, 5))
    assert (tmp_path / "run.h5").exists()


def test_what_a_killed_attempt_left_is_not_taken_for_this_run(plan, crystal, tmp_path):
    run(plan, crystal, 40, tmp_path / "run")
    fresh = run(plan, crystal, 10, tmp_path / "run")
    assert fresh.series.steps.tolist() == [0, 5, 10]


def test_stresses_are_those_of_the_frames(plan, crystal, tmp_path):
    series = run(plan, crystal, 10, tmp_path / "run").series
    frame = series.atoms(1, crystal.repeated(SUPERCELL))
    frame.calc = EMT()
    assert series.stresses_GPa[2] == pytest.approx(frame.get_stress() * 160.21766, abs=1e-3)
    assert series.energies_eV[2] == pytest.approx(frame.get_potential_energy(), abs=1e-5)
    assert series.square_displacements_A2[0] == pytest.approx(0, abs=1e-12)
    assert series.square_displacements_A2[-1] > 0


def test_a_run_out_of_time_stops_with_a_checkpoint(plan, crystal, tmp_path):
    stretch = run(plan, crystal, 100_000, tmp_path / "run", seconds_left=0.3)
    assert stretch.status == "out_of_time"
    assert stretch.step < 100_000
    assert stretch.checkpoint


def test_a_run_that_goes_astray_is_stopped_and_says_why(plan, crystal, tmp_path):
    stretch = run(plan, crystal, 200, tmp_path / "run", Astray())
    assert stretch.status == "guard"
    assert stretch.step < 50
    assert "limit is" in stretch.message
    assert stretch.series.steps[:3].tolist() == [0, 5, 10]


def test_temperatures_have_their_own_seeds_and_the_barostat_the_crystal_s_stiffness(plan, crystal):
    one, other = (npt_settings(plan.equilibrate, plan.otf, crystal, kelvin) for kelvin in (300.0, 400.0))
    assert one.seed != other.seed
    assert one.compressibility_per_GPa == pytest.approx(1 / crystal.bulk_modulus_GPa)
    assert one.ensemble == "npt"
