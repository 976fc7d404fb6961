"""Find and mend what crashed workers leave in the LaunchPad.

Every function says in sentences what it did, and is harmless while other workers run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fireworks.core.firework import FWAction

from mlip_autopipe.launch.heartbeat import PING_FIELD
from mlip_autopipe.launch.jobstore import OUTPUTS
from mlip_autopipe.launch.launchpad import STALE_LOCK_S, AutoPipeLaunchPad
from mlip_autopipe.launch.project_files import RUN_EXPIRATION_S
from mlip_autopipe.launch.retry import RetrySettings

FIREWORKS_PING_S = 3600.0
MISSED_PINGS = 4
CLAIM_EXPIRATION_S = 30.0
ACTIVE = {"$in": ["RESERVED", "RUNNING"]}


def repair(
    launchpad: AutoPipeLaunchPad,
    *,
    run_id: str | None = None,
    expiration_s: float = RUN_EXPIRATION_S,
    claim_expiration_s: float = CLAIM_EXPIRATION_S,
    observe_s: float = STALE_LOCK_S,
) -> list[str]:
    """Mend lost jobs, locks without owner and inconsistent states.

    Parameters
    ----------
    launchpad
        A connected LaunchPad.
    run_id
        Look at this run only; None looks at everything.
    expiration_s
        A job is lost when it has given no sign of life for this long (never less than four of its own intervals).
    claim_expiration_s
        A job that was pulled this long ago without having been started is pulled again.
    observe_s
        A lock is without owner when it stays this long over an unchanged Workflow.

    Returns
    -------
    list of str
        One sentence for each thing that was mended; empty when all is well.
    """
    workflows = {} if run_id is None else {"metadata.run_id": run_id}
    fireworks = {} if run_id is None else {"spec.run_id": run_id}
    done = [
        f"freed the lock, left by a dead worker, of the workflow of job {fw_id}"
        for fw_id in launchpad.free_stale_locks(workflows, observe_s=observe_s)
    ]
    done += _rerun_lost(launchpad, fireworks, expiration_s)
    done += _free_claims(launchpad, fireworks, claim_expiration_s)
    done += _make_consistent(launchpad, workflows, fireworks)
    return done


def requeue_launches_under(launchpad: AutoPipeLaunchPad, folder: Path, *, reason: str, lost: bool) -> list[int]:
    """Make READY again what a worker that has ended was running.

    Parameters
    ----------
    launchpad
        A connected LaunchPad.
    folder
        The folder in which that worker made its launch folders.
    reason
        Why it ended; stored with the launch.
    lost
        True counts it as a lost launch, of which a Firework survives only a few.

    Returns
    -------
    list of int
        Fireworks that are READY again.
    """
    under = {"$regex": f"^{re.escape(str(folder))}(/|$)"}
    requeued = []
    for launch in launchpad.launches.find({"launch_dir": under, "state": ACTIVE}, {"launch_id": 1, "fw_id": 1}):
        if _requeue(launchpad, launch["fw_id"], launch["launch_id"], reason, lost=lost) is not None:
            requeued.append(int(launch["fw_id"]))
    return requeued


def _rerun_lost(launchpad: AutoPipeLaunchPad, query: dict[str, Any], expiration_s: float) -> Iterator[str]:
    now = datetime.now(UTC)
    running = {firework["fw_id"] for firework in launchpad.fireworks.find({**query, "state": "RUNNING"}, {"fw_id": 1})}
    fields = {"launch_id": 1, "fw_id": 1, "host": 1, "state_history": 1, PING_FIELD: 1}
    for launch in launchpad.launches.find({"fw_id": {"$in": list(running)}, "state": "RUNNING"}, fields):
        last = max((_moment(entry.get("updated_on")) for entry in launch["state_history"]), default=now)
        silent_s = (now - last).total_seconds()
        if silent_s <= max(expiration_s, MISSED_PINGS * launch.get(PING_FIELD, FIREWORKS_PING_S)):
            continue
        reason = f"no sign of life from its worker on {launch.get('host')} for {silent_s / 60:.0f} minutes"
        said = _requeue(launchpad, launch["fw_id"], launch["launch_id"], reason, lost=True)
        if said is not None:
            yield said


def _requeue(launchpad: AutoPipeLaunchPad, fw_id: int, launch_id: int, reason: str, *, lost: bool) -> str | None:
    fields = {"state": 1, "launches": 1, "spec._lost_launches": 1, "spec.run_id": 1}
    firework = launchpad.fireworks.find_one({"fw_id": fw_id}, fields)
    if firework is None or firework["state"] not in ("RUNNING", "RESERVED"):
        return None
    others = {"launch_id": {"$in": firework["launches"], "$ne": launch_id}, "state": ACTIVE}
    if launchpad.launches.find_one(others, {"_id": 1}) is not None:
        return None  # it has been pulled again since
    launchpad.free_stale_locks({"nodes": fw_id})
    count = firework["spec"].get("_lost_launches", 0) + int(lost)
    allowed = RetrySettings().max_lost_launches * (1 + _killers(launchpad, firework["spec"].get("run_id")))
    sentence = f"the job was lost: {reason}" if lost else f"the job was interrupted: {reason}"
    if count > allowed:
        sentence += f"; that happened {count} times, so it is not started again by itself"
    if not _close_launch(launchpad, launch_id, sentence):
        return None
    attempt = {"attempt": count, "time": datetime.now(UTC).isoformat(), "error": sentence, "launch_id": launch_id}
    update: dict[str, Any] = {"$push": {"spec._attempts": attempt}}
    if lost:
        update["$set"] = {"spec._lost_launches": count}
    launchpad.fireworks.update_one({"fw_id": fw_id}, update)
    if count > allowed:
        launchpad._refresh_wf(fw_id)
        return f"job {fw_id} failed: {sentence}"
    launchpad.rerun_fw(fw_id)
    return f"job {fw_id} will run again: {sentence}"


def _killers(launchpad: AutoPipeLaunchPad, run_id: str | None) -> int:
    """Return how many labels of a run were given up because workers died at them.

    The launches that they cost are explained, and the job goes on with its other labels.
    """
    query = {"output.run_id": run_id, "output.state": "failed", "output.deaths": {"$gt": 0}}
    return 0 if run_id is None else int(launchpad.db[OUTPUTS].count_documents(query))


def _close_launch(launchpad: AutoPipeLaunchPad, launch_id: int, sentence: str) -> bool:
    """Mark a launch as FIZZLED without telling its Workflow; False if it has ended by itself meanwhile."""
    launch = launchpad.get_launch_by_id(launch_id)
    launch.state = "FIZZLED"
    launch.action = FWAction(
        stored_data={
            "_message": sentence,
            "_task": None,
            "_exception": {"_stacktrace": sentence, "_details": {"message": sentence}},
        },
        exit=True,
    )
    closed = launchpad.launches.replace_one({"launch_id": launch_id, "state": ACTIVE}, launch.to_db_dict())
    return bool(closed.matched_count)


def _free_claims(launchpad: AutoPipeLaunchPad, query: dict[str, Any], expiration_s: float) -> Iterator[str]:
    """Give back Fireworks whose worker died after pulling them and before noting the launch."""
    cutoff = datetime.now(UTC) - timedelta(seconds=expiration_s)
    fields = {"fw_id": 1, "launches": 1, "updated_on": 1}
    for firework in launchpad.fireworks.find({**query, "state": "RESERVED"}, fields):
        if _moment(firework["updated_on"]) > cutoff:
            continue
        launches = {
            "$or": [{"launch_id": {"$in": firework["launches"]}}, {"fw_id": firework["fw_id"]}],
            "state": ACTIVE,
        }
        if launchpad.launches.find_one(launches, {"_id": 1}) is not None:
            continue  # a reservation in a queue, or handled as a lost launch
        launchpad.rerun_fw(firework["fw_id"])
        yield f"job {firework['fw_id']} will run again: its worker died right after pulling it"


def _make_consistent(
    launchpad: AutoPipeLaunchPad, workflows: dict[str, Any], fireworks: dict[str, Any]
) -> Iterator[str]:
    """Finish changes of Workflows in the middle of which a process died."""
    known: set[int] = set()
    for workflow in launchpad.workflows.find(workflows, {"nodes": 1}):
        known.update(workflow["nodes"])
        nodes = workflow["nodes"]
        # A living worker may be in the middle of it: look twice.
        first = _inconsistent(launchpad, nodes)
        if not first:
            continue
        time.sleep(1.0)
        second = _inconsistent(launchpad, nodes)
        for fw_id, problem in first.items():
            if second.get(fw_id) != problem:
                continue
            if problem == "its end was stored only in part":
                # FireWorks applies a job's action (its children, its detours) when RUNNING becomes COMPLETED.
                launchpad.fireworks.update_one({"fw_id": fw_id, "state": "COMPLETED"}, {"$set": {"state": "RUNNING"}})
            launchpad._refresh_wf(fw_id)
            yield f"job {fw_id} put right: {problem}"
    yield from _delete_orphans(launchpad, fireworks, known)


def _inconsistent(launchpad: AutoPipeLaunchPad, nodes: list[int]) -> dict[int, str]:
    """Return what is wrong by Firework id; nothing while the Workflow is being changed."""
    workflow = launchpad.workflows.find_one({"nodes": nodes[0]})
    if workflow is None or workflow.get("locked"):
        return {}
    noted = {int(fw_id): state for fw_id, state in workflow.get("fw_states", {}).items()}
    parents = {int(child): ids for child, ids in workflow.get("parent_links", {}).items()}
    documents = {
        document["fw_id"]: document
        for document in launchpad.fireworks.find(
            {"fw_id": {"$in": workflow["nodes"]}}, {"fw_id": 1, "state": 1, "launches": 1}
        )
    }
    states = {fw_id: document["state"] for fw_id, document in documents.items()}
    running = [
        launch for fw_id, state in states.items() if state == "RUNNING" for launch in documents[fw_id]["launches"]
    ]
    ended = {
        launch["launch_id"]
        for launch in launchpad.launches.find(
            {"launch_id": {"$in": running}, "state": {"$in": ["COMPLETED", "FIZZLED"]}}, {"launch_id": 1}
        )
    }
    problems: dict[int, str] = {}
    for fw_id, state in states.items():
        launches = documents[fw_id]["launches"]
        if state == "COMPLETED" and noted.get(fw_id) != "COMPLETED":
            problems[fw_id] = "its end was stored only in part"
        elif state == "RUNNING" and launches and set(launches) <= ended:
            problems[fw_id] = "it had ended but counted as running"
        elif state == "WAITING" and all(states.get(parent) == "COMPLETED" for parent in parents.get(fw_id, [])):
            problems[fw_id] = "it was waiting for nothing"
        elif state != noted.get(fw_id) and state != "RESERVED":
            problems[fw_id] = f"it was {state} but its workflow said {noted.get(fw_id)}"
    return problems


def _delete_orphans(launchpad: AutoPipeLaunchPad, query: dict[str, Any], known: set[int]) -> Iterator[str]:
    cutoff = datetime.now(UTC) - timedelta(seconds=CLAIM_EXPIRATION_S)
    for firework in launchpad.fireworks.find(
        {**query, "state": {"$in": ["WAITING", "READY"]}}, {"fw_id": 1, "name": 1}
    ):
        fw_id = firework["fw_id"]
        if fw_id in known or firework["_id"].generation_time > cutoff:
            continue
        if launchpad.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is not None:
            continue
        launchpad.fireworks.delete_one({"fw_id": fw_id, "state": {"$in": ["WAITING", "READY"]}})
        yield f"deleted job {fw_id} ({firework.get('name')}), which belongs to no workflow"


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
