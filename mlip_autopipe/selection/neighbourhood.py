"""What lies around one atom of a periodic structure, and which translations leave it alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

CONTACT_GENERAL, CONTACT_CRYSTAL = 0.8, 0.65
"""Atoms nearer than this part of the typical distance of their elements are too near.

In a crystal it only has to tell a second image of a site, which is off by thermal motion, from a neighbour.
"""

_STEPS = np.array([c for c in product(range(-2, 3), repeat=3) if c > (0, 0, 0)])


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Atoms and periodic images around one atom, nearest first.

    Attributes
    ----------
    vectors
        From the atom in the centre, Angstrom, shape (n, 3).
    indices
        Of the atoms in the structure, shape (n,).
    numbers
        Their atomic numbers, shape (n,).
    """

    vectors: NDArray[np.float64]
    indices: NDArray[np.int_]
    numbers: NDArray[np.int_]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, chosen: Any) -> Surroundings:
        return Surroundings(self.vectors[chosen], self.indices[chosen], self.numbers[chosen])


def surroundings(atoms: Atoms, centre: int, radius_A: float) -> Surroundings:
    """Return all atoms and images within a radius of one atom, itself included."""
    from ase.geometry import minkowski_reduce

    cell = np.asarray(minkowski_reduce(atoms.cell.array)[0])
    inverse = np.linalg.inv(cell)
    scaled = (atoms.positions - atoms.positions[centre]) @ inverse
    scaled -= np.round(scaled)
    reach = np.floor(radius_A * np.linalg.norm(inverse, axis=0) + 0.5).astype(int)
    shifts = np.array(list(product(*(range(-r, r + 1) for r in reach))))
    vectors = ((scaled[None] + shifts[:, None]) @ cell).reshape(-1, 3)
    indices = np.tile(np.arange(len(atoms)), len(shifts))
    distances = np.linalg.norm(vectors, axis=1)
    within = np.flatnonzero(distances <= radius_A)
    within = within[np.argsort(distances[within], kind="stable")]
    return Surroundings(vectors[within], indices[within], atoms.numbers[indices[within]])


def neighbour_distance(around: Surroundings) -> float:
    """Return the median distance of an atom to its nearest neighbour, Angstrom; infinite for a lone atom."""
    from scipy.spatial import cKDTree

    return float(np.median(cKDTree(around.vectors).query(around.vectors, k=[2])[0]))


def contact_distances(around: Surroundings, numbers: NDArray[np.int_], fraction: float) -> dict[tuple[int, int], float]:
    """Return, per pair of atomic numbers, the distance below which two atoms are too near to be of this material.

    It is a part of the median distance to the nearest neighbour of that kind, or of 1.25 times the sum of the covalent
    radii where that is less, as between rare elements.

    Parameters
    ----------
    around
        Sample of the material.
    numbers
        All atomic numbers that may occur.
    fraction
        The part.
    """
    from ase.data import covalent_radii
    from scipy.spatial import cKDTree

    kinds = [int(z) for z in np.unique(numbers)]
    trees = {z: cKDTree(around.vectors[around.numbers == z]) for z in kinds if (around.numbers == z).any()}
    found = {}
    for a, b in product(kinds, repeat=2):
        bond = 1.25 * (covalent_radii[a] + covalent_radii[b])
        typical = np.inf
        if a in trees and b in trees:
            distance = trees[b].query(trees[a].data, k=[2 if a == b else 1])[0]
            typical = float(np.median(distance))
        found[a, b] = fraction * float(min(typical, bond))
    return {(a, b): min(found[a, b], found[b, a]) for a, b in found}


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A core, everything within the buffer width of it, and what must stay away from its periodic images.

    Attributes
    ----------
    near
        Core atoms first, then all others within `buffer_A` of one of them.
    n_core
        How many of them are core.
    buffer_A
        Width of the buffer.
    contacts
        From `contact_distances`.
    large_cell
        Cell of the structure; its translations lead to the same neighbourhood again.
    """

    near: Surroundings
    n_core: int
    buffer_A: float
    contacts: dict[tuple[int, int], float]
    large_cell: NDArray[np.float64]

    @classmethod
    def within(
        cls,
        around: Surroundings,
        core_radius_A: float,
        buffer_A: float,
        contacts: dict[tuple[int, int], float],
        large_cell: NDArray[np.float64],
    ) -> Neighbourhood:
        """Cut it out of surroundings that reach at least ``core_radius_A + buffer_A``."""
        from scipy.spatial import cKDTree

        core = np.linalg.norm(around.vectors, axis=1) <= core_radius_A + 1e-9
        close = np.isfinite(
            cKDTree(around.vectors[core]).query(around.vectors, distance_upper_bound=buffer_A + 1e-9)[0]
        )
        order = np.concatenate([np.flatnonzero(core), np.flatnonzero(close & ~core)])
        return cls(around[order], int(core.sum()), buffer_A, contacts, large_cell)

    @property
    def core_radius_A(self) -> float:
        """Distance of its farthest core atom from the centre."""
        return float(np.linalg.norm(self.near.vectors[: self.n_core], axis=1).max())

    @property
    def radius_A(self) -> float:
        """Distance of its farthest atom from the centre."""
        return float(np.linalg.norm(self.near.vectors, axis=1).max())

    @property
    def least_vector_A(self) -> float:
        """About the shortest vector that a lattice of repeats can have: twice the radius, or the buffer in vacuum."""
        return max(2 * self.radius_A, self.core_radius_A + self.buffer_A)

    @cached_property
    def _core_tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.near.vectors[: self.n_core])

    @cached_property
    def _trees(self) -> dict[int, Any]:
        from scipy.spatial import cKDTree

        numbers = self.near.numbers
        return {int(z): cKDTree(self.near.vectors[numbers == z]) for z in np.unique(numbers)}

    @cached_property
    def _verdicts(self) -> dict[tuple[float, ...], bool]:
        return {}

    def fits(self, cell: NDArray[np.float64]) -> bool:
        """Whether the cell repeats the neighbourhood without touching it: every atom of the buffer exists once."""
        vectors = _STEPS @ cell
        lengths = np.linalg.norm(vectors, axis=1)
        limit = self.radius_A + max(self.radius_A + max(self.contacts.values()), self.core_radius_A + self.buffer_A)
        order = np.argsort(lengths)
        return all(self.may_repeat(vectors[i]) for i in order[lengths[order] <= limit])

    def may_repeat(self, vector: NDArray[np.float64]) -> bool:
        """Whether a copy moved by a vector lies outside the buffer and keeps its distance; so does one moved back."""
        key = tuple(np.round(vector, 6))
        if key not in self._verdicts:
            self._verdicts[key] = self._may_repeat(vector)
        return self._verdicts[key]

    def _may_repeat(self, vector: NDArray[np.float64]) -> bool:
        multiples = vector @ np.linalg.inv(self.large_cell)
        if np.abs(multiples - np.round(multiples)).max() < 1e-6:
            return True
        for moved in (self.near.vectors + vector, self.near.vectors - vector):
            if self.in_buffer(moved).any():
                return False
        for a, tree in self._trees.items():
            for b in self._trees:
                ends = self.near.vectors[self.near.numbers == b] + vector
                if np.isfinite(tree.query(ends, distance_upper_bound=self.contacts[a, b])[0]).any():
                    return False
        return True

    def in_buffer(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie within the buffer width of a core atom."""
        return np.asarray(np.isfinite(self._core_tree.query(points, distance_upper_bound=self.buffer_A)[0]))
