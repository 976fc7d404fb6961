from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlip_autopipe.errors import EnvironmentProblemError, InvalidInputError
from mlip_autopipe.potentials import mace as module
from mlip_autopipe.potentials.base import FitReport
from mlip_autopipe.potentials.blob import pack, unpack
from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO, Calibration, CalibrationEntry
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.errors import PotentialFileError, PredictionError, TrainingError
from mlip_autopipe.potentials.mace import SMALLEST_FORCE_STD, MacePotential
from mlip_autopipe.potentials.mace_committee import MaceCommittee, MaceForceField
from mlip_autopipe.potentials.mace_labels import check_training
from mlip_autopipe.potentials.mace_training import MemberPlan
from mlip_autopipe.potentials.registry import load_potential, make_potential
from tests.potentials.helpers import emt_label, numerical_forces, numerical_stress
from tests.potentials.mace_cases import TINY, cell, cells, needs_mace

pytestmark = needs_mace


@pytest.fixture
def calibrated(committee: MacePotential) -> Iterator[MacePotential]:
    """The committee with a calibration that doubles its uncertainty."""
    entry = CalibrationEntry(atoms=1, ratios=[2 * GAUSSIAN_RATIO])
    committee.calibration = Calibration(entries=[entry] * 10)
    assert committee.calibration.factor == pytest.approx(2)
    yield committee
    committee.calibration = Calibration()


def test_learns_from_a_few_labels(committee_and_report: tuple[MacePotential, FitReport]) -> None:
    potential, report = committee_and_report
    assert potential.elements == ("Cu", "Au")
    assert report.configurations == len(potential.training) == 12
    assert report.parameters == potential.describe().parameters > 2000
    assert potential.describe().cutoff_A == 4.0
    errors, forces = [], []
    for one in cells(6, 50).configurations[:-1]:
        found = potential.predict(one.atoms)
        errors.append(found.forces_eV_per_A - one.forces_eV_per_A)
        forces.append(one.forces_eV_per_A)
        assert abs(found.energy_eV - one.energy_eV) / 4 < 0.1
        assert np.abs(found.stress_eV_per_A3 - one.stress_eV_per_A3).max() < 0.1
    assert np.square(errors).mean() < 0.1 * np.square(forces).mean()
    # the garbage among the labels is a thousand times larger
    assert report.rmse["force"] < 0.4
    assert report.rmse["energy"] < 0.1
    assert report.rmse["stress"] < 0.1


def test_forces_and_stress_are_derivatives_of_the_energy(committee: MacePotential) -> None:
    atoms = cell(4)
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.8, 0.3]  # the baseline acts, too
    base, _, _ = committee.settings.zbl.evaluate(atoms)
    assert base > 1

    def energy(one: Atoms) -> float:
        return float(committee.predict(one).energy_eV)

    found = committee.predict(atoms)
    forces, stress = found.forces_eV_per_A, found.stress_eV_per_A3
    assert np.allclose(forces, numerical_forces(energy, atoms), atol=1e-5 * np.abs(forces).max())
    assert np.allclose(stress, numerical_stress(energy, atoms), atol=1e-5 * np.abs(stress).max())
    assert len(set(np.round(np.abs(stress), 6))) == 6, "six different components tell a wrong order"


def test_energy_and_forces_know_no_frame(committee: MacePotential) -> None:
    atoms = cell(5)
    found = committee.predict(atoms)
    other = atoms.copy()
    other.positions += other.cell.array.T @ np.array([1, -2, 3])
    other.positions[2] += 3 * other.cell[0]
    other.rotate(33, (1, 2, 3), rotate_cell=True)
    turned = committee.predict(other)
    assert turned.energy_eV == pytest.approx(found.energy_eV, abs=1e-8)
    sizes = [np.linalg.norm(one.forces_eV_per_A, axis=1) for one in (found, turned)]
    assert np.allclose(*sizes, atol=1e-8)


def test_structures_without_neighbours_and_without_a_cell(committee: MacePotential) -> None:
    lone = committee.predict(Atoms("Au"))
    assert committee.predict(Atoms("Au2", [(0, 0, 0), (0, 0, 9)])).energy_eV == pytest.approx(2 * lone.energy_eV)
    assert not lone.forces_eV_per_A.any()
    pair = committee.predict(Atoms("CuAu", [(0, 0, 0), (0, 0, 2.4)]))
    assert np.abs(pair.forces_eV_per_A.sum(axis=0)).max() < 1e-9
    assert not pair.stress_eV_per_A3.any()
    assert (committee.raw_force_std(Atoms("Au")) >= SMALLEST_FORCE_STD).all()


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_predictions_that_cannot_be_made(committee: MacePotential) -> None:
    for call in (committee.predict, committee.force_std):
        with pytest.raises(PredictionError, match="knows Cu, Au, not Ni"):
            call(Atoms("Ni"))
        with pytest.raises(PredictionError, match="not finite"):
            call(Atoms("Cu2", cell=[4] * 3, pbc=True))
    with pytest.raises(PredictionError, match="not trained"):
        MacePotential(**TINY).predict(Atoms("Cu"))
    with pytest.raises(TrainingError, match="fit the potential first"):
        MacePotential(**TINY).add([])


def test_uncertainty_is_the_spread_of_the_members_and_their_common_error(calibrated: MacePotential) -> None:
    atoms = cell(6)
    parts = calibrated._require().committee
    forces = np.array(
        [
            MaceForceField(MaceCommittee([one], zbl=parts.zbl, dtype="float64", device="cpu"), np.ones(1))
            .predict(atoms)
            .forces_eV_per_A
            for one in parts.models
        ]
    )
    found = calibrated.predict_with_uncertainty(atoms)
    assert np.allclose(found.forces_eV_per_A, forces.mean(axis=0), atol=1e-10)
    # two members: half the squared difference, 3 degrees of freedom, whose sample deviation is 0.9213 too small
    variance = ((forces[0] - forces[1]) ** 2).mean(axis=1) / 2 / 0.92132**2
    raw = np.sqrt(variance + calibrated._require().noise_eV_per_A ** 2)
    assert np.allclose(calibrated.raw_force_std(atoms), raw, rtol=1e-4)
    assert np.allclose(found.force_std_eV_per_A, 2 * raw, rtol=1e-4)


def test_uncertainty_grows_far_from_the_labels(committee: MacePotential) -> None:
    near = np.mean([committee.raw_force_std(one.atoms).max() for one in cells(6, 60)])
    far = cell(7)
    far.set_cell(far.cell * 0.8, scale_atoms=True)
    assert committee.raw_force_std(far).max() > 2 * near


def test_draws_spread_as_the_calibrated_committee(calibrated: MacePotential) -> None:
    atoms = cell(8)
    mean = calibrated.predict(atoms)
    members = calibrated._require().committee.evaluate(atoms)
    forces = np.array([one.predict(atoms).forces_eV_per_A for one in calibrated.draw(2, seed=3)])
    assert np.allclose(forces.mean(axis=0), mean.forces_eV_per_A, atol=1e-10)
    assert np.allclose(forces.std(axis=0), 2 * members.forces_eV_per_A.std(axis=0), atol=1e-10)
    many = calibrated.draw(400, seed=5)
    energies = np.array([one.predict(atoms).energy_eV for one in many])
    assert energies.std() == pytest.approx(2 * members.energies_eV.std(ddof=1), rel=0.15)
    again = [one.predict(atoms).energy_eV for one in calibrated.draw(400, seed=5)]
    assert np.array_equal(energies, again)


def test_a_draw_of_an_uncalibrated_committee_is_a_member(committee: MacePotential) -> None:
    coefficients = np.array([one.coefficients for one in committee.draw(2, seed=1)])
    assert sorted(coefficients.tolist()) == [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(PredictionError, match="knows Cu, Au"):
        committee.draw(1, seed=0)[0].predict(Atoms("Ni"))


def test_saved_bytes_say_the_same(calibrated: MacePotential) -> None:
    blob = calibrated.save()
    again = load_potential(blob.data, sha256=blob.sha256)
    assert isinstance(again, MacePotential)
    assert again.save().data == blob.data
    assert again.calibration == calibrated.calibration
    assert again.elements == ("Cu", "Au")
    assert [one.label_id for one in again.training] == [one.label_id for one in calibrated.training]
    for one in cells(2, 70):
        first, second = (potential.predict_with_uncertainty(one.atoms) for potential in (calibrated, again))
        assert np.allclose(first.forces_eV_per_A, second.forces_eV_per_A, atol=1e-10)
        assert np.allclose(first.force_std_eV_per_A, second.force_std_eV_per_A, atol=1e-10)


def test_damaged_bytes_are_refused(saved: bytes) -> None:
    with pytest.raises(PotentialFileError, match="damaged"):
        MacePotential.load(saved[: len(saved) // 2])
    with pytest.raises(PotentialFileError, match="sha256"):
        MacePotential.load(saved, sha256="0" * 64)
    header, arrays = unpack(saved)
    with pytest.raises(PotentialFileError, match="backend polymlp"):
        MacePotential.load(pack("polymlp", {}, {}))
    weights = next(key for key in arrays if key.startswith("member-0/interactions"))
    for changed in (
        arrays | {weights: np.full_like(arrays[weights], np.nan)},
        arrays | {weights: arrays[weights][:1]},
        {key: array for key, array in arrays.items() if key != weights},
    ):
        with pytest.raises(PotentialFileError):
            MacePotential.load(pack("mace", header, changed))


def test_adding_goes_on_from_a_loaded_committee(saved: bytes) -> None:
    potential = MacePotential.load(saved)
    fresh = emt_label(cell(9), "fresh")
    before = potential.predict(fresh.atoms)
    report = potential.add([fresh])
    assert report.configurations == len(potential.training) == 13
    assert not report.reselect
    after = potential.predict(fresh.atoms)

    def error(found: Any) -> float:
        return float(np.abs(found.forces_eV_per_A - fresh.forces_eV_per_A).max())

    assert 0 < np.abs(after.forces_eV_per_A - before.forces_eV_per_A).max() < 0.5
    assert error(after) < error(before)
    with pytest.raises(TrainingError, match="brings Ni"):
        potential.add(cells(1, 3, ("Ni",)).configurations)
    assert len(potential.training) == 13


def test_fine_tuning_starts_from_the_file_with_the_energy_zero_of_the_labels(
    committee: MacePotential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_member(committee, tmp_path)
    shifted = TrainingSet.of(
        Configuration(one.atoms, one.energy_eV + 5.0 * len(one.atoms), one.forces_eV_per_A, label_id="shifted")
        for one in cells(6, 80).configurations[:-1]
    )
    plans: list[MemberPlan] = []

    def no_training(given: Sequence[MemberPlan]) -> list[Any]:
        plans.extend(given)
        return [plan.start for plan in given]

    monkeypatch.setattr(module, "train_members", no_training)
    potential = MacePotential(**TINY | {"foundation_model": path, "members": 3})
    report = potential.fit(shifted)
    assert report.rmse["energy"] < 0.2, "its own energy zero is 5 eV per atom away"
    start = committee._require().committee.models[0].atomic_energies_eV
    assert all(abs(plans[0].atomic_energies_eV[element] - start[element] - 5) < 0.5 for element in ("Cu", "Au"))
    assert {plan.learning_rate for plan in plans} == {potential.settings.fine_tuning_rate}
    assert potential.settings.random_weights
    assert MacePotential.load(potential.save().data).settings.foundation_model == path
    with pytest.raises(InvalidInputError, match="does not know Ni"):
        potential.fit(cells(1, 3, ("Ni",)))
    path.unlink()
    with pytest.raises(InvalidInputError, match="no foundation model file"):
        potential.fit(shifted)


def test_a_model_file_is_a_force_field(committee: MacePotential, tmp_path: Path) -> None:
    found = module.force_field_from_mace_file(write_member(committee, tmp_path))
    atoms = cell(10)
    parts = committee._require().committee
    wanted = MaceForceField(parts, np.array([1.0, 0.0])).predict(atoms)
    assert np.allclose(found.predict(atoms).forces_eV_per_A, wanted.forces_eV_per_A, atol=1e-10)
    assert found.elements == ("Cu", "Au")
    assert found.calculator().get_potential_energy(atoms) == pytest.approx(wanted.energy_eV, abs=1e-10)


def test_nothing_to_learn_from() -> None:
    atoms = cell(1)
    with pytest.raises(TrainingError, match="empty"):
        MacePotential(**TINY).fit(TrainingSet.of([]))
    nothing = Configuration(atoms, energy_eV=1.0, energy_weight=0, forces_eV_per_A=np.ones((4, 3)))
    masked = Configuration(atoms, forces_eV_per_A=np.ones((4, 3)), force_weights=np.zeros(4))
    with pytest.raises(TrainingError, match="positive weight"):
        MacePotential(**TINY).fit(TrainingSet.of([masked, Configuration(atoms)]))
    check_training(TrainingSet.of([nothing]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 1}, "members"),
        ({"hidden_irrep": "8x0e"}, "hidden_irrep"),
        ({"mace_arguments": {"seed": 3}}, "must not hold seed"),
        ({"device": "mps"}, "no float64"),
        ({"inner": 0.7}, "less than outer"),
        ({"foundation_model": "nowhere.model"}, "no foundation model file nowhere.model"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_potential("mace", **settings)


def test_says_how_to_install_mace(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", nowhere)
    with pytest.raises(EnvironmentProblemError, match="pip install 'mlip-autopipe"):
        make_potential("mace")


def write_member(committee: MacePotential, folder: Path) -> Path:
    import torch

    from mlip_autopipe.potentials.mace_model import build

    torch.save(build(committee._require().committee.models[0], "float64"), folder / "member.model")
    return folder / "member.model"
