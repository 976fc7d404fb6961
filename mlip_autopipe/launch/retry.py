"""Which failures may go away by themselves, and how long to wait for that."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlip_autopipe.errors import AutoPipeError, DatabaseUnreachableError, TransientError

TRANSIENT_ERRNO = frozenset(
    {
        errno.EIO,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ESTALE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
        errno.EPIPE,
        errno.EREMOTEIO,
    }
)
"""Hiccups of network and shared file systems. A full disk or a missing file is not among them."""


class RetrySettings(BaseSettings):
    """How often and after which delays a failed attempt is repeated; environment prefix ``MLIP_AUTOPIPE_``."""

    model_config = SettingsConfigDict(env_prefix="MLIP_AUTOPIPE_")

    max_retries: int = Field(3, ge=0, description="Attempts after the first one, in place.")
    retry_delay_s: float = Field(5.0, ge=0, description="Delay before the first retry.")
    retry_growth: float = Field(4.0, ge=1, description="Each delay is this many times the one before.")
    max_lost_launches: int = Field(3, ge=0, description="Times a Firework whose worker vanished is rerun.")

    def delay_s(self, retry: int) -> float:
        """Return the delay before retry number `retry` (from 1)."""
        return float(self.retry_delay_s * self.retry_growth ** (retry - 1))


def is_transient(error: BaseException) -> bool:
    """Tell whether another attempt may succeed.

    True for database connection errors of pymongo, ``ConnectionError``, ``TimeoutError``, an ``OSError`` whose
    number is in `TRANSIENT_ERRNO`, and our `TransientError` and
    `DatabaseUnreachableError`; also if such an error is the cause or context of
    the given one. Every other error of this package is permanent, whatever caused it.
    """
    for link in _chain(error):
        if isinstance(link, TransientError | DatabaseUnreachableError):
            return True
        if isinstance(link, AutoPipeError):
            return False
        if _is_transient_itself(link):
            return True
    return False


def _is_transient_itself(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):
        return error.errno in TRANSIENT_ERRNO
    if type(error).__module__.partition(".")[0] != "pymongo":
        return False
    from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError, WaitQueueTimeoutError

    return isinstance(error, AutoReconnect | ServerSelectionTimeoutError | WaitQueueTimeoutError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
