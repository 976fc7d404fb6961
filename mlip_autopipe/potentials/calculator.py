"""Any force field as an ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ase.calculators.calculator import Calculator, all_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

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
