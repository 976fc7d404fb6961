"""Measure the default potential on effective-medium metals: time to train and to add a label, accuracy, uncertainty.

OMP_NUM_THREADS=2 python benchmarks/polymlp_training.py
OMP_NUM_THREADS=2 python benchmarks/polymlp_training.py --seeds 5 --only accuracy
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.units import GPa
from scipy.optimize import brentq
from scipy.stats import spearmanr

from mlip_autopipe.potentials.dataset import Configuration, TrainingSet
from mlip_autopipe.potentials.polymlp import PolymlpPotential

LATTICE_A = {("Ni",): 3.49, ("Cu", "Au"): 3.85}
NICKEL = ("Ni",)
ALLOY = ("Cu", "Au")


def configuration(rng: np.random.Generator, elements: Sequence[str], repeat: tuple[int, int, int]) -> Configuration:
    """Return a strained (2.5 %), rattled (0.02-0.15 A) cell with its label."""
    atoms = bulk(elements[0], "fcc", a=LATTICE_A[tuple(elements)], cubic=True) * repeat
    atoms.symbols[:] = rng.choice(elements, len(atoms))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.025, (3, 3))), scale_atoms=True)
    atoms.rattle(rng.uniform(0.02, 0.15), rng=rng)
    bare = atoms.copy()
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return Configuration(bare, energy, forces, stress)


def sample(
    count: int, seed: int, elements: Sequence[str], repeats: Sequence[tuple[int, int, int]] = ((1, 1, 1), (2, 2, 2))
) -> TrainingSet:
    rng = np.random.default_rng(seed)
    return TrainingSet.of(configuration(rng, elements, repeats[i % len(repeats)]) for i in range(count))


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the least wall time of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def cubic_constants(calculator: Calculator) -> np.ndarray:
    """Return lattice constant (A), C11, C12, C44 (GPa) of fcc nickel at its own equilibrium."""

    def crystal(a: float, strain: np.ndarray | None = None) -> Atoms:
        atoms = bulk("Ni", "fcc", a=a)
        if strain is not None:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = calculator
        return atoms

    a = brentq(lambda a: crystal(a).get_stress()[:3].mean(), 3.3, 3.7, xtol=1e-6)
    delta = 0.005
    stretch = np.diag([delta, 0, 0])
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = delta / 2
    s1 = (crystal(a, stretch).get_stress() - crystal(a, -stretch).get_stress()) / (2 * delta * GPa)
    s4 = (crystal(a, shear).get_stress() - crystal(a, -shear).get_stress()) / (2 * delta * GPa)
    return np.array([a, s1[0], (s1[1] + s1[2]) / 2, s4[3]])


def force_rmse(potential: PolymlpPotential, held_out: TrainingSet) -> float:
    squares = [((potential.predict(c.atoms).forces_eV_per_A - c.forces_eV_per_A) ** 2).mean() for c in held_out]
    return float(np.sqrt(np.mean(squares)))


def measure_times() -> None:
    print("training 60 configurations of 4, 32 and 64 atoms (target 5 s); adding one of 64 atoms (target 0.5 s)")
    for elements in (NICKEL, ALLOY):
        training = sample(60, 1, elements, ((1, 1, 1), (2, 2, 2), (4, 2, 2)))
        fresh = sample(1, 2, elements, ((4, 2, 2),)).configurations
        potential = PolymlpPotential()
        report = potential.fit(training)
        adding = [potential.add(fresh).wall_time_s for _ in range(3)]
        blob = potential.save()
        print(
            f"  {'-'.join(elements):6s} {report.model} ({report.parameters} coefficients, {len(report.candidates)} sets"
            f" tried): train {report.wall_time_s:.2f} s, add {min(adding):.3f} s, file {len(blob.data) / 1e6:.2f} MB, "
            f"held-out force RMSE {1e3 * force_rmse(potential, sample(10, 3, elements)):.1f} meV/A"
        )
    largest = PolymlpPotential()
    candidate = max(_ladder(), key=lambda pair: pair[1])
    largest.features = candidate[0]
    report = largest.fit(sample(60, 1, NICKEL, ((1, 1, 1), (2, 2, 2), (4, 2, 2))))
    adding = largest.add(sample(1, 2, NICKEL, ((4, 2, 2),)).configurations).wall_time_s
    print(f"  Ni     largest set alone ({report.parameters}): train {report.wall_time_s:.2f} s, add {adding:.3f} s")


def _ladder() -> list[tuple[object, int]]:
    from mlip_autopipe.potentials.polymlp_features import feature_ladder

    return list(feature_ladder(NICKEL, cutoff_A=6.0, largest=1400))


def measure_accuracy(seeds: int) -> None:
    truth = cubic_constants(EMT())
    print(f"EMT nickel: a {truth[0]:.4f} A, C11 {truth[1]:.1f}, C12 {truth[2]:.1f}, C44 {truth[3]:.1f} GPa")
    for labels in (5, 10, 20, 40):
        for seed in range(seeds):
            potential = PolymlpPotential()
            report = potential.fit(sample(labels, 100 + seed, NICKEL))
            found = cubic_constants(potential.calculator())
            draws = np.array([cubic_constants(one.calculator()) for one in potential.draw(8, seed=0)])
            percent = 100 * (found / truth - 1)
            spread = 100 * draws.std(axis=0, ddof=1) / truth
            rmse = 1e3 * force_rmse(potential, sample(20, 999 + seed, NICKEL))
            print(
                f"  {labels:2d} labels, seed {seed}: {report.model:12s} force RMSE {rmse:5.1f} meV/A; errors in %: "
                + ", ".join(
                    f"{name} {p:+.2f} (draws {s:.2f})"
                    for name, p, s in zip(("a", "C11", "C12", "C44"), percent, spread, strict=True)
                )
            )


def measure_uncertainty() -> None:
    print("uncertainty: 20 labels trained, 40 fresh ones predicted (the last 30 after calibration began)")
    for elements in (NICKEL, ALLOY):
        for kind in ("posterior", "draws"):
            potential = PolymlpPotential(uncertainty=kind)  # type: ignore[arg-type]
            potential.fit(sample(20, 1, elements))
            errors, stds = [], []
            for fresh in sample(40, 5, elements):
                difference = potential.predict(fresh.atoms).forces_eV_per_A - fresh.forces_eV_per_A
                errors.append(np.linalg.norm(difference, axis=1))
                stds.append(potential.raw_force_std(fresh.atoms))
                potential.observe(fresh)
            error, std = np.concatenate(errors), np.concatenate(stds)
            bad = np.array([e.max() for e in errors])
            sure = np.array([s.max() for s in stds])
            covered = potential.calibration.covered_fraction()
            print(
                f"  {'-'.join(elements):6s} {kind:9s}: Spearman per atom {spearmanr(error, std)[0]:.2f}, worst atom per"
                f" cell {spearmanr(bad, sure)[0]:.2f}, factor {potential.calibration.factor:.2f}, coverage of 90 % "
                f"{100 * (covered or 0):.1f} %"
            )
    print("cost in ms: bare prediction, exact posterior, 8 draws")
    for repeat in ((2, 2, 2), (4, 2, 2), (4, 4, 4)):
        potential = PolymlpPotential()
        potential.fit(sample(20, 1, NICKEL))
        atoms = sample(1, 7, NICKEL, (repeat,)).configurations[0].atoms
        potential.predict(atoms)
        costs = [seconds(lambda p=potential, a=atoms: p.predict(a), 10)]
        for kind in ("posterior", "draws"):
            potential.uncertainty = kind  # type: ignore[assignment]
            potential.raw_force_std(atoms)
            costs.append(seconds(lambda p=potential, a=atoms: p.raw_force_std(a), 5))
        print(f"  {len(atoms):3d} atoms: " + " ".join(f"{1e3 * cost:8.2f}" for cost in costs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["times", "accuracy", "uncertainty"])
    arguments = parser.parse_args()
    if arguments.only in (None, "times"):
        measure_times()
    if arguments.only in (None, "accuracy"):
        measure_accuracy(arguments.seeds)
    if arguments.only in (None, "uncertainty"):
        measure_uncertainty()


if __name__ == "__main__":
    main()
