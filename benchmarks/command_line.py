"""How long the command line takes: ``--help``, ``status``, and a whole run of a cubic metal by EMT in an empty folder.

    python benchmarks/command_line.py [--repeats 5]

Each figure is the wall time of a process of its own. The run includes starting the embedded server.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INPUT = """\
project_name: cu-elastic
target_system: {elements: [Cu], crystal_structure: fcc}
simulation_goal: elastic
reference: {engine: ase, calculator: ase.calculators.emt.EMT}
"""
MLIP_AUTO = str(Path(sys.executable).parent / "mlip-auto")


def seconds(folder: str, *arguments: str) -> float:
    """Return the wall seconds of one ``mlip-auto`` call, which must succeed."""
    started = time.perf_counter()
    subprocess.run([MLIP_AUTO, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print one markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {"run of Cu by EMT, empty folder": [], "status": [], "--help": []}
    limits = {"run of Cu by EMT, empty folder": 45, "status": 1, "--help": 1}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "input.yaml").write_text(INPUT)
            times["run of Cu by EMT, empty folder"].append(seconds(folder, "run", "input.yaml"))
            times["status"].append(seconds(folder, "status"))
            times["--help"].append(seconds(folder, "--help"))
            seconds(folder, "db", "stop")
    print("| command | median s | min | max | limit s |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        print(
            f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} | {limits[name]} |"
        )


if __name__ == "__main__":
    main()
