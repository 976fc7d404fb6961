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


def test_the_cause_decides_unless_the_package_has_judged():
    def raised(outer, cause):
        try:
            try:
                raise cause
            except Exception as error:
                raise outer from error
        except Exception as error:
            return error

    assert is_transient(raised(RuntimeError("wrapped"), AutoReconnect("gone")))
    assert not is_transient(raised(ReferenceCalculationError("no SCF"), TimeoutError("scf")))
    try:
        try:
            raise ConnectionError("gone")
        except ConnectionError:
            raise ValueError("while handling")  # noqa: B904
    except ValueError as error:
        assert is_transient(error)


def test_delays_grow_and_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_DELAY_S", "2")
    monkeypatch.setenv("MLIP_AUTOPIPE_RETRY_GROWTH", "3")
    settings = RetrySettings()
    assert [settings.delay_s(retry) for retry in (1, 2, 3)] == [2, 6, 18]
    assert settings.max_retries == 3
