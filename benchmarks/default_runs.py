"""Measure whole runs with default settings, through the command line with a server and rockets of their own.

    python benchmarks/default_runs.py workflows/cu_diffusion_emt.yaml workflows/cu_au_phases_emt.yaml --keep DIR

Reported: wall time and CPU time of everything that was started, Fireworks, reference calculations and the exit code.
With `--keep`, each run's folder stays (for `benchmarks/diffusion_truth.py --project`, or to look at the figures).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate


def measure(file: Path, folder: Path) -> str:
    """Run one input in an empty folder and say how it went."""
    command = [sys.executable, "-m", "mlip_autopipe.cli.app"]
    (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    before, started = _cpu_s(), time.perf_counter()
    with (folder / "run.log").open("w") as log:
        code = subprocess.run([*command, "run", file.name], cwd=folder, stdout=log, stderr=log, check=False).returncode
    wall, cpu = time.perf_counter() - started, _cpu_s() - before
    try:
        n_jobs = connect(locate(None, folder)).fireworks.count_documents({})
    finally:
        subprocess.run([*command, "db", "stop"], cwd=folder, check=False, capture_output=True)
    results = folder / "results" / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    return (
        f"{file.name}: {wall / 60:.1f} min, {cpu / 60:.1f} CPU-min, {n_jobs} Fireworks, "
        f"{found.get('n_reference_calculations')} reference calculations, {found.get('state')}, exit code {code}"
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the runs' folders")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for file in args.inputs:
            folder = (args.keep or Path(scratch)).resolve() / file.stem
            folder.mkdir(parents=True)
            print(measure(file, folder), flush=True)


if __name__ == "__main__":
    main()
