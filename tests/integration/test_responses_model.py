"""`OpenAIModel(api="responses")` against a server on loopback that speaks OpenAI's streaming Responses API."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import openai
import pytest
from strands.models.openai_responses import OpenAIResponsesModel

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.errors import ContextWindowOverflowException, ModelResponseError, ModelThrottledException
from playhead.runtime.core.faults import is_transient
from playhead.runtime.models import OpenAIModel
from tests.support.vendor_server import (
    ADD,
    HELLO,
    Asked,
    Respond,
    Server,
    ask,
    events_of,
    refusing,
    saying,
    serving,
    serving_pieces,
)

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

KEY = "sk-test-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n"
PDF: dict[str, Any] = {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF"}}}
WORKED: Messages = [
    {
        "role": "user",
        "content": [{"text": "Add 1 and 2 — größer."}, {"image": {"format": "png", "source": {"bytes": PNG}}}, PDF],
    },
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "of another model"}}},
            {"text": "Let me"},
            {"text": "add."},
            {"toolUse": {"toolUseId": "call_1", "name": "add", "input": {"a": 1, "b": [2, {"c": None}]}}},
            {"toolUse": {"toolUseId": "call_2", "name": "add", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "toolResult": {
                    "toolUseId": "call_1",
                    "status": "success",
                    "content": [{"text": "3"}, {"json": {"sum": 3, "of": ["ä"]}}],
                }
            },
            {"toolResult": {"toolUseId": "call_2", "status": "success", "content": [{"text": "see"}, PDF]}},
        ],
    },
]
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "I add."}, {"type": "summary_text", "text": "Then"}],
    "encrypted_content": "gAAAAB==",
}


def added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, index: int, text: str, **more: int) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": index, "item_id": f"i{index}", "delta": text, **more}


def message(index: int, *pieces: str) -> list[dict[str, Any]]:
    item = {"id": f"i{index}", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    whole = {**item, "status": "completed", "content": [{"type": "output_text", "text": "".join(pieces)}]}
    deltas = [delta("output_text", index, piece, content_index=0) for piece in pieces]
    return [added(index, item), *deltas, done(index, whole)]


def thought(index: int) -> list[dict[str, Any]]:
    return [
        added(index, {"id": "rs_1", "type": "reasoning", "summary": []}),
        delta("reasoning_summary_text", index, "I ", summary_index=0),
        delta("reasoning_summary_text", index, "add.", summary_index=0),
        delta("reasoning_summary_text", index, "Then", summary_index=1),
        done(index, REASONING),
    ]


def called(index: int, *pieces: str, name: str = "add") -> list[dict[str, Any]]:
    item = {"id": f"i{index}", "type": "function_call", "call_id": f"call_{index}", "name": name, "arguments": ""}
    whole = {**item, "arguments": "".join(pieces)}
    ended = {"type": "response.function_call_arguments.done", "output_index": index, "item_id": f"i{index}"}
    deltas = [delta("function_call_arguments", index, piece) for piece in pieces]
    return [added(index, item), *deltas, {**ended, "arguments": "".join(pieces)}, done(index, whole)]


USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "error": None}
    return {**base, "status": status, "incomplete_details": None, "usage": USAGE, **more}


CREATED = {"type": "response.created", "response": response("in_progress")}


def streamed(*items: list[dict[str, Any]], end: dict[str, Any] | None = None) -> bytes:
    last = end or {"type": "response.completed", "response": response()}
    events = [CREATED, *(event for item in items for event in item), last]
    return events_of(*({**event, "sequence_number": number} for number, event in enumerate(events)))


HI = streamed(message(0, "Hi"))


def model_of(server: Server, **options: Any) -> OpenAIModel:
    return OpenAIModel("m", base_url=f"{server.url}/v1", api_key=KEY, api="responses", **options)


def strands_of(server: Server, **config: Any) -> Any:
    args = {"api_key": KEY, "base_url": f"{server.url}/v1", "max_retries": 0}
    return OpenAIResponsesModel(client_args=args, model_id="m", **config)


async def said(*pieces: bytes, content_type: str = "text/event-stream") -> list[Chunk]:
    async with serving(saying(*pieces, content_type=content_type)) as server:
        return await ask(model_of(server))


def text_of(chunks: list[Chunk]) -> str:
    deltas = [chunk["contentBlockDelta"]["delta"] for chunk in chunks if "contentBlockDelta" in chunk]
    return "".join(found.get("text", "") for found in deltas)


async def test_reasoning_text_and_two_calls_arrive_in_converse_order_with_usage() -> None:
    chunks = await said(
        streamed(thought(0), message(1, "Let ", "me."), called(2, '{"a": 1,', ' "b": 2}'), called(3, "{}"))
    )
    metadata = chunks.pop()["metadata"]
    start, stop = {"contentBlockStart": {"start": {}}}, {"contentBlockStop": {}}
    kept = {"provider": chunks[5]["contentBlockStop"]["providerFields"]["provider"], "item": REASONING}
    assert chunks == [
        {"messageStart": {"role": "assistant"}},
        start,
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "I "}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "add."}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "\n\nThen"}}}},
        {"contentBlockStop": {"providerFields": kept}},
        start,
        {"contentBlockDelta": {"delta": {"text": "Let "}}},
        {"contentBlockDelta": {"delta": {"text": "me."}}},
        stop,
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "call_2", "name": "add"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a": 1,'}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ' "b": 2}'}}}},
        stop,
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "call_3", "name": "add"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}}},
        stop,
        {"messageStop": {"stopReason": "tool_use"}},
    ]
    assert metadata["usage"] == {"inputTokens": 7, "outputTokens": 9, "totalTokens": 16, "cacheReadInputTokens": 4}


async def test_the_chunks_of_text_and_a_call_are_those_of_strands_provider() -> None:
    """Of a call in one piece, because that provider joins the pieces; apart from the latency, which is 0 there."""
    async with serving(saying(streamed(message(0, "Let ", "me."), called(1, '{"a": 1}')))) as server:
        ours, theirs = await ask(model_of(server)), await ask(strands_of(server))
    assert ours[:-1] == theirs[:-1]
    assert ours[-1]["metadata"]["usage"] == theirs[-1]["metadata"]["usage"]


@pytest.mark.parametrize(
    ("messages", "asked", "params"),
    [
        (HELLO, {}, {}),
        (HELLO, {"tool_specs": [ADD], "system_prompt": "Be brief.", "tool_choice": {"auto": {}}}, {"temperature": 0}),
        (HELLO, {"tool_specs": [ADD, ADD], "tool_choice": {"any": {}}}, {"tools": [{"type": "web_search"}]}),
        (HELLO, {"tool_specs": [ADD], "tool_choice": {"tool": {"name": "add"}}}, {}),
        (WORKED, {"tool_specs": [ADD]}, {"reasoning": {"effort": "low"}, "max_output_tokens": 9}),
    ],
    ids=["text", "tools", "any", "one tool", "worked"],
)
async def test_a_request_is_that_of_strands_provider_byte_by_byte(
    messages: Messages, asked: dict[str, Any], params: dict[str, Any]
) -> None:
    """Apart from the order of the outermost keys: here `params` come last, because the SDK refuses unknown ones."""
    async with serving(saying(HI)) as server:
        await ask(model_of(server, params=params), messages, **asked)
        await ask(strands_of(server, params=params), messages, **asked)
    ours, theirs = server.asked
    assert ours.path == theirs.path == "/v1/responses"
    assert len(ours.raw) == len(theirs.raw)
    assert json.dumps(dict(sorted(ours.body.items()))) == json.dumps(dict(sorted(theirs.body.items())))


async def test_reasoning_items_go_back_as_they_came_to_the_server_that_sent_them() -> None:
    """Over a whole turn of an agent with a tool."""

    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    answers = [streamed(thought(0), called(1, '{"a": 1, "b": 2}')), HI]

    async def respond(asked: Asked) -> None:
        await saying(answers.pop(0) if answers else HI)(asked)

    async with serving(respond) as server, serving(respond) as other:
        agent = Agent(model_of(server), tools=[add], callback_handler=None)
        assert str(await agent.invoke_async("Add 1 and 2")) == "Hi\n"
        await ask(model_of(other), agent.messages)
        await ask(model_of(server, send_back="nothing"), agent.messages)
    call = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 1, "b": 2}'}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "3"}
    assert server.asked[1].body["input"][1:] == [REASONING, call, result]
    assert other.asked[0].body["input"][1:3] == server.asked[2].body["input"][1:3] == [call, result]


async def test_a_refusal_is_the_text_of_the_message() -> None:
    item = {"id": "i0", "type": "message", "role": "assistant", "content": []}
    whole = {**item, "content": [{"type": "refusal", "refusal": "I cannot."}]}
    events = [
        added(0, item),
        delta("refusal", 0, "I ", content_index=0),
        delta("refusal", 0, "cannot.", content_index=0),
    ]
    chunks = await said(streamed([*events, done(0, whole)]))
    assert text_of(chunks) == "I cannot."
    assert {"messageStop": {"stopReason": "end_turn"}} in chunks


@pytest.mark.parametrize(
    ("reason", "expected"), [("max_output_tokens", "max_tokens"), ("content_filter", "content_filtered")]
)
async def test_a_response_that_was_cut_short_says_why(reason: str, expected: str) -> None:
    end = {"type": "response.incomplete", "response": response("incomplete", incomplete_details={"reason": reason})}
    assert {"messageStop": {"stopReason": expected}} in await said(streamed(message(0, "so"), end=end))


@pytest.mark.parametrize("form", ["no deltas", "in the end", "json"])
async def test_what_no_delta_said_is_taken_from_the_item(form: str) -> None:
    items = [message(0, "Hello")[-1]["item"], called(1, '{"a": 1}')[-1]["item"], {**REASONING, "summary": []}]
    whole = response(output=items)
    if form == "json":
        chunks = await said(json.dumps(whole).encode(), content_type="application/json")
    elif form == "in the end":
        chunks = await said(streamed(end={"type": "response.completed", "response": whole}))
    else:
        chunks = await said(streamed([done(index, item) for index, item in enumerate(items)]))
    assert text_of(chunks) == "Hello"
    assert {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a": 1}'}}}} in chunks
    assert any("providerFields" in chunk.get("contentBlockStop", {}) for chunk in chunks)
    assert {"messageStop": {"stopReason": "tool_use"}} in chunks


@pytest.mark.parametrize(
    "events",
    [
        [added(0, {"type": "computer_call"})],
        [*message(0, "a"), *called(1, "{}"), delta("output_text", 0, "late")],
        [delta("function_call_arguments", 0, "{}")],
        [*message(0, "Hello")[:-1], done(0, {"type": "message", "content": [{"type": "output_text", "text": "Help"}]})],
        [{"type": "response.output_text.delta", "delta": "x"}],
    ],
    ids=["kind", "late", "no call", "differs", "no index"],
)
async def test_what_is_not_understood_fails_the_call_and_is_named(events: list[dict[str, Any]]) -> None:
    error = await raised(saying(streamed(events)))
    assert isinstance(error, ModelResponseError)
    assert "the server sent" in str(error)
    assert not is_transient(error)


async def test_the_servers_own_tools_are_passed_over() -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    searching = {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"}
    assert (
        text_of(await said(streamed([added(0, search), searching, done(0, search)], message(1, "Sunny.")))) == "Sunny."
    )


async def raised(respond: Respond) -> Exception:
    async with serving(respond) as server:
        try:
            chunks = await ask(model_of(server))
        except Exception as error:
            return error
    raise AssertionError(f"no error after {chunks}")


FAILED = {"type": "response.failed", "response": response("failed", error={"code": "server_error", "message": "words"})}


@pytest.mark.parametrize(
    ("respond", "expected", "transient"),
    [
        (saying(streamed(message(0, "so"), end=FAILED)), ModelResponseError, True),
        (
            saying(streamed(end={"type": "error", "code": "rate_limit_exceeded", "message": "words", "param": None})),
            ModelThrottledException,
            True,
        ),
        (
            saying(streamed(end={"type": "error", "code": "context_length_exceeded", "message": "words"})),
            ContextWindowOverflowException,
            False,
        ),
        (
            saying(streamed(end={"type": "error", "code": "invalid_prompt", "message": "words"})),
            ModelResponseError,
            False,
        ),
        (refusing(429, {"error": {"message": "words", "code": "rate_limit_exceeded"}}), ModelThrottledException, True),
        (refusing(400, {"error": {"message": "words", "code": "unknown"}}), openai.BadRequestError, False),
    ],
    ids=["failed", "throttled", "overflow", "permanent", "429", "400"],
)
async def test_an_error_is_told_by_its_kind_with_the_servers_words(
    respond: Respond, expected: type[Exception], transient: bool
) -> None:
    error = await raised(respond)
    assert type(error) is expected
    assert "words" in str(error)
    assert is_transient(error) is transient


@pytest.mark.parametrize("cut", [False, True], ids=["clean", "cut"])
async def test_half_a_message_never_looks_finished(cut: bool) -> None:
    error = await raised(saying(events_of(CREATED, *message(0, "half an")), cut=cut))
    assert isinstance(error, openai.APIConnectionError)


async def test_a_piece_arrives_while_the_server_still_writes() -> None:
    async with serving_pieces() as (server, pieces), aclosing(model_of(server).stream(HELLO)) as stream:
        with anyio.fail_after(10):
            assert "messageStart" in await anext(stream)
            await pieces.send(events_of(CREATED, *message(0, "a", "b")[:2]))
            assert "contentBlockStart" in await anext(stream)
            assert await anext(stream) == {"contentBlockDelta": {"delta": {"text": "a"}}}
            await pieces.send(events_of(message(0, "a", "b")[2]))
            assert await anext(stream) == {"contentBlockDelta": {"delta": {"text": "b"}}}
