from __future__ import annotations

import pytest

from mlip_autopipe.errors import ReferenceCalculationError
from mlip_autopipe.reference.base import LadderExhaustedError
from mlip_autopipe.reference.ladder import Rung, climb
from mlip_autopipe.schemas.label import Attempt

RUNGS = [Rung("as planned"), Rung("gentler", {"beta": 0.02}), Rung("wider", {"beta": 0.02}, first={"width": 0.3})]


def _climb(outcomes, recoverable=lambda error: True):
    """Climb with the given outcome per rung, in order; return the result and the rungs tried."""
    tried, outcomes = [], iter(outcomes)

    def calculate(rung):
        tried.append(rung.name)
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return climb(RUNGS, calculate, is_recoverable=recoverable, what="the calculation of Si2"), tried


def test_what_converges_at_once_is_tried_once():
    (result, attempts), tried = _climb([1.5])
    assert result == 1.5
    assert tried == ["as planned"]
    assert [(a.step, a.changes, a.converged, a.message) for a in attempts] == [("as planned", {}, True, "")]


def test_every_attempt_is_recorded_with_what_it_changed_and_why_it_failed():
    (result, attempts), tried = _climb([RuntimeError("\n  sloshing\nmore lines"), ValueError(), 2.5])
    assert result == 2.5
    assert tried == [rung.name for rung in RUNGS]
    assert [(a.step, a.changes, a.converged, a.message) for a in attempts] == [
        ("as planned", {}, False, "RuntimeError: sloshing"),
        ("gentler", {"beta": 0.02}, False, "ValueError"),
        ("wider", {"beta": 0.02, "first": {"width": 0.3}}, True, ""),
    ]
    assert all(Attempt.model_validate(a.model_dump(mode="json")) == a for a in attempts)


def test_the_end_of_the_ladder_is_a_sentence_with_all_attempts():
    with pytest.raises(LadderExhaustedError) as raised:
        _climb([RuntimeError("one"), RuntimeError("two"), RuntimeError("three")])
    assert str(raised.value) == (
        "the calculation of Si2 failed after as planned, gentler, wider; the last said: RuntimeError: three"
    )
    assert [a.message[-3:] for a in raised.value.attempts] == ["one", "two", "ree"]
    assert not any(a.converged for a in raised.value.attempts)
    assert isinstance(raised.value, ReferenceCalculationError)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_what_no_rung_can_mend_is_raised_as_it_is(error):
    with pytest.raises(type(error)) as raised:
        _climb([RuntimeError("one"), error, 1.0], recoverable=lambda e: not isinstance(e, (OSError, MemoryError)))
    assert raised.value is error


def test_an_interruption_is_no_failure():
    with pytest.raises(KeyboardInterrupt):
        _climb([KeyboardInterrupt(), 1.0])
