"""`OpenAIModel` in an agent against a real server on loopback that has the habits of real providers."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import openai
import pytest
from anyio.abc import SocketAttribute, SocketStream

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import ModelResponseError, ModelThrottledException
from playhead.runtime.core.faults import asked_to_wait, is_transient, status_of
from playhead.runtime.models import OpenAIModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]
DONE = b"data: [DONE]\n\n"
Respond = Callable[[dict[str, Any]], tuple[int, str, bytes]]
"""From the body of a request to the status, the content type and the body of the response."""


@asynccontextmanager
async def serving(respond: Respond, *, hangs: bool = False) -> AsyncGenerator[tuple[str, list[dict[str, Any]]]]:
    """The URL of a server, and the bodies that it has received; with `hangs` a response's body never ends."""
    asked: list[dict[str, Any]] = []

    async def serve(socket: SocketStream) -> None:
        async with socket:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await socket.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while len(body) < length:
                body += await socket.receive()
            asked.append(json.loads(body))
            status, kind, content = respond(asked[-1])
            size = "" if hangs else f"Content-Length: {len(content)}\r\n"
            await socket.send(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}\r\n".encode() + content)
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await socket.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1", asked
        tasks.cancel_scope.cancel()


def sse(*items: Any) -> tuple[int, str, bytes]:
    """A stream; bytes are sent as they are."""
    events = [item if isinstance(item, bytes) else b"data: " + json.dumps(item).encode() + b"\n\n" for item in items]
    return 200, "text/event-stream", b"".join(events)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": arguments}, **more}])


FINAL = sse(delta(content="Done."), delta("stop"), DONE)


def in_turn(*responses: tuple[int, str, bytes] | Respond) -> Respond:
    """The nth response to the nth request; a function gets the request."""
    left = list(responses)

    def respond(request: dict[str, Any]) -> tuple[int, str, bytes]:
        response = left.pop(0)
        return response if isinstance(response, tuple) else response(request)

    return respond


async def texts(url: str, **options: Any) -> str:
    """The text of one call."""
    stream = OpenAIModel("m", base_url=url, api_key="sk-test-0123456789", **options).stream(HELLO)
    chunks = [chunk async for chunk in stream]
    deltas = [chunk["contentBlockDelta"]["delta"] for chunk in chunks if "contentBlockDelta" in chunk]
    return "".join(each["text"] for each in deltas if "text" in each)


async def asked_of_a_tool(url: str) -> tuple[list[str], list[dict[str, Any]]]:
    """What a turn's calls asked of the tool `look`, and the results that the model got."""
    cities: list[str] = []

    @tool
    def look(city: str = "everywhere") -> str:
        """Look.

        Args:
            city: Where.
        """
        cities.append(city)
        return f"sunny in {city}"

    model = OpenAIModel("m", base_url=url, api_key="sk-test-0123456789")
    agent = Agent(model=model, tools=[look], tool_executor="sequential", callback_handler=None)
    await agent.invoke_async("go")
    blocks = [block for message in agent.messages for block in message.get("content", [])]
    return cities, [block["toolResult"] for block in blocks if "toolResult" in block]


async def test_events_without_data_are_passed_over() -> None:
    items = [b"retry: 3000\n\n", delta(content="H"), b"id: 1\n\n", b"event: ping\n\n", delta(content="i"), b"data:\n\n"]
    async with serving(in_turn(sse(*items, delta("stop"), DONE))) as (url, _):
        assert await texts(url) == "Hi"


async def test_a_json_body_in_reply_to_a_stream_request_is_the_message() -> None:
    body = {"object": "chat.completion", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    async with serving(in_turn((200, "application/json", json.dumps(body).encode()))) as (url, _):
        assert await texts(url) == "Hi"


async def test_after_done_nothing_more_is_waited_for() -> None:
    async with serving(in_turn(sse(delta(content="Hi"), DONE)), hangs=True) as (url, _):
        with anyio.fail_after(10):
            assert await texts(url) == "Hi"


async def test_a_page_in_the_place_of_an_answer_is_an_error_with_its_words() -> None:
    async with serving(in_turn((200, "text/html", b"<html>Please log in</html>"))) as (url, _):
        with pytest.raises(ModelResponseError, match=r"model m: .*Please log in"):
            await texts(url)


async def test_an_empty_body_is_incomplete() -> None:
    async with serving(in_turn((200, "text/event-stream", b""))) as (url, _):
        with pytest.raises(openai.APIConnectionError, match="before the message was finished"):
            await texts(url)


async def test_a_page_as_an_http_error_has_its_words() -> None:
    async with serving(in_turn((502, "text/html", b"<html>nginx: bad gateway</html>"))) as (url, _):
        with pytest.raises(openai.InternalServerError, match="nginx: bad gateway") as caught:
            await texts(url)
    assert is_transient(caught.value)


async def test_the_error_of_a_rate_limit_says_how_long_to_wait() -> None:
    body = b'{"error": {"message": "Rate limit reached"}}'
    async with serving(in_turn((429, "application/json\r\nRetry-After: 3", body))) as (url, _):
        with pytest.raises(ModelThrottledException, match="Rate limit reached") as caught:
            await texts(url)
    error = caught.value
    assert error.__cause__ is not None
    assert (status_of(error.__cause__), asked_to_wait(error, now=0), is_transient(error)) == (429, 3.0, True)


@pytest.mark.parametrize("code", [429, "429", "rate_limit_exceeded"])
async def test_a_rate_limit_inside_the_stream_is_throttling(code: Any) -> None:
    error = {"error": {"code": code, "message": "Provider returned error"}}
    async with serving(in_turn(sse(delta(content="Hi"), error))) as (url, _):
        with pytest.raises(ModelThrottledException, match="Provider returned error") as caught:
            await texts(url)
    assert is_transient(caught.value)


async def test_stream_options_can_be_left_out() -> None:
    async with serving(in_turn(FINAL, FINAL, FINAL)) as (url, asked):
        await texts(url)
        await texts(url, params={"stream_options": None})
        await texts(url, params={"extra_body": {"stream_options": None}})
    assert ["stream_options" in request for request in asked] == [True, False, False]


async def test_a_call_whose_arguments_cannot_be_read_is_not_run_and_the_model_is_told() -> None:
    first = sse(called('{"city": "Be', id="a"), delta("tool_calls"), DONE)
    async with serving(in_turn(first, FINAL)) as (url, asked):
        cities, (result,) = await asked_of_a_tool(url)
    assert cities == []
    assert result["status"] == "error"
    assert '{"city": "Be' in asked[1]["messages"][-1]["content"]
    assert asked[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


async def test_two_calls_that_share_an_index_both_run() -> None:
    first = sse(called({"city": "Bern"}), called({"city": "Rome"}), delta("stop"), DONE)
    async with serving(in_turn(first, FINAL)) as (url, asked):
        cities, results = await asked_of_a_tool(url)
    assert cities == ["Bern", "Rome"]
    ids = [call["id"] for call in asked[1]["messages"][1]["tool_calls"]]
    assert [result["toolUseId"] for result in results] == ids


async def test_reasoning_and_signatures_go_back_to_the_server_that_sent_them() -> None:
    def strict(request: dict[str, Any]) -> tuple[int, str, bytes]:
        sent = request["messages"][1]
        if sent.get("reasoning_content") == "think" and sent["tool_calls"][0].get("extra_content") == {"sig": "x"}:
            return FINAL
        return 400, "application/json", b'{"error": {"message": "must be passed back"}}'

    signed = called("{}", id="a", extra_content={"sig": "x"})
    first = sse(delta(reasoning_content="think"), signed, delta("tool_calls"), DONE)
    async with serving(in_turn(first, strict)) as (url, _):
        cities, _ = await asked_of_a_tool(url)
    assert cities == ["everywhere"]
