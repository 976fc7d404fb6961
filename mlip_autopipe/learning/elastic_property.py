"""Elastic constants of any calculator, in memory: what a potential and each of its posterior samples say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlip_autopipe.analysis.elastic import ElasticFit, fit_elastic_constants, strain_set
from mlip_autopipe.analysis.strain import deformation_gradient
from mlip_autopipe.reference.relax import RelaxationOutcome, relax_cell, relax_ions
from mlip_autopipe.schemas.system import ElasticSettings, RelaxationSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ElasticMeasurement:
    """The relaxed crystal, its strained cells with relaxed ions, and the fit to their stresses (GPa)."""

    relaxation: RelaxationOutcome
    strains: NDArray[np.float64]
    cells: list[RelaxationOutcome]
    fit: ElasticFit

    @property
    def stresses_GPa(self) -> NDArray[np.float64]:
        """Cauchy stress of every strained cell, shape (n, 6)."""
        return np.array([cell.stress_GPa for cell in self.cells])


def measure_elastic(
    atoms: Atoms,
    calculator: Calculator,
    relaxation: RelaxationSettings,
    elastic: ElasticSettings,
    rotations: NDArray[np.float64],
) -> ElasticMeasurement:
    """Relax the cell, strain it, relax the ions and fit.

    Parameters
    ----------
    atoms
        Start structure, not changed.
    calculator
        Gives energy, forces and stress.
    relaxation, elastic
        As in the plan of a reference calculation.
    rotations
        Of the crystal's point group, shape (n, 3, 3).

    Raises
    ------
    AnalysisError
        The stresses do not determine the constants.
    """
    relaxed = relax_cell(atoms, calculator, relaxation)
    strains = strain_set(
        elastic.directions, amplitude=elastic.strain_amplitude, half_amplitude_check=elastic.half_amplitude_check
    )
    cells = [
        relax_ions(
            strained_cell(relaxed.atoms, strain),
            calculator,
            fmax_eV_per_A=elastic.ion_fmax_eV_per_A,
            max_steps=elastic.ion_max_steps,
        )
        for strain in strains
    ]
    stresses = np.array([cell.stress_GPa for cell in cells])
    return ElasticMeasurement(relaxed, strains, cells, fit_elastic_constants(strains, stresses, rotations=rotations))


def strained_cell(atoms: Atoms, strain: NDArray[np.float64]) -> Atoms:
    """Return the cell under a Voigt strain (engineering shear), fractional coordinates kept."""
    strained = atoms.copy()
    strained.calc = None
    # rows of the ASE cell are the lattice vectors, hence the transpose
    strained.set_cell(atoms.cell.array @ deformation_gradient(np.asarray(strain, dtype=float)).T, scale_atoms=True)
    return strained
