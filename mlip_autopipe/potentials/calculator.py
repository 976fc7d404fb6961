"""Any force field as an ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mlip_autopipe.potentials.base import Potential
from mlip_autopipe.potentials.errors import PredictionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.potentials.base import ForceField


class ForceFieldCalculator(Calculator):
    """Energy, forces and stress of a `ForceField`.

    Parameters
    ----------
    force_field
        A potential or a sample drawn from one.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, force_field: ForceField) -> None:
        super().__init__()
        self.force_field = force_field

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what differs from the last calculation, of what a force field depends on, bit by bit.

        ASE asks at every property; its own comparison takes as long as the forces of a small cell.

        Parameters
        ----------
        tol
            Not used.
        """
        before = self.atoms
        if before is None:
            return list(all_changes)
        arrays = before.arrays, atoms.arrays
        found = [name for name in ("positions", "numbers") if not np.array_equal(*(one[name] for one in arrays))]
        if not np.array_equal(before.cell.array, atoms.cell.array):
            found.append("cell")
        if not np.array_equal(before.pbc, atoms.pbc):
            found.append("pbc")
        return found

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill in the results; the same call gives all of them."""
        super().calculate(atoms, list(properties), list(system_changes))
        found = self.force_field.predict(self.atoms)
        results: dict[str, Any] = {
            "energy": found.energy_eV,
            "free_energy": found.energy_eV,
            "forces": found.forces_eV_per_A,
            "stress": found.stress_eV_per_A3,
        }
        self.results = results

    def force_std(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Return the calibrated standard deviation of a force component per atom, shape (n,), eV/A.

        It costs several force calls, and is computed at each call of this method only. It is not among ``results``,
        which ASE allows to hold nothing but its own quantities.

        Parameters
        ----------
        atoms
            By default those of the last calculation.

        Raises
        ------
        PredictionError
            No atoms, or the force field is a sample, which states no uncertainty.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise PredictionError("nothing was calculated yet; give the atoms: calculator.force_std(atoms)")
        if not isinstance(self.force_field, Potential):
            raise PredictionError("a sample drawn from a potential states no uncertainty; ask the potential itself")
        return self.force_field.force_std(atoms)
