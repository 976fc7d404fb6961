"""Where an ended loop goes on: decisions on its state alone."""

from __future__ import annotations

from mlip_autopipe.learning.reopening import reopened, still_to_judge
from mlip_autopipe.schemas.otf import Candidate, LearningState, UsedLabel

EMPTY = {"cell_A": [], "numbers": [], "positions_A": [], "pbc": [], "magmoms": None}


def used(*origins: str) -> list[UsedLabel]:
    return [UsedLabel(label_id=f"{k}", generation=1, origin=origin) for k, origin in enumerate(origins)]


def frames(*origins: str) -> list[Candidate]:
    return [Candidate(structure=EMPTY, origin=origin, detail=f"{k}") for k, origin in enumerate(origins)]


def ended(**more) -> LearningState:
    return LearningState(
        run_id="a",
        phase="finished",
        after_label="evaluate",
        used=used("seed", "audit", "held_out"),
        trained=2,
        judges=4,
        stop_reason="the budget is spent",
        missing=["much"],
        **more,
    )


class TestReopened:
    def test_what_was_refused_waits_again(self):
        waiting = frames("audit", "trigger")
        state = reopened(ended(refused=waiting))
        assert (state.phase, state.after_label, state.pending, state.refused) == ("label", "train", waiting, [])
        assert (state.stop_reason, state.missing, state.judges) == (None, [], 0)

    def test_labels_stay_and_those_that_judged_are_not_new_to_the_training(self):
        state = reopened(ended(refused=frames("audit")))
        assert state.used == ended().used
        assert state.used[state.trained :] == []

    def test_a_loop_that_had_enough_keeps_its_reason_and_only_judges_again(self):
        state = reopened(ended())
        assert (state.phase, state.pending) == ("refine", [])
        assert state.stop_reason == "the budget is spent"


class TestStillToJudge:
    def test_labels_of_this_round_are_asked_for_again_and_found(self):
        state = ended()
        assert still_to_judge(frames("held_out", "held_out"), state) == frames("held_out", "held_out")

    def test_those_that_judged_an_earlier_potential_judge_this_one_too(self):
        state = ended().model_copy(update={"used": used("seed", "held_out", "random", "random", "audit", "held_out")})
        wanted = still_to_judge(frames("held_out", "held_out", "random", "random", "random"), state)
        assert [(one.origin, one.detail) for one in wanted] == [("held_out", "1"), ("random", "4")]

    def test_more_than_are_wanted_want_no_more(self):
        state = ended().model_copy(update={"used": used("seed", "held_out", "held_out", "audit")})
        assert still_to_judge(frames("held_out"), state) == []
