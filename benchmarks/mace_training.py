"""Measure a small MACE committee on effective-medium nickel: time to train and to add, accuracy, uncertainty.

OMP_NUM_THREADS=2 python -m benchmarks.mace_training
OMP_NUM_THREADS=2 python -m benchmarks.mace_training --only fit --members 2 --model MACE
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
from ase.calculators.emt import EMT
from scipy.stats import spearmanr

from benchmarks.polymlp_training import NICKEL, cubic_constants, sample
from mlip_autopipe.potentials.base import FitReport
from mlip_autopipe.potentials.calibration import GAUSSIAN_RATIO
from mlip_autopipe.potentials.dataset import TrainingSet
from mlip_autopipe.potentials.mace import MacePotential
from mlip_autopipe.potentials.mace_labels import training_errors

SMALL: dict[str, Any] = {
    "hidden_irreps": "16x0e",
    "cutoff_A": 4.5,
    "mace_arguments": {"max_ell": 2, "MLP_irreps": "8x0e", "radial_MLP": "[32, 32]"},
}


def core_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime + resource.getrusage(resource.RUSAGE_SELF).ru_utime


def tell(name: str, potential: MacePotential, report: FitReport, cores: float, held_out: TrainingSet) -> None:
    """Print errors on held-out labels, and what the raw uncertainty says of them."""
    found = training_errors(potential, held_out)
    errors, stds, spreads = [], [], []
    noise = potential.describe().settings["noise"]["force"]
    for one in held_out:
        errors.append(np.linalg.norm(potential.predict(one.atoms).forces_eV_per_A - one.forces_eV_per_A, axis=1))
        stds.append(potential.raw_force_std(one.atoms))
        spreads.append(np.sqrt(stds[-1] ** 2 - noise**2))
    error, std, spread = map(np.concatenate, (errors, stds, spreads))
    worst = spearmanr([e.max() for e in errors], [s.max() for s in stds]).statistic
    print(
        f"{name}: {report.model}, {report.configurations} labels: {cores:.0f} core s ({report.wall_time_s:.0f} s), "
        f"training force RMSE {1e3 * report.rmse['force']:.1f} meV/A, held-out energy {1e3 * found['energy']:.2f} "
        f"meV/atom, force {1e3 * found['force']:.1f} meV/A, stress {1e3 * found['stress']:.2f} meV/A^3; Spearman per "
        f"atom {spearmanr(std, error).statistic:.2f}, worst atom per cell {worst:.2f}; within the 90 % interval before "
        f"calibration {100 * (error < GAUSSIAN_RATIO * std).mean():.0f} %, by the spread alone "
        f"{100 * (error < GAUSSIAN_RATIO * spread).mean():.0f} %",
        flush=True,
    )
    wanted, constants = cubic_constants(EMT()), cubic_constants(potential.calculator())
    print(
        f"  a {constants[0]:.4f} A ({wanted[0]:.4f}), C11 C12 C44 {constants[1:].round(1)} ({wanted[1:].round(1)}) GPa"
    )


def speed(potential: MacePotential) -> None:
    """Print the time of a prediction with and without uncertainty."""
    for repeat in ((2, 2, 2), (4, 2, 2)):
        (one,) = sample(1, 7, NICKEL, (repeat,))
        times = []
        for _ in range(12):
            one.atoms.rattle(1e-3, seed=len(times))
            start = time.perf_counter()
            potential.predict_with_uncertainty(one.atoms)
            times.append(time.perf_counter() - start)
        print(
            f"{len(one.atoms)} atoms: prediction of all members with uncertainty {1e3 * min(times):.0f} ms", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--updates", type=int, default=1000, help="of a fit; adding takes a fifth")
    parser.add_argument("--bootstrap", action="store_true")
    parser.add_argument("--model", default="ScaleShiftMACE", help="as mace_run_train names it")
    parser.add_argument("--only", choices=["fit"], help="leave out adding labels")
    arguments = parser.parse_args()
    training, held_out = sample(arguments.labels, 101, NICKEL), sample(30, 77, NICKEL)
    settings = SMALL | {"members": arguments.members, "bootstrap": arguments.bootstrap}
    settings |= {"updates": arguments.updates, "add_updates": arguments.updates // 5}
    settings["mace_arguments"] = SMALL["mace_arguments"] | {"model": arguments.model}
    potential = MacePotential(**settings)
    before = core_seconds()
    report = potential.fit(training)
    tell("fit", potential, report, core_seconds() - before, held_out)
    if arguments.only == "fit":
        return
    speed(potential)
    print(f"file: {len(potential.save().data) / 1e6:.2f} MB")
    more = sample(5, 55, NICKEL)
    before = core_seconds()
    report = potential.add(more.configurations)
    tell("five more added", potential, report, core_seconds() - before, held_out)
    again = MacePotential(**settings)
    before = core_seconds()
    report = again.fit(training + more)
    tell("fit to all", again, report, core_seconds() - before, held_out)


if __name__ == "__main__":
    main()
