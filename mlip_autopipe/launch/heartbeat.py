"""Signs of life of a running job, frequent enough to notice a lost worker within minutes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import PyMongoError

from mlip_autopipe.launch.project_files import PING_TIME_S

PING_FIELD = "ping_s"
"""Field of a running launch: the interval at which it says that it is alive."""


@contextmanager
def heartbeat(launchpad: Any, fw_id: int | None) -> Iterator[None]:
    """Ping the launch of a running Firework at least every `PING_TIME_S` seconds, and note the interval there.

    FireWorks pings by itself, but every hour unless its ``FW_config.yaml`` is found, which is not the case in
    the folder of a queue's job. Offline (no LaunchPad) nothing is done.
    """
    launch_id = None if launchpad is None else _note_interval(launchpad, fw_id)
    if launch_id is None or _fireworks_interval() <= PING_TIME_S:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_beat, args=(launchpad, launch_id, done), daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()


def _fireworks_interval() -> float:
    from fireworks.core import rocket

    return float(rocket.PING_TIME_SECS)


def _note_interval(launchpad: Any, fw_id: int | None) -> int | None:
    try:
        launch = launchpad.launches.find_one_and_update(
            {"fw_id": fw_id, "state": "RUNNING"},
            {"$set": {PING_FIELD: min(PING_TIME_S, _fireworks_interval())}},
            {"launch_id": 1},
            sort=[("launch_id", -1)],
        )
    except PyMongoError:
        return None
    return None if launch is None else int(launch["launch_id"])


def _beat(launchpad: Any, launch_id: int, done: threading.Event) -> None:
    while not done.wait(PING_TIME_S):
        try:
            launchpad.ping_launch(launch_id)
        except PyMongoError:
            continue
