"""From a label's residual forces and stress to the reference's own minimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from mlip_autopipe.learning.batch_relaxation import relax_structures
from mlip_autopipe.learning.towards_reference import bias_of, relaxation_gain_eV
from mlip_autopipe.reference.labels import structure_document
from mlip_autopipe.schemas.label import ReferenceLabel


class Stretched:
    """EMT of a crystal that is squeezed along z: a potential whose minimum is another one than EMT's."""

    factor = np.diag([1.0, 1.0, 1.02])

    class One(EMT):
        def calculate(self, atoms: Any = None, *more: Any, **keywords: Any) -> None:
            squeezed = atoms.copy()
            squeezed.set_cell(atoms.cell.array @ Stretched.factor, scale_atoms=True)
            super().calculate(squeezed, *more, **keywords)

    def calculator(self) -> Any:
        return self.One()

    def predict(self, atoms: Any) -> Any:
        from mlip_autopipe.potentials.base import Prediction

        one = atoms.copy()
        one.calc = self.One()
        return Prediction(one.get_potential_energy(), one.get_forces(), one.get_stress())


class Truth:
    def calculator(self) -> Any:
        return EMT()


def label_of(atoms: Any) -> ReferenceLabel:
    one = atoms.copy()
    one.calc = EMT()
    return ReferenceLabel(
        label_id="a" * 64,
        settings_hash="s",
        engine="ase",
        engine_version="3",
        state="done",
        structure=structure_document(atoms),
        energy_eV=one.get_potential_energy(),
        forces_eV_per_A=one.get_forces().tolist(),
        stress_eV_per_A3=one.get_stress().tolist(),
        wall_time_s=0,
        core_time_s=0,
    )


def test_one_step_leads_most_of_the_way_to_the_references_minimum():
    start = bulk("Cu", "hcp", a=2.5, c=4.2)
    (true,) = relax_structures([start], Truth())
    (own,) = relax_structures([start], Stretched())
    label = label_of(own.atoms)
    missing = label.energy_eV - true.energy_eV
    assert missing > 1e-3  # or there is nothing to find
    (followed,) = relax_structures([start], Stretched(), biases=[bias_of(label, Stretched())])
    assert label_of(followed.atoms).energy_eV - true.energy_eV < 0.05 * missing
    c_over_a = [one.atoms.cell.lengths()[2] / one.atoms.cell.lengths()[0] for one in (true, own, followed)]
    assert abs(c_over_a[2] - c_over_a[0]) < 0.2 * abs(c_over_a[1] - c_over_a[0])


def test_the_gain_is_that_of_soft_moduli_and_zero_at_rest():
    (true,) = relax_structures([bulk("Cu", "fcc", a=3.5)], Truth())
    assert relaxation_gain_eV(label_of(true.atoms)) < 1e-5
    squeezed = true.atoms.copy()
    squeezed.set_cell(squeezed.cell.array * 0.99, scale_atoms=True)
    label = label_of(squeezed)
    pressure = np.mean(label.stress_eV_per_A3[:3])
    assert relaxation_gain_eV(label) == pytest.approx(squeezed.get_volume() * pressure**2 / (2 * 80 * GPa), rel=0.02)
    assert relaxation_gain_eV(label) > label.energy_eV - true.energy_eV  # EMT copper is stiffer than that


def test_without_stress_there_is_no_bias():
    label = label_of(bulk("Cu", "fcc", a=3.5)).model_copy(update={"stress_eV_per_A3": None})
    assert bias_of(label, Stretched()) is None
