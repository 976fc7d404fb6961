"""Measure time and memory of diffusion coefficients, side by side with pymatgen, MDAnalysis and kinisi.

First all start from a file of the same frames (XDATCAR; a LAMMPS dump for MDAnalysis, which does not read XDATCAR),
then from the same unwrapped positions in memory; all end with a coefficient. Where a package is missing it is left
out. They are no dependency: `pip install pymatgen-analysis-diffusion MDAnalysis tidynamics kinisi h5py` into an
environment of their own, and run this there with the repository on PYTHONPATH. A small run before warms every method
up. kinisi gets 100 lags, not its default of all of them. pymatgen needs atoms of another species, so that all get
eight.

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
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.analysis.diffusion import calculate_msd, fit_diffusion_coefficient
from mlip_autopipe.analysis.frames import ArrayFrames

STEP_A = 0.05
DT_FS = 10.0
TRUE_CM2_S = STEP_A**2 / 2 / DT_FS * 0.1
EDGE_A = 30.0
OTHERS = 8

Methods = dict[str, Callable[[Any], tuple[float, float]]]


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
    return einstein(universe(walk), "type LI")


def einstein(atoms, select: str) -> tuple[float, float]:
    from MDAnalysis.analysis.msd import EinsteinMSD

    found = EinsteinMSD(atoms, select=select, msd_type="xyz", fft=True)
    found.run()
    series = found.results.timeseries
    lags = np.arange(len(series) // 10, len(series) // 2)
    (slope, _), covariance = np.polyfit(lags * DT_FS, series[lags], 1, cov=True)
    return slope / 6 * 0.1, float(np.sqrt(covariance[0, 0])) / 6 * 0.1


def kinisi(walk: np.ndarray) -> tuple[float, float]:
    from kinisi.analyze import DiffusionAnalyzer

    options = kinisi_options(len(walk))
    return posterior(DiffusionAnalyzer.from_universe(universe(walk), specie="LI", **options), options)


def kinisi_options(frames: int) -> dict[str, Any]:
    import scipp

    lags = np.unique(np.linspace(1, frames // 2, 100).astype(int))
    return {
        "time_step": scipp.scalar(DT_FS, unit="fs"),
        "step_skip": scipp.scalar(1),
        "dt": scipp.array(dims=["time interval"], values=lags * DT_FS, unit="fs"),
        "progress": False,
    }


def posterior(found, options: dict[str, Any]) -> tuple[float, float]:
    found.diffusion(start_dt=options["dt"][5], progress=False)
    samples = found.D.to(unit="cm^2/s").values
    return float(np.mean(samples)), float(np.std(samples))


def write_files(walk: np.ndarray, folder: Path) -> None:
    """Write wrapped positions as XDATCAR and as LAMMPS dump."""
    species = names(walk)
    n, others = len(species), OTHERS
    with (folder / "XDATCAR").open("w") as one, (folder / "run.dump").open("w") as other:
        one.write(f"x\n1.0\n{EDGE_A} 0 0\n0 {EDGE_A} 0\n0 0 {EDGE_A}\nLi O\n{n - others} {others}\n")
        heads = [f"{i + 1} {1 if name == 'Li' else 2}" for i, name in enumerate(species)]
        for k, frame in enumerate(walk):
            inside = frame / EDGE_A % 1.0
            one.write(f"Direct configuration= {k + 1:5d}\n")
            one.write("".join(f"  {x:.8f}  {y:.8f}  {z:.8f}\n" for x, y, z in inside.tolist()))
            other.write(
                f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp\n"
                + f"0 {EDGE_A}\n" * 3
                + "ITEM: ATOMS id type xu yu zu\n"
            )
            rows = zip(heads, frame.tolist(), strict=True)
            other.write("".join(f"{head} {x:.6f} {y:.6f} {z:.6f}\n" for head, (x, y, z) in rows))
    write_hdf5(walk, folder / "run.h5")


def write_hdf5(frames: Iterable[np.ndarray], path: Path) -> None:
    from ase.data import atomic_numbers

    from mlip_autopipe.dynamics.trajectory import TrajectoryWriter

    writer = None
    for k, frame in enumerate(frames):
        if writer is None:
            numbers = np.array([atomic_numbers[name] for name in names(frame[None])])
            writer = TrajectoryWriter(path, numbers, np.ones(3, dtype=bool))
        writer.append_arrays(frame, np.eye(3) * EDGE_A, k, DT_FS * k)
    assert writer is not None
    writer.close()


def ours_from_file(folder: Path, name: str = "XDATCAR") -> tuple[float, float]:
    msd = calculate_msd(folder / name, type_names={1: "Li", 2: "O"})
    group = fit_diffusion_coefficient(msd, 900.0, DT_FS).groups["Li"]
    return group.D_cm2_s, group.D_stderr_cm2_s


def pymatgen_from_file(folder: Path) -> tuple[float, float]:
    from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
    from pymatgen.io.vasp import Xdatcar

    structures = Xdatcar(str(folder / "XDATCAR")).structures
    found = DiffusionAnalyzer.from_structures(structures, "Li", 900.0, DT_FS, 1)
    return found.diffusivity, found.diffusivity_std_dev


def mdanalysis_from_file(folder: Path) -> tuple[float, float]:
    import MDAnalysis

    return einstein(MDAnalysis.Universe(str(folder / "run.dump"), format="LAMMPSDUMP", dt=DT_FS / 1000), "type 1")


def kinisi_from_file(folder: Path) -> tuple[float, float]:
    from kinisi.analyze import DiffusionAnalyzer
    from pymatgen.io.vasp import Xdatcar

    xdatcar = Xdatcar(str(folder / "XDATCAR"))
    options = kinisi_options(len(xdatcar.structures))
    return posterior(DiffusionAnalyzer.from_xdatcar(xdatcar, specie="Li", **options), options)


def side_by_side(n: int, frames: int, repeats: int, *, files: bool) -> None:
    walk, small = positions(n + OTHERS, frames), positions(20 + OTHERS, 500)
    print(f"{n} atoms x {frames} frames, true D {TRUE_CM2_S:.3e} cm^2/s, best of {repeats} interleaved rounds")
    from_memory: Methods = {
        "this program": ours,
        "pymatgen-analysis-diffusion": pymatgen,
        "MDAnalysis": mdanalysis,
        "kinisi": kinisi,
    }
    from_file: Methods = {
        "this program": ours_from_file,
        "this program, LAMMPS dump": partial(ours_from_file, name="run.dump"),
        "this program, its own HDF5": partial(ours_from_file, name="run.h5"),
        "pymatgen-analysis-diffusion": pymatgen_from_file,
        "MDAnalysis": mdanalysis_from_file,
        "kinisi": kinisi_from_file,
    }
    if files:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            write_files(small, Path(one))
            write_files(walk, Path(other))
            compare("file", from_file, Path(one), Path(other), repeats)
    compare("memory", from_memory, small, walk, repeats)


def compare(start_from: str, methods: Methods, small: Any, large: Any, repeats: int) -> None:
    """Print CPU times; the first round, on the small data, is not timed."""
    seconds: dict[str, list[float]] = {}
    results: dict[str, tuple[float, float]] = {}
    for turn in range(repeats + 1):
        for name, method in methods.items():
            start = time.process_time()
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    results[name] = method(large if turn else small)
            except ImportError as error:
                if turn:
                    print(f"{name}: not installed ({error})")
                continue
            if turn:
                seconds.setdefault(name, []).append(time.process_time() - start)
    for name, times in seconds.items():
        value, stderr = results[name]
        ratio = min(times) / min(seconds["this program"])
        print(
            f"| from {start_from} | {name} | {min(times):.2f} CPU s | {ratio:.1f} x | {value:.3e} ± {stderr:.1e} |",
            flush=True,
        )


def private_MB() -> float:
    """Memory of this process that is not backed by files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    return float("nan")


def one_by_one(n: int, frames: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    place = rng.random((n, 3)) * EDGE_A
    for _ in range(frames):
        place = place + rng.normal(0, STEP_A, (n, 3))
        yield place


def large(n: int, frames: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        start = time.perf_counter()
        write_hdf5(one_by_one(n, frames), path)
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
    parser.add_argument("--no-files", action="store_true")
    args = parser.parse_args()
    if args.large:
        large(args.atoms or 1000, args.frames or 100_000)
    else:
        side_by_side(args.atoms or 200, args.frames or 10_000, args.repeats, files=not args.no_files)


if __name__ == "__main__":
    main()
