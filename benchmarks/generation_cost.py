"""Measure what a generation of the learning loop costs, from the first to the hundredth.

Nickel by EMT in a cell of four atoms, so that the loop itself is seen and not its physics; an audit every 20 steps,
a hundred generations. Once with labels inside the learning job, once as for an expensive reference, with a Firework per
label. Whole `mlip-auto run` with the embedded server; times are those between the metrics of successive generations.

    python benchmarks/generation_cost.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mlip_autopipe.launch import embedded
from mlip_autopipe.launch.database import database, running
from mlip_autopipe.launch.location import locate


def plan(generations: int, *, cheap: bool) -> dict[str, Any]:
    return {
        "project_name": "generations",
        "target_system": {"elements": ["Ni"]},
        "simulation_goal": "potential",
        "reference": {"engine": "ase", "calculator": "ase.calculators.emt.EMT"},
        "potential": {"kwargs": {"largest": 20}},
        "resources": {"max_reference_calculations": 3 * generations, "cores": 2},
        "overrides": {
            "reference.cheap": cheap,
            "otf.supercell": [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
            "otf.temperatures_K": [300],
            "otf.segment_steps": 20,
            "otf.check_every": 5,
            "otf.walkers": 1,
            "otf.audits_per_temperature": generations,
            "otf.max_segments_per_temperature": generations,
            "otf.max_generations": generations,
            "otf.held_out": 0,
            "otf.pool_labels": 0,
        },
    }


def measure(generations: int, *, cheap: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.yaml").write_text(json.dumps(plan(generations, cheap=cheap)))
        program = Path(sys.executable).with_name("mlip-auto")
        subprocess.run([program, "run", "input.yaml"], cwd=folder, check=False, stdout=subprocess.DEVNULL)
        db = database(running(locate(None, folder)))
        documents = list(db["outputs"].find({"output.kind": "otf_generation"}))
        fireworks = db["fireworks"].count_documents({})
        workflows = [len(one["nodes"]) for one in db["workflows"].find({}, {"nodes": 1})]
        largest = max(len(json.dumps(one, default=str)) for one in db["outputs"].find({}))
        db.client.close()
        embedded.stop(folder)
    moments = sorted((one["output"]["generation"], datetime.fromisoformat(one["completed_at"])) for one in documents)
    seconds = np.array([(b - a).total_seconds() for (_, a), (_, b) in pairwise(moments)])
    kind = "labels inside the job" if cheap else "a Firework per label"
    print(
        f"{kind}: {len(moments)} generations, {fireworks} Fireworks in {len(workflows)} workflows (largest "
        f"{max(workflows)}), largest document {largest / 1000:.0f} kB"
    )
    thirds = [part for part in np.array_split(seconds, 5) if len(part)]
    print("  seconds per generation, by fifths of the run: " + ", ".join(f"{part.mean():.2f}" for part in thirds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=100)
    args = parser.parse_args()
    for cheap in (True, False):
        measure(args.generations, cheap=cheap)


if __name__ == "__main__":
    main()
