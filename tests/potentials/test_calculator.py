from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlip_autopipe.potentials.calculator import ForceFieldCalculator
from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from tests.potentials.helpers import emt_set
from tests.potentials.toys import ShiftedEMT


def test_one_call_gives_all_and_ase_can_export_it() -> None:
    potential = ShiftedEMT()
    atoms = emt_set(1, 0).configurations[0].atoms
    atoms.calc = ForceFieldCalculator(potential)
    found = potential.predict(atoms)
    assert atoms.get_potential_energy() == found.energy_eV
    assert np.array_equal(atoms.get_forces(), found.forces_eV_per_A)
    assert np.array_equal(atoms.get_stress(), found.stress_eV_per_A3)
    atoms.calc.force_std(atoms)
    assert set(atoms.calc.export_properties()) >= {"energy", "forces", "stress"}


def _moved(atoms: Any) -> None:
    atoms.positions[0, 0] = np.nextafter(atoms.positions[0, 0], np.inf)


def _strained(atoms: Any) -> None:
    atoms.set_cell(atoms.cell * 1.001)


def _replaced(atoms: Any) -> None:
    atoms.numbers[0] = 29 if atoms.numbers[0] != 29 else 47


def _opened(atoms: Any) -> None:
    atoms.pbc = [True, True, False]


@pytest.mark.parametrize("change", [_moved, _strained, _replaced, _opened, lambda atoms: atoms.pop()])
def test_it_computes_anew_exactly_when_something_has_changed(
    change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(ShiftedEMT, "predict", lambda self, atoms: calls.append(1) or fake_prediction(atoms))
    atoms = emt_set(1, 0).configurations[0].atoms
    atoms.calc = ForceFieldCalculator(ShiftedEMT())
    for _ in range(2):
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert len(calls) == 1
    change(atoms)
    for _ in range(2):
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert len(calls) == 2


def fake_prediction(atoms: Any) -> SimpleNamespace:
    return SimpleNamespace(energy_eV=1.0, forces_eV_per_A=np.zeros((len(atoms), 3)), stress_eV_per_A3=np.zeros(6))


def test_force_std_is_the_calibrated_one() -> None:
    potential = ShiftedEMT(raw_std=0.1)
    for one in emt_set(12, 1):
        potential.observe(one)
    calculator = ForceFieldCalculator(potential)
    one, two = (c.atoms for c in emt_set(2, 2))
    with pytest.raises(PredictionError, match="give the atoms"):
        calculator.force_std()
    assert np.allclose(calculator.force_std(one), 0.1 * potential.calibration.factor)
    assert potential.calibration.factor == pytest.approx(0.05 / 0.1 / 2.500278)
    calculator.get_potential_energy(two)
    assert calculator.force_std().shape == (len(two),)


def test_a_sample_states_no_uncertainty() -> None:
    potential = PolymlpPotential(largest=30)
    potential.fit(emt_set(3, 0))
    calculator = potential.draw(1, 0)[0].calculator()
    with pytest.raises(PredictionError, match="states no uncertainty"):
        calculator.force_std(emt_set(1, 1).configurations[0].atoms)
