from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlip_autopipe.errors import BudgetExhaustedError
from mlip_autopipe.reference.budget import BudgetLedger, Refusal, forget_refusal, refusal_of
from mlip_autopipe.schemas.system import Budget


def _ledger(store, n=3, hours=1.0, run="run-1"):
    return BudgetLedger(store, run, max_reference_calculations=n, max_core_hours=hours)


def test_the_limit_is_reached_and_not_exceeded(memory_jobstore):
    ledger = _ledger(memory_jobstore)
    for label in "abc":
        ledger.reserve(label)
    with pytest.raises(BudgetExhaustedError) as raised:
        ledger.reserve("d")
    assert ledger.spent() == (3, 0.0)
    assert "3 reference calculations" in str(raised.value)
    assert "raise resources.max_reference_calculations" in str(raised.value)
    assert raised.value.exit_code == 3


def test_reserving_the_same_label_again_is_free_even_when_all_is_spent(memory_jobstore):
    ledger = _ledger(memory_jobstore, n=1)
    ledger.reserve("a")
    _ledger(memory_jobstore, n=1).reserve("a")  # as a job does that resumes in another process
    assert ledger.spent()[0] == 1


@pytest.mark.parametrize(("kept", "made"), [(0, 3), (1, 2), (3, 0), (5, 0)])
def test_what_is_kept_is_not_spent_and_said(memory_jobstore, kept, made):
    ledger = BudgetLedger(memory_jobstore, "run-1", max_reference_calculations=3, max_core_hours=1.0, kept=kept)
    for label in "abc"[:made]:
        ledger.reserve(label)
    with pytest.raises(BudgetExhaustedError, match=rf"budget of 3 .* \({made} made{f', {kept} kept' if kept else ''}"):
        ledger.reserve("d")
    # who comes later finds it
    later = _ledger(memory_jobstore)
    for label in "xyz"[: 3 - made]:
        later.reserve(label)
    assert later.spent()[0] == 3


def test_runs_pay_for_themselves(memory_jobstore):
    _ledger(memory_jobstore, n=1).reserve("a")
    other = _ledger(memory_jobstore, n=1, run="run-2")
    assert other.spent() == (0, 0.0)
    other.reserve("a")
    assert other.spent()[0] == 1


def test_core_hours_are_a_limit_too_also_for_labels_reserved_before(memory_jobstore):
    ledger = _ledger(memory_jobstore, hours=0.5)
    ledger.reserve("a")
    ledger.spend(0.4 * 3600)
    ledger.reserve("b")
    ledger.spend(0.2 * 3600)
    assert ledger.spent() == (2, pytest.approx(0.6))
    for label in ("c", "a"):
        with pytest.raises(
            BudgetExhaustedError, match=re.escape("0.5 core-hours is spent (0.6 used); raise resources.max_core_hours")
        ):
            ledger.reserve(label)
    assert ledger.spent()[0] == 2


def test_raising_a_limit_lets_the_run_go_on(memory_jobstore):
    _ledger(memory_jobstore, n=1).reserve("a")
    wider = _ledger(memory_jobstore, n=2)
    wider.reserve("b")
    assert wider.spent()[0] == 2


def test_time_spent_before_anything_was_reserved_does_not_spoil_the_count(memory_jobstore):
    ledger = _ledger(memory_jobstore)
    ledger.spend(36.0)
    ledger.reserve("a")
    assert ledger.spent() == (1, pytest.approx(0.01))


def _race(store, n_labels=40, limit=13):
    barrier = threading.Barrier(8)

    def reserve(worker):
        barrier.wait()
        granted = 0
        ledger = _ledger(store, n=limit)
        for i in range(n_labels // 8):
            try:
                ledger.reserve(f"{worker}-{i}")
            except BudgetExhaustedError:
                continue
            granted += 1
        return granted

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(reserve, range(8)))
    assert granted == limit
    assert _ledger(store, n=limit).spent()[0] == limit


@pytest.mark.live
def test_eight_threads_never_exceed_it(live_jobstore):
    # on a server only: in memory nothing makes an update atomic, and several workers cannot share a memory anyway
    _race(live_jobstore)


class TestRefusal:
    def test_it_says_which_limit_and_how_much_it_was(self, memory_jobstore):
        assert refusal_of(memory_jobstore, "run-1") is None
        ledger = _ledger(memory_jobstore, n=1)
        ledger.reserve("a")
        assert refusal_of(memory_jobstore, "run-1") is None
        with pytest.raises(BudgetExhaustedError):
            ledger.reserve("b")
        assert refusal_of(memory_jobstore, "run-1") == Refusal("max_reference_calculations", 1)
        ledger.spend(7200.0)
        with pytest.raises(BudgetExhaustedError):
            ledger.reserve("b")
        assert refusal_of(memory_jobstore, "run-1") == Refusal("max_core_hours", 1.0)
        assert refusal_of(memory_jobstore, "run-2") is None
        forget_refusal(memory_jobstore, "run-1")
        assert refusal_of(memory_jobstore, "run-1") is None
        assert ledger.spent()[0] == 1

    def test_what_is_kept_for_the_end_is_no_smaller_limit(self, memory_jobstore):
        limits = {"max_reference_calculations": 3, "max_core_hours": 1.0}
        with pytest.raises(BudgetExhaustedError):
            BudgetLedger(memory_jobstore, "run-1", **limits, kept=3).reserve("a")
        assert refusal_of(memory_jobstore, "run-1") == Refusal("max_reference_calculations", 3)

    @pytest.mark.parametrize(("calculations", "hours", "lifted"), [(5, 9.0, False), (6, 1.0, True), (4, 1.0, False)])
    def test_only_a_larger_value_of_that_limit_lifts_it(self, calculations, hours, lifted):
        budget = Budget(max_reference_calculations=calculations, max_core_hours=hours, cores=1)
        assert Refusal("max_reference_calculations", 5).is_lifted_by(budget) is lifted
