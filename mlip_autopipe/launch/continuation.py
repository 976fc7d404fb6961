"""Long chains of jobs go on in a new Workflow: the cost of a launch grows with the size of its Workflow.

A learning loop of a hundred generations adds hundreds of Fireworks. FireWorks reads and writes a whole Workflow at
every launch (190 ms with 20 Fireworks, 320 ms with 127), so after some of them the next ones become a Workflow of their
own with the same metadata. To users it is one run: everything that looks for runs goes by ``metadata.run_id``.
"""

from __future__ import annotations

from typing import Any, Final

from fireworks import Workflow

MAX_FIREWORKS: Final = 60
"""Size from which on a Workflow gets no further Fireworks from a job that nobody waits for."""
CONTINUES: Final = "continues_fw_id"
"""Key of the metadata: the Firework whose job left this Workflow behind."""


def continue_elsewhere(launchpad: Any, fw_id: int, following: Workflow) -> bool:
    """Store what follows a Firework as a Workflow of its own, if its Workflow is large and nobody waits for it.

    Stored once: a job that is killed after this and runs again finds what it left.

    Parameters
    ----------
    launchpad
        The LaunchPad that pulled the Firework.
    fw_id
        The Firework.
    following
        What its job created.

    Returns
    -------
    bool
        Whether it is stored; otherwise it belongs into the same Workflow.
    """
    workflow = launchpad.workflows.find_one({"nodes": fw_id}, {"nodes": 1, "links": 1, "metadata": 1, "name": 1})
    if workflow is None or len(workflow["nodes"]) < MAX_FIREWORKS or workflow["links"].get(str(fw_id)):
        return False
    known = launchpad.workflows.find_one({f"metadata.{CONTINUES}": fw_id}, {"nodes": 1, "links": 1})
    if known is None:
        following.metadata = {**workflow["metadata"], CONTINUES: fw_id}
        following.name = workflow["name"]
        launchpad.add_wf(following)
    else:
        _make_ready(launchpad, known)
    return True


def _make_ready(launchpad: Any, workflow: dict[str, Any]) -> None:
    """Start the first Fireworks of a Workflow whose maker died between storing it and starting them."""
    waiting_for_others = {child for children in workflow["links"].values() for child in children}
    roots = [node for node in workflow["nodes"] if node not in waiting_for_others]
    launchpad.fireworks.update_many({"fw_id": {"$in": roots}, "state": "WAITING"}, {"$set": {"state": "READY"}})
