"""Compare the lattice Monte Carlo with exact results, with mchammer, and with published critical temperatures.

Exact: all decorations of a cell of 16 sites; independent sites; the number of images of an ordered structure, which
appears in the difference between the free energies of a run heated from it and one cooled from disorder. Published:
critical temperatures of nearest-neighbour Ising models in units of J / k with spins +-1, by the crossing of the
cumulants of two sizes (Binder, 10.1007/BF01293604); the same temperatures once more as the top of a miscibility gap and
as the disordering of B2 by the code that makes phase diagrams.

    OMP_NUM_THREADS=1 python benchmarks/monte_carlo_known.py
    OMP_NUM_THREADS=1 python benchmarks/monte_carlo_known.py --only ising diagram
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk
from icet import ClusterSpace
from icet.tools import enumerate_structures

from mlip_autopipe.analysis.cluster_expansion import ClusterExpansion, fit_cluster_expansion
from mlip_autopipe.analysis.constants import BOLTZMANN_EV_PER_K
from mlip_autopipe.analysis.lattice_decoration import ParentLattice, common_supercell, read_decoration
from mlip_autopipe.analysis.lattice_hamiltonian import LatticeHamiltonian, lattice_hamiltonian
from mlip_autopipe.analysis.lattice_monte_carlo import run_canonical, run_semi_grand, run_variance_constrained
from mlip_autopipe.analysis.order_disorder import order_disorder
from mlip_autopipe.analysis.phase_boundaries import calculate_phase_boundaries
from mlip_autopipe.analysis.statistics import mean_with_error
from mlip_autopipe.analysis.temperature_walk import cool, heat

ELEMENTS = ("Au", "Cu")
# With this energy of a pair, temperatures in K are 100 times those in units of J / k.
J_EV = 100 * BOLTZMANN_EV_PER_K

ONSAGER = "exact, Onsager 10.1103/PhysRev.65.117"
FERRENBERG = "Ferrenberg, Xu and Landau 10.1103/PhysRevE.97.043301"
# Seen where others quote the paper; fcc as J / kT_c = 0.1020707(2).
LUNDOW = "Lundow, Markstroem and Rosengren 10.1080/14786430802680512"
CRITICAL: dict[str, tuple[float, str]] = {
    "square": (2 / np.log(1 + np.sqrt(2)), ONSAGER),
    "sc": (4.5115, FERRENBERG),
    "bcc": (6.3550, LUNDOW),
    "fcc": (1 / 0.1020707, LUNDOW),
}
NEIGHBOURS = {"square": 4, "sc": 6, "bcc": 8, "fcc": 12}
# Repetitions of the conventional cell: the sizes of which the cumulants are compared.
SIZES = {"square": (16, 32), "sc": (6, 12), "bcc": (5, 10), "fcc": (4, 8)}


def primitive(name: str) -> Atoms:
    """Lattice with a nearest-neighbour distance of about 2.7 A."""
    if name == "square":
        return Atoms("Cu", cell=[2.7, 2.7, 30.0], pbc=True)
    return bulk("Cu", name, a={"sc": 2.7, "bcc": 3.1, "fcc": 3.8}[name])


def ising(name: str, supercell: np.ndarray, pair_eV: float) -> LatticeHamiltonian:
    """Nearest neighbours with the energy -pair_eV s s'."""
    cell = primitive(name)
    space = ClusterSpace(cell, [3.0 if name != "bcc" else 2.9], list(ELEMENTS))
    assert len(space) == 3
    parameters = [0.0, 0.0, -pair_eV * NEIGHBOURS[name] / 2]
    return lattice_hamiltonian(space, parameters, ParentLattice.from_atoms(cell), ELEMENTS, supercell)


def conventional(name: str, repeats: int) -> np.ndarray:
    """Supercell of conventional cells, in primitive vectors."""
    if name == "square":
        return np.diag([repeats, repeats, 1])
    edges = repeats * np.eye(3) * {"sc": 2.7, "bcc": 3.1, "fcc": 3.8}[name]
    return np.round(edges @ np.linalg.inv(primitive(name).cell.array)).astype(int)


def enumeration() -> None:
    """All 65 536 decorations of 16 sites, with pairs, triplets and quadruplets."""
    cell = primitive("fcc")
    space = ClusterSpace(cell, [2.8, 2.8, 2.8], list(ELEMENTS))
    parameters = np.array([0.02, 0.01, 0.06, 0.03, -0.02])
    hamiltonian = lattice_hamiltonian(
        space, parameters, ParentLattice.from_atoms(cell), ELEMENTS, [[0, 2, 2], [2, 0, 2], [2, 2, 0]]
    )
    n = hamiltonian.n_sites
    states = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.int8)
    energies, counts = n * hamiltonian.energy_eV(states), states.sum(axis=1)
    pulls, of_bins = [], []
    for kelvin in (300.0, 600.0, 1200.0):
        for mu in (-0.1, 0.0, 0.1):
            weights = np.exp(-(energies - mu * counts - (energies - mu * counts).min()) / (BOLTZMANN_EV_PER_K * kelvin))
            weights /= weights.sum()
            run = run_semi_grand(hamiltonian, states[5], [kelvin], {"Cu": mu}, sweeps=40_000, equilibration=500, seed=3)
            exact = np.bincount(counts, weights=weights, minlength=n + 1)
            shares = mean_with_error(np.rint(n * run.fractions[0, :, 1]) == np.arange(n + 1)[:, None])
            seen = exact > 1e-3
            of_bins.extend((shares.mean - exact)[seen] / shares.stderr[seen])
            pulls.append((run.energy.mean[0] - weights @ energies / n) / run.energy.stderr[0])
            pulls.append((run.composition.mean[0, 1] - weights @ counts / n) / run.composition.stderr[0, 1])
        inside = counts == 7
        weights = np.exp(-(energies[inside] - energies[inside].min()) / (BOLTZMANN_EV_PER_K * kelvin))
        start = states[inside][0]
        run = run_canonical(hamiltonian, start, [kelvin], sweeps=40_000, equilibration=500, seed=4)
        pulls.append((run.energy.mean[0] - weights @ energies[inside] / weights.sum() / n) / run.energy.stderr[0])
        weights = np.exp(
            -(energies - energies.min()) / (BOLTZMANN_EV_PER_K * kelvin) - 30 * n * (counts / n - 0.3) ** 2
        )
        run = run_variance_constrained(
            hamiltonian, start, [kelvin], {"Cu": 0.3}, kappa=30.0, sweeps=40_000, equilibration=500, seed=5
        )
        pulls.append((run.composition.mean[0, 1] - weights @ counts / weights.sum() / n) / run.composition.stderr[0, 1])
    for name, values in (("means", pulls), ("probabilities of a composition", of_bins)):
        size = np.abs(values)
        print(
            f"  {len(size)} {name}: deviations in standard errors: rms {np.sqrt(np.mean(size**2)):.2f}, "
            f"largest {size.max():.1f}"
        )


def independent() -> None:
    """No interactions: x = 1 / (1 + exp(-mu / kT))."""
    hamiltonian = ising("fcc", conventional("fcc", 4), 0.0)
    kelvin = np.full(5, 500.0)
    mu = np.linspace(-0.1, 0.1, 5)
    run = run_semi_grand(hamiltonian, np.zeros(256), kelvin, {"Cu": mu}, sweeps=4000, equilibration=50, seed=1)
    expected = 1 / (1 + np.exp(-mu / (BOLTZMANN_EV_PER_K * 500)))
    for potential, exact, mean, error in zip(
        mu, expected, run.composition.mean[:, 1], run.composition.stderr[:, 1], strict=True
    ):
        print(f"  mu {potential:+.2f} eV: x = {mean:.5f} +- {error:.5f}, exact {exact:.5f}")


def critical_temperature(name: str, sweeps: int, seed: int) -> tuple[float, float]:
    """Where the cumulants 1 - <m^4> / 3 <m^2>^2 of two sizes are equal, in units of J / k, with its error."""
    known = CRITICAL[name][0]
    scale = np.linspace(0.97, 1.03, 7)
    kelvin = 100 * known * scale
    curves, errors = [], []
    for size in SIZES[name]:
        hamiltonian = ising(name, conventional(name, size), J_EV)
        start = np.random.default_rng(seed).integers(0, 2, hamiltonian.n_sites)
        # the larger cell costs more and relaxes more slowly
        run = run_semi_grand(
            hamiltonian, start, kelvin, {"Cu": 0.0}, sweeps=sweeps, equilibration=sweeps // 10, seed=seed + size
        )
        blocks = (2 * run.fractions[:, : sweeps // 20 * 20, 1] - 1).reshape(len(kelvin), 20, -1)
        moments = np.stack([(blocks**2).mean(axis=2), (blocks**4).mean(axis=2)])
        # jackknife over blocks
        left = (moments.sum(axis=2, keepdims=True) - moments) / 19
        cumulants = 1 - left[1] / (3 * left[0] ** 2)
        curves.append(cumulants)
        errors.append(np.sqrt(19 * cumulants.var(axis=1)))
    difference = curves[1] - curves[0]
    noise = np.hypot(*errors)

    def root(values: np.ndarray) -> float:
        line = np.polynomial.Polynomial.fit(scale, values, 2, w=1 / noise)
        inside = [float(z.real) for z in line.roots() if abs(z.imag) < 1e-9]
        return min(inside, key=lambda z: abs(z - 1), default=np.nan)

    draws = np.random.default_rng(0).standard_normal((200, len(kelvin)))
    centre = difference.mean(axis=1)
    return known * root(centre), known * float(np.nanstd([root(centre + noise * d) for d in draws]))


def ising_models(sweeps: int) -> None:
    for name, (known, source) in CRITICAL.items():
        begun = time.perf_counter()
        value, error = critical_temperature(name, sweeps, seed=1)
        print(
            f"  {name:6} T = {value:.4f} +- {error:.4f}, published {known:.4f} ({source}): "
            f"{100 * (value / known - 1):+.2f} %, {time.perf_counter() - begun:.0f} s"
        )


def expansion_of(name: str, pair_eV: float) -> ClusterExpansion:
    """Expansion fitted to the energies of small ordered structures in an Ising model."""
    cell = primitive(name)
    space = ClusterSpace(cell, [3.0 if name != "bcc" else 2.9], list(ELEMENTS))
    structures = list(enumerate_structures(cell, range(1, 7), list(ELEMENTS)))
    pairs = np.array([space.get_cluster_vector(atoms)[2] for atoms in structures])
    return fit_cluster_expansion(cell, structures, pair_eV * NEIGHBOURS[name] / 2 * (1 - pairs))


def diagrams() -> None:
    """Find the top of a miscibility gap, and where B2 disorders, by what makes phase diagrams."""
    known = 100 * CRITICAL["fcc"][0]
    begun = time.perf_counter()
    diagram = calculate_phase_boundaries(expansion_of("fcc", J_EV), np.linspace(300, 1100, 9))
    found = diagram.consolute_temperature_K
    print(f"  fcc, top of the miscibility gap {found}, published {known:.1f} K, {time.perf_counter() - begun:.0f} s")
    for item in diagram.slices:
        low, high = (item.two_phase[0].low, item.two_phase[0].high) if item.two_phase else (None, None)
        print(f"    {item.temperature_K:7.1f} K: {low} {high}")
    known = 100 * CRITICAL["bcc"][0]
    for seed in range(3):
        begun = time.perf_counter()
        b2 = bulk("Cu", "bcc", a=3.1, cubic=True)
        b2.symbols[0] = "Au"
        parent = ParentLattice.from_atoms(primitive("bcc"))
        state = read_decoration(b2, parent, ELEMENTS)
        large, small = (ising("bcc", conventional("bcc", size), -J_EV) for size in (5, 3))
        grid = np.geomspace(100, 1400, 46)
        result, _ = order_disorder(large, state, grid, small=small, sweeps=320, seed=seed)
        print(
            f"  B2 disorders at {result.temperature_K}, published {known:.1f} K, by {result.method}, "
            f"heat capacity largest at {result.heat_capacity_maximum_K:.0f} K, {time.perf_counter() - begun:.0f} s"
        )


def degeneracies() -> None:
    """Heated and cooled runs differ by the logarithm of the number of images of the ordered structure."""
    cell = primitive("fcc")
    space = ClusterSpace(cell, [4.0], list(ELEMENTS))
    parent = ParentLattice.from_atoms(cell)
    for name, gold, images in (("L1_2", 1, 4), ("L1_0", 2, 6)):
        ordered = bulk("Cu", a=3.8, cubic=True)
        ordered.symbols[:gold] = "Au"
        state = read_decoration(ordered, parent, ELEMENTS)
        matrix = common_supercell([state], parent, shortest_image_A=4.0, target_sites=108)
        # second neighbours that like to be alike make antiphase boundaries cost energy
        hamiltonian = lattice_hamiltonian(space, [0, 0, 6 * J_EV, -0.75 * J_EV], parent, ELEMENTS, matrix)
        start = hamiltonian.occupation(state)
        grid = np.geomspace(60, 600, 80)
        found = []
        for seed in range(4):
            hot = heat(hamiltonian, start, grid, sweeps=1000, seed=seed)
            cold = cool(hamiltonian, np.random.default_rng(seed).permutation(start), grid, sweeps=1000, seed=seed + 10)
            found.append(hamiltonian.n_sites * (hot.free_energies[0] - cold.free_energies[0]))
        print(
            f"  {name}: {np.mean(found):.2f} +- {np.std(found, ddof=1) / 2:.2f}, ln {images} = {np.log(images):.2f} "
            f"({hamiltonian.n_sites} sites)"
        )


def against_mchammer() -> None:
    """Speed, and agreement of a variance-constrained run, on a cluster space of the usual size."""
    from icet import ClusterExpansion as IcetExpansion
    from mchammer.calculators import ClusterExpansionCalculator
    from mchammer.ensembles import VCSGCEnsemble

    cell = primitive("fcc")
    space = ClusterSpace(cell, [5.0, 2.8, 2.8], list(ELEMENTS))
    rng = np.random.default_rng(2)
    parameters = np.array([0, 0, *rng.normal(0, 0.02, len(space) - 2)])
    matrix = 7 * np.eye(3, dtype=int)
    hamiltonian = lattice_hamiltonian(space, parameters, ParentLattice.from_atoms(cell), ELEMENTS, matrix)
    occupation = rng.integers(0, 2, hamiltonian.n_sites)
    settings = {"kappa": 200.0, "equilibration": 500, "seed": 1}
    run_variance_constrained(hamiltonian, occupation, [600.0], {"Cu": 0.4}, sweeps=8, **settings)
    begun = time.perf_counter()
    run = run_variance_constrained(hamiltonian, occupation, [600.0], {"Cu": 0.4}, sweeps=10_000, **settings)
    own = 10_500 * hamiltonian.n_sites / (time.perf_counter() - begun)
    atoms = Atoms(
        [ELEMENTS[k] for k in occupation],
        hamiltonian.parent.positions_A(hamiltonian.vectors, hamiltonian.basis),
        cell=matrix @ cell.cell.array,
        pbc=True,
    )
    calculator = ClusterExpansionCalculator(atoms, IcetExpansion(space, parameters))
    ensemble = VCSGCEnsemble(atoms, calculator, temperature=600.0, phis={"Cu": -0.8}, kappa=200.0, random_seed=1)
    steps = 2000 * len(atoms)
    begun = time.perf_counter()
    ensemble.run(steps)
    theirs = steps / (time.perf_counter() - begun)
    energies = ensemble.data_container.get("potential")[200:] / len(atoms)
    amounts = ensemble.data_container.get("Cu_count")[200:] / len(atoms)
    print(f"  clusters around a site: {hamiltonian.orders.tolist()}")
    print(f"  trials per second: {own:.3g}, mchammer {theirs:.3g}: {own / theirs:.0f} times as many")
    print(
        f"  energy {run.energy.mean[0]:.6f} +- {run.energy.stderr[0]:.6f}, mchammer {energies.mean():.6f} eV per site"
    )
    print(f"  x {run.composition.mean[0, 1]:.5f} +- {run.composition.stderr[0, 1]:.5f}, mchammer {amounts.mean():.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=20_000, help="of the Ising models")
    parts: dict[str, tuple[str, Callable[[], None]]] = {}
    parser.add_argument("--only", nargs="*", help="enumeration, independent, ising, diagram, images, mchammer")
    arguments = parser.parse_args()
    parts = {
        "enumeration": ("all decorations of 16 sites", enumeration),
        "independent": ("independent sites", independent),
        "ising": ("critical temperatures of Ising models, J / k", lambda: ising_models(arguments.sweeps)),
        "diagram": ("the same by the code for phase diagrams", diagrams),
        "images": ("heated minus cooled free energy, kT", degeneracies),
        "mchammer": ("mchammer", against_mchammer),
    }
    for key in arguments.only or parts:
        title, part = parts[key]
        begun = time.perf_counter()
        print(title)
        part()
        print(f"  {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
