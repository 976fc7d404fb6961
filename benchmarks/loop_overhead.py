"""Measure the overhead of the learning loop: all wall time that is neither reference, training nor molecular dynamics.

One `mlip-auto run` of goal potential on EMT nickel with some twenty generations, in an empty folder with the embedded
server; the stages' own times are read from the metrics of the generations.

OMP_NUM_THREADS=2 python benchmarks/loop_overhead.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.database import database, running
from mlip_autopipe.launch.location import locate

INPUT = """
project_name: overhead
target_system: {elements: [Ni]}
simulation_goal: potential
reference: {engine: ase, calculator: ase.calculators.emt.EMT}
overrides:
  otf.audits_per_temperature: 5
  otf.max_segments_per_temperature: 5
"""
STAGES = ("label", "train", "explore", "refine", "held_out")
"""Reference, training and molecular dynamics; the melt of the pool and the frames that judge are such, too."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.yaml").write_text(INPUT)
        program = Path(sys.executable).with_name("mlip-auto")
        started = time.perf_counter()
        subprocess.run([program, "run", "input.yaml"], cwd=folder, check=False, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        location = running(locate(None, folder))
        db = database(location)
        found = [one["output"] for one in db["outputs"].find({"output.kind": "otf_generation"})]
        closing = db["outputs"].find_one({"output.kind": "otf_closing"})["output"]["wall_s"]
        fireworks = db["fireworks"].count_documents({})
        moments = [
            {one["state"]: datetime.fromisoformat(str(one["created_on"])) for one in launch["state_history"]}
            for launch in db["launches"].find({})
        ]
        db.client.close()
        embedded.stop(folder)
    parts = [*(one["wall_s"] for one in found), closing]
    spent = {stage: sum(one.get(stage, 0.0) for one in parts) for stage in STAGES}
    inside = sum(spent.values())
    lasted = [(at["COMPLETED"] - at["RUNNING"]).total_seconds() for at in moments if "COMPLETED" in at]
    jobs = sum(lasted)
    print(f"{len(found)} generations, {max(one['labels'] for one in found)} labels, {fireworks} Fireworks")
    print("; ".join(f"{stage} {seconds:.1f} s" for stage, seconds in spent.items()))
    print(f"whole command {wall:.1f} s, jobs {jobs:.1f} s, stages {inside:.1f} s")
    print("each job: " + ", ".join(f"{seconds:.1f} s" for seconds in sorted(lasted)))
    of_jobs, of_all = (100 * (1 - inside / whole) for whole in (jobs, wall))
    print(f"overhead of the jobs {of_jobs:.1f} %, of the whole command {of_all:.1f} %")


if __name__ == "__main__":
    main()
