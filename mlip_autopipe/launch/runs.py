"""Runs as the user knows them: submit, find, list, resume, and what became of them.

A run is all Workflows whose ``metadata.run_id`` agrees. Everything that only reads works on a raw pymongo database
(`database.database`), without FireWorks.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlip_autopipe.errors import InvalidInputError

if TYPE_CHECKING:
    from fireworks import Workflow
    from pymongo.database import Database

    from mlip_autopipe.launch.launchpad import AutoPipeLaunchPad

Document = dict[str, Any]

RUNS = "runs"
"""Collection with one document per submitted run; its unique ``_id`` keeps a run from being submitted twice."""

ACTIVE_STATES = ("RESERVED", "RUNNING")
CLAIM_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class RunSummary:
    """One line of ``mlip-auto status``.

    Attributes
    ----------
    state
        ``waiting`` (nothing pulled yet), ``running``, ``ready`` (begun, and waiting for a rocket), ``done``,
        ``failed`` (a job FIZZLED and nothing else can go on, or the property did not pass its physics gates),
        ``paused``, ``stopped`` (defused or archived).
    jobs
        Number of jobs by FireWorks state.
    fw_ids
        Of all jobs.
    created, updated
        ISO 8601, UTC.
    """

    name: str
    run_id: str
    project_name: str
    goal: str
    formula: str
    state: str
    jobs: dict[str, int] = field(default_factory=dict)
    fw_ids: list[int] = field(default_factory=list)
    created: str = ""
    updated: str = ""


@dataclass(frozen=True)
class RunFailure:
    """A job that FIZZLED: which, why (one sentence), where its files are, and how often it was tried."""

    fw_id: int
    job: str
    sentence: str
    launch_dir: str | None
    traceback: str
    attempts: list[Document]


def submit(launchpad: AutoPipeLaunchPad, workflow: Workflow) -> list[int]:
    """Store a run's first Workflow, once.

    Returns
    -------
    list of int
        The run's Firework ids. If the run is there already (a repeated or simultaneous call), nothing is stored
        and the existing ids are returned.
    """
    from pymongo.errors import DuplicateKeyError

    run_id = workflow.metadata["run_id"]
    claim = {"_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "claimed": time.time()}
    runs = launchpad.db[RUNS]
    try:
        runs.insert_one(claim)
    except DuplicateKeyError:
        deadline = time.monotonic() + CLAIM_TIMEOUT_S
        while True:
            existing = _fw_ids(launchpad.db, run_id)
            if existing:
                return existing
            if time.monotonic() > deadline:
                break  # whoever claimed it died before storing anything
            other = runs.find_one({"_id": run_id}) or {}
            if not _claimer_lives(other):
                break
            time.sleep(0.2)
        taken = runs.replace_one({"_id": run_id, "claimed": other.get("claimed")}, claim, upsert=False)
        if taken.matched_count == 0:
            return submit(launchpad, workflow)
    else:
        existing = _fw_ids(launchpad.db, run_id)  # stored by `lpad add`
        if existing:
            return existing
    launchpad.add_wf(workflow)
    return sorted(workflow.id_fw)


def go_on(launchpad: AutoPipeLaunchPad, workflow: Workflow) -> bool:
    """Store one more Workflow of a run all of whose jobs are COMPLETED, once.

    Returns
    -------
    bool
        False when the run goes on already (a simultaneous call); then nothing is stored.
    """
    from mlip_autopipe.reference.claims import Claims
    from mlip_autopipe.reference.documents import LEDGER

    run_id = workflow.metadata["run_id"]
    claims = Claims(launchpad.db[LEDGER])
    while True:
        with claims.holding(f"go on:{run_id}") as mine:
            if set(find_run(launchpad.db, run_id).jobs) != {"COMPLETED"}:
                return False
            if mine:
                launchpad.add_wf(workflow)
                return True
        time.sleep(0.2)


def list_runs(db: Database[Document]) -> list[RunSummary]:
    """Return all runs, the most recently updated first."""
    return _summaries(db, {"metadata.run_id": {"$exists": True}})


def find_run(db: Database[Document], run_id_or_project: str) -> RunSummary:
    """Return the run with this id, or the most recent run of the project with this name.

    Raises
    ------
    InvalidInputError
        There is no such run; the message names the nearest one.
    """
    for key in ("metadata.run_id", "metadata.project_name"):
        found = _summaries(db, {key: run_id_or_project})
        if found:
            return found[0]
    known = [name for run in list_runs(db) for name in (run.run_id, run.project_name)]
    raise InvalidInputError(f"no run {run_id_or_project!r} in this LaunchPad{_nearest(run_id_or_project, known)}")


def run_failures(db: Database[Document], run_id: str) -> list[RunFailure]:
    """Return one entry per FIZZLED job of a run, in the order of their ids."""
    failures = []
    fields = {"fw_id": 1, "name": 1, "launches": 1, "spec._attempts": 1, "spec._exception_details": 1}
    for firework in db["fireworks"].find({"spec.run_id": run_id, "state": "FIZZLED"}, fields).sort("fw_id", 1):
        launch = db["launches"].find_one({"launch_id": {"$in": firework.get("launches", [])}}, sort=[("launch_id", -1)])
        stored = ((launch or {}).get("action") or {}).get("stored_data") or {}
        exception = stored.get("_exception") or {}
        traceback = str(
            exception.get("_stacktrace") or (firework["spec"].get("_exception_details") or {}).get("_stacktrace") or ""
        )
        failures.append(
            RunFailure(
                fw_id=firework["fw_id"],
                job=firework.get("name", ""),
                sentence=_sentence(exception.get("_details"), traceback),
                launch_dir=(launch or {}).get("launch_dir"),
                traceback=traceback,
                attempts=list(firework["spec"].get("_attempts", [])),
            )
        )
    return failures


def result_document(db: Database[Document], run_id: str) -> Document | None:
    """Return the run's property document (the newest output that names run and goal), or None."""
    found = db["outputs"].find_one(
        {"output.run_id": run_id, "output.goal": {"$exists": True}}, sort=[("completed_at", -1)]
    )
    return None if found is None else dict(found["output"])


def resume(launchpad: AutoPipeLaunchPad, run_id: str) -> list[int]:
    """Make what failed or got lost in a run READY again; what is COMPLETED stays.

    Returns
    -------
    list of int
        Ids of the Fireworks that will run again.
    """
    from mlip_autopipe.launch.maintenance import repair

    repair(launchpad, run_id=run_id)
    query = {"spec.run_id": run_id, "state": "FIZZLED"}
    fizzled = [document["fw_id"] for document in launchpad.fireworks.find(query, {"fw_id": 1})]
    for fw_id in fizzled:
        launchpad.fireworks.update_one({"fw_id": fw_id}, {"$unset": {"spec._lost_launches": 1}})
        launchpad.rerun_fw(fw_id)
    return sorted(fizzled)


def _summaries(db: Database[Document], query: Mapping[str, Any]) -> list[RunSummary]:
    fields = {"name": 1, "metadata": 1, "nodes": 1, "fw_states": 1, "created_on": 1, "updated_on": 1}
    by_run: dict[str, list[Document]] = {}
    for workflow in db["workflows"].find(query, fields):
        by_run.setdefault(workflow["metadata"].get("run_id", ""), []).append(workflow)
    nodes = [fw_id for workflows in by_run.values() for workflow in workflows for fw_id in workflow["nodes"]]
    states = {
        firework["fw_id"]: firework["state"]
        for firework in db["fireworks"].find({"fw_id": {"$in": nodes}}, {"fw_id": 1, "state": 1, "_id": 0})
    }
    # a property that did not pass its physics gates is stored, but the run did not succeed
    unsound = {run_id for run_id, state in _result_states(db, list(by_run)).items() if state == "failed"}
    runs = [
        replace(run, state="failed") if run.state == "done" and run.run_id in unsound else run
        for run in (_summary(run_id, workflows, states) for run_id, workflows in by_run.items())
    ]
    return sorted(runs, key=lambda run: (run.updated, run.created), reverse=True)


def _result_states(db: Database[Document], run_ids: list[str]) -> dict[str, str]:
    """Return the state of each run's property document, the newest where a run went on."""
    query = {"output.run_id": {"$in": run_ids}, "output.goal": {"$exists": True}}
    fields = {"output.run_id": 1, "output.state": 1, "completed_at": 1}
    found = db["outputs"].find(query, fields).sort("completed_at", 1)
    return {one["output"]["run_id"]: one["output"].get("state", "") for one in found}


def _summary(run_id: str, workflows: list[Document], states: Mapping[int, str]) -> RunSummary:
    workflows.sort(key=lambda workflow: _iso(workflow.get("created_on")))
    fw_ids = sorted(fw_id for workflow in workflows for fw_id in workflow["nodes"])
    jobs: dict[str, int] = {}
    for fw_id in fw_ids:
        state = states.get(fw_id, "MISSING")
        jobs[state] = jobs.get(state, 0) + 1
    metadata = workflows[0]["metadata"]
    return RunSummary(
        name=workflows[0].get("name", ""),
        run_id=run_id,
        project_name=metadata.get("project_name", ""),
        goal=metadata.get("goal", ""),
        formula=metadata.get("formula", ""),
        state=_run_state(jobs),
        jobs=jobs,
        fw_ids=fw_ids,
        created=_iso(workflows[0].get("created_on")),
        updated=max(_iso(workflow.get("updated_on")) for workflow in workflows),
    )


def _run_state(jobs: Mapping[str, int]) -> str:
    present = set(jobs)
    if present & set(ACTIVE_STATES):
        return "running"
    if present == {"COMPLETED"}:
        return "done"
    if "READY" in present:
        return "ready" if "COMPLETED" in present else "waiting"
    for state, word in (("FIZZLED", "failed"), ("PAUSED", "paused"), ("DEFUSED", "stopped"), ("ARCHIVED", "stopped")):
        if state in present:
            return word
    return "waiting"


def _sentence(details: object, traceback: str) -> str:
    if isinstance(details, Mapping) and details.get("message"):
        return str(details["message"])
    lines = [line for line in traceback.strip().splitlines() if line and not line.startswith((" ", "\t"))]
    if not lines:
        return "the job failed without saying why; see the log in its folder"
    # "package.module.SomeError: sentence" -> "SomeError: sentence"
    kind, separator, rest = lines[-1].partition(": ")
    return f"{kind.rpartition('.')[2]}{separator}{rest}"


def _fw_ids(db: Database[Document], run_id: str) -> list[int]:
    found = db["workflows"].find({"metadata.run_id": run_id}, {"nodes": 1})
    return sorted(fw_id for workflow in found for fw_id in workflow["nodes"])


def _claimer_lives(claim: Mapping[str, Any]) -> bool:
    if claim.get("host") != socket.gethostname():
        return True  # cannot be known from here: wait
    import psutil

    return bool(psutil.pid_exists(int(claim.get("pid", -1))))


def _iso(moment: object) -> str:
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return str(moment or "")


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; `mlip-auto status` lists all runs"
