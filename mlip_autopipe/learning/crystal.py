"""The crystal that a potential makes of the start structure: where every run at constant pressure begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlip_autopipe.analysis.displacements import nearest_neighbour_distance
from mlip_autopipe.analysis.symmetry import CrystalSymmetry, crystal_symmetry, site_kinds
from mlip_autopipe.learning.elastic_property import strained_cell
from mlip_autopipe.reference.relax import RelaxationOutcome, relax_cell

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

    from mlip_autopipe.schemas.system import RelaxationSettings

_HYDROSTATIC = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
_STRAIN = 0.002
_LEAST_MODULUS_GPA = 0.1


@dataclass(frozen=True, eq=False)
class RelaxedCrystal:
    """A crystal at rest.

    Attributes
    ----------
    relaxation
        How it was relaxed; its atoms are the primitive cell.
    symmetry
        Of the relaxed cell, in its orientation.
    conventional
        (3, 3) rows: vectors of the conventional cell (International Tables) in those of the primitive one.
    nearest_neighbour_A
        Shortest distance between atoms.
    bulk_modulus_GPa
        With the ions held in place: how fast a barostat works follows from it.
    """

    relaxation: RelaxationOutcome
    symmetry: CrystalSymmetry
    conventional: NDArray[np.float64]
    nearest_neighbour_A: float
    bulk_modulus_GPa: float

    @property
    def atoms(self) -> Atoms:
        """The relaxed primitive cell."""
        return self.relaxation.atoms

    @property
    def volume_A3_per_atom(self) -> float:
        """Volume at rest."""
        return float(self.atoms.get_volume()) / len(self.atoms)

    def repeated(self, supercell: ArrayLike, volume_A3_per_atom: float | None = None) -> Atoms:
        """Return a supercell, if wanted stretched alike in all directions to another volume.

        Parameters
        ----------
        supercell
            (3, 3) rows: its vectors in those of the primitive cell.
        volume_A3_per_atom
            None: that at rest.
        """
        from ase.build import make_supercell

        cell = make_supercell(self.atoms, np.array(supercell), order="atom-major")
        cell.calc = None
        if volume_A3_per_atom is not None:
            stretch = (volume_A3_per_atom / self.volume_A3_per_atom) ** (1 / 3)
            cell.set_cell(cell.cell.array * stretch, scale_atoms=True)
        return cell

    def conventional_structure(self, parameters: ArrayLike) -> Structure:
        """Return the conventional cell with other lattice parameters, atoms at the same fractional coordinates.

        Parameters
        ----------
        parameters
            Lengths in A and angles in degrees: a, b, c, alpha, beta, gamma.
        """
        from pymatgen.core import Lattice, Structure

        cell = self.repeated(self.conventional)
        lattice = Lattice.from_parameters(*(float(x) for x in np.asarray(parameters)))
        return Structure(lattice, cell.get_chemical_symbols(), cell.get_scaled_positions())


def relax_crystal(
    primitive: Atoms, calculator: Calculator, relaxation: RelaxationSettings, symmetry_tolerance_A: float
) -> RelaxedCrystal:
    """Relax the start structure and find what is to be known of the crystal.

    Parameters
    ----------
    primitive
        Start structure; not changed.
    calculator
        Gives energy, forces and stress.
    relaxation
        Thresholds.
    symmetry_tolerance_A
        Distance within which atoms count as equivalent.

    Raises
    ------
    AnalysisError
        No symmetry can be determined.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    outcome = relax_cell(primitive, calculator, relaxation)
    atoms = outcome.atoms
    atoms.set_constraint()
    structure = AseAtomsAdaptor.get_structure(atoms)
    return RelaxedCrystal(
        relaxation=outcome,
        symmetry=crystal_symmetry(structure, symmetry_tolerance_A),
        conventional=_conventional(structure, symmetry_tolerance_A),
        nearest_neighbour_A=nearest_neighbour_distance(atoms.cell.array, atoms.get_scaled_positions()),
        bulk_modulus_GPa=_bulk_modulus(atoms, calculator),
    )


def _conventional(structure: Structure, tolerance_A: float) -> NDArray[np.float64]:
    """Vectors of the conventional cell, in the orientation of the crystal as it lies.

    spglib gives the transformation from the conventional to the given vectors, as columns (its documentation,
    'Transformation to the symmetrised cell').
    """
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, site_kinds(structure))
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance_A)
    return np.asarray(np.round(np.linalg.inv(dataset.transformation_matrix).T))


def _bulk_modulus(atoms: Atoms, calculator: Calculator) -> float:
    from ase.units import GPa

    pressures = []
    for sign in (-1.0, 1.0):
        cell = strained_cell(atoms, sign * _STRAIN * _HYDROSTATIC)
        cell.calc = calculator
        pressures.append(-float(cell.get_stress()[:3].mean()) / GPa)
    return float(max((pressures[0] - pressures[1]) / (6 * _STRAIN), _LEAST_MODULUS_GPA))
