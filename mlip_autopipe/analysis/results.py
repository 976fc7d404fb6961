"""What analyses return: values with errors, and the outcome of physics checks."""

from __future__ import annotations

from typing import NamedTuple


class ValueWithError(NamedTuple):
    """A value and its standard error, in the same unit."""

    value: float
    stderr: float


class GateResult(NamedTuple):
    """One physics check."""

    name: str
    passed: bool
    detail: str
