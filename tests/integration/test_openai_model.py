"""OpenAIModel against a real HTTP server on loopback that speaks the streaming Chat Completions protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import openai
import pytest

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
)
from playhead.runtime.models import OpenAIModel
from tests.support.vendor_server import (
    ADD,
    HELLO,
    PARTIAL,
    Asked,
    Respond,
    Server,
    ask,
    refusing,
    saying,
    serving,
    serving_pieces,
)

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

KEY = "sk-test-0123456789abcdef"


def event_of(event: object) -> bytes:
    """A server-sent event; a str is sent as it is."""
    return f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()


def answering(*events: object) -> Respond:
    return saying(*map(event_of, events), event_of("[DONE]"))


def beginning(event: object) -> Respond:
    """A response that sends one event and does not end."""

    async def respond(asked: Asked) -> None:
        await asked.begin()
        await asked.send(event_of(event))

    return respond


def failing(status: int, message: str, code: str) -> Respond:
    return refusing(status, {"error": {"message": message, "code": code}})


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
    return OpenAIModel("m", base_url=f"{server.url}/v1", api_key=KEY, **options)


async def collect(stream: AsyncGenerator[Chunk, None], *, into: list[Chunk]) -> None:
    async for chunk in stream:
        into.append(chunk)  # noqa: PERF401 - what came before an error counts


async def test_text_is_streamed_in_converse_order_with_usage_and_latency() -> None:
    events = (delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta(finish="stop"))
    usage = used(7, 2, prompt_tokens_details={"cached_tokens": 4})
    async with serving(answering(*events, usage)) as server:
        chunks = await ask(model_of(server))
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
    (call,) = server.asked
    assert call.path == "/v1/chat/completions"
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
    async with serving(answering(delta(content="ning"), delta(finish="stop"))) as server:
        params = {"continue_final_message": True, "add_generation_prompt": False}
        model = model_of(server, params={"temperature": 0}, continue_params=params)
        assert model.continues_partial
        for messages in (HELLO, PARTIAL):
            async for _ in model.stream(messages):
                pass
    asked, went_on = [call.body for call in server.asked]
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
        chunks = await ask(model_of(server), tool_specs=[ADD])
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
    expected_of: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (delta(reasoning_content="hm"), {"reasoningContent": {"text": "hm"}}),
        (delta(content="so"), {"text": "so"}),
        (called(0, '{"x"', call_id="a", name="add"), {"toolUse": {"input": '{"x"'}}),
        (called(0, ":1}"), {"toolUse": {"input": ":1}"}}),
        (called(1, "{}", call_id="b", name="add"), {"toolUse": {"input": "{}"}}),
    ]
    async with serving_pieces() as (server, pieces), aclosing(model_of(server).stream(HELLO, [ADD])) as stream:
        with anyio.fail_after(10):
            assert "messageStart" in await anext(stream)
            for event, expected in expected_of:
                await pieces.send(event_of(event))
                chunk = await anext(stream)
                while "contentBlockDelta" not in chunk:
                    chunk = await anext(stream)
                assert chunk == {"contentBlockDelta": {"delta": expected}}


async def test_a_long_context_is_told_apart_from_other_bad_requests() -> None:
    message = "This model's maximum context length is 10 tokens."
    async with serving(failing(400, message, "context_length_exceeded")) as server:
        with pytest.raises(ContextWindowOverflowException, match="maximum context length is 10"):
            await ask(model_of(server))


async def test_a_bad_request_is_the_sdks_own_error() -> None:
    async with serving(failing(400, "Unknown parameter: 'frob'.", "unknown_parameter")) as server:
        with pytest.raises(openai.BadRequestError, match="frob"):
            await ask(model_of(server))


async def test_status_429_is_throttling_and_is_not_retried_here() -> None:
    async with serving(failing(429, "Rate limit reached", "rate_limit_exceeded")) as server:
        with pytest.raises(ModelThrottledException, match="Rate limit reached"):
            await ask(model_of(server))
        assert len(server.asked) == 1


async def test_an_exhausted_quota_is_not_throttling_because_waiting_does_not_help() -> None:
    async with serving(failing(429, "You exceeded your current quota", "insufficient_quota")) as server:
        with pytest.raises(openai.RateLimitError, match="quota"):
            await ask(model_of(server))


async def test_throttling_reported_inside_the_stream_is_throttling() -> None:
    error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    async with serving(answering(delta(content="so"), error)) as server:
        with pytest.raises(ModelThrottledException, match="slow down"):
            await ask(model_of(server))


@pytest.mark.parametrize("cut", [False, True], ids=["clean", "cut"])
async def test_half_a_message_never_looks_finished(cut: bool) -> None:
    """Whether the server ends the body in order, or drops the connection in the middle of it."""
    chunks: list[Chunk] = []
    async with serving(saying(event_of(delta(content="half an")), cut=cut)) as server:
        with pytest.raises(openai.APIConnectionError):
            await collect(model_of(server).stream(HELLO), into=chunks)
    assert chunks[-1] == {"contentBlockDelta": {"delta": {"text": "half an"}}}


async def test_an_event_that_is_not_json_is_an_error_that_says_so() -> None:
    async with serving(answering(delta(content="x"), "{not json")) as server:
        with pytest.raises(ModelResponseError, match="not JSON"):
            await ask(model_of(server))


async def test_cancelling_a_slow_stream_closes_its_connection() -> None:
    async with serving(beginning(delta(content="slow"))) as server:
        with anyio.fail_after(10):
            with anyio.CancelScope() as scope:
                async for chunk in model_of(server).stream(HELLO):
                    if "contentBlockDelta" in chunk:
                        scope.cancel()
            assert scope.cancelled_caught
            await server.left.wait()


async def test_closing_a_stream_early_closes_its_connection() -> None:
    async with serving(beginning(delta(content="slow"))) as server:
        with anyio.fail_after(10):
            stream = model_of(server).stream(HELLO)
            await anext(stream)
            await stream.aclose()
            await server.left.wait()


async def test_the_connection_is_closed_after_a_whole_message() -> None:
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server:
        await ask(model_of(server))
        with anyio.fail_after(10):
            await server.left.wait()


async def test_an_http_client_of_the_callers_stays_open() -> None:
    http_client = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with serving(answering(delta(content="x"), delta(finish="stop"))) as server, http_client:
        model = model_of(server, client_args={"http_client": http_client})
        assert [chunk async for chunk in model.stream(HELLO)]
        assert not http_client.is_closed


async def test_the_key_is_in_no_error_and_no_repr() -> None:
    async with serving(failing(401, f"Incorrect API key provided: {KEY}.", "invalid_api_key")) as server:
        with pytest.raises(openai.AuthenticationError, match=r"\*\*\*") as caught:
            await ask(model_of(server))
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
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
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
