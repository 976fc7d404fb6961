"""``mlip-auto run``, ``submit`` and ``export``: from an input file to jobs, and local rockets until they are done."""

from __future__ import annotations

import errno
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from mlip_autopipe.cli.plan import make_plan
from mlip_autopipe.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_ENOUGH_EVIDENCE,
    EnvironmentProblemError,
)

if TYPE_CHECKING:
    from fireworks import Workflow

    from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad
    from mlip_autopipe.launch.location import LaunchPadLocation
    from mlip_autopipe.schemas.system import SystemConfig

POLL_S = 0.25
MOST_ROCKETS_THAT_LABEL = 8
"""Of a learning loop on this machine: its seeds are about so many."""


def run_input(input_file: Path, out: Path, launchpad_file: Path | None) -> int:
    """Run an input file to its end and write ``results.json`` and the plot.

    Returns
    -------
    int
        Exit code: 0 property stored, 1 failed, 3 ended without enough evidence, 130 interrupted.
    """
    from mlip_autopipe.cli.results import report
    from mlip_autopipe.launch.runs import find_run, result_document, run_failures

    system = _checked_plan(input_file)
    _require_writable(out)
    location, launchpad = _connect(launchpad_file)
    if not _submit(launchpad, system):
        return EXIT_FAILED
    finished = set(find_run(launchpad.db, system.run_id).jobs) == {"COMPLETED"}
    if not finished and not _run_rockets(location, launchpad, system):
        print(f"interrupted; `mlip-auto run {input_file}` goes on from here")
        return EXIT_INTERRUPTED
    document = result_document(launchpad.db, system.run_id)
    # a run that went on still has the result of before when it failed
    if document is None or run_failures(launchpad.db, system.run_id):
        return _say_why_not(launchpad, system)
    code = report(document, out)
    if system.goal == "potential":
        from mlip_autopipe.cli.potential import export_potential
        from mlip_autopipe.potentials.files import SUFFIX

        export_potential(system.run_id, out / f"{system.project_name}{SUFFIX}", launchpad_file)
    return code


def submit_input(input_file: Path, launchpad_file: Path | None) -> None:
    """Store the plan's jobs in the LaunchPad and say how to run them."""
    system = _checked_plan(input_file)
    _, launchpad = _connect(launchpad_file)
    _submit(launchpad, system)
    print(f"run {system.run_id} is in the LaunchPad; start rockets with `rlaunch rapidfire` or `qlaunch rapidfire`")


def export_input(input_file: Path, output: Path | None) -> None:
    """Write the plan's Workflow as YAML for ``lpad add``."""
    from mlip_autopipe.launch.workflow import write_workflow_yaml

    system = make_plan(input_file)
    target = output or Path(f"{input_file.stem}_launchpad.yaml")
    _require_writable(target.parent)
    write_workflow_yaml(_workflow(system), target)
    print(f"wrote {target}; add it to a LaunchPad with `lpad add {target}`")


def _checked_plan(input_file: Path) -> SystemConfig:
    from mlip_autopipe.reference.registry import engine_class

    system = make_plan(input_file)
    engine_class(system.reference.engine).check_available()
    return system


def _require_writable(folder: Path) -> None:
    """Fail before anything is computed when results could not be written afterwards."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 65536)
            probe.flush()
    except OSError as error:
        mend = "free space there or choose" if error.errno == errno.ENOSPC else "choose"
        raise EnvironmentProblemError(
            f"results cannot be written to {folder} ({error.strerror}); {mend} another --out"
        ) from None


def _connect(launchpad_file: Path | None) -> tuple[LaunchPadLocation, AutoPipeLaunchPad]:
    from mlip_autopipe.launch.launchpad import connect
    from mlip_autopipe.launch.location import locate

    location = locate(launchpad_file, Path.cwd())
    return location, connect(location)


def _workflow(system: SystemConfig) -> Workflow:
    from mlip_autopipe.flows.build import build_flow
    from mlip_autopipe.launch.workflow import to_workflow

    return to_workflow(
        build_flow(system),
        run_id=system.run_id,
        project_name=system.project_name,
        goal=system.goal,
        formula=system.material.formula,
    )


def _submit(launchpad: AutoPipeLaunchPad, system: SystemConfig) -> bool:
    """Submit a new run, or bring an old one back to life; False if it was stopped by hand."""
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.runs import list_runs, resume, submit
    from mlip_autopipe.reference.budget import set_limits

    known = {run.run_id: run for run in list_runs(launchpad.db)}.get(system.run_id)
    if known is None:
        submit(launchpad, _workflow(system))
        return True
    if set(known.jobs) == {"COMPLETED"}:
        _go_on(launchpad, system)
        return True
    if known.state in ("paused", "stopped"):
        print(f"run {system.run_id} is {known.state}; `lpad resume_wflows` or `lpad reignite_wflows` lets it go on")
        return False
    with jobstore_for(launchpad) as store:
        set_limits(store, system.run_id, system.budget)
    rerun = resume(launchpad, system.run_id)
    print(f"run {system.run_id} goes on" + (f"; jobs {rerun} run again" if rerun else ""))
    return True


def _go_on(launchpad: AutoPipeLaunchPad, system: SystemConfig) -> None:
    """Let a run that ended at its budget go on if that was raised, and say what is done or would have to be."""
    from mlip_autopipe.launch.jobstore import jobstore_for
    from mlip_autopipe.launch.runs import go_on, result_document
    from mlip_autopipe.reference.budget import refusal_of

    run_id, result = system.run_id, result_document(launchpad.db, system.run_id)
    if system.otf is None or result is None or result.get("state") == "done":
        print(f"run {run_id} is done already; showing its results")
        return
    with jobstore_for(launchpad) as store:
        refusal = refusal_of(store, run_id)
    if refusal is None:
        print(
            f"run {run_id} is done already, and no limit of `resources` stopped it, so raising one would change "
            "nothing; other settings, such as otf.max_refinements under `overrides`, make it another run, which finds "
            "those labels of this one that it needs. Showing its results"
        )
    elif not refusal.is_lifted_by(system.budget):
        print(
            f"run {run_id} is done already: it stopped at its budget; raise resources.{refusal.name} above "
            f"{refusal.limit:g} and run the same input again to let it go on. Showing its results"
        )
    else:
        raised = f"resources.{refusal.name} was {refusal.limit:g} and is {getattr(system.budget, refusal.name):g} now"
        go_on(launchpad, _workflow(system))
        print(f"run {run_id} goes on with a larger budget: {raised}")


def _run_rockets(location: LaunchPadLocation, launchpad: AutoPipeLaunchPad, system: SystemConfig) -> bool:
    """Run the jobs with rockets on this machine; False when interrupted."""
    import time

    from mlip_autopipe.cli.progress import progress
    from mlip_autopipe.launch.pool import RocketPool

    rockets, cores_per_rocket = _share_cores(launchpad, system)
    pool = RocketPool(location, rockets, system.run_id, cores_per_rocket=cores_per_rocket)
    with _interrupts() as interrupted, progress(launchpad.db, system) as show:
        pool.start()
        try:
            while pool.poll() and not interrupted:
                show()
                time.sleep(POLL_S)
        finally:
            pool.stop()
        show(final=True)
    for event in pool.events:
        print(event)
    return not interrupted


def _share_cores(launchpad: AutoPipeLaunchPad, system: SystemConfig) -> tuple[int, int]:
    """Return how many rockets to start and how many cores each of them owns.

    As many rockets as jobs can run side by side, and no more than cores.
    """
    widest = max(
        widest_level(workflow["nodes"], workflow["links"])
        for workflow in launchpad.workflows.find({"metadata.run_id": system.run_id}, {"nodes": 1, "links": 1})
    )
    if system.otf is not None:  # labels and production runs fan out later, when the loop asks for them
        widest = max(widest, 1 if system.reference.cheap else MOST_ROCKETS_THAT_LABEL, production_jobs(system))
    rockets = max(1, min(system.budget.cores, widest))
    return rockets, max(1, system.budget.cores // rockets)


def production_jobs(system: SystemConfig) -> int:
    """Return how many jobs a plan makes side by side once its potential is learned."""
    if system.diffusion is not None:
        return len(system.diffusion.temperatures_K) * (system.diffusion.replicas + system.diffusion.model_runs)
    if system.phase_diagram is not None:
        return ceil(system.phase_diagram.max_candidates / system.phase_diagram.structures_per_job)
    return 0 if system.equilibrate is None else len(system.equilibrate.temperatures_K)


def widest_level(nodes: Sequence[int], links: Mapping[str, Sequence[int]]) -> int:
    """Return how many jobs of a workflow can run side by side: the most that are equally far from the start.

    Parameters
    ----------
    nodes
        Ids of all jobs.
    links
        Ids of the jobs that wait for a job, by its id (FireWorks stores it as a string).
    """
    level = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest path has at most as many steps as there are jobs
        moved = False
        for parent, children in links.items():
            for child in children:
                if level[child] <= level[int(parent)]:
                    level[child] = level[int(parent)] + 1
                    moved = True
        if not moved:
            break
    return max(Counter(level.values()).values())


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of raising, so that rockets can be stopped in order."""
    received: list[int] = []
    previous = {
        s: signal.signal(s, lambda number, _frame: received.append(number))
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say_why_not(launchpad: AutoPipeLaunchPad, system: SystemConfig) -> int:
    """Print why a run has no result, and return its exit code."""
    from mlip_autopipe.launch.runs import run_failures

    failures = run_failures(launchpad.db, system.run_id)
    for failure in failures:
        print(f"job {failure.fw_id} ({failure.job}) failed: {failure.sentence}")
        if failure.launch_dir:
            print(f"  its files are in {failure.launch_dir}")
    if not failures:
        print(f"run {system.run_id} ended without a result; `mlip-auto status {system.run_id}` shows its jobs")
    print(f"what is finished is kept: after mending the cause, the same `run` goes on (run {system.run_id})")
    spent = any("BudgetExhaustedError" in failure.traceback for failure in failures)
    return EXIT_NOT_ENOUGH_EVIDENCE if spent else EXIT_FAILED
