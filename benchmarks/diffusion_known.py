"""Measure diffusion in Lennard-Jones liquids whose coefficients are known, by a small molecular dynamics of its own.

Rahman's argon (864 atoms, 94.4 K, 1.374 g/cm^3, cut-off 2.25 sigma; 10.1103/PhysRev.136.A405) and the liquid near the
triple point (rho* = 0.8442, T* = 0.722, cut-off 2.5 sigma). Constant energy after an equilibration, whose mean
potential energy sets the total energy. Beside it the integral of the velocity autocorrelation of the same run, which
shares no step of the analysis.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_known.py --steps 12000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.spatial import cKDTree

from mlip_autopipe.analysis.diffusion import DiffusionResult, calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.frames import ArrayFrames

SIGMA_A, EPSILON_K, MASS_AMU = 3.4, 120.0, 39.948
# sqrt(m sigma^2 / epsilon): 1 amu A^2 / fs^2 is 1.2027e6 K
TAU_FS = SIGMA_A * np.sqrt(MASS_AMU * 1.2027236e6 / EPSILON_K)
SKIN = 0.3
STEP = 0.005
EVERY = 4


class Liquid:
    """Atoms in a cubic box in units of sigma, epsilon and mass."""

    def __init__(self, cells: int, density: float, temperature: float, cut_off: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3), axis=-1).reshape(-1, 3)
        basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        self.n = 4 * cells**3
        self.edge = (self.n / density) ** (1 / 3)
        self.cut_off, self.temperature = cut_off, temperature
        self.places = (corners[:, None] + basis).reshape(-1, 3) * self.edge / cells
        self.velocities = rng.normal(0, np.sqrt(temperature), (self.n, 3))
        self.velocities -= self.velocities.mean(axis=0)
        self._listed = np.full_like(self.places, np.inf)
        self.forces, self.energy = self.evaluate()

    def evaluate(self) -> tuple[np.ndarray, float]:
        """Return forces and potential energy."""
        if not np.isfinite(self._listed).all() or np.abs(self.places - self._listed).max() > SKIN / 2 / np.sqrt(3):
            tree = cKDTree(self.places % self.edge, boxsize=self.edge)
            self.pairs = tree.query_pairs(self.cut_off + SKIN, output_type="ndarray").T
            self._listed = self.places.copy()
        one, other = self.pairs
        apart = self.places[one] - self.places[other]
        apart -= self.edge * np.round(apart / self.edge)
        squared = np.einsum("ij,ij->i", apart, apart)
        near = squared < self.cut_off**2
        one, other, apart, squared = one[near], other[near], apart[near], squared[near]
        sixth = 1 / squared**3
        push = (48 * sixth**2 - 24 * sixth) / squared
        force = apart * push[:, None]
        self.virial = apart.T @ force
        total = np.stack(
            [
                np.bincount(one, force[:, k], self.n) - np.bincount(other, force[:, k], self.n)
                for k in range(3)
            ],
            axis=1,
        )
        end = self.cut_off**-6.0
        return total, float(np.sum(4 * (sixth**2 - sixth)) - len(sixth) * 4 * (end**2 - end))

    def step(self) -> None:
        """Move by one step of velocity Verlet."""
        self.velocities += 0.5 * STEP * self.forces
        self.places += STEP * self.velocities
        self.forces, self.energy = self.evaluate()
        self.velocities += 0.5 * STEP * self.forces

    @property
    def kinetic(self) -> float:
        """Kinetic energy."""
        return 0.5 * float(np.sum(self.velocities**2))

    @property
    def pressure(self) -> np.ndarray:
        """Pressure tensor (3, 3)."""
        return (self.velocities.T @ self.velocities + self.virial) / self.edge**3

    def equilibrate(self, steps: int) -> None:
        """Melt, and give the total energy that belongs to the temperature."""
        wanted = 1.5 * (self.n - 1) * self.temperature
        energies = []
        for k in range(steps):
            self.step()
            if k % 20 == 0:
                self.velocities *= np.sqrt(wanted / self.kinetic)
            if k > steps // 2:
                energies.append(self.energy)
        target = np.mean(energies) + wanted
        self.velocities *= np.sqrt((target - self.energy) / self.kinetic)


def produce(liquid: Liquid, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Unwrapped positions and velocities every few steps, and the mean temperature."""
    places, velocities, kinetic = [], [], []
    for k in range(steps):
        liquid.step()
        kinetic.append(liquid.kinetic)
        if k % EVERY == 0:
            places.append(liquid.places.copy())
            velocities.append(liquid.velocities.copy())
    return np.array(places), np.array(velocities), float(np.mean(kinetic)) / (1.5 * (liquid.n - 1))


def green_kubo(velocities: np.ndarray, frames: int) -> float:
    """Integral of the velocity autocorrelation up to so many frames, in reduced units."""
    product = [
        np.mean(np.sum(velocities[lag:] * velocities[: len(velocities) - lag], axis=2)) for lag in range(frames)
    ]
    return float(np.trapezoid(product) * STEP * EVERY / 3)


def analyse(places: np.ndarray, edge: float, kelvin: float) -> DiffusionResult:
    frames = ArrayFrames(
        places * SIGMA_A, ["Ar"] * places.shape[1], np.eye(3) * edge * SIGMA_A, unwrapped=True
    )
    return fit_diffusion_coefficient(calculate_msd(frames), kelvin, STEP * EVERY * TAU_FS, phase="liquid")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--equilibration", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    to_cm2_s = SIGMA_A**2 / TAU_FS * 0.1
    argon = 1.374 / (MASS_AMU * 1.66053906660) * SIGMA_A**3
    cases = {
        "Rahman's argon": (6, argon, 94.4 / EPSILON_K, 2.25),
        "triple point": (5, 0.8442, 0.722, 2.5),
    }
    for name, (cells, density, temperature, cut_off) in cases.items():
        start = time.perf_counter()
        liquid = Liquid(cells, density, temperature, cut_off, args.seed)
        liquid.equilibrate(args.equilibration)
        places, velocities, found = produce(liquid, args.steps)
        result = analyse(places, liquid.edge, found * EPSILON_K)
        group = result.groups["Ar"]
        integral = green_kubo(velocities, round(3.0 / (STEP * EVERY))) * to_cm2_s
        print(
            f"{name}: {liquid.n} atoms, {result.length_ps:.0f} ps, {found * EPSILON_K:.2f} K (wanted "
            f"{temperature * EPSILON_K:.2f}): D = ({1e5 * group.D_cm2_s:.3f} ± {1e5 * group.D_stderr_cm2_s:.3f})e-5 "
            f"cm^2/s (atoms {1e5 * (group.D_stderr_atoms_cm2_s or 0):.3f}, time "
            f"{1e5 * (group.D_stderr_time_cm2_s or 0):.3f}), D* = "
            f"{group.D_cm2_s / to_cm2_s:.4f} ± {group.D_stderr_cm2_s / to_cm2_s:.4f}, plateau from "
            f"{group.plateau_ps[0]:.2f} ps, velocity autocorrelation {1e5 * integral:.3f}e-5, state {result.state}, "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
        for warning in result.warnings:
            print(f"  {warning}")


if __name__ == "__main__":
    main()
