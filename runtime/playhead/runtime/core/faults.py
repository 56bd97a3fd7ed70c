"""Which errors of a model's provider are transient, and how long the provider asked to wait. Pure.

An error declares itself transient, or is recognised by its HTTP status, its code or its class. Nothing is imported for
this: the exceptions of openai, anthropic, httpx, aiohttp, botocore and Strands are recognised by their names and
attributes.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

__all__ = ["TRANSIENT_STATUSES", "asked_to_wait", "is_overflow", "is_transient", "recorded_error", "status_of"]

TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429, *range(500, 600)})
"""HTTP statuses after which the same request may succeed later."""

_OVERFLOW_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
"""Codes of a request that does not fit the context: of OpenAI, and of llama.cpp."""

_OVERFLOW_NAMES: Final = frozenset({"ContextWindowOverflowException"})
"""Ours, and Strands' own."""

_OVERFLOW_TEXTS: Final = (
    "maximum context length",  # vLLM and others that speak OpenAI's protocol
    "input is too long",
    "exceed context limit",
    "too many total text bytes",
    "prompt is too long",  # Anthropic
)
"""Parts of the messages of providers that have no code for it; with status 400 or 413 only."""

_LASTING_CODES: Final = frozenset({"insufficient_quota", *_OVERFLOW_CODES})
"""Codes that waiting does not change, whatever the status is."""

_TRANSIENT_CODES: Final = frozenset(
    {
        "api_error",
        "internal_server_error",
        "overloaded",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "server_error",
        "service_unavailable",
        "timeout_error",
    }
)
"""Codes that providers send within a stream, whose status was already 200."""

_LASTING_NAMES: Final = frozenset({"ContextWindowOverflowException", "UnsupportedProtocol", "LocalProtocolError"})
"""Strands' name; and the kinds of httpx's TransportError that are the caller's mistake."""

_TRANSIENT_NAMES: Final = frozenset(
    {
        "ModelThrottledException",  # Strands' own class too, which is not ours
        "APIConnectionError",  # openai, anthropic
        "TransportError",  # httpx: connecting, reading, writing, timeouts
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",  # aiohttp, for a body that was cut
        "HTTPClientError",  # botocore
    }
)

_LONGEST_CHAIN: Final = 10


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later: a broken connection, a timeout, 408, 409, 425, 429, 5xx, an overloaded
    server.

    Checked in this order: an attribute `transient` of the error, if it is a bool; its class, for a context overflow;
    its code, for an exhausted quota; its HTTP status; its class (`ConnectionError`, `TimeoutError`, and those of HTTP
    libraries); its code. Every other error is permanent, including a bug in the model's own code.
    """
    said: object = getattr(error, "transient", None)
    if isinstance(said, bool):
        return said
    names = {cls.__name__ for cls in type(error).__mro__}
    codes = set(_codes(error))
    if names & _LASTING_NAMES or codes & _LASTING_CODES:
        return False
    if (status := status_of(error)) is not None:
        return status in TRANSIENT_STATUSES
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names & _TRANSIENT_NAMES or codes & _TRANSIENT_CODES
    )


def is_overflow(error: BaseException) -> bool:
    """Whether the provider refused the request because its history does not fit the context of the model."""
    if not _OVERFLOW_NAMES.isdisjoint(cls.__name__ for cls in type(error).__mro__):
        return True
    if not _OVERFLOW_CODES.isdisjoint(_codes(error)):
        return True
    text = str(error).lower() if status_of(error) in (400, 413) else ""
    return any(part in text for part in _OVERFLOW_TEXTS)


def asked_to_wait(error: BaseException, *, now: int) -> float | None:
    """The seconds that the provider asked to wait, if the error or one of its causes says so.

    Taken from the attribute `retry_after`, else from the header `retry-after-ms` or `retry-after` of `response`:
    milliseconds, seconds or a date, which is compared with the response's own date, else with `now` in unix milliseconds.
    """
    for one in _causes(error):
        given: object = getattr(one, "retry_after", None)
        if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < math.inf:
            return float(given)
        if (asked := _retry_after(_headers(one), now=now)) is not None:
            return asked
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):  # a chain may be a circle
        if one is None:
            return
        yield one
        one = one.__cause__


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error, if it has one: 400 to 599."""
    response: Any = getattr(error, "response", None)
    found: list[object] = [getattr(one, name, None) for one in (error, response) for name in ("status_code", "status")]
    found.append(getattr(error, "code", None))
    if isinstance(response, Mapping):  # botocore
        metadata: Any = cast("Mapping[str, Any]", response).get("ResponseMetadata")
        found.append(metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None)
    return next((value for value in found if isinstance(value, int) and 400 <= value < 600), None)


def _codes(error: BaseException) -> Iterator[str]:
    """The provider's names for the error: `code` and `type`, of the exception and of its body."""
    body: Any = getattr(error, "body", None)
    inner: Any = cast("Mapping[str, Any]", body).get("error") if isinstance(body, Mapping) else None
    for name in ("code", "type"):
        of_error: object = getattr(error, name, None)
        of_body: object = cast("Mapping[str, Any]", inner).get(name) if isinstance(inner, Mapping) else None
        yield from (value for value in (of_error, of_body) if isinstance(value, str))


def _headers(error: BaseException) -> Mapping[str, str]:
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return {}
    given = cast("Mapping[Any, Any]", headers)
    return {str(name).lower(): str(value) for name, value in given.items()}


def _retry_after(headers: Mapping[str, str], *, now: int) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (number := _number(headers.get(name, ""))) is not None:
            return number * unit_s
    until = _date(headers.get("retry-after", ""))
    if until is None:
        return None
    return max(0.0, until - (_date(headers.get("date", "")) or now / 1000))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def recorded_error(name: str, text: str, *, transient: bool | None = None) -> Exception:
    """Make an exception from the class name and message in a record. Its base is Python's own class of that name, if any.

    Args:
        name: The name of its class.
        text: Its `str()`.
        transient: Whether it is transient; None to decide by the class.
    """
    base = getattr(builtins, name, Exception)
    kind = base if isinstance(base, type) and issubclass(base, Exception) else Exception
    made = type(name, (kind,), {"__str__": lambda _: text})
    error = made.__new__(made)  # not called: some of Python's classes need arguments
    if transient is not None:
        error.transient = transient  # pyright: ignore[reportAttributeAccessIssue] - see `is_transient`
    return cast("Exception", error)
