"""Measure what one job per structure costs beside many structures in one job, through the queue.

The goal phase_diagram runs through the command line on an embedded server with one rocket: once with all candidates in
one job, once with a job for each. The times are those that FireWorks has stored, from the start of the first job that
relaxes in the first round to the end of the last.

    OMP_NUM_THREADS=1 python benchmarks/batched_relaxation.py --candidates 150
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate

INPUT = {
    "project_name": "cu-au",
    "target_system": {"elements": ["Cu", "Au"]},
    "simulation_goal": "phase_diagram",
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
    "resources": {"cores": 1},
}


def seconds_per_structure(candidates: int, per_job: int) -> tuple[float, int, int]:
    """Run the goal; return the seconds per structure of its first round, and the numbers of jobs and structures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        overrides = {
            "phase_diagram.max_candidates": candidates,
            "phase_diagram.structures_per_job": per_job,
            "phase_diagram.max_rounds": 0,
            "phase_diagram.temperatures_K": [],
        }
        (folder / "input.yaml").write_text(json.dumps(INPUT | {"overrides": overrides}))
        command = [sys.executable, "-m", "mlip_autopipe.cli.app", "run", "input.yaml"]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        launchpad = connect(locate(None, folder))
        try:
            results = folder / "results" / "results.json"
            if not results.exists():
                raise SystemExit(done.stdout + done.stderr)
            n = json.loads(results.read_text(encoding="utf-8"))["n_candidates"]
            names = {"name": {"$regex": "^hull: relax"}}
            ids = [one["fw_id"] for one in launchpad.fireworks.find(names, {"fw_id": 1})]
            launches = list(launchpad.launches.find({"fw_id": {"$in": ids}}, {"time_start": 1, "time_end": 1}))
        finally:
            subprocess.run([*command[:3], "db", "stop"], cwd=folder, check=False, capture_output=True)
    began = min(datetime.fromisoformat(one["time_start"]) for one in launches)
    ended = max(datetime.fromisoformat(one["time_end"]) for one in launches)
    return (ended - began).total_seconds() / n, len(launches), n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=150, help="at most, in jobs of one each")
    parser.add_argument("--large", type=int, default=1000, help="at most that many candidates in the batch alone")
    args = parser.parse_args()
    single, jobs, _ = seconds_per_structure(args.candidates, 1)
    print(f"{jobs} jobs of one structure: {1e3 * single:.0f} ms per structure", flush=True)
    for candidates in (args.candidates, args.large):
        batched, jobs, n = seconds_per_structure(candidates, candidates)
        print(
            f"{jobs} job of {n}: {1e3 * batched:.0f} ms per structure, {single / batched:.1f} times faster", flush=True
        )


if __name__ == "__main__":
    main()
