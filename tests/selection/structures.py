"""Large structures to cut from, and exact checks of what surrounds an atom."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list


def thermal(name: str = "Cu", *, repeat: int = 5, sigma_A: float = 0.1, seed: int = 0, **lattice) -> Atoms:
    """A crystal whose atoms are displaced as by heat."""
    atoms = bulk(name, cubic=True, **lattice).repeat(repeat)
    atoms.rattle(sigma_A, seed=seed)
    return atoms


def disordered(n_atoms: int, cell, *, apart_A: float, seed: int = 0, symbols: str = "Cu") -> Atoms:
    """Atoms at random places that keep a distance, one element or several in turn."""
    rng = np.random.default_rng(seed)
    cell = np.asarray(cell, dtype=float)
    images = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
    placed = np.empty((0, 3))
    for _ in range(200_000):
        point = rng.random(3) @ cell
        if len(placed) == 0 or np.linalg.norm(placed[:, None] + images - point, axis=2).min() > apart_A:
            placed = np.vstack([placed, point])
        if len(placed) == n_atoms:
            kinds = Atoms(symbols).get_chemical_symbols()
            return Atoms([kinds[i % len(kinds)] for i in range(n_atoms)], placed, cell=cell, pbc=True)
    raise AssertionError("too dense")


def environment(atoms: Atoms, index: int, radius_A: float) -> np.ndarray:
    """Sorted rows of (x, y, z, atomic number) of all atoms and images within a radius, the atom itself left out."""
    first, second, vectors = neighbor_list("ijD", atoms, radius_A, self_interaction=False)
    rows = np.column_stack([vectors, atoms.numbers[second]])[first == index]
    return rows[np.lexsort(np.round(rows, 4).T)]


def environments(atoms: Atoms, indices, radius_A: float) -> list[np.ndarray]:
    """The same for several atoms, with one neighbour list."""
    first, second, vectors = neighbor_list("ijD", atoms, radius_A, self_interaction=False)
    table = np.column_stack([vectors, atoms.numbers[second]])
    found = [table[first == index] for index in indices]
    return [rows[np.lexsort(np.round(rows, 4).T)] for rows in found]


def shortest_vector(cell) -> float:
    return float(np.linalg.norm(minkowski_reduce(np.asarray(cell))[0], axis=1).min())
