from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mlip_autopipe.potentials.errors import PredictionError
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.validation import compare, errors_on
from tests.potentials.helpers import emt_label, emt_set
from tests.potentials.toys import ShiftedEMT


def test_known_errors() -> None:
    found = errors_on(ShiftedEMT(), emt_set(3, 0))
    assert found.configurations == 3
    assert found.energy_meV_per_atom.rmse == pytest.approx(2)
    assert found.energy_meV_per_atom.count == 3
    # per component: 30, 40 and 0 meV/A
    assert found.force_meV_per_A.rmse == pytest.approx(50 / np.sqrt(3))
    assert found.force_meV_per_A.mae == pytest.approx(70 / 3)
    assert found.force_meV_per_A.largest == pytest.approx(40)
    assert found.force_meV_per_A.count == 3 * (4 + 32 + 4)
    assert found.stress_GPa.rmse == pytest.approx(0.5)
    assert found.stress_GPa.count == 18


def test_masked_atoms_and_weights_of_zero_do_not_count() -> None:
    one, two = emt_set(2, 1)
    wrong = one.forces_eV_per_A.copy()
    wrong[0] += 100
    masked = replace(
        one,
        energy_eV=1e6,
        energy_weight=0.0,
        forces_eV_per_A=wrong,
        force_weights=np.array([0.0, 1, 0.5, 2]),
        stress_eV_per_A3=np.full(6, 9.0),
        stress_weight=0.0,
    )
    assert errors_on(ShiftedEMT(), [masked, two]).force_meV_per_A.largest == pytest.approx(40)
    alone = errors_on(ShiftedEMT(), [masked])
    assert alone.energy_meV_per_atom is None
    assert alone.stress_GPa is None
    assert alone.force_meV_per_A.count == 9
    all_masked = errors_on(ShiftedEMT(), [replace(one, force_weights=np.zeros(4))])
    assert all_masked.force_meV_per_A is None


def test_what_is_not_known_is_not_compared() -> None:
    one = emt_set(1, 2).configurations[0]
    assert errors_on(ShiftedEMT(), []).configurations == 0
    bare = errors_on(ShiftedEMT(), [replace(one, forces_eV_per_A=None, stress_eV_per_A3=None)])
    assert bare.force_meV_per_A is None
    assert bare.energy_meV_per_atom.count == 1
    molecule = emt_label(Atoms("Ni2", [[0, 0, 0], [0, 0, 2.2]], cell=[9, 9, 9]))
    assert errors_on(ShiftedEMT(), [molecule]).stress_GPa is None


def test_per_element() -> None:
    alloy = emt_set(4, 3, ("Cu", "Au"), 3.8)
    off = [replace(one, forces_eV_per_A=one.forces_eV_per_A + shift(one.atoms)) for one in alloy]
    found = errors_on(ShiftedEMT(("Cu", "Au")), off).force_meV_per_A_by_element
    assert set(found) == {"Cu", "Au"}
    assert found["Au"].rmse == pytest.approx(50 / np.sqrt(3))
    assert found["Cu"].rmse == pytest.approx(130 / np.sqrt(3))  # 30, 40 and -120
    count = sum(one.atoms.get_chemical_symbols().count("Cu") for one in alloy)
    assert found["Cu"].count == 3 * count


def shift(atoms: Atoms) -> np.ndarray:
    return np.outer(np.array(atoms.get_chemical_symbols()) == "Cu", [0, 0, 0.12])


def test_stated_uncertainties_stand_beside_the_forces() -> None:
    data = [replace(one, force_weights=np.arange(len(one.atoms)) % 2.0) for one in emt_set(2, 4)]
    potential = ShiftedEMT()
    found = compare(potential, data, with_std=True)
    assert found.force_std_eV_per_A.shape == (len(found.forces_eV_per_A),) == (18,)
    assert np.allclose(found.force_std_eV_per_A, 0.02 * potential.calibration.factor)
    assert compare(potential, data).force_std_eV_per_A is None
    trained = PolymlpPotential(largest=30)
    trained.fit(emt_set(3, 0))
    with pytest.raises(PredictionError, match="no uncertainty"):
        compare(trained.draw(1, 0)[0], data, with_std=True)


def test_unknown_element() -> None:
    with pytest.raises(PredictionError, match="not Cu"):
        errors_on(ShiftedEMT(), emt_set(1, 5, ("Cu",), 3.6))
