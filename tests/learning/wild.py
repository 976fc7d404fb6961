"""Calculators that no crystal survives."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Exploding(Calculator):
    """Pushes every other atom the other way, so hard that no guard can overlook it."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        sign = 1.0 - 2.0 * (np.arange(len(atoms)) % 2)
        forces = 1e4 * np.outer(sign, np.ones(3))
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": forces, "stress": np.zeros(6)}
