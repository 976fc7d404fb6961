from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.potentials.mace_labels import WEIGHT, atomic_energies, frame, statistics, training_errors
from mlip_autopipe.potentials.zbl import ZBL
from tests.potentials.helpers import numerical_stress
from tests.potentials.mace_cases import cell, cells, with_garbage
from tests.potentials.toys import ShiftedEMT


def crowded() -> Atoms:
    atoms = cell(3)
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.8, 0.3]
    return atoms


def test_nothing_is_left_of_labels_that_are_the_baseline() -> None:
    atoms, zbl = crowded(), ZBL()
    energy, forces, _ = zbl.evaluate(atoms)
    stress = numerical_stress(lambda one: ZBL().evaluate(one)[0], atoms)
    assert len(set(np.round(np.abs(stress), 6))) == 6, "six different components tell a wrong order"
    found = frame(Configuration(atoms, energy, forces, stress), zbl)
    assert found.info["REF_energy"] == pytest.approx(0, abs=1e-9)
    assert np.allclose(found.arrays["REF_forces"], 0, atol=1e-9)
    assert np.allclose(found.info["REF_stress"], 0, atol=1e-5 * np.abs(stress).max())


def test_numbers_of_weight_zero_are_not_handed_over() -> None:
    first, second, third, *_, last = with_garbage(cells(4, 1), 1e3, force=0, energy=0, stress=0)
    masked = frame(first, ZBL())
    assert masked.arrays[WEIGHT].tolist() == [1, 0, 1, 1]
    assert not masked.arrays["REF_forces"][1].any()
    assert np.abs(masked.arrays["REF_forces"]).max() < 50
    assert "REF_energy" not in frame(second, ZBL()).info
    assert "REF_stress" not in frame(third, ZBL()).info
    molecule = frame(last, ZBL())
    assert "REF_stress" not in molecule.info
    assert "REF_energy" not in molecule.info
    without_forces = frame(Configuration(first.atoms, energy_eV=1.0), ZBL())
    assert not without_forces.arrays[WEIGHT].any()


def test_statistics_of_what_counts() -> None:
    frames = [frame(one, ZBL()) for one in with_garbage(cells(4, 1), 1e3, force=0, energy=0, stress=0)]
    energies = {"Cu": 1.0, "Au": 2.0}
    found = statistics(frames, energies, 3.0)
    assert 0.1 < found["std"] < 5
    assert found["mean"] == pytest.approx(
        np.mean([(one.info["REF_energy"] - 6) / 4 for one in frames if "REF_energy" in one.info])
    )
    dimer = frame(Configuration(Atoms("Cu2", [(0, 0, 0), (0, 0, 2)])), ZBL())
    alone = statistics([dimer], energies, 2.5)
    assert (alone["mean"], alone["std"], alone["avg_num_neighbors"]) == (0.0, 1.0, 1.0)


def test_atomic_energies_explain_what_baseline_and_model_leave() -> None:
    zbl = ZBL()
    training = TrainingSet.of(
        Configuration(atoms, energy_eV=3.0 * (atoms.numbers == 29).sum() - 2.0 * (atoms.numbers == 79).sum() + base)
        for atoms, base in ((one, zbl.evaluate(one)[0]) for one in (crowded(), cell(1, ("Cu",)), cell(2, ("Au",))))
    )
    assert atomic_energies(training, zbl) == pytest.approx({"Cu": 3.0, "Au": -2.0})
    nickel = TrainingSet.of(Configuration(one.atoms, one.energy_eV) for one in cells(3, 2, ("Ni",)).configurations[:-1])
    # the toy is off by 2 meV per atom
    assert atomic_energies(nickel, ZBL(inner=0.0, outer=0.01), ShiftedEMT()) == pytest.approx({"Ni": -0.002})


def test_errors_of_what_counts() -> None:
    training = with_garbage(cells(4, 2, ("Ni",)), 1e3, force=0, energy=0, stress=0)
    crystals = TrainingSet(training.configurations[:-1])
    found = training_errors(ShiftedEMT(), crystals)
    assert found["energy"] == pytest.approx(0.002)
    assert found["force"] == pytest.approx(np.sqrt((0.03**2 + 0.04**2) / 3))
    assert 0 < found["stress"] < 0.01
    assert training_errors(ShiftedEMT(), [Configuration(cell(1, ("Ni",)))]) == {}
    with pytest.raises(PredictionError):
        training_errors(ShiftedEMT(), cells(1, 1))
