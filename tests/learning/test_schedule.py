"""Where walkers go next: decisions on small documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlip_autopipe.learning.schedule import after_audits, first_walkers, is_done, newest_audits, once_more, unaudited
from mlip_autopipe.schemas.otf import AuditError, FreshError, StartStructure, Walker
from tests.learning.tiny import tiny_settings

SETTINGS = tiny_settings(
    temperatures_K=[300.0, 600.0],
    segment_steps=20,
    audits_per_temperature=2,
    max_segments_per_temperature=4,
    walkers=2,
    target_force_error_eV_per_A=0.04,
)


def walker(**more: Any) -> Walker:
    return Walker(**{"index": 0, "segment_end": 20, "step": 20, "checkpoint_sha256": "here", **more})


def audit(error: float, temperature_K: float = 300.0, origin: Any = "audit") -> FreshError:
    return FreshError(
        label_id="a",
        origin=origin,
        temperature_K=temperature_K,
        atoms=4,
        force_rmse_eV_per_A=error,
        force_max_eV_per_A=2 * error,
        predicted_rms_eV_per_A=0.01,
        covered_fraction=1.0,
    )


def after(one: Walker, error: float | None, settings: Any = SETTINGS) -> Walker:
    audits = {} if error is None else {one.index: audit(error)}
    (found,) = after_audits([one], audits, settings)
    return found


def test_walkers_begin_at_the_first_temperature():
    assert [(one.index, one.temperature_index, one.segment_end) for one in first_walkers(SETTINGS)] == [
        (0, 0, 20),
        (1, 0, 20),
    ]


@pytest.mark.parametrize("step", [0, 7, 19])
def test_within_a_segment_nothing_is_decided(step):
    one = walker(step=step)
    assert after(one, 0.001) == one


def test_a_passed_audit_is_counted_and_the_run_goes_on():
    found = after(walker(), 0.03)
    assert (found.passed, found.segments, found.segment_end) == (1, 1, 40)
    assert (found.step, found.checkpoint_sha256) == (20, "here")


def test_enough_audits_in_a_row_lead_to_the_next_temperature_from_where_this_one_ended():
    found = after(walker(passed=1, segments=1), 0.04)
    assert (found.temperature_index, found.step, found.segment_end) == (1, 0, 20)
    assert (found.passed, found.segments, found.guards) == (0, 0, 0)
    assert (found.start_sha256, found.checkpoint_sha256) == ("here", None)


@pytest.mark.parametrize("error", [0.05, None])
def test_an_audit_that_fails_or_has_no_label_begins_the_row_anew(error):
    found = after(walker(passed=1, segments=1), error)
    assert (found.temperature_index, found.passed, found.segments) == (0, 0, 2)


def test_after_the_largest_number_of_segments_the_next_temperature_begins_all_the_same():
    assert after(walker(segments=2), 0.5).temperature_index == 0
    assert after(walker(segments=3), 0.5).temperature_index == 1


def test_a_run_that_guards_stopped_as_often_gives_up_its_temperature():
    again = walker(step=0, segments=4, attempt=4, checkpoint_sha256=None)
    found = after(again, None)
    assert (found.temperature_index, found.attempt, found.start_sha256) == (1, 4, None)
    assert after(walker(step=0, segments=3), None) == walker(step=0, segments=3)


def test_the_last_temperature_is_the_end():
    found = after(walker(temperature_index=1, passed=1), 0.01)
    assert is_done(found, SETTINGS)
    assert after(found, 0.01) == found
    assert not is_done(walker(temperature_index=1), SETTINGS)


def test_each_walker_is_judged_by_its_own_audit():
    found = after_audits([walker(), walker(index=1)], {0: audit(0.01), 1: audit(0.2)}, SETTINGS)
    assert [one.passed for one in found] == [1, 0]


def test_once_more_means_other_random_numbers_from_the_first_temperature():
    (found,) = once_more([walker(temperature_index=2, attempt=3)], SETTINGS)
    assert found == Walker(index=0, attempt=4, segment_end=20)


@given(st.lists(st.one_of(st.none(), st.floats(0, 0.1)), min_size=1, max_size=40))
def test_every_walker_ends_after_a_bounded_number_of_segments(errors):
    one = first_walkers(SETTINGS)[0]
    segments = 0
    for error in errors:
        if is_done(one, SETTINGS):
            break
        one = after(one.model_copy(update={"step": one.segment_end}), error)
        segments += 1
        assert one.passed < SETTINGS.audits_per_temperature
        assert one.segments < SETTINGS.max_segments_per_temperature
    assert segments <= len(SETTINGS.temperatures_K) * SETTINGS.max_segments_per_temperature
    if segments == len(SETTINGS.temperatures_K) * SETTINGS.max_segments_per_temperature:
        assert is_done(one, SETTINGS)


class TestAudits:
    OLD = AuditError(temperature_K=300.0, generation=1, force_rmse_eV_per_A=0.1, predicted_rms_eV_per_A=0.1)

    def test_the_newest_of_each_temperature_is_kept_in_order_of_temperature(self):
        fresh = [audit(0.03, 600.0), audit(0.02), audit(0.05)]
        found = newest_audits([self.OLD], fresh, 7)
        assert [(one.temperature_K, one.generation, one.force_rmse_eV_per_A) for one in found] == [
            (300.0, 7, 0.05),
            (600.0, 7, 0.03),
        ]

    def test_frames_that_the_potential_asked_for_are_no_audits(self):
        fresh = [audit(0.03, 600.0, origin) for origin in ("trigger", "guard")]
        assert newest_audits([self.OLD], fresh, 7) == [self.OLD]

    def test_temperatures_without_one_are_named(self):
        assert unaudited([], SETTINGS) == [300.0, 600.0]
        assert unaudited([self.OLD], SETTINGS) == [600.0]
        assert unaudited([self.OLD, self.OLD.model_copy(update={"temperature_K": 600.0})], SETTINGS) == []


class TestSeveralCrystals:
    GOLD = StartStructure(
        name="gold", structure={"@module": "m", "@class": "c"}, supercell=((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    BOTH = SETTINGS.model_copy(update={"others": [GOLD]})

    def test_every_crystal_has_its_own_walkers_which_stay_with_it(self):
        walkers = first_walkers(self.BOTH)
        assert [(one.index, one.start) for one in walkers] == [(0, 0), (1, 0), (2, 1), (3, 1)]
        assert [one.start for one in once_more(walkers, self.BOTH)] == [0, 0, 1, 1]
        assert after(walker(passed=1, segments=1, start=1), 0.01, self.BOTH).start == 1

    def test_audits_are_kept_for_each_and_a_temperature_that_one_of_them_lacks_is_named(self):
        fresh = [audit(0.02), audit(0.03).model_copy(update={"start": 1}), audit(0.04, 600.0)]
        found = newest_audits([], fresh, 7)
        assert [(one.start, one.temperature_K) for one in found] == [(0, 300.0), (0, 600.0), (1, 300.0)]
        assert unaudited(found, self.BOTH) == [600.0]
        assert unaudited(found, SETTINGS) == []
