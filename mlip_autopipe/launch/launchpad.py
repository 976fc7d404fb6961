"""The FireWorks LaunchPad of a location."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from mlip_autopipe.launch.database import client_options, database, running
from mlip_autopipe.launch.location import LaunchPadLocation
from mlip_autopipe.launch.retry import RetrySettings, is_transient

with contextlib.redirect_stdout(io.StringIO()):  # it prints which of several FW_config.yaml it chose
    from fireworks.core.firework import Firework, Workflow
    from fireworks.core.launchpad import LaunchPad

__all__ = ["AutoPipeLaunchPad", "connect", "database"]

STALE_LOCK_S = 10.0
ORPHAN_S = 60.0

FIREWORK_INDEXES = ("spec.run_id", [("spec.run_id", 1), ("state", 1)])
WORKFLOW_INDEXES = ("metadata.run_id", "metadata.project_name", "metadata.continues_fw_id")
OUTPUT_INDEXES = ("uuid", "output.run_id", "metadata.run_id")


def connect(location: LaunchPadLocation, *, timeout_s: float = 5.0, log_level: str = "CRITICAL") -> AutoPipeLaunchPad:
    """Connect to the LaunchPad; start the embedded server and initialise a fresh database if needed.

    Parameters
    ----------
    location
        From `location.locate`.
    timeout_s
        Give up after this many seconds (starting the embedded server is not counted).
    log_level
        FireWorks' messages at this level and above go to stdout.

    Returns
    -------
    AutoPipeLaunchPad
        Ready for use. Nothing that was in the database has been changed.

    Raises
    ------
    DatabaseUnreachableError
        The server does not answer in time; the message names host and port.
    EnvironmentProblemError
        The server refuses the login, or the embedded server cannot be started.
    """
    location = running(location)
    check = database(location, timeout_s=timeout_s)
    check.client.close()
    options = client_options(location)
    launchpad = AutoPipeLaunchPad(
        host=options.pop("host"),
        port=options.pop("port", None),
        name=location.name,
        username=options.pop("username", None),
        password=options.pop("password", None),
        authsource=options.pop("authSource", None),
        uri_mode=location.uri_mode,
        strm_lvl=log_level,
        mongoclient_kwargs=options,
    )
    launchpad.location = location
    launchpad.initialise()
    return launchpad


class AutoPipeLaunchPad(LaunchPad):  # type: ignore[misc]
    """FireWorks' LaunchPad, made safe where it meets crashes and several processes.

    Ids are taken from the counter's value *after* the increment, which no server can hand out twice. A Workflow's
    Fireworks become READY only after the Workflow itself is stored. Hiccups of the connection neither end the
    heartbeat of a running job nor leave its Workflow unrefreshed.
    """

    location: LaunchPadLocation | None = None

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> AutoPipeLaunchPad:
        """Build from `to_dict` or a parsed ``my_launchpad.yaml``; unknown keys are ignored."""
        keys = (
            *("port", "name", "username", "password", "logdir", "strm_lvl", "user_indices"),
            *("wf_user_indices", "authsource", "uri_mode", "mongoclient_kwargs"),
        )
        return cls(d["host"], **{key: d[key] for key in keys if d.get(key) is not None})

    def initialise(self) -> None:
        """Create counters and indexes where they are missing; never delete or reset anything."""
        if self.fw_id_assigner.find_one({}, {"_id": 1}) is None:
            self.fw_id_assigner.update_one(
                {"_id": -1},
                {
                    "$setOnInsert": {
                        "next_fw_id": 1 + self._largest(self.fireworks, "fw_id"),
                        "next_launch_id": 1 + self._largest(self.launches, "launch_id"),
                    }
                },
                upsert=True,
            )
        if "spec.run_id_1" not in self.fireworks.index_information():
            self.tuneup()

    def tuneup(self, bkground: bool = True) -> None:
        """Build FireWorks' indexes and those for the fields that this package queries."""
        super().tuneup(bkground=bkground)
        for key in WORKFLOW_INDEXES:
            self.workflows.create_index(key)
        for key in OUTPUT_INDEXES:
            self.db["outputs"].create_index(key)
        # jobflow replaces by (uuid, index); unique, so that two workers cannot both insert the first document.
        with contextlib.suppress(PyMongoError):  # an older database may hold duplicates
            self.db["outputs"].create_index([("uuid", 1), ("index", 1)], unique=True)
        for index in FIREWORK_INDEXES:
            self.fireworks.create_index(index)

    def get_new_fw_id(self, quantity: int = 1) -> int:
        """Reserve `quantity` Firework ids and return the first."""
        return self._reserve("next_fw_id", quantity)

    def get_new_launch_id(self) -> int:
        """Reserve a Launch id."""
        return self._reserve("next_launch_id", 1)

    def add_wf(self, wf: Workflow | Firework, reassign_all: bool = True) -> dict[int, int]:
        """Store a Workflow; its first Fireworks become READY after everything else is stored.

        Returns
        -------
        dict
            New Firework ids by the old ones.
        """
        if not reassign_all:
            return dict(super().add_wf(wf, reassign_all=False))
        workflow = Workflow.from_firework(wf) if isinstance(wf, Firework) else wf
        return self._insert([workflow])[0]

    def bulk_add_wfs(self, wfs: list[Workflow | Firework]) -> None:
        """Store several Workflows with few database calls."""
        self._insert([Workflow.from_firework(wf) if isinstance(wf, Firework) else wf for wf in wfs])

    def ping_launch(self, launch_id: int, ptime: datetime | None = None, checkpoint: Any = None) -> None:
        """Say that a launch is alive; a lost connection is no reason to stop saying so later."""
        try:
            super().ping_launch(launch_id, ptime=ptime, checkpoint=checkpoint)
        except PyMongoError as error:
            if checkpoint is not None or not is_transient(error):
                raise
            self.m_logger.warning(f"ping of launch {launch_id} was lost: {error}")

    def free_stale_locks(self, query: Mapping[str, Any], *, observe_s: float = STALE_LOCK_S) -> list[int]:
        """Free the locks of Workflows on which nobody works.

        FireWorks' locks do not say who holds them. A living holder changes the Workflow or lets it go within
        moments, so a lock that stays for `observe_s` seconds over an unchanged Workflow has lost its owner.

        Parameters
        ----------
        query
            Which Workflows to look at.
        observe_s
            For how long to watch them; no time is spent when nothing is locked.

        Returns
        -------
        list of int
            One Firework id of each Workflow that was freed.
        """
        fields = {"updated_on": 1, "nodes": 1}
        suspects = {document["_id"]: document for document in self._locked(query, fields)}
        deadline = time.monotonic() + observe_s
        while suspects and time.monotonic() < deadline:
            time.sleep(0.1)
            still = {document["_id"]: document for document in self._locked({"_id": {"$in": list(suspects)}}, fields)}
            suspects = {key: old for key, old in suspects.items() if still.get(key) == old}
        freed = []
        for old in suspects.values():
            if self.workflows.update_one({**old, "locked": True}, {"$unset": {"locked": True}}).modified_count:
                freed.append(int(old["nodes"][0]))
        return freed

    def _locked(self, query: Mapping[str, Any], fields: Mapping[str, int]) -> list[dict[str, Any]]:
        return list(self.workflows.find({**query, "locked": {"$exists": True}}, fields))

    def _get_a_fw_to_run(
        self, query: dict[str, Any] | None = None, fw_id: int | None = None, checkout: bool = True
    ) -> Any:
        while True:
            firework = super()._get_a_fw_to_run(query=query, fw_id=fw_id, checkout=checkout)
            if firework is None or not checkout or self._belongs_to_a_workflow(firework.fw_id):
                return firework
            # A process died while it was adding this Firework; nothing refers to it.
            self.fireworks.delete_one({"fw_id": firework.fw_id, "state": "RESERVED"})

    def _belongs_to_a_workflow(self, fw_id: int) -> bool:
        deadline = time.monotonic() + ORPHAN_S
        while self.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)  # whoever inserted it stores the Workflow next
        return True

    def _refresh_wf(self, fw_id: int) -> None:
        settings = RetrySettings()
        for retry in range(settings.max_retries + 1):
            try:
                super()._refresh_wf(fw_id)
            except Exception as error:
                if retry == settings.max_retries or not is_transient(error):
                    raise
                time.sleep(settings.delay_s(retry + 1))
                self.free_stale_locks({"nodes": fw_id})  # the lost connection may have taken our own lock with it
            else:
                return

    def _insert(self, workflows: list[Workflow]) -> list[dict[int, int]]:
        """Store Fireworks as WAITING, then Workflows, then make the roots READY.

        A process that dies in between leaves only Fireworks that nobody will ever pull.
        """
        first = self.get_new_fw_id(quantity=sum(len(workflow.id_fw) for workflow in workflows))
        maps, fireworks, roots = [], [], []
        for workflow in workflows:
            ordered = sorted(workflow.id_fw.values(), key=_creation_order)
            old_new = {firework.fw_id: new for new, firework in enumerate(ordered, start=first)}
            first += len(ordered)
            for firework in ordered:
                firework.fw_id = old_new[firework.fw_id]
            workflow._reassign_ids(old_new)
            for fw_id in workflow.root_fw_ids:
                workflow.fw_states[fw_id] = "READY"
                roots.append(fw_id)
            fireworks += ordered
            maps.append(old_new)
        documents = [firework.to_db_dict() for firework in fireworks]
        self.fireworks.insert_many(documents)
        for firework in fireworks:
            if firework.fw_id in set(roots):
                firework.state = "READY"
        self.workflows.insert_many([workflow.to_db_dict() for workflow in workflows])
        self.fireworks.update_many(
            {"fw_id": {"$in": roots}}, {"$set": {"state": "READY", "updated_on": datetime.now(UTC).isoformat()}}
        )
        self.m_logger.info(f"Added {len(workflows)} workflow(s). id_map: {maps}")
        return maps

    def _reserve(self, counter: str, quantity: int) -> int:
        after = self.fw_id_assigner.find_one_and_update(
            {}, {"$inc": {counter: quantity}}, return_document=ReturnDocument.AFTER
        )
        if after is None:
            raise ValueError("the LaunchPad has no id counters yet: call initialise() (or run `lpad reset` once)")
        return int(after[counter]) - quantity

    @staticmethod
    def _largest(collection: Any, key: str) -> int:
        last = collection.find_one({}, {key: 1}, sort=[(key, -1)])
        return int(last[key]) if last else 0


def _creation_order(firework: Firework) -> tuple[bool, int]:
    # Fireworks get the provisional ids -1, -2, ... as they are made; ids read from a file are positive.
    return firework.fw_id < 0, abs(firework.fw_id)
