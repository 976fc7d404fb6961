"""Measure the molecular dynamics loop: against bare force calls, ASE's loops, with the watch, and its trajectory.

Copper by EMT at 64 and 216 atoms, all in one run and interleaved, so that a busy machine slows all alike.

    OMP_NUM_THREADS=1 python benchmarks/md_speed.py --repeats 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory as AseTrajectory
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from mlip_autopipe.dynamics.integrators import make_integrator
from mlip_autopipe.dynamics.run import run_md
from mlip_autopipe.dynamics.settings import MDSettings
from mlip_autopipe.dynamics.state import ForceEvaluator, initial_state
from mlip_autopipe.dynamics.trajectory import Trajectory, TrajectoryWriter
from mlip_autopipe.dynamics.watch import UncertaintyWatch

KELVIN = 600.0
STEP_FS = 3.0


def copper(n_atoms: int) -> Atoms:
    # 64 and 216 atoms: primitive rhombohedral cells of 4^3 and 6^3
    atoms = bulk("Cu", "fcc", a=3.6).repeat(round(n_atoms ** (1 / 3)))
    return initial_state(atoms, KELVIN, 0).to_atoms()


def bare_calls(ensemble: str, n_atoms: int, n_steps: int) -> float:
    """Seconds per force call along the very frames of our run, so that neighbour lists cost the same."""
    settings = MDSettings(ensemble=ensemble, temperature_K=KELVIN, time_step_fs=STEP_FS)
    atoms, calculator = copper(n_atoms), EMT()
    state = initial_state(atoms, KELVIN, 0)
    integrator = make_integrator(settings, state)
    evaluate = ForceEvaluator(calculator, state, needs_stress=integrator.needs_stress)
    evaluate(state)
    frames = []
    for _ in range(n_steps):
        integrator.step(state, evaluate)
        frames.append((state.positions.copy(), state.cell.copy()))
    constant = not integrator.needs_stress
    atoms.calc = EMT()
    start = time.process_time()
    atoms.get_forces()
    for positions, cell in frames:
        atoms.positions[:] = positions
        if not constant:
            atoms.cell[:] = cell
        atoms.get_forces()
    return (time.process_time() - start) / (n_steps + 1)


def ours(n_atoms: int, n_steps: int, ensemble: str, watch: UncertaintyWatch | None = None) -> float:
    settings = MDSettings(ensemble=ensemble, temperature_K=KELVIN, time_step_fs=STEP_FS)
    atoms, calculator = copper(n_atoms), EMT()
    start = time.process_time()
    outcome = run_md(settings, atoms, calculator, n_steps, watch=watch)
    assert outcome.status == "finished"
    return (time.process_time() - start) / n_steps


def ases(n_atoms: int, n_steps: int, kind: str) -> float:
    atoms = copper(n_atoms)
    atoms.calc = EMT()
    step = STEP_FS * units.fs
    if kind == "nve":
        dynamics = VelocityVerlet(atoms, timestep=step)
    else:
        dynamics = Langevin(
            atoms, timestep=step, temperature_K=KELVIN, friction=0.01 / units.fs, rng=np.random.default_rng(0)
        )
    start = time.process_time()
    dynamics.run(n_steps)
    return (time.process_time() - start) / n_steps


def committee(members: int) -> Callable[[Atoms], np.ndarray]:
    """Make an uncertainty that costs this many force calls, each member with its own neighbour list."""
    calculators = [EMT() for _ in range(members)]

    def force_std(atoms: Atoms) -> np.ndarray:
        forces = [calculator.get_property("forces", atoms) for calculator in calculators]
        return np.linalg.norm(np.std(forces, axis=0), axis=1)

    return force_std


def trajectory_speed(n_atoms: int, n_frames: int) -> dict[str, float]:
    """Microseconds per frame, opening and closing included.

    ASE's file is written twice: as its dynamics write it (momenta, energy, forces, stress from a calculator), and with
    positions alone.
    """
    atoms = copper(n_atoms)
    walk = np.random.default_rng(0).normal(0, 0.05, (n_frames, n_atoms, 3)).cumsum(axis=0) + atoms.positions
    forces, stress = walk[0] * 0.1, np.ones(6)
    state = initial_state(atoms, KELVIN, 0)
    seconds = {}

    def timed(name: str, action: Callable[[], None]) -> None:
        start = time.perf_counter()
        action()
        seconds[name] = 1e6 * (time.perf_counter() - start) / n_frames

    def write() -> None:
        with TrajectoryWriter(folder / "t.h5", atoms.numbers, atoms.pbc) as writer:
            for k in range(n_frames):
                state.positions, state.step = walk[k], k
                writer.append(state, STEP_FS * k, KELVIN)

    def read() -> None:
        with Trajectory(folder / "t.h5") as trajectory:
            for _ in trajectory.iter_blocks():
                pass

    def ase_write(frames: list[Atoms]) -> None:
        with AseTrajectory(str(folder / "t.traj"), "w") as writer:
            for frame in frames:
                writer.write(frame)

    def ase_read() -> None:
        with AseTrajectory(str(folder / "t.traj")) as reader:
            for frame in reader:
                _ = frame.positions

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed("write", write)
        timed("read", read)
        frames = [Atoms(atoms.numbers, positions=positions, cell=atoms.cell, pbc=True) for positions in walk]
        timed("ase plain", lambda: ase_write(frames))
        timed("ase read", ase_read)
        for frame in frames:
            frame.set_momenta(atoms.get_momenta())
            frame.calc = SinglePointCalculator(frame, energy=-1.0, forces=forces, stress=stress)
        timed("ase md", lambda: ase_write(frames))
    return seconds


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--frames", type=int, default=4096)
    options = parser.parse_args()
    print("CPU time per step, median of", options.repeats, "interleaved rounds of", options.steps, "steps")
    for n_atoms in (64, 216):
        n_steps = options.steps if n_atoms == 64 else options.steps // 2
        kinds = ["nve", "nvt_langevin", "nvt_nose_hoover", "npt"]
        bare: dict[str, list[float]] = {kind: [] for kind in kinds}
        times: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            for kind in kinds:
                bare[kind].append(bare_calls(kind, n_atoms, n_steps))
                times.setdefault(kind, []).append(ours(n_atoms, n_steps, kind))
            times.setdefault("ASE VelocityVerlet", []).append(ases(n_atoms, n_steps, "nve"))
            times.setdefault("ASE Langevin", []).append(ases(n_atoms, n_steps, "langevin"))
            watch = UncertaintyWatch(committee(5), 1e3)
            times.setdefault("nvt_langevin with watch", []).append(ours(n_atoms, n_steps, "nvt_langevin", watch))
        for name, values in times.items():
            own = {"ASE VelocityVerlet": "nve"}.get(name, name if name in kinds else "nvt_langevin")
            call, middle = statistics.median(bare[own]), statistics.median(values)
            ratio = statistics.median(b / v for b, v in zip(bare[own], values, strict=True))
            print(
                f"{n_atoms:4d} atoms  {name:24s} {1e3 * middle:8.3f} ms per step, bare calls {1e3 * call:8.3f} ms: "
                f"{100 * ratio:6.1f} %"
            )
        pairs = zip(times["nvt_langevin with watch"], times["nvt_langevin"], strict=True)
        print(f"{n_atoms:4d} atoms  watch of 5 force calls: {statistics.median(w / o for w, o in pairs):.3f} x without")
    for n_atoms in (64, 216):
        rounds = [trajectory_speed(n_atoms, options.frames) for _ in range(options.repeats)]
        us = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        md = us["ase md"]
        print(
            f"{n_atoms:4d} atoms  trajectory, us per frame: write {us['write']:.1f}; ASE .traj as dynamics write it "
            f"{md:.1f} ({md / us['write']:.0f} x), positions alone {us['ase plain']:.1f} "
            f"({us['ase plain'] / us['write']:.0f} x); read {us['read']:.1f}, ASE {us['ase read']:.1f} "
            f"({us['ase read'] / us['read']:.0f} x)"
        )


if __name__ == "__main__":
    main()
