"""Measure lattice constants of copper by effective-medium theory at 300 and 600 K, and whether their errors hold.

Short runs with different seeds are compared with one long run per temperature: how far they scatter, what they state,
how often the stated error covers the long run; with the pressure of the frames and without. Then thermal expansion
from these runs, the volume shift of a stiffer force field predicted from the frames and measured by a run with it, and
the size of the cell.

    OMP_NUM_THREADS=1 python benchmarks/equilibrium.py --processes 2 --folder runs    # stopped: call again to go on
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.optimize import brentq

from mlip_autopipe.analysis.displacements import mean_square_displacements, nearest_neighbour_distance
from mlip_autopipe.analysis.equilibrium import EquilibriumState, equilibrium_state
from mlip_autopipe.analysis.equilibrium_gates import equilibrium_gates
from mlip_autopipe.analysis.finite_size import extrapolate_to_infinite_size, thermal_size_bound
from mlip_autopipe.analysis.npt_run import NPTRun
from mlip_autopipe.analysis.results import GateResult
from mlip_autopipe.analysis.symmetry import crystal_symmetry
from mlip_autopipe.analysis.thermal_expansion import thermal_expansion
from mlip_autopipe.analysis.volume_shift import volume_shift, volume_shift_from_pressure
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.trajectory import Trajectory

STEP_FS = 4.0
FRAME_INTERVAL = 10
STIFFER = 1.05

Result = tuple[NPTRun, EquilibriumState, list[GateResult]]


def static_lattice_constant() -> float:
    def trace(a: float) -> float:
        atoms = bulk("Cu", "fcc", a=a)
        atoms.calc = EMT()
        return float(atoms.get_stress()[:3].sum())

    return float(brentq(trace, 3.5, 3.7, xtol=1e-10))


def copper(repetitions: int) -> Atoms:
    return bulk("Cu", "fcc", a=static_lattice_constant(), cubic=True).repeat(repetitions)


def simulate(kelvin: float, seed: int, n_steps: int, repetitions: int, folder: Path) -> Result:
    """Run, evaluate the stress of the frames, average, check."""
    atoms = copper(repetitions)
    settings = MDSettings(
        ensemble="npt", temperature_K=kelvin, time_step_fs=STEP_FS, compressibility_per_GPa=0.0075, seed=seed
    )
    path = folder / f"{kelvin:.0f}_{repetitions}_{seed}.h5"
    run_md(
        settings,
        atoms,
        EMT(),
        n_steps,
        checkpoint_path=path.with_suffix(".ckpt"),
        checkpoint_interval_s=20,
        trajectory_path=path,
        frame_interval=FRAME_INTERVAL,
    )
    with Trajectory(path) as trajectory:
        positions = trajectory.read()
        cells = np.asarray(trajectory.cells)
        energies, temperatures = np.asarray(trajectory.energies_eV), np.asarray(trajectory.temperatures_K)
    frame, stresses = atoms.copy(), []
    frame.calc = EMT()
    for place, cell in zip(positions, cells, strict=True):
        frame.set_cell(cell)
        frame.positions[:] = place
        stresses.append(frame.get_stress() / units.GPa)
    run = NPTRun(
        cells_A=cells,
        energies_eV=energies,
        temperatures_K=temperatures,
        masses_amu=atoms.get_masses(),
        target_temperature_K=kelvin,
        stresses_GPa=np.array(stresses),
        repetitions=(repetitions,) * 3,
        rotations=crystal_symmetry(AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))).rotations,
        reference_cell_A=atoms.cell.array,
    )
    state = equilibrium_state(run)
    sites = atoms.get_scaled_positions()
    squares = mean_square_displacements(positions, cells, sites)
    gates = equilibrium_gates(run, state, squares, nearest_neighbour_distance(atoms.cell.array, sites))
    return run, state, gates


def picoseconds(run: NPTRun) -> float:
    return (len(run.cells_A) - 1) * FRAME_INTERVAL * STEP_FS / 1e3


def lattice_constants(kelvin: float, long: Result, short: list[Result]) -> None:
    """Print scatter, stated error and coverage of the short runs."""
    reference = long[1].lattice_parameters["a_A"]
    state = long[1]
    print(
        f"\n{kelvin:g} K, {long[0].n_atoms} atoms, long run of {picoseconds(long[0]):g} ps: "
        f"a = {reference.value:.5f} +- {reference.stderr:.5f} A, "
        f"V = {state.volume_A3_per_atom.value:.5f} +- {state.volume_A3_per_atom.stderr:.5f} A^3, "
        f"B = {state.bulk_modulus_GPa.value:.1f} +- {state.bulk_modulus_GPa.stderr:.1f} GPa (fluctuations: "
        f"{state.bulk_modulus_fluctuation_GPa.value:.0f} +- {state.bulk_modulus_fluctuation_GPa.stderr:.0f})"
    )
    print(
        f"{len(short)} runs of {picoseconds(short[0][0]):g} ps, transient included; "
        f"frames left out at the start: {np.mean([s.n_discarded / len(r.cells_A) for r, s, _ in short]):.0%}"
    )
    print("| | scatter of a (A) | stated error (A) | long run covered | mean - long run | within 2 errors |")
    print("|---|---|---|---|---|---|")
    for name, states in (
        ("with pressures", [s for _, s, _ in short]),
        ("without", [equilibrium_state(replace(r, stresses_GPa=None)) for r, _, _ in short]),
    ):
        a = np.array([s.lattice_parameters["a_A"] for s in states])
        error = np.abs(a[:, 0] - reference.value)
        stated = np.hypot(a[:, 1], reference.stderr)
        print(
            f"| {name} | {a[:, 0].std(ddof=1):.5f} | {a[:, 1].mean():.5f} | {np.mean(error < stated):.0%} | "
            f"{a[:, 0].mean() - reference.value:+.5f} | {np.mean(error < 2 * stated):.0%} |"
        )
    modulus = np.array([s.bulk_modulus_GPa for _, s, _ in short])
    print(
        f"bulk modulus of the short runs: {modulus[:, 0].mean():.1f} GPa, scatter {modulus[:, 0].std(ddof=1):.1f}, "
        f"stated {modulus[:, 1].mean():.1f}"
    )
    failed = [f"{g.name} ({g.detail})" for _, _, gates in [long, *short] for g in gates if not g.passed]
    print(f"gates failed: {'; '.join(failed) or 'none'}")


def expansion(kelvins: list[float], states: list[EquilibriumState], label: str) -> None:
    """Print the linear coefficient at the first temperature, from the runs and the static lattice."""
    t = [0.0, *kelvins]
    v = [static_lattice_constant() ** 3 / 4, *(s.volume_A3_per_atom.value for s in states)]
    e = [0.0, *(s.volume_A3_per_atom.stderr for s in states)]
    found = thermal_expansion(t, v, e, kelvins[0])
    print(
        f"linear thermal expansion at {kelvins[0]:g} K, {label}: {1e6 * found.linear_per_K:.2f} +- "
        f"{1e6 * found.linear_stderr_per_K:.2f} 1e-6/K (statistics "
        f"{1e6 * found.volumetric.stderr_statistics_per_K / 3:.2f}, curvature "
        f"{1e6 * found.volumetric.stderr_curvature_per_K / 3:.2f})"
    )


def stiffer_force_field(base: Result, kelvin: float, stiffer: EquilibriumState) -> None:
    """Compare predicted and simulated shifts of 1.05 times the energy, which is the same as a lower temperature."""
    run, state, _ = base
    n = run.n_atoms
    truth = n * (stiffer.volume_A3_per_atom.value - state.volume_A3_per_atom.value)
    error = n * np.hypot(stiffer.volume_A3_per_atom.stderr, state.volume_A3_per_atom.stderr)
    print(f"\n{kelvin:g} K, energies times {STIFFER:g}: two long runs differ by {truth:.3f} +- {error:.3f} A^3")
    count = len(run.cells_A) - state.n_discarded
    for label, n_frames, independent in (("all frames", count, False), ("20 frames", 20, True)):
        chosen = np.linspace(state.n_discarded, len(run.cells_A) - 1, n_frames).astype(int)
        volumes, energies = run.volumes_A3[chosen], run.energies_eV[chosen]
        virial = -run.stresses_GPa[chosen, :3].mean(axis=1)
        more = STIFFER - 1
        bare = volume_shift_from_pressure(
            more * virial, float(volumes.mean()), state.bulk_modulus_GPa, independent=independent
        )
        both = volume_shift(
            volumes, virial, more * virial, more * energies, state.bulk_modulus_GPa, kelvin, independent=independent
        )
        print(
            f"  {label}: pressure alone {bare.value:.3f} +- {bare.stderr:.3f}; with the response "
            f"{both.from_pressure.value:.3f} +- {both.from_pressure.stderr:.3f}; reweighted "
            f"{both.reweighted.value:.3f} +- {both.reweighted.stderr:.3f} ({both.reweighted.effective_frames:.0f} "
            f"effective frames); trusted: {both.trusted}"
        )


def sizes(kelvin: float, results: list[Result]) -> None:
    """Print volumes by size, the extrapolated one, and what the bound from one size says."""
    static = static_lattice_constant() ** 3 / 4
    volumes = [s.volume_A3_per_atom for _, s, _ in results]
    n_atoms = [r.n_atoms for r, _, _ in results]
    found = extrapolate_to_infinite_size(n_atoms, [v.value for v in volumes], [v.stderr for v in volumes])
    print(
        f"\n{kelvin:g} K, volume per atom extrapolated to infinite size: {found.value:.5f} +- "
        f"{found.stderr_statistics:.5f} (statistics) +- {found.stderr_finite_size:.5f} (size), chi^2 "
        f"{found.chi_squared:.1f} for {found.n_dof} degrees of freedom"
    )
    for n, v in zip(n_atoms, volumes, strict=True):
        print(
            f"  {n:4d} atoms: {v.value:.5f} +- {v.stderr:.5f} A^3, difference {v.value - found.value:+.5f}, bound "
            f"{thermal_size_bound(v.value, static, n):.5f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2000, help="of the short runs")
    parser.add_argument("--long", type=int, default=15000, help="steps of the long runs")
    parser.add_argument("--repetitions", type=int, default=3, help="of the cubic cell")
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 4], help="further repetitions")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keeps trajectories and checkpoints; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure(args, folder)


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Simulate everything and print the tables."""
    start = time.perf_counter()
    kelvins = [300.0, 600.0]
    cubic = args.repetitions
    with ProcessPoolExecutor(args.processes) as pool:
        long = {t: pool.submit(simulate, t, 1000, args.long, cubic, folder) for t in kelvins}
        stiffer = pool.submit(simulate, kelvins[0] / STIFFER, 2000, args.long, cubic, folder)
        other = [pool.submit(simulate, kelvins[1], 3000, args.long, m, folder) for m in args.sizes]
        short = {
            t: [pool.submit(simulate, t, s, args.steps, cubic, folder) for s in range(args.seeds)] for t in kelvins
        }
        for t in kelvins:
            lattice_constants(t, long[t].result(), [f.result() for f in short[t]])
        print()
        expansion(kelvins, [long[t].result()[1] for t in kelvins], "long runs and static lattice")
        for seed in range(min(3, args.seeds)):
            expansion(kelvins, [short[t][seed].result()[1] for t in kelvins], f"short runs {seed} and static lattice")
        stiffer_force_field(long[kelvins[0]].result(), kelvins[0], stiffer.result()[1])
        if other:
            sizes(kelvins[1], [long[kelvins[1]].result(), *(f.result() for f in other)])
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
