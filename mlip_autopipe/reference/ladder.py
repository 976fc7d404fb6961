"""The recovery ladder: what to try next when a calculation does not converge.

Every rung ends with the physics that was planned; only the way there differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlip_autopipe.reference.base import LadderExhaustedError
from mlip_autopipe.schemas.label import Attempt

Result = TypeVar("Result")


@dataclass(frozen=True)
class Rung:
    """One way to reach self-consistency.

    Attributes
    ----------
    name
        Said in the record of attempts.
    changes
        Numerical parameters changed against the plan (iterations, mixing, eigensolver): they do not change the answer.
    first
        Physics of a preparing calculation whose density starts the planned one, e.g. a wider smearing.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)


def climb(
    rungs: Sequence[Rung],
    calculate: Callable[[Rung], Result],
    *,
    is_recoverable: Callable[[Exception], bool],
    what: str,
) -> tuple[Result, list[Attempt]]:
    """Try rung after rung until one converges.

    Parameters
    ----------
    rungs
        In the order in which they are tried.
    calculate
        Does one rung; raises when it does not converge.
    is_recoverable
        Whether an exception is a failure of the calculation, so that the next rung may help; everything else (a full
        disk, a bug) is raised as it is.
    what
        Names the calculation in the error.

    Returns
    -------
    tuple
        The first rung's result that converged, and the record of all attempts.

    Raises
    ------
    LadderExhaustedError
        No rung converged.
    """
    attempts: list[Attempt] = []
    for rung in rungs:
        started = time.perf_counter()
        planned = {**rung.changes, **({"first": rung.first} if rung.first else {})}
        try:
            result = calculate(rung)
        except Exception as error:
            if not is_recoverable(error):
                raise
            attempts.append(
                Attempt(
                    step=rung.name,
                    changes=planned,
                    converged=False,
                    message=_sentence(error),
                    wall_time_s=time.perf_counter() - started,
                )
            )
        else:
            attempts.append(
                Attempt(
                    step=rung.name, changes=planned, converged=True, wall_time_s=time.perf_counter() - started
                )
            )
            return result, attempts
    tried = ", ".join(a.step for a in attempts)
    raise LadderExhaustedError(f"{what} failed after {tried}; the last said: {attempts[-1].message}", attempts)


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
