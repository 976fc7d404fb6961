"""Measure how wrong a transition temperature is that comes from a noisy cluster expansion.

Energies of 137 small fcc structures in a model that orders as L1_2 and L1_0 (nearest neighbours unlike, second ones
alike) get normal noise; the expansion is fitted, and the temperature at which L1_2 disorders is compared with that of
the expansion without noise. The ratio is the one that the gate compares with a third.

    OMP_NUM_THREADS=1 python benchmarks/expansion_noise.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from ase.build import bulk
from icet import ClusterSpace
from icet.tools import enumerate_structures

from mlip_autopipe.analysis.cluster_expansion import ClusterExpansion, fit_cluster_expansion
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_decoration import common_supercell, read_decoration
from mlip_autopipe.analysis.order_disorder import order_disorder
from mlip_autopipe.analysis.phase_boundaries import expansion_error

ELEMENTS = ["Au", "Cu"]
J_EV = 300 * BOLTZMANN_EV_PER_K


def transition(expansion: ClusterExpansion, sweeps: int, seed: int) -> tuple[float, float]:
    """Temperature at which L1_2 disorders, K, and its claimed relative error; not numbers without a transition."""
    ordered = bulk("Cu", a=3.8, cubic=True)
    ordered.symbols[0] = "Au"
    state = read_decoration(ordered, expansion.parent, ELEMENTS)
    reach = max(expansion.cutoffs_A)
    large = common_supercell([state], expansion.parent, shortest_image_A=reach, target_sites=250)
    small = common_supercell([state], expansion.parent, shortest_image_A=reach, target_sites=100, max_sites=130)
    top = expansion.ordering_temperature_K
    hamiltonian = expansion.hamiltonian(large)
    found, runs = order_disorder(
        hamiltonian,
        state,
        np.geomspace(0.1 * top, 1.35 * top, 40),
        small=expansion.hamiltonian(small),
        sweeps=sweeps,
        seed=seed,
    )
    if found.temperature_K is None:
        return np.nan, np.nan
    return found.temperature_K.value, expansion_error(expansion, hamiltonian, found, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--sweeps", type=int, default=160)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4])
    arguments = parser.parse_args()
    cell = bulk("Cu", a=3.8)
    space = ClusterSpace(cell, [4.0], ELEMENTS)
    structures = list(enumerate_structures(cell, range(1, 7), ELEMENTS))
    vectors = np.array([space.get_cluster_vector(atoms) for atoms in structures])
    exact = vectors @ np.array([-6 * J_EV + 0.75 * J_EV, 0, 6 * J_EV, -0.75 * J_EV])
    pure = np.array([len(set(atoms.get_chemical_symbols())) == 1 for atoms in structures])
    truth = fit_cluster_expansion(cell, structures, exact)
    known, _ = transition(truth, 4 * arguments.sweeps, 0)
    depth = 1e3 * truth.ordering_energy_eV
    print(f"without noise: L1_2 disorders at {known:.0f} K, ordering energy {depth:.1f} meV/atom")
    for share in arguments.noise:
        begun = time.perf_counter()
        ratios, claimed, errors, passed = [], [], [], 0
        for seed in range(arguments.repeats):
            rng = np.random.default_rng(seed)
            noise = np.where(pure, 0.0, rng.normal(0, share * truth.ordering_energy_eV, len(exact)))
            fitted = fit_cluster_expansion(cell, structures, exact + noise)
            ratios.append(fitted.error_ratio)
            passed += fitted.trustworthy().passed
            value, error = transition(fitted, arguments.sweeps, seed)
            claimed.append(error)
            errors.append(value / known - 1)
        off = np.array(errors)
        print(
            f"noise {share:.2f}: ratio {np.mean(ratios):.3f}, gate passes {passed} of {len(off)}; temperature off by "
            f"{100 * np.sqrt(np.nanmean(off**2)):.1f} % rms, {100 * np.nanmax(np.abs(off)):.1f} % at most, "
            f"{int(np.isnan(off).sum())} without a transition; error of the expansion claimed as "
            f"{100 * np.nanmean(claimed):.1f} %; {time.perf_counter() - begun:.0f} s"
        )


if __name__ == "__main__":
    main()
