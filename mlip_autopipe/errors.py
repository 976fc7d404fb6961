"""The package's exceptions: one sentence that says what is wrong, where, and how to mend it.

Every exception carries the exit code with which ``mlip-auto`` ends when nothing catches it.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INVALID_INPUT = 2
EXIT_NOT_ENOUGH_EVIDENCE = 3
EXIT_INTERRUPTED = 130


class AutoPipeError(Exception):
    """Base class of everything this package raises on purpose."""

    exit_code: ClassVar[int] = EXIT_FAILED


class InvalidInputError(AutoPipeError):
    """The user's input is wrong and the message says what to write instead."""

    exit_code: ClassVar[int] = EXIT_INVALID_INPUT


class EnvironmentProblemError(AutoPipeError):
    """Something that the input needs is not available on this machine (a program, a server, disk space)."""


class DatabaseUnreachableError(EnvironmentProblemError):
    """The LaunchPad's or JobStore's server does not answer; the message names host and port."""


class ReferenceCalculationError(AutoPipeError):
    """A reference calculation failed after every step of its recovery ladder.

    Permanent: running the same structure with the same settings again fails again.
    """


class BudgetExhaustedError(AutoPipeError):
    """The next reference calculation would exceed the user's budget."""

    exit_code: ClassVar[int] = EXIT_NOT_ENOUGH_EVIDENCE


class AnalysisError(AutoPipeError):
    """Data do not determine the property that was asked for (rank deficient, non-finite, inconsistent)."""


class TransientError(AutoPipeError):
    """A failure that may go away by itself (I/O, network or database hiccup): worth another attempt."""
