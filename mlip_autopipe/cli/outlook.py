"""How far a run that learns has come, in one sentence, and when it may end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.database import Database

PHASES = {
    "label": "labelling",
    "train": "training",
    "explore": "exploring",
    "refine": "refining",
    "held_out": "making frames that judge",
    "evaluate": "judging",
}
PRODUCTION = ("diffusion_run", "npt_run")
LEAST_S = 20.0
"""A pace is not known before."""


class Outlook:
    """What the stored state of a run says, and the pace at which production goes.

    Parameters
    ----------
    db
        The database of the run.
    run_id
        The run.
    clock
        Seconds; for tests.
    """

    def __init__(self, db: Database[dict[str, Any]], run_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._outputs = db["outputs"]
        self._run_id = run_id
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def sentence(self) -> str | None:
        """Return where the run stands; None when it has not learned anything yet, or does not learn."""
        state = self._outputs.find_one({"output.run_id": self._run_id, "output.kind": "learning_state"}, {"output": 1})
        if state is None:
            return None
        if state["output"]["phase"] != "finished":
            return self._learning(state["output"])
        return self._production(state["output"]["potential_sha256"])

    def _learning(self, state: dict[str, Any]) -> str:
        self._began = None
        what = PHASES.get(state["phase"], state["phase"])
        return f"learning, generation {state['generation'] + 1}: {what}, {len(state['used'])} labels"

    def _production(self, potential: str) -> str | None:
        fields = {"output.step": 1, "output.wanted_steps": 1, "output.state": 1, "output.stage": 1}
        # the runs' own documents, which bear the run's name; what jobs say of them is older
        query = {
            "output.run_id": self._run_id,
            "output.kind": {"$in": list(PRODUCTION)},
            "output.potential_sha256": potential,
            "uuid": {"$regex": f"^{re.escape(self._run_id)}:"},
        }
        runs = [one["output"] for one in self._outputs.find(query, fields)]
        if not runs:
            return None
        # stages before production are short beside it
        wanted = sum(one["wanted_steps"] for one in runs)
        done = sum(one["step"] for one in runs if one.get("stage", "production") == "production")
        going = sum(one["state"] == "running" for one in runs)
        text = f"production: {100 * done / wanted:.0f} % of {len(runs)} runs, {going} going"
        left = self._seconds_left(done, wanted)
        return text if left is None else f"{text}, about {_duration(left)} left at this pace"

    def _seconds_left(self, done: int, wanted: int) -> float | None:
        now = self._clock()
        if self._began is None or done < self._began[1]:
            self._began = now, done
        started, before = self._began
        if now - started < LEAST_S or done <= before or done >= wanted:
            return None
        return (now - started) * (wanted - done) / (done - before)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
