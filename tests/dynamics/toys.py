"""Small deterministic calculators for tests."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


class ToyLJ(Calculator):
    """Lennard-Jones argon, all pairs by minimum image, shifted force at the cutoff; cubic-ish periodic cells only."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, sigma: float = 3.405, epsilon: float = 0.010323, cutoff: float = 7.0) -> None:
        super().__init__()
        self.sigma, self.epsilon, self.cutoff = sigma, epsilon, cutoff
        self.n_calculations = 0

    def _pair(self, r):
        s6 = (self.sigma / r) ** 6
        return 4 * self.epsilon * (s6**2 - s6), 24 * self.epsilon * (2 * s6**2 - s6) / r

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calculations += 1
        i, j = np.triu_indices(len(atoms), 1)
        vectors = atoms.positions[j] - atoms.positions[i]
        if atoms.pbc.any():
            cell = atoms.cell.array
            fractional = vectors @ np.linalg.inv(cell)
            vectors = (fractional - np.round(fractional)) @ cell
        r = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        near = r < self.cutoff
        i, j, r, vectors = i[near], j[near], r[near], vectors[near]
        energy, force = self._pair(r)
        energy_c, force_c = self._pair(self.cutoff)
        self.results["energy"] = float((energy - energy_c + (r - self.cutoff) * force_c).sum())
        pair = ((force - force_c) / r)[:, None] * vectors
        n = len(atoms)
        forces = np.stack(
            [np.bincount(j, pair[:, k], minlength=n) - np.bincount(i, pair[:, k], minlength=n) for k in range(3)],
            axis=1,
        )
        self.results["forces"] = forces
        if atoms.pbc.all():
            stress = -(vectors.T @ pair) / atoms.get_volume()
            self.results["stress"] = stress.flat[[0, 4, 8, 5, 2, 1]]


class Harmonic(Calculator):
    """Every atom on its own spring; nothing between atoms."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, centres, stiffness: float = 2.0) -> None:
        super().__init__()
        self.centres, self.stiffness = np.array(centres), stiffness

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - self.centres
        self.results = {"energy": 0.5 * self.stiffness * float((away**2).sum()), "forces": -self.stiffness * away}


def argon(n: int = 3, a: float = 5.4) -> Atoms:
    from ase.build import bulk

    return bulk("Ar", "fcc", a=a, cubic=True).repeat(n)


def copper(n: int = 2) -> Atoms:
    from ase.build import bulk

    return bulk("Cu", "fcc", a=3.6, cubic=True).repeat(n)
