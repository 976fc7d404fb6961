"""A potential as the goal: delivered with its card, and judged by what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jobflow import CURRENT_JOB

from mlip_autopipe.jobs.potential_goal import deliver_potential
from mlip_autopipe.jobs.records import RunRecords
from mlip_autopipe.schemas.otf import ForceErrors
from mlip_autopipe.schemas.potential import PotentialDocument
from tests.learning.tiny import Ran, finished


@pytest.fixture
def deliver() -> Iterator[Any]:
    """Deliver the finished run's potential, had something else been learned."""
    ran: Ran = finished()
    records, learned = RunRecords(ran.store, ran.system.run_id), ran.learned

    def call(**changes: Any) -> PotentialDocument:
        records.save_learned(learned.model_copy(update=changes))
        CURRENT_JOB.store = ran.store
        return deliver_potential.original(ran.system.run_id)

    yield call
    CURRENT_JOB.reset()
    records.save_learned(learned)


GOOD: dict[str, Any] = {"covered": [(29, 32), (32, 32), (28, 32), (26, 32)] * 5}
NOT_JUDGED: dict[str, Any] = {"held_out": None, "held_out_label_ids": []}


def test_a_good_potential_is_done(deliver):
    document = deliver(**GOOD)
    assert document.state == "done"
    assert document.missing == []
    assert document.goal == "potential"
    assert document.potential_sha256 == document.card.potential_sha256 == finished().learned.potential_sha256
    assert document.force_rmse_eV_per_A == finished().learned.held_out.force_rmse_eV_per_A
    assert document.target_force_error_eV_per_A == finished().system.otf.target_force_error_eV_per_A


def test_the_card_knows_where_the_data_come_from(deliver):
    card = deliver(**GOOD).card
    assert card.validity.temperature_K == (300.0, 900.0)
    assert card.training.label_ids == sorted(finished().learned.label_ids)
    assert card.held_out.configurations == 2
    error = card.errors_held_out.force_meV_per_A.rmse
    assert error == pytest.approx(1e3 * finished().learned.held_out.force_rmse_eV_per_A, rel=1e-6)


def test_an_uncertainty_that_does_not_hold_is_a_failure(deliver):
    document = deliver(covered=[(18, 32), (14, 32), (20, 32), (12, 32), (16, 32)] * 2, **NOT_JUDGED)
    assert document.state == "failed"
    (gate,) = document.gates
    assert (gate.name, gate.passed) == ("uncertainty_holds", False)
    assert "held for 50 +- 3 % of the atoms of 10 labels" in gate.detail


def test_what_may_be_chance_does_not_fail_but_is_not_enough(deliver):
    document = deliver(covered=[(32, 32), (32, 32), (4, 32)], **NOT_JUDGED)
    assert document.state == "not_enough_evidence"
    (gate,) = document.gates
    assert gate.passed
    assert "too few to tell whether by chance" in document.missing[0]


@pytest.mark.parametrize("covered", [[], [(0, 32)]])
def test_an_uncertainty_that_was_not_tested_has_passed_no_gate(deliver, covered):
    document = deliver(covered=covered, **NOT_JUDGED)
    assert document.state == "not_enough_evidence"
    assert document.gates == []
    assert "too few labels tell whether the stated uncertainty holds" in document.missing[0]
    assert "otf.held_out" in document.missing[0]


def test_held_out_labels_test_the_uncertainty_too(deliver):
    learned = finished().learned
    assert [atoms for _, atoms in learned.held_out.covered] == [4, 4]
    held_out = learned.held_out.model_copy(update={"covered": [(30, 32)] * 8})
    document = deliver(covered=[(31, 32)] * 2, held_out=held_out)
    assert document.state == "done"
    assert "of 10 labels" in document.gates[0].detail


def test_an_error_beyond_the_target_is_not_enough_whatever_the_audits_said(deliver):
    document = deliver(**GOOD, held_out=ForceErrors(labels=2, force_rmse_eV_per_A=0.1))
    assert document.state == "not_enough_evidence"
    assert "on 2 held-out labels the force error is 100 meV/A, the target 40" in document.missing[0]
    assert "raise" in document.missing[0]


def test_what_the_loop_missed_is_handed_on(deliver):
    document = deliver(**GOOD, state="not_enough_evidence", missing=["more of everything"], warnings=["take care"])
    assert document.state == "not_enough_evidence"
    assert document.missing == ["more of everything"]
    assert "take care" in document.warnings


def test_without_held_out_labels_the_audits_decide(deliver):
    document = deliver(**GOOD, **NOT_JUDGED)
    assert document.force_rmse_eV_per_A is None
    assert document.state == "done"
