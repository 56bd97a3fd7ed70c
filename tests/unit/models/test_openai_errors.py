"""What a server says that is an error, or is not understood, fails the call with the server's words."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelResponseError,
    ModelThrottledException,
    remote_error,
)
from playhead.runtime.core.faults import asked_to_wait, is_transient, status_of
from playhead.runtime.models.told import told
from tests.unit.models.openai_streams import DONE, call, delta, event, read, sse

__all__: list[str] = []

HI = delta(content="Hi")
STOP = event(finish="stop")
KEY = "sk-test-0123456789"

FORMS: dict[str, Any] = {
    "an object": {"error": {"message": "it broke", "type": "server_error", "code": None}},
    "a str": {"error": "it broke"},
    "beside choices": event({"content": "x"}, error={"message": "it broke"}),
    "in the choice": {"choices": [{"delta": {}, "error": {"message": "it broke"}, "finish_reason": "error"}]},
    "a list": [{"error": {"code": 500, "message": "it broke", "status": "INTERNAL"}}],
    "errors": {"errors": [{"message": "it broke"}]},
    "detail": {"detail": "it broke"},
    "details": {"detail": [{"loc": ["body"], "msg": "it broke"}]},
    "message": {"code": "InternalError", "message": "it broke"},
    "vLLM's": {"object": "error", "message": "it broke", "code": 500},
    "Anthropic's": {"type": "error", "error": {"type": "overloaded_error", "message": "it broke"}},
    "error_msg": {"error_code": 336100, "error_msg": "it broke"},
    "status": {"status": 503, "title": "it broke"},
    "no success": {"success": False, "msg": "it broke"},
    "MiniMax's": {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "it broke"}},
    "a gateway's": {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "it broke"}}},
    "event: error": b'event: error\ndata: {"message": "it broke"}\n\n',
    "event: error, any object": b'event: error\ndata: {"why": "it broke"}\n\n',
    "event: error, a JSON str": b'event: error\ndata: "it broke"\n\n',
    "event: error, no JSON": b"event: error\ndata: it broke\n\n",
    "no JSON": b"data: it broke\n\n",
    "a JSON str": b'data: "it broke"\n\n',
    "a line that is not an event": b"upstream error: it broke\n\n",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("before", [[], [HI], [HI, STOP]])
def test_an_error_inside_a_response_fails_the_call_with_the_servers_words(name: str, before: list[Any]) -> None:
    with pytest.raises(ModelResponseError, match="it broke"):
        read(*before, FORMS[name], DONE)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/problem+json", "text/html", "text/event-stream"]
)
@pytest.mark.parametrize(
    "body", ['{"error": {"message": "it broke"}}', '{"detail": "it broke"}', "<html>it broke</html>"]
)
def test_a_body_that_is_not_an_answer_fails_the_call(content_type: str, body: str) -> None:
    with pytest.raises(ModelResponseError, match="it broke"):
        read(body.encode(), content_type=content_type)


@pytest.mark.parametrize(
    "reason",
    [
        "error",
        "abort",
        "cancelled",
        "network_error",
        "insufficient_system_resource",
        "malformed_function_call",
        "timeout",
        "engine overloaded",
        "UNEXPECTED_TOOL_CALL",
        "internal-error",
        "rate_limit_exceeded",
        "unavailable",
    ],
)
def test_a_finish_reason_that_says_that_the_answer_broke_off_fails_the_call(reason: str) -> None:
    with pytest.raises(ModelResponseError, match=r"(?i)finish reason '[a-z_]+': so it is") as caught:
        read(HI, {"choices": [{"delta": {}, "finish_reason": reason, "finish_message": "so it is"}]}, DONE)
    assert caught.value.transient


def whole_call(name: str, arguments: str) -> dict[str, Any]:
    """An event with a call in a `message`."""
    return {"choices": [{"message": {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]}}]}


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([delta(content=5)], "5"),
        ([delta(content=[{"type": "image_url", "image_url": {"url": "http://x"}}])], "image_url"),
        ([delta(images=[{"type": "image_url", "image_url": {"url": "http://x"}}])], "images"),
        ([delta(audio={"data": "AA=="})], "audio"),
        ([event("text")], "text"),
        ([{"choices": ["text"]}], "text"),
        ([delta(tool_calls=["look"])], "look"),
        ([{"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "b"}}]}], "more than one answer"),
        ([HI, {"choices": [{"index": 1, "delta": {"content": "b"}}]}], "more than one answer"),
        ([call(None, '{"city": "Bern"}', id="a")], "without a name"),
        ([call("look", '{"n": 1}'), call("add", "{}", index=1), call(None, '{"n": 2}')], "had ended"),
        ([HI, {"object": "chat.completion", "choices": [{"message": {"content": "Ho"}}]}], "differs"),
        ([HI, {"choices": [{"message": {"content": "Ho"}}]}], "differs"),
        ([HI, {"choices": [{"message": {"content": "H"}}]}], "differs"),
        ([HI, {"choices": [{"delta": {"content": "!"}, "message": {"content": "Ho!"}}]}], "differs"),
        ([delta(reasoning="hm"), HI, {"choices": [{"message": {"content": "Hi", "reasoning": "no"}}]}], "differs"),
        ([call("look", '{"n": 1}'), whole_call("look", '{"n": 2}')], "differs"),
        ([call("look", '{"n": 1}'), whole_call("add", '{"n": 1}')], "differs"),
        ([call("look", '{"n": 1}'), call("look", '{"n": 2}', index=1), whole_call("look", '{"n": 1}')], "differs"),
        ([{"choices": [{"message": "text"}]}], "text"),
        ([b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n'], "not JSON"),
        ([b"data: 7\n\n"], "7"),
    ],
)
def test_what_is_not_understood_fails_the_call_and_is_named(items: list[Any], words: str) -> None:
    with pytest.raises(ModelResponseError, match=words):
        read(*items, STOP, DONE)


@pytest.mark.parametrize("items", [[], [event()], [delta(role="assistant", content="")], [{"choices": []}]])
def test_done_without_an_answer_is_an_error(items: list[Any]) -> None:
    with pytest.raises(ModelResponseError, match="without an answer"):
        read(*items, DONE)


def test_done_in_the_middle_of_a_call_is_an_error() -> None:
    with pytest.raises(ModelResponseError, match=r"in the middle of a call of 'look': \{\"city"):
        read(call("look", '{"city'), DONE)


@pytest.mark.parametrize("items", [[], [HI], [call("look", "{}")], [b": ping\n\n"]])
def test_the_end_of_the_body_without_a_finish_reason_and_done_is_incomplete(items: list[Any]) -> None:
    with pytest.raises(EOFError):
        read(*items)


def failed(*items: Any) -> Exception:
    with pytest.raises(ModelResponseError) as caught:
        read(*items, DONE)
    return told(caught.value, model_id="m", key=KEY)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 429, "message": "slow"},
        {"code": "429", "message": "slow"},
        {"code": "rate_limit_exceeded", "message": "slow"},
        {"type": "rate_limit_error", "message": "slow"},
        {"type": "too_many_requests", "message": "slow"},
        {"code": "Throttling.RateQuota", "message": "slow"},
        {"status": "RESOURCE_EXHAUSTED", "message": "slow"},
        {"status": 429, "message": "slow"},
        "slow: rate limit exceeded",
    ],
)
def test_a_rate_limit_inside_a_response_is_throttling(error: Any) -> None:
    assert isinstance(failed({"error": error}), ModelThrottledException)
    assert "slow" in str(failed({"error": error}))


def test_an_exhausted_quota_and_a_long_context_are_told_apart() -> None:
    quota = failed({"error": {"code": "insufficient_quota", "status": 429, "message": "pay"}})
    assert isinstance(quota, ModelResponseError)
    assert not is_transient(quota)
    long = failed({"error": {"message": "This model's maximum context length is 10 tokens."}})
    assert isinstance(long, ContextWindowOverflowException)


def test_an_error_of_a_response_shows_no_key() -> None:
    error = failed({"error": {"message": f"Incorrect API key provided: {KEY}.", "code": 401}})
    assert KEY not in f"{error} {error!r} {error.__cause__}"
    assert "***" in str(error)


def http(status: int, body: bytes, **headers: str) -> Exception:
    """The error that the SDK raises for a response with this status, as it is told."""
    library: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

    def respond(_: Any) -> Any:
        return library.Response(status, content=body, headers=headers)

    transport = library.MockTransport(respond)
    with openai.DefaultHttpxClient(transport=transport) as http_client:
        client = openai.OpenAI(api_key=KEY, base_url="http://localhost/v1", max_retries=0, http_client=http_client)
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="m", messages=[])
    return told(caught.value, model_id="m", key=KEY)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "it broke"}},
        {"error": "it broke"},
        {"detail": "it broke"},
        {"message": "it broke"},
        [{"error": {"message": "it broke"}}],
        {"detail": [{"msg": "it broke"}]},
        {"odd": "it broke"},
        "it broke",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_http_error_has_the_servers_words_in_any_form(status: int, body: Any) -> None:
    error = http(status, json.dumps(body).encode())
    assert isinstance(error, openai.APIStatusError)
    assert str(error).count("it broke") == 1
    assert KEY not in str(http(status, json.dumps(body).replace("it broke", KEY).encode()))


def test_an_http_error_that_is_a_page_has_its_words() -> None:
    assert "<title>Bad gateway</title>" in str(http(502, b"<html><title>Bad gateway</title></html>"))
    assert str(http(503, b"")) == "Error code: 503"


class ProviderFault(NamedTuple):
    """What an error of a model call says."""

    status: int | None
    code: str | None
    retry_after: float | None
    transient: bool


def fault_of(error: Exception) -> ProviderFault:
    """What the error says, one minute after 1970 began."""
    source = error.__cause__ or error
    code = getattr(source, "code", None)
    return ProviderFault(status_of(source), code, asked_to_wait(error, now=60_000), is_transient(error))


FAULTS: dict[str, tuple[Callable[[], Exception], ProviderFault]] = {
    "429": (lambda: http(429, b"{}", **{"retry-after": "3"}), ProviderFault(429, None, 3.0, transient=True)),
    "429 in ms": (
        lambda: http(429, b"{}", **{"retry-after-ms": "250"}),
        ProviderFault(429, None, 0.25, transient=True),
    ),
    "503 and a date": (
        lambda: http(503, b"", **{"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}),
        ProviderFault(503, None, 40.0, transient=True),
    ),
    "a date that is not one": (
        lambda: http(503, b"", **{"retry-after": "soon"}),
        ProviderFault(503, None, None, transient=True),
    ),
    "408": (lambda: http(408, b""), ProviderFault(408, None, None, transient=True)),
    "409": (lambda: http(409, b""), ProviderFault(409, None, None, transient=True)),
    "400": (lambda: http(400, b'{"error": {"code": "bad"}}'), ProviderFault(400, "bad", None, transient=False)),
    "401": (lambda: http(401, b""), ProviderFault(401, None, None, transient=False)),
    "404": (lambda: http(404, b""), ProviderFault(404, None, None, transient=False)),
    "quota": (
        lambda: http(429, b'{"error": {"code": "insufficient_quota"}}'),
        ProviderFault(429, "insufficient_quota", None, transient=False),
    ),
    "503 inside a response": (
        lambda: failed({"error": {"code": 503, "message": "down", "retry_after": 2}}),
        ProviderFault(503, "503", 2.0, transient=True),
    ),
    "overloaded": (
        lambda: failed({"error": {"type": "overloaded_error", "message": "busy"}}),
        ProviderFault(None, "overloaded_error", None, transient=True),
    ),
    "invalid inside a response": (
        lambda: failed({"error": {"type": "invalid_request_error", "message": "no"}}),
        ProviderFault(None, "invalid_request_error", None, transient=False),
    ),
    "a rate limit inside a response": (
        lambda: failed({"error": {"code": "rate_limit_exceeded", "retryAfter": 1}}),
        ProviderFault(None, "rate_limit_exceeded", 1.0, transient=True),
    ),
    "a context that is too long": (
        lambda: ContextWindowOverflowException("x"),
        ProviderFault(None, None, None, transient=False),
    ),
    "Strands' throttling": (lambda: ModelThrottledException("x"), ProviderFault(None, None, None, transient=True)),
    "a dropped connection": (
        lambda: openai.APIConnectionError(request=httpx.Request("POST", "http://x")),  # pyright: ignore[reportArgumentType]
        ProviderFault(None, None, None, transient=True),
    ),
    "a timeout": (lambda: httpx.ReadTimeout("x"), ProviderFault(None, None, None, transient=True)),
    "the system's": (lambda: ConnectionResetError(), ProviderFault(None, None, None, transient=True)),
    "the user's own code": (lambda: KeyError("x"), ProviderFault(None, None, None, transient=False)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_error_says_its_status_and_whether_it_may_pass(name: str) -> None:
    make, fault = FAULTS[name]
    assert fault_of(make()) == fault


def test_a_reader_elsewhere_gets_an_error_of_the_same_class() -> None:
    error = remote_error("ModelResponseError", "it broke")
    assert isinstance(error, ModelResponseError)
    assert (str(error), error.status, error.transient) == ("it broke", None, False)


def test_words_without_an_end_are_cut() -> None:
    with pytest.raises(ModelResponseError) as caught:
        read(sse({"error": "x" * 5000}))
    assert len(str(caught.value)) < 1200
