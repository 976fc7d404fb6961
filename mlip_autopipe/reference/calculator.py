"""An ASE calculator whose every evaluation is a stored label.

Relaxations are deterministic, so one that was killed walks through its finished labels again at no cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

if TYPE_CHECKING:
    from ase import Atoms

    from mlip_autopipe.reference.base import ReferenceEngine
    from mlip_autopipe.reference.budget import BudgetLedger
    from mlip_autopipe.reference.labels import LabelStore


class LabelledCalculator(Calculator):
    """Answers from the label store, and asks the engine for what is not there.

    Parameters
    ----------
    engine, labels, budget
        Who computes, where labels are kept, what may be spent.
    run_id
        The run that pays.

    Attributes
    ----------
    label_ids
        Ids of all labels used so far, in order, each once.
    label_warnings
        What the engine warned of, each once.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        *,
        engine: ReferenceEngine,
        labels: LabelStore,
        budget: BudgetLedger | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._labels = labels
        self._budget = budget
        self._run_id = run_id
        self.label_ids: list[str] = []
        self.label_warnings: list[str] = []

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Fill ``results`` with energy (eV), forces (eV/A) and stress (eV/A^3) of the atoms."""
        super().calculate(atoms, properties, system_changes)
        label = self._labels.get_or_compute(self.atoms, self._engine, budget=self._budget, run_id=self._run_id)
        if label.label_id not in self.label_ids:
            self.label_ids.append(label.label_id)
        self.label_warnings += [w for w in label.warnings if w not in self.label_warnings]
        self.results = {
            "energy": label.energy_eV,
            "free_energy": label.energy_eV,
            "forces": np.array(label.forces_eV_per_A),
            "stress": np.array(label.stress_eV_per_A3),
        }
