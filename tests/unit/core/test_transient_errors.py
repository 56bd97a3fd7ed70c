"""Which errors of a model are transient, and how long their provider asked to wait."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from playhead.runtime import ContextWindowOverflowException, ModelThrottledException, ModelUnavailableError
from playhead.runtime.core.errors import ModelConfigurationError, remote_error
from playhead.runtime.core.faults import asked_to_wait, is_transient

__all__: list[str] = []

REQUEST: Any = httpx.Request("POST", "http://provider.test/v1/chat/completions")
NOW = 1_800_000_000_000
NOW_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


def status_error(status: int, code: str | None = None, **headers: str) -> openai.APIStatusError:
    """An error of the openai SDK for a response with this status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response: Any = httpx.Response(status, headers=named, request=REQUEST)  # the SDK may use another httpx
    return openai.APIStatusError("refused", response=response, body={"code": code})


def with_attributes(error: Exception, **attributes: Any) -> Exception:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def foreign(name: str, *bases: str) -> Exception:
    """An exception of a library that is not installed here, known by its class names."""
    cls: Any = Exception
    for one in (*reversed(bases), name):
        cls = type(one, (cls,), {})
    return cls("text")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_a_status_that_may_pass_is_transient(status: int) -> None:
    assert is_transient(status_error(status))
    assert is_transient(with_attributes(Exception("x"), status=status))
    assert is_transient(with_attributes(Exception("x"), response={"ResponseMetadata": {"HTTPStatusCode": status}}))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_status_that_stays_is_not(status: int) -> None:
    assert not is_transient(status_error(status))
    assert not is_transient(status_error(status, code="overloaded")), "the status says more than the code"
    assert not is_transient(with_attributes(ConnectionError("x"), status_code=status))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        ConnectionResetError("reset"),
        BrokenPipeError("broken"),
        TimeoutError("slow"),
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("peer closed connection"),
        openai.APIConnectionError(request=REQUEST),
        openai.APITimeoutError(REQUEST),
        openai.APIError("busy", REQUEST, body={"code": "server_error"}),
        with_attributes(Exception("x"), body={"type": "error", "error": {"type": "overloaded_error"}}),
        foreign("ServerDisconnectedError", "ClientConnectionError", "ClientError"),
        foreign("ClientPayloadError", "ClientError"),
        foreign("EndpointConnectionError", "HTTPClientError"),
        foreign("ModelThrottledException"),
        ModelThrottledException("slow down"),
        ModelUnavailableError("overloaded"),
        with_attributes(ValueError("x"), transient=True),
    ],
    ids=repr,
)
def test_a_fault_that_may_pass_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        KeyError("stopReason"),
        RuntimeError("a bug"),
        FileNotFoundError("no such file"),
        httpx.UnsupportedProtocol("no scheme"),
        openai.APIError("not JSON", REQUEST, body=None),
        ContextWindowOverflowException("too long"),
        foreign("ContextWindowOverflowException", "ConnectionError"),
        ModelConfigurationError("no key"),
        status_error(429, code="insufficient_quota"),
        with_attributes(ConnectionError("x"), transient=False),
    ],
    ids=repr,
)
def test_a_mistake_or_a_bug_is_not(error: Exception) -> None:
    assert not is_transient(error)


def test_an_error_that_was_caused_by_a_transient_one_is_not_transient_itself() -> None:
    bug = ValueError("a bug in the handling of the fault")
    bug.__cause__ = ConnectionResetError("reset")
    assert not is_transient(bug)


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"Retry_After": "0.5"}, 0.5),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry_after": "Fri, 15 Jan 2027 09:00:30 GMT", "date": "Fri, 15 Jan 2027 09:00:00 GMT"}, 30.0),
        ({"retry_after": "Fri, 15 Jan 2027 07:00:00 GMT", "date": NOW_DATE}, 0.0),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({}, None),
    ],
)
def test_what_the_provider_asks_for_is_read_from_the_headers(headers: dict[str, str], asked: float | None) -> None:
    assert asked_to_wait(status_error(429, **headers), now=NOW) == asked


def test_an_error_may_carry_the_wait_itself_or_in_its_cause() -> None:
    assert asked_to_wait(ModelThrottledException("slow down", retry_after=3), now=NOW) == 3.0
    error = ModelThrottledException("slow down")
    assert asked_to_wait(error, now=NOW) is None
    error.__cause__ = status_error(429, retry_after="9")
    assert asked_to_wait(error, now=NOW) == 9.0
    error.__cause__.__cause__ = error
    assert asked_to_wait(error, now=NOW) == 9.0
    del error.__cause__.response.headers["retry-after"]
    assert asked_to_wait(error, now=NOW) is None, "a circle of causes ends"


@pytest.mark.parametrize("cls", [ModelThrottledException, ModelUnavailableError])
def test_a_reader_catches_these_errors_by_their_classes(cls: type[ModelUnavailableError]) -> None:
    error = remote_error(cls.__name__, "slow down")
    assert isinstance(error, cls)
    assert str(error) == "slow down"
    assert error.retry_after is None
