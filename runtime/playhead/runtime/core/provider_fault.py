"""What a model provider's error means for a retry, read from any client library's exception. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from playhead.runtime.core.errors import ContextWindowOverflowException, ModelResponseError, ModelThrottledException

__all__ = ["ProviderFault", "is_throttled", "provider_fault"]

_TRANSIENT: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass; all from 500 on may."""

_THROTTLED: Final = re.compile(r"rate.?limit|too.?many.?requests|throttl|resource.?exhausted", re.IGNORECASE)
_UNREACHABLE: Final = re.compile(
    r"(Connection|Connect|Timeout|Transport|Network|Protocol|Read|Write)\w*Error$|Timeout$"
)
"""Class names of the client libraries' errors for a connection that failed: openai, anthropic, httpx, aiohttp."""


@dataclass(frozen=True, slots=True)
class ProviderFault:
    """What an error of a model call says.

    Attributes:
        status: The HTTP status, also one that was named inside a stream; None without one.
        code: The provider's own code; None without one.
        retry_after: The seconds after which the provider asked to be called again; None if it did not.
        transient: Whether the same request may succeed later.
    """

    status: int | None
    code: str | None
    retry_after: float | None
    transient: bool


def provider_fault(error: BaseException, *, now: float) -> ProviderFault:
    """Read an error of a model call, and the error that it was raised from.

    `now` is the time in unix seconds; a `Retry-After` may hold a date.
    """
    chain = list(_chain(error))
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    code = next((str(found) for each in chain if (found := getattr(each, "code", None))), None)
    waits = (_retry_after(each, now) for each in chain)
    return ProviderFault(
        status=status,
        code=code,
        retry_after=next((wait for wait in waits if wait is not None), None),
        transient=_transient(chain, status=status, code=code),
    )


def is_throttled(status: int | None, code: str | None) -> bool:
    """Whether a provider asks to slow down. An exhausted quota does not pass, so it is not throttling."""
    if code == "insufficient_quota":
        return False
    return status == 429 or bool(code and _THROTTLED.search(code))


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    if error.__cause__ is not None:
        yield error.__cause__


def _status(error: BaseException) -> int | None:
    for name in ("status_code", "status", "code"):
        value: object = getattr(error, name, None)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _transient(chain: list[BaseException], *, status: int | None, code: str | None) -> bool:
    if code == "insufficient_quota" or any(isinstance(each, ContextWindowOverflowException) for each in chain):
        return False
    if any(isinstance(each, ModelThrottledException) for each in chain):
        return True
    if any(isinstance(each, ModelResponseError) and each.transient for each in chain):
        return True
    if status is not None:
        return status >= 500 or status in _TRANSIENT
    return any(isinstance(each, ConnectionError | TimeoutError) or _is_unreachable(each) for each in chain)


def _is_unreachable(error: BaseException) -> bool:
    return any(_UNREACHABLE.search(cls.__name__) for cls in type(error).__mro__)


def _retry_after(error: BaseException, now: float) -> float | None:
    given: object = getattr(error, "retry_after", None)
    if isinstance(given, int | float):
        return float(given)
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return None
    fields = cast("Mapping[str, str]", headers)
    if (wait := _seconds(fields.get("retry-after-ms"), now)) is not None:
        return wait / 1000
    return _seconds(fields.get("retry-after"), now)


def _seconds(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except ValueError:
            return None
    return max(0.0, wait) if wait == wait and wait != float("inf") else None
