"""A tiny MACE committee and its labels: gold and copper by effective-medium theory."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from tests.potentials.helpers import emt_label

needs_mace = pytest.mark.skipif(importlib.util.find_spec("mace") is None, reason="mace-torch is not installed")

TINY: Final[dict[str, Any]] = {
    "members": 2,
    "hidden_irreps": "8x0e",
    "cutoff_A": 4.0,
    "updates": 80,
    "add_updates": 20,
    "batch_size": 2,
    "learning_rate": 0.03,
    "device": "cpu",
    "mace_arguments": {
        "max_ell": 2,
        "correlation": 2,
        "num_radial_basis": 6,
        "MLP_irreps": "4x0e",
        "radial_MLP": "[16, 16]",
    },
}


def cells(count: int, seed: int, elements: tuple[str, ...] = ("Cu", "Au")) -> TrainingSet:
    """Strained and rattled cells of four atoms in layers, and a molecule."""
    found = [emt_label(cell(1000 * seed + index, elements), f"{seed}-{index}") for index in range(count)]
    return TrainingSet.of([*found, molecule(elements)])


def cell(seed: int, elements: tuple[str, ...] = ("Cu", "Au")) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk(elements[0], "fcc", a=3.85, cubic=True)
    atoms.symbols[2:] = elements[-1]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(0.08, rng=rng)
    return atoms


def molecule(elements: tuple[str, ...]) -> Configuration:
    atoms = Atoms([elements[0], elements[-1]], [(0, 0, 0), (0.3, 0.1, 2.2)])
    atoms.calc = EMT()
    forces = atoms.get_forces()
    atoms.calc = None
    # its energy per atom is so far from a crystal's that a tiny model would learn nothing else
    return Configuration(atoms, forces_eV_per_A=forces, label_id="molecule")


def with_garbage(training: TrainingSet, garbage: float, *, force: float, energy: float, stress: float) -> TrainingSet:
    """Replace a force, an energy and a stress by garbage, and give it these weights."""
    first, second, third, *rest = training
    forces, weights = first.forces_eV_per_A.copy(), np.ones(len(first.atoms))
    forces[1], weights[1] = garbage, force
    return TrainingSet.of(
        [
            replace(first, forces_eV_per_A=forces, force_weights=weights),
            replace(second, energy_eV=garbage, energy_weight=energy),
            replace(third, stress_eV_per_A3=np.full(6, garbage), stress_weight=stress),
            *rest,
        ]
    )
