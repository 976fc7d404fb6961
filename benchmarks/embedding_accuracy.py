"""Measure periodic embedding: errors of core forces against the width of the buffer, energies, and what training gains.

OMP_NUM_THREADS=1 python benchmarks/embedding_accuracy.py
OMP_NUM_THREADS=1 python benchmarks/embedding_accuracy.py --only training

The large structures are frames of molecular dynamics of the reference itself: 500 atoms of copper (one vacancy and one
interstitial at 600 K; 1200 K; a melt) and copper-gold by effective-medium theory, 512 and 216 of silicon by
Stillinger-Weber.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.generation.sqs import random_alloy
from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.reference.classical import stillinger_weber_silicon
from mlip_autopipe.selection.embedding import EmbeddedCell, embed

Make = Callable[[], Calculator]
MELT_K = 5000.0


def with_defects(atoms: Atoms) -> Atoms:
    """Return the crystal with a vacancy at atom 250 and an interstitial two cells away from it."""
    a = atoms.cell.lengths()[0] / 5
    atoms = atoms + Atoms("Cu", [atoms.positions[250] + [2.5 * a, 0.0, 0.0]])
    del atoms[250]
    atoms.wrap()
    return atoms


def copper(a: float) -> Atoms:
    return bulk("Cu", a=a, cubic=True).repeat(5)


STRUCTURES: dict[str, tuple[Callable[[], Atoms], Make, list[tuple[float, int]]]] = {
    "Cu 600 K, defects": (lambda: with_defects(copper(3.64)), EMT, [(600, 150)]),
    "Cu 1200 K": (lambda: copper(3.69), EMT, [(1200, 150)]),
    "Cu melt 1600 K": (lambda: copper(3.80), EMT, [(MELT_K, 300), (1600, 200)]),
    "Cu-Au 600 K": (lambda: random_alloy(copper(3.85), {"Cu": 0.5, "Au": 0.5}, 0), EMT, [(600, 150)]),
    "Si 900 K": (lambda: bulk("Si", a=5.43, cubic=True).repeat(4), stillinger_weber_silicon, [(900, 100)]),
    "Si melt 2200 K": (
        lambda: bulk("Si", a=5.35, cubic=True).repeat(3),
        stillinger_weber_silicon,
        [(MELT_K, 300), (2200, 150)],
    ),
}


def frame(name: str) -> tuple[Atoms, Make]:
    """Return the last frame of the runs that make a structure."""
    start, make, runs = STRUCTURES[name]
    atoms = start()
    for seed, (temperature, steps) in enumerate(runs):
        settings = MDSettings(temperature_K=temperature, time_step_fs=3.0, seed=seed)
        atoms = run_md(settings, atoms, make(), steps).atoms
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), make


def forces(atoms: Atoms, make: Make) -> np.ndarray:
    bare = atoms.copy()
    bare.calc = make()
    return bare.get_forces()


def centres(atoms: Atoms, count: int) -> list[int]:
    """Return some atoms; those next to the defects first, where there are some."""
    return [len(atoms) // 2 - 1, len(atoms) - 1, *range(0, len(atoms), len(atoms) // count)][:count]


def accuracy(names: Sequence[str], count: int) -> None:
    print(
        "structure | core A | buffer A | core atoms | cell atoms | force error meV/A: rms, max | dE meV/atom | seam | s"
    )
    for name in names:
        atoms, make = frame(name)
        truth = forces(atoms, make)
        bare = atoms.copy()
        bare.calc = make()
        energy = bare.get_potential_energy() / len(atoms)
        print(f"{name}: {len(atoms)} atoms, force rms {np.sqrt(np.mean(truth**2)):.2f} eV/A", flush=True)
        for core, buffer in ((0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (3, 4), (3, 5), (3, 6)):
            square, worst, sizes, cores, above, seams = [], 0.0, [], [], [], []
            start = time.process_time()
            cells = [embed(atoms, c, core_radius_A=core, buffer_A=buffer) for c in centres(atoms, count)]
            seconds = (time.process_time() - start) / count
            for cell in cells:
                small = cell.atoms.copy()
                small.calc = make()
                counting = cell.force_weights > 0
                error = (small.get_forces() - truth[cell.indices])[counting]
                square.append(np.mean(error**2))
                worst = max(worst, float(np.abs(error).max()))
                sizes.append(len(small))
                cores.append(int(counting.sum()))
                above.append(1e3 * (small.get_potential_energy() / len(small) - energy))
                seams.append(cell.seam_damage)
            print(
                f"{name} | {core} | {buffer} | {np.mean(cores):.0f} | {np.mean(sizes):.0f} | "
                f"{1e3 * np.sqrt(np.mean(square)):.3g} {1e3 * worst:.3g} | {np.mean(above):.0f} | "
                f"{np.max(seams):.3f} | {seconds:.2f}",
                flush=True,
            )


def label(cell: EmbeddedCell | Atoms) -> Configuration:
    """Return an effective-medium label with the mask and weights of the cell."""
    atoms = cell.atoms if isinstance(cell, EmbeddedCell) else cell
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, calculator=EMT())
    found = Configuration(atoms, bare.get_potential_energy(), bare.get_forces(), bare.get_stress())
    if isinstance(cell, Atoms):
        return found
    return replace(found, force_weights=cell.force_weights, energy_weight=0.0, stress_weight=0.0)


def training(count: int) -> None:
    """Train on crystals, then with embedded cells of the melt, masked or not; test on the whole melt."""
    rng = np.random.default_rng(0)
    crystals = []
    for k in range(12):
        atoms = bulk("Cu", a=3.65, cubic=True).repeat(1 + k % 2)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.025, (3, 3))), scale_atoms=True)
        atoms.rattle(rng.uniform(0.02, 0.15), rng=rng)
        crystals.append(label(atoms))
    atoms, make = frame("Cu melt 1600 K")
    truth = forces(atoms, make)
    for buffer in (4.0, 5.0):
        cells = [embed(atoms, c, core_radius_A=3.0, buffer_A=buffer) for c in centres(atoms, count)]
        masked = [label(cell) for cell in cells]
        weighted = [
            [replace(one, force_weights=np.maximum(one.force_weights, weight)) for one in masked]
            for weight in (0.05, 0.2, 1.0)
        ]
        with_sums = [replace(one, energy_weight=1.0, stress_weight=1.0) for one in masked]
        for name, more in (
            ("crystals only", []),
            ("core forces", masked),
            ("core forces, energy, stress", with_sums),
            ("others' forces with weight 0.05", weighted[0]),
            ("others' forces with weight 0.2", weighted[1]),
            ("others' forces with weight 1", weighted[2]),
        ):
            potential = PolymlpPotential()
            report = potential.fit(TrainingSet.of([*crystals, *more]))
            error = potential.predict(atoms).forces_eV_per_A - truth
            print(
                f"buffer {buffer:g} A, {len(cells)} cells of the melt, {name}: {report.model}, force noise "
                f"{1e3 * potential.posterior.noise['force']:.1f} meV/A, force error on the melt "
                f"{1e3 * np.sqrt(np.mean(error**2)):.1f} meV/A",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["accuracy", "training"])
    parser.add_argument("--cells", type=int, default=6, help="embedded cells per row")
    parser.add_argument("--structures", nargs="*", default=list(STRUCTURES), choices=list(STRUCTURES))
    arguments = parser.parse_args()
    if arguments.only != "training":
        accuracy(arguments.structures, arguments.cells)
    if arguments.only != "accuracy":
        training(arguments.cells)


if __name__ == "__main__":
    main()
