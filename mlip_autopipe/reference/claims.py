"""Claims: who is computing what, so that nobody else does, until it is done or its owner is dead."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.collection import Collection

Document = dict[str, Any]

HEARTBEAT_S = 15.0
STALE_AFTER_S = 120.0
"""A claim without a heartbeat for so long, by the clock of who watches it, is dead."""
START_TOLERANCE_S = 5.0

_held: set[str] = set()
"""Tokens of the claims that threads of this process hold."""


class Claims:
    """Claims in a collection, at most one per key.

    A claim says which process holds it. A process that is gone from this machine loses it at once; of a process
    elsewhere only the heartbeat is seen, and counted rather than dated, so that clocks may differ.

    Parameters
    ----------
    ledger
        The collection in which claims are kept.
    """

    def __init__(self, ledger: Collection[Document]) -> None:
        self._ledger = ledger
        self._watched: dict[str, tuple[tuple[str, int], float]] = {}

    @contextmanager
    def holding(self, key: str) -> Iterator[bool]:
        """Yield whether the key is now ours; if so, keep the claim alive inside the block and release it after."""
        token = uuid.uuid4().hex
        _held.add(token)
        try:
            if not self._take(key, token):
                yield False
                return
            with self._beating(key, token):
                yield True
        finally:
            _held.discard(token)

    def _take(self, key: str, token: str) -> bool:
        from pymongo.errors import DuplicateKeyError

        claim = {"_id": f"claim:{key}", "token": token, "owner": _this_process(), "beat": 0}
        try:
            self._ledger.insert_one(claim)
        except DuplicateKeyError:
            other = self._ledger.find_one({"_id": claim["_id"]})
            if other is None or not self._is_dead(key, other):
                return False
            unchanged = {"_id": claim["_id"], "token": other.get("token"), "beat": other.get("beat")}
            if not self._ledger.replace_one(unchanged, claim).matched_count:
                return False
        self._watched.pop(key, None)
        return True

    @contextmanager
    def _beating(self, key: str, token: str) -> Iterator[None]:
        from pymongo.errors import PyMongoError

        mine = {"_id": f"claim:{key}", "token": token}
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                # a hiccup does no harm: many beats come before the claim is stale
                with suppress(PyMongoError):
                    self._ledger.update_one(mine, {"$inc": {"beat": 1}})

        thread = threading.Thread(target=beat, daemon=True, name="claim heartbeat")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            # a claim that cannot be released is found dead: its token is no longer held and its heart has stopped
            with suppress(PyMongoError):
                self._ledger.delete_one(mine)

    def _is_dead(self, key: str, claim: Document) -> bool:
        owner, token = claim.get("owner") or {}, str(claim.get("token"))
        if owner.get("place") == _place():
            if owner["pid"] == os.getpid():
                return token not in _held  # of this process, or of a dead one whose number it got
            if _is_gone(owner["pid"], owner["started"]):
                return True
        return self._is_silent(key, (token, int(claim.get("beat", 0))))

    def _is_silent(self, key: str, state: tuple[str, int]) -> bool:
        """Whether a claim has not changed for too long, watched by our own clock."""
        now = time.monotonic()
        before, since = self._watched.get(key, (None, now))
        if before != state:
            since = now
        self._watched[key] = (state, since)
        return now - since >= STALE_AFTER_S


def _this_process() -> Document:
    import psutil

    pid = os.getpid()
    return {"place": _place(), "pid": pid, "started": psutil.Process(pid).create_time()}


@cache
def _place() -> str:
    """Say where process numbers have the same meaning: this machine, since it booted, in this container.

    Containers can share a hostname, but neither the kernel's boot id nor the namespace of their process numbers.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _is_gone(pid: int, started: float) -> bool:
    """Whether a process of this machine has ended for sure."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - started) > START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
