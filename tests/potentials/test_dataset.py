from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet, least_squares_atomic_energies
from mlip_autopipe.potentials.errors import TrainingError
from mlip_autopipe.schemas.label import ReferenceLabel
from tests.potentials.helpers import emt_label, emt_set


def label(one: Configuration, state: str = "done") -> ReferenceLabel:
    return ReferenceLabel(
        label_id=str(one.label_id),
        settings_hash="s",
        engine="ase",
        engine_version="1",
        state=state,
        structure={
            "cell_A": one.atoms.cell.array.tolist(),
            "numbers": one.atoms.numbers.tolist(),
            "positions_A": one.atoms.positions.tolist(),
            "pbc": [True, True, True],
            "magmoms": None,
        },
        energy_eV=one.energy_eV,
        forces_eV_per_A=one.forces_eV_per_A.tolist(),
        stress_eV_per_A3=one.stress_eV_per_A3.tolist(),
        wall_time_s=1,
        core_time_s=1,
    )


def test_from_labels_leaves_failed_ones_out_and_takes_masks() -> None:
    one, two = emt_set(2, 0)
    weights = np.array([0.0, 1, 1, 2])
    found = TrainingSet.from_labels([label(one), label(two, "failed")], {str(one.label_id): weights})
    assert len(found) == 1
    (only,) = found
    assert np.allclose(only.forces_eV_per_A, one.forces_eV_per_A)
    assert np.allclose(only.atoms.cell.array, one.atoms.cell.array)
    assert np.array_equal(only.force_weights, weights)
    assert found.force_components == 9
    with pytest.raises(TrainingError, match="has no numbers"):
        Configuration.from_label(label(two, "failed"))


def test_extxyz_keeps_numbers_and_masks(tmp_path: Path) -> None:
    one, two = emt_set(2, 1, ("Cu", "Au"), 3.8)
    masked = Configuration(
        one.atoms,
        one.energy_eV,
        one.forces_eV_per_A,
        None,
        force_weights=np.array([1.0, 0, 0.5, 1]),
        energy_weight=0.25,
        label_id="abc",
    )
    path = tmp_path / "set.extxyz"
    TrainingSet.of([masked, two]).write_extxyz(path)
    first, second = TrainingSet.read_extxyz(path)
    assert first.label_id == "abc"
    assert first.energy_weight == 0.25
    assert first.stress_eV_per_A3 is None
    assert np.array_equal(first.force_weights, masked.force_weights)
    assert np.allclose(first.atoms.positions, one.atoms.positions, atol=1e-8)
    assert np.allclose(second.forces_eV_per_A, two.forces_eV_per_A, atol=1e-8)
    assert np.allclose(second.stress_eV_per_A3, two.stress_eV_per_A3)
    assert second.energy_eV == pytest.approx(two.energy_eV)


def test_unreadable_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        TrainingSet.read_extxyz(tmp_path / "none.extxyz")
    path = tmp_path / "bare.extxyz"
    (one,) = emt_set(1, 1)
    one.atoms.write(path)
    with pytest.raises(InvalidInputError, match="no energies"):
        TrainingSet.read_extxyz(path)


def test_bad_numbers_are_refused() -> None:
    (one,) = emt_set(1, 2)
    with pytest.raises(TrainingError, match="not finite"):
        Configuration(one.atoms, float("nan"))
    with pytest.raises(TrainingError, match="shape"):
        Configuration(one.atoms, 1.0, np.zeros((3, 3)))
    with pytest.raises(TrainingError, match="negative"):
        Configuration(one.atoms, 1.0, force_weights=np.array([-1.0, 1, 1, 1]))


def test_atomic_energies() -> None:
    training = emt_set(6, 3, ("Cu", "Au"), 3.8)
    exact = [
        Configuration(c.atoms, sum({"Cu": -1.5, "Au": -4.0}[s] for s in c.atoms.get_chemical_symbols()))
        for c in training
    ]
    found = least_squares_atomic_energies(exact, ("Cu", "Au"))
    assert found == pytest.approx({"Cu": -1.5, "Au": -4.0})
    assert least_squares_atomic_energies([], ("Cu",)) == {"Cu": 0.0}
    assert emt_label(training.configurations[0].atoms).energy_eV is not None
