"""The Firetask that runs a jobflow job, and runs it again when the failure may go away by itself."""

from __future__ import annotations

import copy
import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fireworks import Firework, FWAction, Workflow, explicit_serialize
from jobflow import JobStore
from jobflow.managers.fireworks import JobFiretask
from pymongo.errors import PyMongoError

from mlip_autopipe.errors import AutoPipeError
from mlip_autopipe.launch.continuation import continue_elsewhere
from mlip_autopipe.launch.heartbeat import heartbeat
from mlip_autopipe.launch.jobstore import jobstore_for
from mlip_autopipe.launch.retry import RetrySettings, is_transient

INHERITED = ("run_id",)
"""Keys of a Firework's spec that the Fireworks it creates get too."""

_stores: dict[tuple[object, ...], JobStore] = {}


@explicit_serialize  # type: ignore[untyped-decorator, misc]
class ResilientJobFiretask(JobFiretask):  # type: ignore[misc]
    """jobflow's Firetask with a JobStore it finds by itself and with retries.

    Without an explicit store the job's output goes to the JobStore of the LaunchPad that pulled the Firework
    (`jobstore.jobstore_for`), so specs hold no connection details; offline, jobflow's configured store is used.
    A failure that `retry.is_transient` accepts is repeated in place, after growing delays; every such attempt is
    listed in the Firework under ``spec._attempts``.

    Other Parameters
    ----------------
    job : dict
        A serialised job.
    store : JobStore or None
        None in all Fireworks made by this package.
    """

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run the job; convert the Fireworks it creates to this Firetask."""
        launchpad, fw_id = getattr(self, "launchpad", None), getattr(self, "fw_id", None)
        with heartbeat(launchpad, fw_id):
            return self._run_with_retries(fw_spec, _AttemptRecord(launchpad, fw_id))

    def _run_with_retries(self, fw_spec: dict[str, Any], record: _AttemptRecord) -> FWAction:
        settings = RetrySettings()
        retry = 0
        while True:
            last = retry == settings.max_retries
            # A failed attempt leaves a job with resolved references behind: repeat from a pristine copy.
            job = self["job"] if last else copy.deepcopy(self["job"])
            try:
                action = self._run_once(job, fw_spec)
            except Exception as error:
                transient = is_transient(error)
                if last or not transient:
                    _attach_details(error, transient=transient, attempts=retry + 1)
                    raise
                retry += 1
                delay_s = settings.delay_s(retry)
                record.add(retry, error, delay_s)
                time.sleep(delay_s)
            else:
                record.flush()
                return action

    def _run_once(self, job: Any, fw_spec: Mapping[str, Any]) -> FWAction:
        inherited = {key: fw_spec[key] for key in INHERITED if key in fw_spec}
        job.metadata.update(inherited)
        task = JobFiretask(job=job, store=self._store())
        if hasattr(self, "fw_id"):
            task.fw_id = self.fw_id
        action = task.run_task(fw_spec)
        for workflow in (*action.detours, *action.additions):
            make_resilient(workflow, inherited, store=self.get("store"))
        launchpad, fw_id = getattr(self, "launchpad", None), getattr(self, "fw_id", None)
        if launchpad is None or fw_id is None or len(action.detours) != 1 or action.additions:
            return action
        if continue_elsewhere(launchpad, fw_id, action.detours[0]):
            action.detours = []
        return action

    def _store(self) -> JobStore | None:
        if self.get("store") is not None:
            return self["store"]
        launchpad = getattr(self, "launchpad", None)
        if launchpad is None:
            return None
        # One connection per process and database, not one per Firework.
        key = (os.getpid(), launchpad.host, launchpad.port, launchpad.name, launchpad.username)
        if key not in _stores:
            _stores[key] = jobstore_for(launchpad)
        return _stores[key]


def make_resilient(
    workflow: Workflow | Firework, spec: Mapping[str, Any], *, store: JobStore | None = None
) -> Workflow | Firework:
    """Swap jobflow's Firetasks of a Workflow for `ResilientJobFiretask`, in place.

    Parameters
    ----------
    workflow
        A Workflow made by jobflow's ``flow_to_workflow``.
    spec
        Keys to add to every Firework's spec; keys that are there already stay.
    store
        Goes into the Firetasks; None means the JobStore of the LaunchPad.
    """
    for firework in [workflow] if isinstance(workflow, Firework) else workflow.fws:
        firework.tasks = [
            ResilientJobFiretask(job=task["job"], store=store) if isinstance(task, JobFiretask) else task
            for task in firework.tasks
        ]
        for key, value in spec.items():
            firework.spec.setdefault(key, value)
    return workflow


class _AttemptRecord:
    """The list ``spec._attempts`` of a Firework; what cannot be written now is written with the next entry."""

    def __init__(self, launchpad: Any, fw_id: int | None) -> None:
        self._launchpad = launchpad
        self._fw_id = fw_id
        self._pending: list[dict[str, Any]] = []

    def add(self, attempt: int, error: BaseException, delay_s: float) -> None:
        self._pending.append(
            {
                "attempt": attempt,
                "time": datetime.now(UTC).isoformat(),
                "error": f"{type(error).__name__}: {error}",
                "delay_s": delay_s,
                "host": socket.gethostname(),
            }
        )
        self.flush()

    def flush(self) -> None:
        if not self._pending or self._launchpad is None:
            return
        try:
            self._launchpad.fireworks.update_one(
                {"fw_id": self._fw_id}, {"$push": {"spec._attempts": {"$each": self._pending}}}
            )
        except PyMongoError:
            return  # the database itself may be the transient failure
        self._pending = []


def _attach_details(error: Exception, *, transient: bool, attempts: int) -> None:
    """Let the Rocket store the error's sentence beside the stack trace (it asks the exception for ``to_dict``)."""
    if hasattr(error, "to_dict"):
        return
    details = {
        "type": type(error).__name__,
        "message": str(error) if isinstance(error, AutoPipeError) else f"{type(error).__name__}: {error}",
        "transient": transient,
        "attempts": attempts,
    }
    error.to_dict = lambda: details  # type: ignore[attr-defined]
