"""Where a learning loop that has ended goes on, and which of its labels judge what it learns then."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlip_autopipe.learning.candidates import NOT_TRAINED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlip_autopipe.schemas.otf import Candidate, LearningState


def reopened(state: LearningState) -> LearningState:
    """Return the state from which a finished loop goes on with a larger budget.

    What the budget had refused waits for its labels again. All labels are kept; those that judged the potential are
    still not trained on. Where the loop itself had enough, only the property is asked once more and what is missing of
    the labels that judge is made up for.

    Parameters
    ----------
    state
        Of a finished loop.
    """
    starved = bool(state.refused)
    return state.model_copy(
        update={
            "phase": "label" if starved else "refine",
            "after_label": "train",
            "pending": state.refused,
            "refused": [],
            # the newest of them judged the potential and are not to be learned now
            "trained": len(state.used),
            "judges": 0,
            "stop_reason": None if starved else state.stop_reason,
            "missing": [],
            "wall_s": {},
            "core_s": {},
        }
    )


def still_to_judge(frames: Sequence[Candidate], state: LearningState) -> list[Candidate]:
    """Return the frames that are wanted beside labels that judged an earlier potential and can judge this one, too.

    Parameters
    ----------
    frames
        All frames that judge, and those of the random arm.
    state
        The loop's; labels after the last one that was trained on belong to this round.
    """
    trained = [k for k, one in enumerate(state.used) if one.origin not in NOT_TRAINED]
    before = Counter(one.origin for one in state.used[: trained[-1] + 1 if trained else 0] if one.origin in NOT_TRAINED)
    wanted = []
    for frame in frames:
        if before[frame.origin] > 0:
            before[frame.origin] -= 1
        else:
            wanted.append(frame)
    return wanted
