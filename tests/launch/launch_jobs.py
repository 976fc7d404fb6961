"""Jobs that the tests of the queue run, in this process and in workers."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobflow import CURRENT_JOB, Flow, Response, job

from mlip_autopipe.errors import ReferenceCalculationError, TransientError


def note(path: str, text: str) -> int:
    """Append a line; return how many lines there are now."""
    with Path(path).open("a") as stream:
        stream.write(f"{text}\n")
    return len(Path(path).read_text().splitlines())


@job
def add(a, b):
    return a + b


@job
def total(numbers):
    return sum(numbers)


@job(data="blob")
def large(n):
    return {"blob": list(range(n)), "n": n}


@job
def fan_out(n):
    parts = [add(i, i) for i in range(n)]
    end = total([part.output for part in parts])
    return Response(replace=Flow([*parts, end], output=end.output))


@job
def flaky(path, failures):
    if note(path, "try") <= failures:
        raise TransientError("the file server is busy")
    return "done"


@job
def broken(path):
    note(path, "try")
    raise ReferenceCalculationError("the SCF cycle of Al2 did not converge; raise the smearing")


@job
def count_down(n, path=None):
    """Leave the next job behind until nothing is left to count."""
    if path is not None:
        note(path, str(n))
    return "lift-off" if n == 0 else Response(replace=count_down(n - 1, path))


@job
def spread_down(n):
    """The same with two jobs beside each, for which the next one waits."""
    if n == 0:
        return "lift-off"
    parts = [add(n, k) for k in range(2)]
    after = spread_after(n - 1, [part.output for part in parts])
    after.set_uuid(CURRENT_JOB.job.uuid)
    after.index = CURRENT_JOB.job.index + 1
    return Response(replace=Flow([*parts, after]))


@job
def spread_after(n, numbers):
    assert len(numbers) == 2
    return spread_down.original(n)


@job
def slow(path, seconds, value):
    note(path, f"start {os.getpid()}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not Path(f"{path}.go").exists():
        time.sleep(0.02)
    note(path, "end")
    return value


@job
def property_document(run_id, value):
    return {"run_id": run_id, "goal": "elastic", "value": value}
