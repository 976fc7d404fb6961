"""Measure time and memory of diffusion coefficients, side by side with pymatgen, MDAnalysis and kinisi.

All start from the same positions in memory and end with a coefficient. Where one of the packages is missing it is left
out; they are no dependency: `pip install pymatgen-analysis-diffusion MDAnalysis tidynamics kinisi` into an environment
of their own, and run this there with the repository on PYTHONPATH. A small run before warms every method up. kinisi gets
100 lags, not its default of all of them. pymatgen needs atoms of another species, so that all get eight.

    OMP_NUM_THREADS=1 python benchmarks/diffusion_speed.py
    OMP_NUM_THREADS=1 python benchmarks/diffusion_speed.py --large     # 1000 atoms x 10^5 frames, writes 2 GB
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.frames import ArrayFrames

STEP_A = 0.05
DT_FS = 10.0
TRUE_CM2_S = STEP_A**2 / 2 / DT_FS * 0.1
EDGE_A = 30.0
OTHERS = 8


def positions(n: int, frames: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(0, STEP_A, (frames, n, 3)), axis=0) + rng.random((n, 3)) * EDGE_A


def names(walk: np.ndarray) -> list[str]:
    return ["Li"] * (walk.shape[1] - OTHERS) + ["O"] * OTHERS


def ours(walk: np.ndarray) -> tuple[float, float]:
    frames = ArrayFrames(walk, names(walk), np.eye(3) * EDGE_A)
    group = fit_diffusion_coefficient(calculate_msd(frames), 900.0, DT_FS).groups["Li"]
    return group.D_cm2_s, group.D_stderr_cm2_s


def pymatgen(walk: np.ndarray) -> tuple[float, float]:
    from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice.cubic(EDGE_A), names(walk), walk[0], coords_are_cartesian=True)
    moved = (walk - walk[0]).transpose(1, 0, 2)
    found = DiffusionAnalyzer(structure, moved, "Li", 900.0, DT_FS, 1, smoothed="max")
    return found.diffusivity, found.diffusivity_std_dev


def universe(walk: np.ndarray):
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    n = walk.shape[1]
    atoms = MDAnalysis.Universe.empty(n, n_residues=1, atom_resindex=np.zeros(n, int), trajectory=True)
    atoms.add_TopologyAttr("type", [name.upper() for name in names(walk)])
    box = np.tile([EDGE_A] * 3 + [90.0] * 3, (len(walk), 1)).astype(np.float32)
    atoms.load_new(walk.astype(np.float32), format=MemoryReader, dimensions=box, dt=DT_FS / 1000)
    return atoms


def mdanalysis(walk: np.ndarray) -> tuple[float, float]:
    from MDAnalysis.analysis.msd import EinsteinMSD

    found = EinsteinMSD(universe(walk), select="type LI", msd_type="xyz", fft=True)
    found.run()
    series = found.results.timeseries
    lags = np.arange(len(series) // 10, len(series) // 2)
    (slope, _), covariance = np.polyfit(lags * DT_FS, series[lags], 1, cov=True)
    return slope / 6 * 0.1, float(np.sqrt(covariance[0, 0])) / 6 * 0.1


def kinisi(walk: np.ndarray) -> tuple[float, float]:
    import scipp
    from kinisi.analyze import DiffusionAnalyzer

    lags = np.unique(np.linspace(1, len(walk) // 2, 100).astype(int))
    found = DiffusionAnalyzer.from_universe(
        universe(walk),
        specie="LI",
        time_step=scipp.scalar(DT_FS, unit="fs"),
        step_skip=scipp.scalar(1),
        dt=scipp.array(dims=["time interval"], values=lags * DT_FS, unit="fs"),
        progress=False,
    )
    found.diffusion(start_dt=scipp.scalar(lags[5] * DT_FS, unit="fs"), progress=False)
    samples = found.D.to(unit="cm^2/s").values
    return float(np.mean(samples)), float(np.std(samples))


def side_by_side(n: int, frames: int, repeats: int) -> None:
    walk, small = positions(n + OTHERS, frames), positions(20 + OTHERS, 500)
    print(f"{n} atoms x {frames} frames, true D {TRUE_CM2_S:.3e} cm^2/s, best of {repeats} interleaved rounds")
    methods: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
        "this program": ours,
        "pymatgen-analysis-diffusion": pymatgen,
        "MDAnalysis": mdanalysis,
        "kinisi": kinisi,
    }
    seconds: dict[str, list[float]] = {}
    results: dict[str, tuple[float, float]] = {}
    for turn in range(repeats + 1):
        for name, method in methods.items():
            start = time.process_time()
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    results[name] = method(walk if turn else small)
            except ImportError as error:
                if turn:
                    print(f"{name}: not installed ({error})")
                continue
            if turn:
                seconds.setdefault(name, []).append(time.process_time() - start)
    for name, times in seconds.items():
        value, stderr = results[name]
        ratio = min(times) / min(seconds["this program"])
        print(f"| {name} | {min(times):.2f} CPU s | {ratio:.1f} x | {value:.3e} ± {stderr:.1e} |")


def private_MB() -> float:
    """Memory of this process that is not backed by files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    return float("nan")


def large(n: int, frames: int) -> None:
    from mlip_autopipe.dynamics.trajectory import TrajectoryWriter

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        start = time.perf_counter()
        place = rng.random((n, 3)) * EDGE_A
        with TrajectoryWriter(path, np.array([3] * (n // 2) + [8] * (n - n // 2)), np.ones(3, dtype=bool)) as writer:
            for k in range(frames):
                place = place + rng.normal(0, STEP_A, (n, 3))
                writer.append_arrays(place, np.eye(3) * EDGE_A, k, DT_FS * k)
        print(f"wrote {path.stat().st_size / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s")
        peak, done = [private_MB()], threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                peak[0] = max(peak[0], private_MB())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start, cpu = time.perf_counter(), time.process_time()
        data = calculate_msd(path)
        middle = time.perf_counter()
        group = fit_diffusion_coefficient(data, 900.0).groups["Li"]
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        done.set()
        watcher.join()
        print(
            f"{n} atoms x {frames} frames: {wall:.1f} s ({middle - start:.1f} of them for the MSD), {cpu:.1f} CPU s, "
            f"peak private memory {peak[0]:.0f} MB; D = {group.D_cm2_s:.4e} ± {group.D_stderr_cm2_s:.1e}, "
            f"true {TRUE_CM2_S:.4e}; load average {os.getloadavg()[0]:.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    if args.large:
        large(args.atoms or 1000, args.frames or 100_000)
    else:
        side_by_side(args.atoms or 200, args.frames or 10_000, args.repeats)


if __name__ == "__main__":
    main()
