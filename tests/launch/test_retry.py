from __future__ import annotations

import errno

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, NetworkTimeout, ServerSelectionTimeoutError

from mlip_autopipe.errors import (
    BudgetExhaustedError,
    DatabaseUnreachableError,
    ReferenceCalculationError,
    TransientError,
)
from mlip_autopipe.launch.retry import RetrySettings, is_transient


@pytest.mark.parametrize(
    "error",
    [
        TransientError("x"),
        DatabaseUnreachableError("x"),
        AutoReconnect("x"),
        NetworkTimeout("x"),
        ServerSelectionTimeoutError("x"),
        ConnectionResetError("x"),
        TimeoutError("x"),
        OSError(errno.EIO, "x"),
        OSError(errno.ESTALE, "x"),
        OSError(errno.ENETUNREACH, "x"),
    ],
)
def test_hiccups_are_transient(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        FileNotFoundError(errno.ENOENT, "x"),
        OSError(errno.ENOSPC, "x"),
        PermissionError(errno.EACCES, "x"),
        ReferenceCalculationError("x"),
        BudgetExhaustedError("x"),
        DuplicateKeyError("x"),
        MemoryError(),
        KeyboardInterrupt(),
    ],
)
def test_mistakes_are_permanent(error):
    assert not is_transient(error)


def caused(error, cause=None, context=None):
    error.__context__ = context
    if cause is not None:
        error.__cause__ = cause  # this also hides the context
    return error


def test_the_cause_decides_unless_the_package_has_judged():
    assert is_transient(caused(RuntimeError("wrapped"), cause=AutoReconnect("gone")))
    assert is_transient(caused(ValueError("while handling"), context=ConnectionError("gone")))
    assert not is_transient(caused(ReferenceCalculationError("no SCF"), cause=TimeoutError("scf")))
    hidden = caused(ValueError("raised from None"), context=ConnectionError("gone"))
    hidden.__suppress_context__ = True
    assert not is_transient(hidden)


def test_delays_grow_and_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_DELAY_S", "2")
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_GROWTH", "3")
    settings = RetrySettings()
    assert [settings.delay_s(retry) for retry in (1, 2, 3)] == [2, 6, 18]
    assert settings.max_retries == 3
