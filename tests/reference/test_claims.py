from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from mlip_autopipe.reference import claims as module
from mlip_autopipe.reference.claims import Claims
from mlip_autopipe.reference.documents import ledger_of


@pytest.fixture
def ledger(memory_jobstore):
    return ledger_of(memory_jobstore)


@pytest.fixture
def clock(monkeypatch):
    """Hours pass when the test says so."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


def _insert(ledger, *, place=None, pid=None, started=None, token="theirs"):
    pid = os.getpid() if pid is None else pid
    if started is None:
        started = psutil.Process(pid).create_time()
    owner = {"place": module._place() if place is None else place, "pid": pid, "started": started}
    ledger.insert_one({"_id": "claim:k", "token": token, "owner": owner, "beat": 0})


def _can_take(ledger_or_claims):
    claims = ledger_or_claims if isinstance(ledger_or_claims, Claims) else Claims(ledger_or_claims)
    with claims.holding("k") as mine:
        return mine


@pytest.fixture
def other_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def test_one_holds_it_and_then_the_next(ledger):
    with Claims(ledger).holding("k") as mine:
        assert mine
        assert not _can_take(ledger)
        with Claims(ledger).holding("another") as other:
            assert other
    assert ledger.count_documents({}) == 0
    assert _can_take(ledger)


def test_the_same_store_does_not_take_its_own_claim_in_another_thread(ledger):
    claims, found = Claims(ledger), []
    with claims.holding("k"):
        thread = threading.Thread(target=lambda: found.append(_can_take(claims)))
        thread.start()
        thread.join()
        assert ledger.count_documents({}) == 1
    assert found == [False]


def test_an_exception_releases_it(ledger):
    with pytest.raises(KeyboardInterrupt), Claims(ledger).holding("k"):
        raise KeyboardInterrupt
    assert ledger.count_documents({}) == 0


def test_a_process_that_is_gone_holds_nothing(ledger, other_process):
    _insert(ledger, pid=other_process.pid)
    assert not _can_take(ledger)
    other_process.communicate()
    assert _can_take(ledger)


def test_a_zombie_holds_nothing(ledger, other_process):
    _insert(ledger, pid=other_process.pid)
    other_process.stdin.close()
    while psutil.Process(other_process.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert _can_take(ledger)
    other_process.stdin = None


def test_a_number_that_another_process_got_is_not_the_owner(ledger, other_process):
    _insert(ledger, pid=other_process.pid, started=psutil.Process(other_process.pid).create_time() - 3600)
    assert _can_take(ledger)


def test_our_own_number_used_by_a_dead_process_before(ledger):
    _insert(ledger, started=1.0)
    assert _can_take(ledger)


def test_a_claim_of_this_process_that_could_not_be_released_does_not_block_it(ledger, monkeypatch):
    from pymongo.errors import AutoReconnect

    def down(*args):
        raise AutoReconnect("down")

    with monkeypatch.context() as patch, Claims(ledger).holding("k"):
        patch.setattr(ledger, "delete_one", down)
        # the block ends while the database is away
    assert ledger.count_documents({}) == 1
    assert _can_take(ledger)


@pytest.mark.parametrize("place", ["node7 another-boot pid:[4026531836]", "host:with:colons", ""])
def test_elsewhere_only_silence_counts(ledger, clock, place):
    # the number is that of a living process here, or of none: it means nothing
    _insert(ledger, place=place, pid=2**22 + 1, started=0.0)
    claims = Claims(ledger)
    assert not _can_take(claims)
    clock.now += module.STALE_AFTER_S - 1
    assert not _can_take(claims)
    ledger.update_one({"_id": "claim:k"}, {"$inc": {"beat": 1}})
    clock.now += 2
    assert not _can_take(claims)
    clock.now += module.STALE_AFTER_S - 1
    assert not _can_take(claims)
    clock.now += 1
    assert _can_take(claims)


def test_two_watchers_do_not_both_take_over(ledger, clock):
    _insert(ledger, place="elsewhere", pid=1)
    one, two = Claims(ledger), Claims(ledger)
    assert not _can_take(one)
    assert not _can_take(two)
    clock.now += module.STALE_AFTER_S
    with one.holding("k") as mine:
        assert mine
        assert not _can_take(two)


def test_who_comes_second_to_a_dead_claim_does_not_take_it(ledger, monkeypatch):
    _insert(ledger, started=1.0)
    (dead,) = ledger.find({})

    def seen_just_before(query):
        ledger.update_one({"_id": "claim:k"}, {"$set": {"token": "quicker"}})
        return dead

    monkeypatch.setattr(ledger, "find_one", seen_just_before)
    assert not _can_take(ledger)
    assert ledger.find({})[0]["token"] == "quicker"


def test_a_claim_taken_over_is_not_released_by_its_former_owner(ledger):
    with Claims(ledger).holding("k"):
        ledger.update_one({"_id": "claim:k"}, {"$set": {"token": "new owner"}})
    assert ledger.find_one({"_id": "claim:k"})["token"] == "new owner"


def test_it_beats_while_held_and_survives_a_hiccup(ledger, monkeypatch):
    from pymongo.errors import AutoReconnect

    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    update, hiccups, beaten = ledger.update_one, [AutoReconnect("down")], threading.Event()

    def flaky(*args):
        if hiccups:
            raise hiccups.pop()
        result = update(*args)
        beaten.set()
        return result

    monkeypatch.setattr(ledger, "update_one", flaky)
    with Claims(ledger).holding("k"):
        assert beaten.wait(20)
        assert ledger.find_one({"_id": "claim:k"})["beat"] >= 1
    assert not [t for t in threading.enumerate() if t.name == "claim heartbeat"]


def test_processes_of_one_container_agree_on_their_place():
    code = "from mlip_autopipe.reference.claims import _place; print(_place())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == module._place()


class TestDeaths:
    """Who takes over a dead claim counts it; who releases one in order leaves nothing to count."""

    @pytest.fixture
    def gone(self, other_process):
        """Owner of claims whose process has ended."""
        pid, started = other_process.pid, psutil.Process(other_process.pid).create_time()
        other_process.communicate()
        return {"place": module._place(), "pid": pid, "started": started}

    def _leave(self, ledger, owner, **more):
        ledger.insert_one({"_id": "claim:k", "token": "theirs", "owner": owner, "beat": 0, **more})

    def _deaths(self, ledger):
        claims = Claims(ledger)
        with claims.holding("k") as mine:
            assert mine
            return claims.deaths("k")

    def test_a_key_that_nobody_held_has_none(self, ledger):
        assert self._deaths(ledger) == 0

    def test_one_is_added_to_those_before(self, ledger, gone):
        self._leave(ledger, gone, deaths=2)
        assert self._deaths(ledger) == 3

    def test_a_release_forgets_them(self, ledger, gone):
        self._leave(ledger, gone, deaths=2)
        self._deaths(ledger)
        assert self._deaths(ledger) == 0

    def test_an_owner_that_lives_and_could_not_release_its_claim_is_none(self, ledger):
        _insert(ledger)
        assert self._deaths(ledger) == 0

    @pytest.mark.parametrize(("seconds_before", "deaths"), [(3600.0, 1), (20.0, 0), (-20.0, 0)])
    def test_what_the_queue_ended_at_its_time_limit_is_none(self, ledger, gone, seconds_before, deaths):
        self._leave(ledger, gone, alive_at=1e9 - seconds_before, ends_at=1e9)
        assert self._deaths(ledger) == deaths

    def test_a_claim_says_when_its_owner_lived_last_and_when_it_must_end(self, ledger):
        with Claims(ledger, ends_at=12.0).holding("k"):
            (claim,) = ledger.find({})
            assert claim["ends_at"] == 12.0
            assert claim["alive_at"] > 1e9

    def test_out_of_memory_counts_though_the_process_lives_and_is_found_at_once(self, ledger):
        with pytest.raises(MemoryError), Claims(ledger).holding("k"):
            raise MemoryError
        assert self._deaths(ledger) == 1

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
    def test_a_stop_neither_counts_nor_hides_those_before(self, ledger, gone, stop):
        self._leave(ledger, gone, deaths=1)
        with pytest.raises(stop), Claims(ledger).holding("k"):
            raise stop
        assert self._deaths(ledger) == 2

    def test_excused_claims_are_free_and_count_nothing(self, ledger, other_process):
        _insert(ledger, pid=other_process.pid)
        assert not _can_take(ledger)
        module.excuse(ledger, os.getpid())
        assert not _can_take(ledger), "only those of the process that was meant"
        module.excuse(ledger, other_process.pid)
        assert self._deaths(ledger) == 0

    def test_who_excuses_while_another_takes_over_is_not_overlooked(self, ledger, gone, monkeypatch):
        self._leave(ledger, gone)
        (dead,) = ledger.find({})

        def seen_just_before(query):
            module.excuse(ledger, gone["pid"])
            return dead

        monkeypatch.setattr(ledger, "find_one", seen_just_before)
        assert not _can_take(ledger)
        monkeypatch.undo()
        assert self._deaths(ledger) == 0

    def test_a_handler_of_somebody_else_stays(self, ledger):
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            mine = signal.getsignal(signal.SIGTERM)
            with Claims(ledger).holding("k"):
                assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGTERM) is mine
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_the_default_comes_back(self, ledger):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with Claims(ledger).holding("loop"), Claims(ledger).holding("k"):
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
