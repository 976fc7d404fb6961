"""Which atom of a relaxed crystal came from which site, whatever cell and order of atoms it is written in.

The relaxed cell is mapped onto the ideal one by a unimodular matrix; what remains is a homogeneous strain and the
displacements of the atoms from their sites. Much as in CASM (doi:10.1038/s41524-021-00627-0), the mapping with the
smallest sum of both is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from mlip_autopipe.analysis.displacements import nearest_neighbour_distance
from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mlip_autopipe.analysis.symmetry import FloatArray

LARGEST_STRAIN: Final = 0.7
"""Logarithmic, without the change of volume (norm of the tensor): mappings beyond it are not looked at."""
LARGEST_SUM: Final = float(np.exp(LARGEST_STRAIN * sqrt(8 / 3)) + 2 * np.exp(-LARGEST_STRAIN * sqrt(2 / 3)))
"""Of the squares of the stretches, at unit volume, with that strain."""
MOST_MAPPINGS: Final = 400
_SAME_COST: Final = 1e-6
_IMAGES: Final = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)


@dataclass(frozen=True, eq=False)
class CellMapping:
    """How an ideal crystal became a relaxed one.

    Attributes
    ----------
    stretch
        (3, 3) right stretch tensor in the orientation of the ideal cell; 1 is unstrained.
    displacements_A
        (n, 3) of the atom on each site of the ideal cell, without strain and translation, in the ideal cell's size and
        orientation.
    atoms
        (n,) place in the relaxed crystal of the atom on each site.
    nearest_neighbour_A
        Of the ideal crystal.
    """

    stretch: FloatArray
    displacements_A: FloatArray
    atoms: NDArray[np.int_]
    nearest_neighbour_A: float

    @property
    def logarithmic_strain(self) -> FloatArray:
        """(3, 3) Hencky strain."""
        values, vectors = np.linalg.eigh(self.stretch)
        return np.asarray(vectors * np.log(values) @ vectors.T)

    @property
    def largest_displacement(self) -> float:
        """In nearest-neighbour distances."""
        return float(np.linalg.norm(self.displacements_A, axis=1).max()) / self.nearest_neighbour_A

    @property
    def rms_displacement(self) -> float:
        """In nearest-neighbour distances."""
        return float(np.sqrt(np.mean(np.sum(self.displacements_A**2, axis=1)))) / self.nearest_neighbour_A

    @property
    def cost(self) -> float:
        """Norm of the strain without the change of volume, plus the largest displacement."""
        return float(np.linalg.norm(_deviatoric(self.logarithmic_strain))) + self.largest_displacement


def map_onto(ideal: Atoms, relaxed: Atoms) -> CellMapping | None:
    """Find how an ideal crystal became a relaxed one.

    Parameters
    ----------
    ideal
        Periodic cell.
    relaxed
        Cell with the same atoms, in any order, orientation and choice of the vectors.

    Returns
    -------
    CellMapping or None
        None: no mapping with a strain up to `LARGEST_STRAIN` was found.

    Raises
    ------
    InvalidInputError
        The cells hold different atoms.
    """
    if sorted(ideal.numbers) != sorted(relaxed.numbers) or not len(ideal):
        raise InvalidInputError(
            f"the ideal cell ({ideal.get_chemical_formula()}) and the relaxed one ({relaxed.get_chemical_formula()}) "
            "hold different atoms; compare cells of the same size and composition"
        )
    start, first = reduced_cell(ideal)
    end, second = reduced_cell(relaxed)
    nearest = nearest_neighbour_distance(start, first)
    gradients, matrices, strains = _candidates(start, end)
    best: CellMapping | None = None
    for gradient, matrix, strain in list(zip(gradients, matrices, strains, strict=True))[:MOST_MAPPINGS]:
        if best is not None and strain >= best.cost - _SAME_COST:
            break
        moved = second @ np.linalg.inv(matrix)
        limit = np.inf if best is None else (best.cost - strain) * nearest
        found = _assignment(first, moved, start, ideal.numbers, relaxed.numbers, limit)
        if found is None:
            continue
        values, vectors = np.linalg.eigh(gradient @ gradient.T)
        mapping = CellMapping((vectors * np.sqrt(values)) @ vectors.T, found[0], found[1], nearest)
        if best is None or mapping.cost < best.cost:
            best = mapping
    return best


def reduced_cell(atoms: Atoms) -> tuple[FloatArray, FloatArray]:
    """Return the Niggli cell (3, 3) in the orientation of a crystal, and fractional coordinates (n, 3) in it."""
    import spglib

    cell = np.asarray(atoms.cell.array, dtype=float)
    found = spglib.niggli_reduce(cell)
    # in exact combinations of the given vectors
    niggli = cell if found is None else np.round(np.asarray(found) @ np.linalg.inv(cell)) @ cell
    return niggli, atoms.get_positions() @ np.linalg.inv(niggli)


@lru_cache(maxsize=1)
def _unimodular() -> FloatArray:
    """Return (m, 3, 3) all integer matrices of determinant 1 or -1 with elements of at most 1."""
    rows = np.array([row for row in product((-1, 0, 1), repeat=3) if any(row)], dtype=float)
    matrices = rows[np.array(list(product(range(len(rows)), repeat=3)))]
    return np.asarray(matrices[np.abs(np.abs(np.linalg.det(matrices)) - 1) < 0.1])


def _candidates(start: FloatArray, end: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return deformation gradients (x' = x F), matrices and strains of all mappings, least strain first."""
    matrices = _unimodular()
    gradients = np.linalg.inv(start) @ matrices @ end
    size = abs(np.linalg.det(end) / np.linalg.det(start)) ** (2 / 3)
    # the sum of the squares alone tells which are strained too much; most are
    small = np.sum(gradients**2, axis=(1, 2)) < LARGEST_SUM * size
    matrices, gradients = matrices[small], gradients[small]
    squares = gradients @ gradients.transpose(0, 2, 1)
    logarithms = np.log(np.linalg.eigvalsh(squares)) / 2
    strains = np.linalg.norm(logarithms - logarithms.mean(axis=1, keepdims=True), axis=1)
    # rounding, so that mappings that symmetry makes equal keep their order
    order = np.argsort(np.round(strains, 9), kind="stable")
    order = order[strains[order] < LARGEST_STRAIN]
    return gradients[order], matrices[order], strains[order]


def _assignment(
    sites: FloatArray,
    positions: FloatArray,
    cell: FloatArray,
    kinds: NDArray[np.int_],
    other_kinds: NDArray[np.int_],
    limit_A: float,
) -> tuple[FloatArray, NDArray[np.int_]] | None:
    """Return displacements (n, 3) and places (n,) of the atoms on the sites, or None where all exceed the limit.

    Parameters
    ----------
    sites, positions
        (n, 3) fractional coordinates.
    cell
        (3, 3) that both are in.
    kinds, other_kinds
        (n,) atomic numbers of both.
    limit_A
        Largest displacement that is of interest.
    """
    from scipy.optimize import linear_sum_assignment

    numbers, counts = np.unique(kinds, return_counts=True)
    rarest = numbers[np.argmin(counts)]
    anchor = int(np.flatnonzero(kinds == rarest)[0])
    blocks = [(np.flatnonzero(kinds == z), np.flatnonzero(other_kinds == z)) for z in numbers]
    best: tuple[float, FloatArray, NDArray[np.int_]] | None = None
    for other in np.flatnonzero(other_kinds == rarest):
        shifted = positions - positions[other] + sites[anchor]
        # taking out the mean can halve the largest displacement at best
        bound = 2 * min(limit_A, np.inf if best is None else best[0])
        tables = [_between(sites[here], shifted[there], cell) for here, there in blocks]
        lengths = [np.linalg.norm(table, axis=2) for table in tables]
        if any(table.min(axis=1).max() >= bound for table in lengths):
            continue
        displacements, places = np.empty_like(sites), np.empty(len(sites), dtype=int)
        for (here, there), table, length in zip(blocks, tables, lengths, strict=True):
            _, column = linear_sum_assignment(length**2)
            displacements[here] = table[np.arange(len(here)), column]
            places[here] = there[column]
        displacements -= displacements.mean(axis=0)
        largest = float(np.linalg.norm(displacements, axis=1).max())
        if largest < min(limit_A, np.inf if best is None else best[0] - 1e-9):
            best = (largest, displacements, places)
    return None if best is None else best[1:]


def _between(sites: FloatArray, positions: FloatArray, cell: FloatArray) -> FloatArray:
    """Return the shortest vectors (n, m, 3) from sites to positions, images included."""
    difference = positions[None] - sites[:, None]
    difference -= np.round(difference)
    images = (difference[:, :, None] + _IMAGES) @ cell
    nearest = np.argmin(np.sum(images**2, axis=-1), axis=-1)
    return np.asarray(np.take_along_axis(images, nearest[:, :, None, None], axis=2)[:, :, 0])


def _deviatoric(tensor: FloatArray) -> FloatArray:
    return np.asarray(tensor - np.eye(3) * np.trace(tensor) / 3)
