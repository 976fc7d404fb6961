"""Jobs that a job leaves behind, and the one after them that takes its place."""

from __future__ import annotations

from collections.abc import Sequence

from jobflow import CURRENT_JOB, Flow, Job


def followed_by(jobs: Sequence[Job], after: Job) -> Flow:
    """Return jobs and one after them that has the name of the current job.

    Whoever waits for the current job's output then gets that of the last one.

    Parameters
    ----------
    jobs
        Side by side.
    after
        Takes their outputs, so that it waits for them.
    """
    current = CURRENT_JOB.job
    after.set_uuid(current.uuid)
    after.index = current.index + 1
    return Flow([*jobs, after])
