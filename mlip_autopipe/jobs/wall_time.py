"""How long this process may still run, as the queue says."""

from __future__ import annotations

import os
import time

END_VARIABLES = ("MLIP_AUTOPIPE_JOB_END", "SLURM_JOB_END_TIME")
"""Unix time at which the queue ends this job; SLURM sets its own (since 22.05)."""
RESERVE_S = 30.0
"""Kept for storing results and for the queue's own clean-up."""


def seconds_left() -> float | None:
    """Return the seconds until this job must have stored everything, or None when nobody set a limit.

    Returns
    -------
    float or None
        0 when the time is over.
    """
    end = end_of_job()
    return None if end is None else max(0.0, end - time.time() - RESERVE_S)


def end_of_job() -> float | None:
    """Return the Unix time at which the queue ends this job, or None when nobody set a limit."""
    for name in END_VARIABLES:
        try:
            return float(os.environ.get(name, ""))
        except ValueError:
            continue
    return None
