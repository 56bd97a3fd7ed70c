"""OpenAIModel against a real HTTP server on loopback that speaks the streaming Chat Completions protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import openai
import pytest
from anyio.abc import ByteReceiveStream, SocketAttribute, SocketStream

from playhead.runtime.core.converse import Chunk, Messages, ToolSpec
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
)
from playhead.runtime.models import OpenAIModel

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789abcdef"
HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]
ADD: ToolSpec = {"name": "add", "description": "Adds", "inputSchema": {"json": {"type": "object", "properties": {}}}}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Call:
    """One request as the server sees it, and what sends the response."""

    socket: SocketStream
    headers: dict[str, str]
    body: dict[str, Any]

    async def events(self, *events: object, done: bool = True) -> None:
        """Start a stream and send each event, a str as it is; with `done` also the end of stream and of body."""
        await self.socket.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            await self.event(event)
        if done:
            await self.event("[DONE]")
            await self.socket.send(b"0\r\n\r\n")

    async def event(self, event: object) -> None:
        line = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        await self.socket.send(b"%x\r\n%s\r\n" % (len(line), line))

    async def error(self, status: int, error: dict[str, Any]) -> None:
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.socket.send(head.encode() + body)


@dataclass
class Server:
    base_url: str
    calls: list[Call] = field(default_factory=list[Call])
    disconnected: anyio.Event = field(default_factory=anyio.Event)
    """Set when a connection is closed."""


@asynccontextmanager
async def serving(respond: Callable[[Call], Awaitable[None]]) -> AsyncGenerator[Server, None]:
    """A server that gives every request to `respond`; a connection is open until the client or `respond` closes it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1")

    async def serve_connection(socket: SocketStream) -> None:
        async with socket:
            call = await read_call(socket)
            server.calls.append(call)
            try:
                await respond(call)
                await socket.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                server.disconnected.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve_connection)
        yield server
        tasks.cancel_scope.cancel()


async def read_call(socket: SocketStream) -> Call:
    head, rest = await read_until_blank_line(socket)
    request_line, *lines = head.decode().split("\r\n")
    assert request_line == "POST /v1/chat/completions HTTP/1.1"
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(rest) < int(headers["content-length"]):
        rest += await socket.receive()
    return Call(socket, headers, json.loads(rest))


async def read_until_blank_line(stream: ByteReceiveStream) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def called(index: int, arguments: str, *, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    call = {"index": index, "function": function} | ({"id": call_id, "type": "function"} if call_id else {})
    return delta(tool_calls=[call])


def used(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}


def model_of(server: Server, **options: Any) -> OpenAIModel:
    return OpenAIModel("m", base_url=server.base_url, api_key=KEY, **options)


async def ask(server: Server, messages: Messages = HELLO, **kwargs: Any) -> list[Chunk]:
    return [chunk async for chunk in model_of(server).stream(messages, **kwargs)]


async def collect(stream: AsyncGenerator[Chunk, None], *, into: list[Chunk]) -> None:
    async for chunk in stream:
        into.append(chunk)  # noqa: PERF401 - what came before an error counts


def answering(*events: object) -> Callable[[Call], Awaitable[None]]:
    async def respond(call: Call) -> None:
        await call.events(*events)

    return respond


async def test_text_is_streamed_in_converse_order_with_usage_and_latency() -> None:
    events = (delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta(finish="stop"))
    usage = used(7, 2, prompt_tokens_details={"cached_tokens": 4})
    async with serving(answering(*events, usage)) as server:
        chunks = await ask(server)
    metadata = chunks.pop()["metadata"]
    assert chunks == [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"start": {}}},
        {"contentBlockDelta": {"delta": {"text": "Hel"}}},
        {"contentBlockDelta": {"delta": {"text": "lo"}}},
        {"contentBlockStop": {}},
        {"messageStop": {"stopReason": "end_turn"}},
    ]
    assert metadata["usage"] == {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9, "cacheReadInputTokens": 4}
    assert metadata["metrics"]["latencyMs"] >= 0


async def test_the_request_carries_key_model_params_tools_and_asks_for_usage() -> None:
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server:
        model = model_of(server, params={"temperature": 0, "a_servers_own": 1, "stream": False, "timeout": 9})
        async for _ in model.stream(HELLO, [ADD], "Be brief.", tool_choice={"tool": {"name": "add"}}):
            pass
    (call,) = server.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "a_servers_own": 1,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "add",
                    "description": "Adds",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
    }


async def test_a_request_that_ends_in_a_partial_message_says_so_as_the_server_expects() -> None:
    partial: Messages = [*HELLO, {"role": "assistant", "content": [{"text": "Good mor"}]}]
    async with serving(answering(delta(content="ning"), delta(finish="stop"))) as server:
        params = {"continue_final_message": True, "add_generation_prompt": False}
        model = model_of(server, params={"temperature": 0}, continue_params=params)
        assert model.continues_partial
        for messages in (HELLO, partial):
            async for _ in model.stream(messages):
                pass
    asked, went_on = [call.body for call in server.calls]
    assert not params.keys() & asked.keys()
    assert went_on == {
        **asked,
        **params,
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Good mor"}],
    }


async def test_interleaved_tool_calls_come_out_as_whole_blocks() -> None:
    events = (
        called(0, "", call_id="a", name="add"),
        called(1, "", call_id="b", name="sub"),
        called(0, '{"x":'),
        called(1, '{"y":'),
        called(0, " 1}"),
        called(1, " 2}"),
        delta(finish="tool_calls"),
    )
    async with serving(answering(*events)) as server:
        chunks = await ask(server, tool_specs=[ADD])
    assert chunks[1:-1] == [
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "a", "name": "add"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"x":'}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": " 1}"}}}},
        {"contentBlockStop": {}},
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "b", "name": "sub"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"y":'}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": " 2}"}}}},
        {"contentBlockStop": {}},
        {"messageStop": {"stopReason": "tool_use"}},
    ]


async def test_text_reasoning_and_tool_input_arrive_while_the_server_still_writes() -> None:
    """Each piece is sent only after the one before it was received: a model that buffers would never get past one."""
    send, received = anyio.create_memory_object_stream[dict[str, Any]](0)

    async def respond(call: Call) -> None:
        await call.events(done=False)
        async for event in received:
            await call.event(event)

    pieces: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (delta(reasoning_content="hm"), {"reasoningContent": {"text": "hm"}}),
        (delta(content="so"), {"text": "so"}),
        (called(0, '{"x"', call_id="a", name="add"), {"toolUse": {"input": '{"x"'}}),
        (called(0, ":1}"), {"toolUse": {"input": ":1}"}}),
        (called(1, "{}", call_id="b", name="add"), {"toolUse": {"input": "{}"}}),
    ]
    async with serving(respond) as server, send, received, aclosing(model_of(server).stream(HELLO, [ADD])) as stream:
        with anyio.fail_after(10):
            assert "messageStart" in await anext(stream)
            for event, expected in pieces:
                await send.send(event)
                chunk = await anext(stream)
                while "contentBlockDelta" not in chunk:
                    chunk = await anext(stream)
                assert chunk == {"contentBlockDelta": {"delta": expected}}


async def test_a_long_context_is_told_apart_from_other_bad_requests() -> None:
    async def respond(call: Call) -> None:
        message = "This model's maximum context length is 10 tokens."
        await call.error(400, {"message": message, "type": "invalid_request_error", "code": "context_length_exceeded"})

    async with serving(respond) as server:
        with pytest.raises(ContextWindowOverflowException, match="maximum context length is 10"):
            await ask(server)


async def test_a_bad_request_is_the_sdks_own_error() -> None:
    async def respond(call: Call) -> None:
        await call.error(400, {"message": "Unknown parameter: 'frob'.", "code": "unknown_parameter"})

    async with serving(respond) as server:
        with pytest.raises(openai.BadRequestError, match="frob"):
            await ask(server)


async def test_status_429_is_throttling_and_is_not_retried_here() -> None:
    async def respond(call: Call) -> None:
        await call.error(429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"})

    async with serving(respond) as server:
        with pytest.raises(ModelThrottledException, match="Rate limit reached"):
            await ask(server)
        assert len(server.calls) == 1


async def test_an_exhausted_quota_is_not_throttling_because_waiting_does_not_help() -> None:
    async def respond(call: Call) -> None:
        await call.error(429, {"message": "You exceeded your current quota", "code": "insufficient_quota"})

    async with serving(respond) as server:
        with pytest.raises(openai.RateLimitError, match="quota"):
            await ask(server)


async def test_throttling_reported_inside_the_stream_is_throttling() -> None:
    error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    async with serving(answering(delta(content="so"), error)) as server:
        with pytest.raises(ModelThrottledException, match="slow down"):
            await ask(server)


@pytest.mark.parametrize("end", ["clean", "cut"])
async def test_half_a_message_never_looks_finished(end: str) -> None:
    """Whether the server ends the body in order, or drops the connection in the middle of it."""

    async def respond(call: Call) -> None:
        await call.events(delta(content="half an"), done=False)
        if end == "clean":
            await call.socket.send(b"0\r\n\r\n")
        await call.socket.aclose()

    chunks: list[Chunk] = []
    async with serving(respond) as server:
        with pytest.raises(openai.APIConnectionError):
            await collect(model_of(server).stream(HELLO), into=chunks)
    assert chunks[-1] == {"contentBlockDelta": {"delta": {"text": "half an"}}}


async def test_an_event_that_is_not_json_is_an_error_that_says_so() -> None:
    async with serving(answering(delta(content="x"), "{not json")) as server:
        with pytest.raises(ModelResponseError, match="not JSON"):
            await ask(server)


async def test_cancelling_a_slow_stream_closes_its_connection() -> None:
    async def respond(call: Call) -> None:
        await call.events(delta(content="slow"), done=False)

    async with serving(respond) as server:
        with anyio.fail_after(10):
            with anyio.CancelScope() as scope:
                async for chunk in model_of(server).stream(HELLO):
                    if "contentBlockDelta" in chunk:
                        scope.cancel()
            assert scope.cancelled_caught
            await server.disconnected.wait()


async def test_closing_a_stream_early_closes_its_connection() -> None:
    async def respond(call: Call) -> None:
        await call.events(delta(content="slow"), done=False)

    async with serving(respond) as server:
        with anyio.fail_after(10):
            stream = model_of(server).stream(HELLO)
            await anext(stream)
            await stream.aclose()
            await server.disconnected.wait()


async def test_the_connection_is_closed_after_a_whole_message() -> None:
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server:
        await ask(server)
        with anyio.fail_after(10):
            await server.disconnected.wait()


async def test_an_http_client_of_the_callers_stays_open() -> None:
    http_client = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server, http_client:
        model = model_of(server, client_args={"http_client": http_client})
        assert [chunk async for chunk in model.stream(HELLO)]
        assert not http_client.is_closed


async def test_the_key_is_in_no_error_and_no_repr() -> None:
    async def respond(call: Call) -> None:
        await call.error(401, {"message": f"Incorrect API key provided: {KEY}."})

    async with serving(respond) as server:
        with pytest.raises(openai.AuthenticationError, match=r"\*\*\*") as caught:
            await ask(server)
    shown = [repr(caught.value), str(caught.value), caught.value.message, repr(caught.value.body)]
    assert KEY not in " ".join([*shown, repr(model_of(server)), str(model_of(server))])


async def test_without_key_and_server_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelConfigurationError, match="OPENAI_API_KEY"):
        await anext(OpenAIModel("gpt-5-mini").stream(HELLO))


async def test_a_server_from_the_environment_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        chunks = [chunk async for chunk in OpenAIModel("m").stream(HELLO)]
    assert chunks[-2] == {"messageStop": {"stopReason": "end_turn"}}


async def test_one_model_serves_several_calls_at_once() -> None:
    async with serving(answering(delta(content="x"), delta(finish="stop"), used(1, 1))) as server:
        model = model_of(server)
        streams: list[list[Chunk]] = []

        async def call() -> None:
            streams.append([chunk async for chunk in model.stream(HELLO)])

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(call)
    assert [len(chunks) for chunks in streams] == [6] * 5
