"""Claims: who is computing what, so that nobody else does, until it is done or its owner is dead.

A claim that was not released says that its owner died at it. Who takes it over counts that, so that a calculation which
kills its workers again and again is known by it.
"""

from __future__ import annotations

import os
import signal
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
LAST_MINUTE_S = 60.0
"""An owner whose last sign of life came so near the end of its queue job was ended by the queue."""
EXCUSE_PATIENCE_S = 5.0
STOPPED, OUT_OF_MEMORY = "stopped", "out of memory"
"""How an owner left its claim behind, where it could say so."""

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
    ends_at
        Unix time at which the queue ends this process; None: nobody does.
    """

    def __init__(self, ledger: Collection[Document], *, ends_at: float | None = None) -> None:
        self._ledger = ledger
        self._ends_at = ends_at
        self._watched: dict[str, tuple[tuple[str, int], float]] = {}
        self._deaths: dict[str, int] = {}

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

    def deaths(self, key: str) -> int:
        """Return how many owners in a row died while they held a key that is ours now.

        Not counted are owners that were stopped in order (an exception, SIGINT, SIGTERM) or ended by their queue's time
        limit; owners that ran out of memory are, whether they were killed or got a `MemoryError`.
        """
        return self._deaths[key]

    def _take(self, key: str, token: str) -> bool:
        from pymongo.errors import DuplicateKeyError

        claim: Document = {
            "_id": f"claim:{key}",
            "token": token,
            "owner": _this_process(),
            "beat": 0,
            "alive_at": time.time(),
            "ends_at": self._ends_at,
            "deaths": 0,
        }
        try:
            self._ledger.insert_one(claim)
        except DuplicateKeyError:
            other = self._ledger.find_one({"_id": claim["_id"]})
            if other is None or not self._is_dead(key, other):
                return False
            claim["deaths"] = int(other.get("deaths", 0)) + _died(other)
            unchanged = {"_id": claim["_id"], **{name: other.get(name) for name in ("token", "beat", "end")}}
            if not self._ledger.replace_one(unchanged, claim).matched_count:
                return False
        self._watched.pop(key, None)
        self._deaths[key] = claim["deaths"]
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
                    self._ledger.update_one(mine, {"$inc": {"beat": 1}, "$set": {"alive_at": time.time()}})

        thread = threading.Thread(target=beat, daemon=True, name="claim heartbeat")
        thread.start()
        end: str | None = None
        try:
            with _excused_when_terminated(self._ledger):
                yield
        except MemoryError:
            end = OUT_OF_MEMORY
            raise
        except (KeyboardInterrupt, SystemExit):
            end = STOPPED
            raise
        finally:
            done.set()
            thread.join()
            deaths = self._deaths.pop(key)
            # a claim that cannot be released is found dead: its token is no longer held and its heart has stopped
            with suppress(PyMongoError):
                if end == OUT_OF_MEMORY or (end == STOPPED and deaths):  # what is counted must be found by the next
                    self._ledger.update_one(mine, {"$set": {"end": end}})
                else:
                    self._ledger.delete_one(mine)

    def _is_dead(self, key: str, claim: Document) -> bool:
        if claim.get("end") is not None:
            return True
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


def excuse(ledger: Collection[Document], pid: int) -> None:
    """Let no claim of a process of this machine, which is being stopped in order, count as a death.

    Parameters
    ----------
    ledger
        The collection in which claims are kept.
    pid
        The process; its claims are free from now on.
    """
    claims = {"_id": {"$regex": "^claim:"}, "owner.place": _place(), "owner.pid": pid, "end": None}
    ledger.update_many(claims, {"$set": {"end": STOPPED}})


@contextmanager
def _excused_when_terminated(ledger: Collection[Document]) -> Iterator[None]:
    """Let SIGTERM end this process as it does without us, after its claims were excused.

    Queues send it before they kill, and stock rockets do not handle it. Where a handler is set, it is left alone.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: object) -> None:
        # in a thread: this one may have been interrupted while it holds a lock of the database's client
        excusing = threading.Thread(target=_try_to_excuse, args=(ledger,), daemon=True)
        excusing.start()
        excusing.join(EXCUSE_PATIENCE_S)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _try_to_excuse(ledger: Collection[Document]) -> None:
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError):
        excuse(ledger, os.getpid())


def _died(claim: Document) -> bool:
    """Whether a dead claim's owner died at it, as far as can be told."""
    if claim.get("end") is not None:
        return bool(claim["end"] == OUT_OF_MEMORY)
    owner = claim.get("owner") or {}
    if owner.get("place") == _place() and not _is_gone(owner["pid"], owner["started"]):
        return False  # it lives, and could not release its claim
    ends_at, alive_at = claim.get("ends_at"), claim.get("alive_at")
    return ends_at is None or alive_at is None or alive_at < ends_at - LAST_MINUTE_S


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
