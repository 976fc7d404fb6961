"""Measure whether the model part of a property's error is honest: true errors over stated ones.

Potentials are trained as the learning loop does (seeds, eight audits one by one, then rounds of strained cells for the
property), with audits from molecular dynamics of the truth, on EMT metals and Stillinger-Weber silicon. After each
round the root mean square over constants (C) and seeds of true error / stated error is printed, and that of the lattice
constant (a), for several ways to state it:

posterior       samples of the posterior
x forces        widened by what fresh labels say of forces
x fresh         widened by stresses of the property's cells, predicted before they were trained on
x left out      widened by stresses of the property's cells, predicted by fits without them
sandwich        posterior and each label's part in the fit, in covariance (White), without leaving it out
samples         what `draw` gives: posterior and how much leaving each label out moves the fit

The scaled ones are widened, never narrowed. 1 is honest, 2 is a stated error of half the true one.

OMP_NUM_THREADS=1 python -W ignore -m benchmarks.property_error_honesty --seeds 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.otf_hidden_truth import TEMPERATURES_K, _constants, plan
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory
from mlip_autopipe.learning.seeds import seed_structures
from mlip_autopipe.learning.starts import starts_of
from mlip_autopipe.learning.target import target_of
from mlip_autopipe.learning.training import Labelled, learn
from mlip_autopipe.potentials.dataset import Configuration, atoms_of
from mlip_autopipe.potentials.jackknife import changes_without, draw_around
from mlip_autopipe.potentials.polymlp import PolymlpPotential
from mlip_autopipe.potentials.polymlp_observations import in_units_of_noise, observations, targets_of
from mlip_autopipe.reference.ase_engine import make_calculator
from mlip_autopipe.schemas.otf import UsedLabel

SYSTEMS = ("Ni", "Cu", "Al", "Pd", "Si")
WAYS = ("posterior", "x forces", "x fresh", "x left out", "sandwich", "samples")
SAMPLES = 12
STRETCH_STEPS = 250


class Run:
    """One system and seed: its truth, and a potential that learns."""

    def __init__(self, system: str, seed: int, folder: Path) -> None:
        self.config = plan(system, seed, folder)
        (self.start,) = starts_of(self.config)
        self.seed = seed
        self.truth_calculator = make_calculator(self.config.reference.parameters["calculator"], {})
        self.truth = self.property_of(self.truth_calculator)
        self.labels: list[Labelled] = []
        self.fresh_ratio = 1.0

    def property_of(self, calculator: Any) -> np.ndarray:
        """Return the independent constants, then the lattice constant."""
        return np.array([*_constants(self.config, self.start.primitive, calculator).values()])

    def rounds(self, n: int) -> Iterator[PolymlpPotential]:
        """Yield the potential after each round of labels for the property."""
        settings = self.config.otf
        assert settings is not None
        seeds = [atoms_of(one.structure) for one in seed_structures([self.start], settings)]
        potential = self.learned(None, "seed", [(atoms, 1.0) for atoms in seeds])
        for atoms in self.audits():
            potential = self.learned(potential, "audit", [(atoms, 1.0)])
        target = target_of(self.config, [self.start])
        for k in range(n):
            found = target.informative(potential, k, []).candidates
            new = [(atoms_of(one.structure), one.stress_weight) for one in found]
            self.fresh_ratio = stress_ratio(potential, [self.label(*one) for one in new])
            potential = self.learned(potential, "property", new)
            yield potential

    def audits(self) -> Iterator[Any]:
        """Yield two frames of the truth per temperature, from cold to hot."""
        settings, atoms = self.config.otf, self.start.cell
        assert settings is not None
        for k, kelvin in enumerate(TEMPERATURES_K):
            dynamics = MDSettings(
                ensemble=settings.ensemble,
                time_step_fs=settings.time_step_fs,
                temperature_K=kelvin,
                seed=1000 * self.seed + k,
            )
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "truth.h5"
                steps = 2 * STRETCH_STEPS
                run_md(
                    dynamics, atoms, self.truth_calculator, steps, trajectory_path=path, frame_interval=STRETCH_STEPS
                )
                with Trajectory(path) as trajectory:
                    frames = list(trajectory)[1:]
            yield from frames
            atoms = frames[-1].copy()
            atoms.set_momenta(None)

    def label(self, atoms: Any, stress_weight: float) -> Configuration:
        """Return what the truth says."""
        bare = atoms.copy()
        bare.calc = self.truth_calculator
        energy, forces, stress = bare.get_potential_energy(), bare.get_forces(), bare.get_stress()
        bare.calc = None
        return Configuration(bare, energy, forces, stress, stress_weight=stress_weight)

    def learned(self, potential: Any, origin: Any, new: Sequence[tuple[Any, float]]) -> PolymlpPotential:
        """Return the potential after it has learned new structures."""
        assert self.config.otf is not None
        found = [
            Labelled(UsedLabel(label_id=str(k), generation=1, origin=origin), self.label(atoms, weight))
            for k, (atoms, weight) in enumerate(new, start=len(self.labels))
        ]
        self.labels += found
        lesson = learn(potential, self.config.otf, found, lambda: self.labels, 1)
        assert isinstance(lesson.potential, PolymlpPotential)
        return lesson.potential


def seen_by(potential: PolymlpPotential, labels: Sequence[Configuration]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows and targets of labels in units of their noise; the last six are the stress."""
    trained = potential._require()
    targets = [targets_of(one, trained.elements, trained.reference_eV, potential.zbl) for one in labels]
    found = observations(trained.features, trained.elements, labels, targets)
    return [in_units_of_noise(one, trained.posterior.noise) for one in found]


def stress_ratio(potential: PolymlpPotential, labels: Sequence[Configuration], *, left_out: bool = False) -> float:
    """Return the root mean square of stress errors over what the posterior states, pooled within each label."""
    posterior, ratios = potential.posterior, []
    for x, y in seen_by(potential, labels):
        rows, errors = x @ posterior.factor, y - x @ posterior.mean
        variance = rows @ rows.T
        if left_out:
            inverse = np.linalg.inv(np.eye(len(y)) - variance)
            errors, variance = inverse @ errors, inverse @ variance
        ratios.append((errors[-6:] ** 2).sum() / np.diag(variance)[-6:].sum())
    return float(np.sqrt(np.mean(ratios)))


def stated(run: Run, potential: PolymlpPotential) -> dict[str, np.ndarray]:
    """Return the stated error of every constant, by way."""
    posterior = potential.posterior
    mean = run.property_of(potential.calculator())

    def spread(coefficients: np.ndarray) -> np.ndarray:
        found = [run.property_of(potential._with(one).calculator()) - mean for one in coefficients]
        return np.asarray(np.sqrt(np.mean(np.square(found), axis=0)))

    labels = seen_by(potential, [one.configuration for one in run.labels])
    # to first order in a label's weight, where `changes_without` takes it out
    parts = np.array([posterior.factor @ (posterior.factor.T @ (x.T @ (y - x @ posterior.mean))) for x, y in labels])
    own = [one.configuration for one in run.labels if one.used.origin == "property"]
    alone = spread(posterior.draw(SAMPLES, 0))
    forces = potential.calibration.factor
    return {
        "posterior": alone,
        "x forces": alone * forces,
        "x fresh": alone * max(forces, run.fresh_ratio),
        "x left out": alone * max(forces, stress_ratio(potential, own, left_out=True)),
        "sandwich": spread(draw_around(posterior, parts, SAMPLES, 0)),
        "samples": spread(draw_around(posterior, changes_without(posterior, labels), SAMPLES, 0)),
    }


def root_mean_square(rows: Sequence[dict[str, Any]], way: str) -> str:
    ratios = np.array([row[way] for row in rows])
    constants, length = (np.sqrt((part**2).mean()) for part in (ratios[:, :-1], ratios[:, -1]))
    return f"{constants:.2f} / {length:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="append one line per round to this file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for system in options.systems:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = Run(system, seed, Path(folder))
                for k, potential in enumerate(run.rounds(options.rounds), start=1):
                    errors = run.property_of(potential.calculator()) - run.truth
                    ratios = {way: (errors / std).tolist() for way, std in stated(run, potential).items()}
                    percent = (100 * errors / run.truth).tolist()
                    rows.append({"system": system, "seed": seed, "round": k, "error_percent": percent, **ratios})
                    print(system, seed, k, "true %:", *(f"{one:+.4f}" for one in percent), flush=True)
                    if options.json is not None:
                        with options.json.open("a") as stream:
                            stream.write(json.dumps(rows[-1]) + "\n")
    print("\ntrue / stated, C / a |", " | ".join(WAYS))
    for k in range(1, options.rounds + 1):
        for system in (*options.systems, "all"):
            chosen = [row for row in rows if row["round"] == k and system in (row["system"], "all")]
            print(f"round {k}, {system} |", " | ".join(root_mean_square(chosen, way) for way in WAYS))
    for way in WAYS:
        ratios = np.abs([row[way] for row in rows])
        within = [100 * float((ratios < n).mean()) for n in (1, 2)]
        print(
            f"{way}: root mean square of all {ratios.size} {np.sqrt((ratios**2).mean()):.2f}, "
            f"largest {ratios.max():.1f}, within 1 and 2 stated errors {within[0]:.0f} and {within[1]:.0f} %"
        )


if __name__ == "__main__":
    main()
