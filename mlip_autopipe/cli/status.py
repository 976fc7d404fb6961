"""``mlip-auto status`` and ``doctor``: what is in the LaunchPad, and mending it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mlip_autopipe.cli.db import open_database
from mlip_autopipe.errors import InvalidInputError
from mlip_autopipe.launch.location import locate
from mlip_autopipe.launch.runs import RunSummary, find_run, list_runs, run_failures

NO_RUNS = "no runs yet; `mlip-auto run input.yaml` starts one"
STATE_ORDER = ("COMPLETED", "RUNNING", "RESERVED", "READY", "WAITING", "FIZZLED", "PAUSED", "DEFUSED", "ARCHIVED")


def show_status(run_name: str | None, launchpad: Path | None, *, as_json: bool) -> None:
    """Print all runs, or one run with its failures."""
    db = open_database(launchpad)
    if run_name is None:
        runs = [] if db is None else list_runs(db)
        if as_json:
            print(json.dumps([asdict(r) for r in runs], indent=2))
        else:
            _print_runs(runs)
        return
    if db is None:
        raise InvalidInputError(f"no run {run_name!r}: {NO_RUNS}")
    run = find_run(db, run_name)
    failures = run_failures(db, run.run_id)
    if as_json:
        print(json.dumps({**asdict(run), "failures": [asdict(f) for f in failures]}, indent=2, default=str))
        return
    _print_runs([run])
    for failure in failures:
        print(f"job {failure.fw_id} ({failure.job}) failed: {failure.sentence}")
        for attempt in failure.attempts:
            print(f"  attempt {attempt.get('attempt')}: {attempt.get('error')}")
        if failure.launch_dir:
            print(f"  its files are in {failure.launch_dir}")


def repair_launchpad(launchpad: Path | None) -> None:
    """Mend the LaunchPad, remove what killed jobs left in the JobStore, and print what was done."""
    from mlip_autopipe.jobs.superseded import remove_garbage
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.launchpad import connect
    from mlip_autopipe.launch.maintenance import repair

    done = []
    if open_database(launchpad) is not None:
        connected = connect(locate(launchpad, Path.cwd()))
        done = repair(connected)
        with jobstore_for(connected) as store:
            done += remove_garbage(store)
    for line in done:
        print(line)
    if not done:
        print("nothing to mend")


def _print_runs(runs: list[RunSummary]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not runs:
        print(NO_RUNS)
        return
    table = Table()
    for column in ("run", "goal", "formula", "state", "jobs", "updated (UTC)"):
        table.add_column(column, overflow="fold")
    for run in runs:
        jobs = ", ".join(f"{run.jobs[s]} {s.lower()}" for s in STATE_ORDER if s in run.jobs)
        table.add_row(run.run_id, run.goal, run.formula, run.state, jobs, run.updated[:19].replace("T", " "))
    Console().print(table)
