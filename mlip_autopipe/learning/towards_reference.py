"""From a label's forces and stress to where the reference itself would relax a structure.

A potential relaxes a structure to its own minimum. What the reference says there tells by how much its minimum is
lower, and adding the difference of the two gradients to the potential's (a linear bias) leads to it: a Newton step with
the potential's curvature in the place of the reference's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.potentials.base import ForceField
    from mlip_autopipe.schemas.label import ReferenceLabel

ION_STIFFNESS_eV_PER_A2: Final = 5.0
BULK_MODULUS_eV_PER_A3, SHEAR_MODULUS_eV_PER_A3 = 0.5, 0.12
"""Soft metals (80 and 20 GPa): what a label's forces and stress would gain is rather over- than underestimated."""


@dataclass(frozen=True, eq=False)
class Bias:
    """The reference's gradient minus the potential's at the geometry of a label.

    Attributes
    ----------
    start
        That geometry.
    forces_eV_per_A
        (n, 3).
    stress_eV_per_A3
        (6,) ASE's order and sign.
    """

    start: Atoms
    forces_eV_per_A: NDArray[np.float64]
    stress_eV_per_A3: NDArray[np.float64]


def bias_of(label: ReferenceLabel, potential: ForceField) -> Bias | None:
    """Return the bias that a label asks for; None where it has no forces or no stress."""
    from mlip_autopipe.potentials.dataset import atoms_of

    if label.forces_eV_per_A is None or label.stress_eV_per_A3 is None:
        return None
    atoms = atoms_of(label.structure)
    found = potential.predict(atoms)
    return Bias(
        start=atoms,
        forces_eV_per_A=np.array(label.forces_eV_per_A) - found.forces_eV_per_A,
        stress_eV_per_A3=np.array(label.stress_eV_per_A3) - found.stress_eV_per_A3,
    )


class BiasedCalculator(Calculator):
    """A calculator whose forces and stress are shifted by constants; its energy is not.

    Parameters
    ----------
    inner
        Gives energy, forces and stress.
    bias
        Of structures with the same atoms in the same order.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, inner: Calculator, bias: Bias) -> None:
        super().__init__()
        self.inner = inner
        self.bias = bias

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill in the results."""
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": self.inner.get_potential_energy(self.atoms),
            "forces": self.inner.get_forces(self.atoms) + self.bias.forces_eV_per_A,
            "stress": self.inner.get_stress(self.atoms) + self.bias.stress_eV_per_A3,
        }


def relaxation_gain_eV(label: ReferenceLabel) -> float:
    """Estimate by how much the reference would relax a label's structure, from forces and stress, in eV per atom."""
    forces = np.array(label.forces_eV_per_A or [(0.0, 0.0, 0.0)])
    gain = float((forces**2).sum()) / (2 * ION_STIFFNESS_eV_PER_A2)
    if label.stress_eV_per_A3 is not None:
        stress = np.array(label.stress_eV_per_A3)
        pressure = float(stress[:3].mean())
        deviator = float(((stress[:3] - pressure) ** 2).sum() + 2 * (stress[3:] ** 2).sum())
        volume = abs(float(np.linalg.det(np.array(label.structure["cell_A"]))))
        gain += volume * (pressure**2 / (2 * BULK_MODULUS_eV_PER_A3) + deviator / (4 * SHEAR_MODULUS_eV_PER_A3))
    return gain / len(label.structure["numbers"])
