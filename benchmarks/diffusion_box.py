"""Measure what the size of the box takes from diffusion in a Lennard-Jones liquid, and what the correction gives back.

Near the triple point (rho* = 0.8442, T* = 0.722, cut-off 2.5 sigma), in boxes of several sizes. The viscosity of each
comes from the pressures of the same run, as in the goal `diffusion`; known: 3.24 +- 0.04 (Ferrario, Ciccotti, Holian
and Ryckaert, Phys. Rev. A 44, 6936, of 2048 atoms; authors and volume from memory). Corrected coefficients must agree.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_box.py --steps 40000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from diffusion_known import EPSILON_K, EVERY, SIGMA_A, STEP, TAU_FS, Liquid, analyse

from mlip_autopipe.analysis.box_size import yeh_hummer_correction_cm2_s
from mlip_autopipe.analysis.constants import BOLTZMANN_J_PER_K
from mlip_autopipe.analysis.viscosity import shear_viscosity

DENSITY, TEMPERATURE, MELTING, CUT_OFF = 0.8442, 0.722, 1.5, 2.5
PRESSURE_GPA = BOLTZMANN_J_PER_K * EPSILON_K / (SIGMA_A * 1e-10) ** 3 * 1e-9
VISCOSITY_MPA_S = PRESSURE_GPA * 1e9 * TAU_FS * 1e-15 * 1e3
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def produce(liquid: Liquid, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions and pressure tensors every few steps, and the mean temperature."""
    places, pressures, kinetic = [], [], 0.0
    for k in range(steps):
        liquid.step()
        kinetic += liquid.kinetic / steps
        if k % EVERY == 0:
            places.append(liquid.places.copy())
            pressures.append(liquid.pressure[VOIGT])
    return np.array(places), np.array(pressures), kinetic / (1.5 * (liquid.n - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--equilibration", type=int, default=3000)
    parser.add_argument("--cells", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    to_cm2_s = SIGMA_A**2 / TAU_FS * 0.1
    for cells in args.cells:
        start = time.perf_counter()
        liquid = Liquid(cells, DENSITY, MELTING, CUT_OFF, args.seed)
        liquid.equilibrate(args.equilibration)
        liquid.temperature = TEMPERATURE
        liquid.equilibrate(2 * args.equilibration)
        places, pressures, found = produce(liquid, args.steps)
        kelvin, edge_A = found * EPSILON_K, liquid.edge * SIGMA_A
        group = analyse(places, liquid.edge, kelvin).groups["Ar"]
        eta = shear_viscosity([pressures * PRESSURE_GPA], STEP * EVERY * TAU_FS, edge_A**3, kelvin)
        shift = yeh_hummer_correction_cm2_s(kelvin, edge_A * np.eye(3), eta, phase="liquid")
        total = group.D_cm2_s + shift.value
        error = float(np.hypot(group.D_stderr_cm2_s, shift.stderr))
        print(
            f"{liquid.n} atoms, T* = {found:.4f}, {args.steps * STEP * TAU_FS / 1000:.0f} ps: D* in the box "
            f"{group.D_cm2_s / to_cm2_s:.4f} ± {group.D_stderr_cm2_s / to_cm2_s:.4f}, viscosity* "
            f"{eta.value / VISCOSITY_MPA_S:.3f} ± {eta.stderr / VISCOSITY_MPA_S:.3f}, correction "
            f"{100 * shift.value / total:.1f} %, D* corrected {total / to_cm2_s:.4f} ± {error / to_cm2_s:.4f} "
            f"({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
