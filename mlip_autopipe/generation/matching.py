"""Which crystals are the same structure, whatever their size, cell and orientation.

Cheap invariants first: composition, atoms in the primitive cell, and moments of the distances between elements. Only
where all agree, pymatgen's StructureMatcher (doi:10.1016/j.commatsci.2012.10.028) has to look for a mapping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations_with_replacement, product
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

REACH: Final = 2.2
"""Of the distances that are compared, in cube roots of the volume per atom: to the third shell of close packings."""
SAME_MOMENTS: Final = 1e-3
"""Relative difference of moments that ideal copies do not exceed."""
IDEAL: Final = {"ltol": 0.01, "stol": 0.02, "angle_tol": 0.5}
"""StructureMatcher's tolerances for structures that are not relaxed yet."""
COPIES: Final = 4e-3
"""How far copies of an atom may be from where a translation takes it, in cube roots of the volume per atom."""


class Crystal:
    """A crystal with what tells it from others; the costly parts are found when they are asked for.

    Parameters
    ----------
    atoms
        Periodic cell.
    primitive
        Whether the cell is known to be primitive.
    copies
        Tolerance in looking for the primitive cell, in cube roots of the volume per atom.
    """

    def __init__(self, atoms: Atoms, *, primitive: bool = False, copies: float = COPIES) -> None:
        self.atoms = atoms if primitive else _primitive(atoms, copies)
        counts = Counter(self.atoms.get_chemical_symbols())
        self.key: tuple[tuple[str, int], ...] = tuple(sorted(counts.items()))
        """Atoms of each element in the primitive cell."""

    @cached_property
    def moments(self) -> NDArray[np.float64]:
        """Moments of the distances between elements (`distance_moments`)."""
        return distance_moments(self.atoms)

    @cached_property
    def structure(self) -> Any:
        """As pymatgen's Structure."""
        from pymatgen.io.ase import AseAtomsAdaptor

        return AseAtomsAdaptor.get_structure(self.atoms)

    def is_same(
        self, other: Crystal, *, moments: float = SAME_MOMENTS, tolerances: dict[str, float] | None = None
    ) -> bool:
        """Whether this is the other's structure, sizes aside.

        Parameters
        ----------
        other
            Another crystal.
        moments
            Largest difference of the distance moments, relative to their size.
        tolerances
            ltol, stol and angle_tol of StructureMatcher; `IDEAL` when None.
        """
        from pymatgen.analysis.structure_matcher import StructureMatcher

        if self.key != other.key:
            return False
        size = np.linalg.norm(self.moments) + np.linalg.norm(other.moments)
        if np.linalg.norm(self.moments - other.moments) > moments * size / 2:
            return False
        matcher = StructureMatcher(primitive_cell=False, scale=True, attempt_supercell=False, **(tolerances or IDEAL))
        return bool(matcher.fit(self.structure, other.structure))


class Distinct:
    """A collection of crystals without copies."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, int], ...], list[tuple[str, Crystal]]] = {}

    def add(self, atoms: Atoms, *, family: str = "", primitive: bool = False) -> bool:
        """Add a crystal unless it is there already.

        Parameters
        ----------
        atoms
            Periodic cell.
        family
            Crystals of the same family, unless it is empty, are known to differ and are not compared.
        primitive
            Whether the cell is known to be primitive.

        Returns
        -------
        bool
            Whether it is new.
        """
        crystal = Crystal(atoms, primitive=primitive)
        alike = self._known.setdefault(crystal.key, [])
        if any(not (family and family == other) and crystal.is_same(known) for other, known in alike):
            return False
        alike.append((family, crystal))
        return True


def distance_moments(atoms: Atoms) -> NDArray[np.float64]:
    """Describe a crystal by moments of its distances, independent of size, cell, orientation and order of atoms.

    For each pair of elements, in alphabetical order: sums over all pairs of atoms of smooth functions of their
    distance within `REACH`, per atom.

    Parameters
    ----------
    atoms
        Periodic cell.

    Returns
    -------
    ndarray
        (pairs of elements, 3), flattened.
    """
    cell = atoms.cell.array / (atoms.get_volume() / len(atoms)) ** (1 / 3)
    fractional = atoms.get_scaled_positions()
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    shifts = np.array(list(product(*(range(-n, n + 1) for n in (ceil(REACH / h) + 1 for h in heights)))))
    between = (fractional[None, :] - fractional[:, None]) @ cell
    squared = np.sum((between[:, :, None] + shifts @ cell) ** 2, axis=-1) / REACH**2
    near = (squared < 1) & (squared > 1e-9)
    weights = np.where(near, (1 - np.minimum(squared, 1)) ** 3, 0.0)
    sums = np.stack([(weights * (2 * squared - 1) ** power).sum(axis=2) for power in range(3)], axis=-1)
    symbols = np.array(atoms.get_chemical_symbols())
    blocks = [
        sums[np.ix_(symbols == a, symbols == b)].sum(axis=(0, 1)) * (1 if a == b else 2)
        for a, b in combinations_with_replacement(sorted(set(symbols)), 2)
    ]
    return np.concatenate(blocks) / len(atoms)


def grouped(
    crystals: Sequence[Crystal],
    energies_eV_per_atom: NDArray[np.float64],
    *,
    energy_tolerance_eV_per_atom: float,
    volume_tolerance: float,
    moments: float,
    tolerances: dict[str, float],
) -> list[list[int]]:
    """Group crystals that are the same structure, of the same energy and volume.

    Each is compared with the lowest one of a group, so that a chain of small differences joins nothing.

    Parameters
    ----------
    crystals
        Relaxed.
    energies_eV_per_atom
        (n,) of the crystals.
    energy_tolerance_eV_per_atom, volume_tolerance
        Largest difference from the lowest of the group; that of the volume is relative.
    moments, tolerances
        As of `Crystal.is_same`.

    Returns
    -------
    list of list of int
        Places of the crystals, ascending within each group and by the first of each.
    """
    groups: dict[tuple[tuple[str, int], ...], list[list[int]]] = {}
    volumes = [crystal.atoms.get_volume() / len(crystal.atoms) for crystal in crystals]
    for place in np.argsort(energies_eV_per_atom, kind="stable"):
        crystal = crystals[place]
        for group in reversed(groups.setdefault(crystal.key, [])):
            lowest = group[0]
            if energies_eV_per_atom[place] - energies_eV_per_atom[lowest] > energy_tolerance_eV_per_atom:
                continue
            if abs(volumes[place] / volumes[lowest] - 1) <= volume_tolerance and crystal.is_same(
                crystals[lowest], moments=moments, tolerances=tolerances
            ):
                group.append(int(place))
                break
        else:
            groups[crystal.key].append([int(place)])
    return sorted(sorted(group) for alike in groups.values() for group in alike)


def _primitive(atoms: Atoms, copies: float) -> Atoms:
    """Return the primitive cell, or the cell itself where no symmetry is found."""
    import spglib
    from ase import Atoms as AseAtoms

    length = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        found = spglib.find_primitive(cell, symprec=copies * length)
    except spglib.SpglibError:
        found = None
    if found is None or len(found[2]) >= len(atoms):
        return atoms
    return AseAtoms(found[2], cell=found[0], scaled_positions=found[1], pbc=True)
