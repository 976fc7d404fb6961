"""Measure what submitting through this package adds to plain jobflow and FireWorks, per job.

Side by side on one live embedded server, alternating, in one process: (plain) jobflow's ``flow_to_workflow`` and the
stock ``LaunchPad.add_wf``; (ours) `to_workflow` and `runs.submit`. FireWorks' ``add_wf`` itself already inserts all
Fireworks of a Workflow in one call.

    python benchmarks/submit_overhead.py [--jobs 100] [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from operator import add
from pathlib import Path

from fireworks import LaunchPad
from jobflow import Flow, Job
from jobflow.managers.fireworks import flow_to_workflow

from mlip_autopipe.launch import embedded, runs
from mlip_autopipe.launch.launchpad import connect
from mlip_autopipe.launch.location import locate
from mlip_autopipe.launch.workflow import to_workflow

LIMIT_MS = 5.0


def make_flow(n_jobs: int) -> Flow:
    jobs = [Job(add, function_args=(1, 2), name="first")]
    for number in range(1, n_jobs):
        jobs.append(Job(add, function_args=(jobs[number // 2].output, 1), name=f"job {number}"))
    return Flow(jobs, output=jobs[-1].output, name="benchmark")


def timed(submit: Callable[[], object]) -> float:
    begun = time.perf_counter()
    submit()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        ours = connect(locate(None, folder))
        plain = LaunchPad(host=ours.host, port=ours.port, name=ours.name, strm_lvl="CRITICAL")
        labels = {"project_name": "benchmark", "goal": "elastic", "formula": "Al"}
        try:
            plain_s, ours_s = [], []
            for number in range(-1, options.rounds):
                flows = make_flow(options.jobs), make_flow(options.jobs)
                plain_time = timed(lambda flow=flows[0]: plain.add_wf(flow_to_workflow(flow)))
                our_time = timed(
                    lambda flow=flows[1], run=f"run {number}": runs.submit(
                        ours, to_workflow(flow, run_id=run, **labels)
                    )
                )
                if number >= 0:  # the first round warms up
                    plain_s.append(plain_time)
                    ours_s.append(our_time)
            plain.connection.close()
            ours.connection.close()
        finally:
            embedded.stop(folder)
    plain_ms, ours_ms = (1e3 * statistics.median(times) / options.jobs for times in (plain_s, ours_s))
    added = [1e3 * (mine - theirs) / options.jobs for mine, theirs in zip(ours_s, plain_s, strict=True)]
    print(f"{options.jobs} jobs, {options.rounds} rounds, median per job:")
    print(f"  plain jobflow + FireWorks  {plain_ms:6.3f} ms")
    print(f"  this package               {ours_ms:6.3f} ms")
    print(
        f"  added                      {statistics.median(added):6.3f} ms (limit {LIMIT_MS} ms, worst {max(added):.3f})"
    )


if __name__ == "__main__":
    main()
