"""A potential whose errors are known: the effective-medium theory of the labels, shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from mlip_autopipe.potentials.base import Blob, FitReport, ForceField, ModelDescription, Potential, Prediction
from mlip_autopipe.potentials.calibration import Calibration
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from tests.potentials.helpers import emt_label


class ShiftedEMT(Potential):
    """Energy off by 2 meV per atom, forces by 0.03 eV/A along x and 0.04 along y, stress by 0.5 GPa per component."""

    name = "shifted"

    def __init__(self, elements: Sequence[str] = ("Ni",), raw_std: float = 0.02) -> None:
        self.calibration = Calibration()
        self.raw_std = raw_std
        self._elements = tuple(elements)

    @property
    def elements(self) -> tuple[str, ...]:
        return self._elements

    def predict(self, atoms: Atoms) -> Prediction:
        self.check_elements(atoms)
        true = emt_label(atoms)
        shift = np.array([0.03, 0.04, 0.0])
        return Prediction(
            true.energy_eV + 0.002 * len(atoms), true.forces_eV_per_A + shift, true.stress_eV_per_A3 + 0.5 * GPa
        )

    def raw_force_std(self, atoms: Atoms) -> Any:
        return np.full(len(atoms), self.raw_std)

    def describe(self) -> ModelDescription:
        return ModelDescription(model="toy", parameters=3, cutoff_A=5.0, settings={"shift": True})

    def fit(self, training: TrainingSet) -> FitReport:
        raise NotImplementedError

    def add(self, configurations: Sequence[Configuration]) -> FitReport:
        raise NotImplementedError

    def draw(self, n: int, seed: int) -> list[ForceField]:
        raise NotImplementedError

    def save(self) -> Blob:
        return Blob(b"toy")

    @classmethod
    def load(cls, data: bytes, *, sha256: str | None = None) -> ShiftedEMT:
        return cls()
