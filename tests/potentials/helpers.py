"""Labelled configurations of an effective-medium metal, and finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet


def emt_set(count: int, seed: int, elements: Sequence[str] = ("Ni",), lattice_A: float = 3.49) -> TrainingSet:
    """Strained and rattled cells of 4 and 32 atoms."""
    rng = np.random.default_rng(seed)
    return TrainingSet.of(emt_label(strained(rng, elements, lattice_A, 1 + i % 2), f"{seed}-{i}") for i in range(count))


def strained(rng: np.random.Generator, elements: Sequence[str], lattice_A: float, repeat: int) -> Atoms:
    atoms = bulk(elements[0], "fcc", a=lattice_A, cubic=True) * (repeat, repeat, repeat)
    atoms.symbols[:] = rng.choice(elements, len(atoms))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.025, (3, 3))), scale_atoms=True)
    atoms.rattle(rng.uniform(0.02, 0.15), rng=rng)
    return atoms


def emt_label(atoms: Atoms, name: str = "x") -> Configuration:
    bare = atoms.copy()
    bare.calc = EMT()
    return Configuration(
        atoms,
        energy_eV=bare.get_potential_energy(),
        forces_eV_per_A=bare.get_forces(),
        stress_eV_per_A3=bare.get_stress(),
        label_id=name,
    )


def numerical_forces(energy: Callable[[Atoms], float], atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    forces = np.zeros((len(atoms), 3))
    for i in range(len(atoms)):
        for k in range(3):
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[i, k] += sign * step
                forces[i, k] -= sign * energy(moved) / (2 * step)
    return forces


def numerical_stress(energy: Callable[[Atoms], float], atoms: Atoms, step: float = 1e-5) -> np.ndarray:
    stress = np.zeros(6)
    for v, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += 0.5 * sign * step
            strain[j, i] += 0.5 * sign * step
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            stress[v] += sign * energy(moved) / (2 * step)
    return stress / atoms.get_volume()
