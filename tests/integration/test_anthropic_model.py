"""`AnthropicModel` against a server on loopback that speaks Anthropic's streaming Messages API."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anthropic
import anyio
import pytest
from strands.models import CacheConfig
from strands.models.anthropic import AnthropicModel as StrandsModel

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
)
from playhead.runtime.core.faults import asked_to_wait, is_transient
from playhead.runtime.models import AnthropicModel
from tests.support.fleet import Fleet
from tests.support.vendor_server import (
    ADD,
    HELLO,
    PARTIAL,
    Asked,
    Respond,
    Server,
    ask,
    events_of,
    refusing,
    saying,
    serving,
    serving_pieces,
    without_index,
)

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

KEY = "sk-ant-test-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n"
SIGNED = {"reasoningContent": {"reasoningText": {"text": "I add.", "signature": "c2ln"}}}
WORKED: Messages = [
    {
        "role": "user",
        "content": [
            {"text": "Add 1 and 2 — größer."},
            {"image": {"format": "png", "source": {"bytes": PNG}}},
            {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF"}}},
            {"document": {"format": "md", "name": "b", "source": {"bytes": b"# B"}}},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            SIGNED,
            {"reasoningContent": {"redactedContent": b"\x01\x02\x03"}},
            {"reasoningContent": {"reasoningText": {"text": "of another model"}}},
            {"text": "Let me add."},
            {"toolUse": {"toolUseId": "toolu_1", "name": "add", "input": {"a": 1, "b": [2, {"c": None}]}}},
            {"toolUse": {"toolUseId": "toolu_2", "name": "add", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "toolResult": {
                    "toolUseId": "toolu_1",
                    "status": "success",
                    "content": [
                        {"text": "3"},
                        {"json": {"sum": 3, "of": ["ä"]}},
                        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
                    ],
                }
            },
            {"toolResult": {"toolUseId": "toolu_2", "status": "error", "content": [{"text": "no"}]}},
            {"cachePoint": {"type": "default"}},
        ],
    },
]


def start(**usage: int) -> dict[str, Any]:
    counts = {"input_tokens": 7, "output_tokens": 1, **usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": counts}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def stop(reason: str = "end_turn", **usage: int) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9, **usage}},
        {"type": "message_stop"},
    ]


THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "I "},
    {"type": "thinking_delta", "thinking": "add."},
    {"type": "signature_delta", "signature": "c2ln"},
)
CALLED = block(
    2,
    {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    {"type": "input_json_delta", "partial_json": '{"a": 1,'},
    {"type": "input_json_delta", "partial_json": ' "b": 2}'},
)
HI = events_of(start(), *text(0, "Hi"), *stop())


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def model_of(server: Server, **options: Any) -> AnthropicModel:
    return AnthropicModel("claude", base_url=server.url, api_key=KEY, max_tokens=99, **options)


async def ask_strands(server: Server, messages: Messages = HELLO, **options: Any) -> list[Chunk]:
    """Strands' provider, asked the same; `cache_config` is an option of the model."""
    config: dict[str, Any] = {key: options.pop(key) for key in ("cache_config",) if key in options}
    args = {"api_key": KEY, "base_url": server.url, "max_retries": 0}
    model: Any = StrandsModel(client_args=args, model_id="claude", max_tokens=99, **config)
    async with model.client:
        return await ask(model, messages, **options)


async def raised(respond: Respond, into: list[Chunk] | None = None) -> Exception:
    """The error that a call ends with; `into` gets the chunks before it."""
    chunks: list[Chunk] = [] if into is None else into
    async with serving(respond) as server:
        try:
            async for chunk in model_of(server).stream(HELLO):
                chunks.append(chunk)  # noqa: PERF401 - what came before an error counts
        except Exception as error:
            return error
    raise AssertionError(f"no error after {chunks}")


async def test_reasoning_text_and_a_call_arrive_in_converse_order_with_usage() -> None:
    pieces = [start(cache_read_input_tokens=5, cache_creation_input_tokens=3), {"type": "ping"}, *THOUGHT]
    async with serving(saying(events_of(*pieces, *text(1, "Let ", "me."), *CALLED, *stop("tool_use")))) as server:
        chunks = await ask(model_of(server))
    metadata = chunks.pop()["metadata"]
    assert chunks == [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"start": {}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "I "}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "add."}}}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "c2ln"}}}},
        {"contentBlockStop": {}},
        {"contentBlockStart": {"start": {}}},
        {"contentBlockDelta": {"delta": {"text": "Let "}}},
        {"contentBlockDelta": {"delta": {"text": "me."}}},
        {"contentBlockStop": {}},
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "toolu_1", "name": "add"}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ""}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a": 1,'}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ' "b": 2}'}}}},
        {"contentBlockStop": {}},
        {"messageStop": {"stopReason": "tool_use"}},
    ]
    assert metadata["usage"] == {
        "inputTokens": 7,
        "outputTokens": 9,
        "totalTokens": 24,
        "cacheReadInputTokens": 5,
        "cacheWriteInputTokens": 3,
    }
    assert metadata["metrics"]["latencyMs"] >= 0


async def test_the_chunks_are_those_of_strands_provider() -> None:
    """Apart from block numbers, which cost a byte per token and which readers do not need, and the latency, which is 0 there."""
    said = events_of(start(cache_read_input_tokens=5), *THOUGHT, *text(1, "Let ", "me."), *CALLED, *stop("tool_use"))
    async with serving(saying(said)) as server:
        ours, theirs = await ask(model_of(server)), await ask_strands(server)
    assert ours[:-1] == [without_index(chunk) for chunk in theirs[:-1]]
    assert ours[-1]["metadata"]["usage"] == theirs[-1]["metadata"]["usage"]


CACHE = CacheConfig(ttl="1h", tools_ttl=True)


@pytest.mark.parametrize(
    ("messages", "asked", "options", "strands_options"),
    [
        (HELLO, {}, {}, {}),
        (HELLO, {"tool_specs": [ADD], "system_prompt": "Be brief.", "tool_choice": {"auto": {}}}, {}, {}),
        (HELLO, {"tool_specs": [ADD, ADD], "tool_choice": {"any": {}}}, {}, {}),
        (HELLO, {"tool_specs": [ADD], "tool_choice": {"tool": {"name": "add"}}}, {}, {}),
        (WORKED, {"tool_specs": [ADD], "system_prompt": "Be brief."}, {}, {}),
        (PARTIAL, {}, {}, {}),
        (HELLO, {"tool_specs": [ADD], "system_prompt": "Be brief."}, {"cache": "1h"}, {"cache_config": CACHE}),
        (
            HELLO,
            {"system_prompt_content": [{"text": "A"}, {"cachePoint": {"type": "default", "ttl": "5m"}}, {"text": "B"}]},
            {},
            {},
        ),
    ],
    ids=["text", "tools", "any", "one tool", "worked", "partial", "cached", "system blocks"],
)
async def test_a_request_is_that_of_strands_provider_byte_by_byte(
    messages: Messages, asked: dict[str, Any], options: dict[str, Any], strands_options: dict[str, Any]
) -> None:
    """Apart from the order of the outermost keys, in which two methods of the SDK differ."""
    async with serving(saying(HI)) as server:
        await ask(model_of(server, **options), messages, **asked)
        await ask_strands(server, messages, **asked, **strands_options)
    ours, theirs = server.asked
    assert len(ours.raw) == len(theirs.raw)
    assert json.dumps(dict(sorted(ours.body.items()))) == json.dumps(dict(sorted(theirs.body.items())))
    assert (ours.path, ours.headers["anthropic-version"]) == ("/v1/messages", theirs.headers["anthropic-version"])
    assert ours.headers["x-api-key"] == KEY


async def test_params_are_sent_also_those_that_the_sdk_does_not_know() -> None:
    params = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "a_servers_own": 1, "stream": False, "timeout": 9}
    async with serving(saying(HI)) as server:
        await ask(model_of(server, params=params))
    assert server.asked[0].body == {
        "max_tokens": 99,
        "model": "claude",
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "tools": [],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "a_servers_own": 1,
    }


async def test_signed_and_encrypted_reasoning_goes_back_as_it_came() -> None:
    """Over a whole turn of an agent with a tool."""

    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    encrypted = block(1, {"type": "redacted_thinking", "data": "AQID+/8="})
    answers = [events_of(start(), *THOUGHT, *encrypted, *CALLED, *stop("tool_use")), HI]

    async def respond(asked: Asked) -> None:
        await saying(answers.pop(0))(asked)

    async with serving(respond) as server:
        agent = Agent(model_of(server), tools=[add], callback_handler=None)
        assert str(await agent.invoke_async("Add 1 and 2")) == "Hi\n"
    assert server.asked[1].body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I add.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "AQID+/8="},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": False,
                    "content": [{"type": "text", "text": "3"}],
                }
            ],
        },
    ]


async def test_the_next_owner_of_a_run_has_the_model_go_on_from_the_partial_message(fleet: Fleet) -> None:
    async def respond(asked: Asked) -> None:
        if len(server.asked) > 1:
            await saying(events_of(start(), *text(0, " three"), *stop()))(asked)
            return
        await asked.begin()
        await asked.send(events_of(start(), *text(0, "one", " two")[:-1]))
        await anyio.sleep_forever()

    async with serving(respond) as server, fleet.client() as client:
        agent = Agent(model_of(server), name="agent", on_partial="continue", callback_handler=None)
        async with fleet.worker(agent):
            run = await client.start("agent", "Count.")
            async with aclosing(run.stream_async()) as events:
                async for event in events:
                    if event.get("data") == " two":
                        break
        async with fleet.worker(agent):
            assert str(await run.result()) == "one two three\n"
    assert server.asked[1].body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Count."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "one two"}]},
    ]


def test_a_model_that_reasons_does_not_go_on_from_a_partial_message() -> None:
    model = AnthropicModel("claude", params={"thinking": {"type": "enabled", "budget_tokens": 1024}})
    with pytest.raises(ModelConfigurationError, match="on_partial='continue'"):
        _ = Agent(model, on_partial="continue").model
    assert AnthropicModel("claude", params={"thinking": {"type": "disabled"}}).continues_partial


async def test_a_piece_arrives_while_the_server_still_writes() -> None:
    """Each piece is sent only after the one before it was received: a model that buffers would never get past one."""
    async with serving_pieces() as (server, pieces), aclosing(model_of(server).stream(HELLO)) as stream:
        with anyio.fail_after(10):
            assert "messageStart" in await anext(stream)
            await pieces.send(events_of(start(), *text(0, "a")[:2]))
            assert "contentBlockStart" in await anext(stream)
            assert await anext(stream) == {"contentBlockDelta": {"delta": {"text": "a"}}}
            await pieces.send(events_of(text(0, "b")[1]))
            assert await anext(stream) == {"contentBlockDelta": {"delta": {"text": "b"}}}


async def test_closing_the_stream_closes_the_connection() -> None:
    async def respond(asked: Asked) -> None:
        await asked.begin()
        await asked.send(events_of(start(), *text(0, "a")[:2]))

    async with serving(respond) as server:
        async with aclosing(model_of(server).stream(HELLO)) as stream:
            while "contentBlockDelta" not in await anext(stream):
                pass
        with anyio.fail_after(10):
            await server.left.wait()


@pytest.mark.parametrize("cut", [False, True], ids=["clean", "cut"])
async def test_half_a_message_never_looks_finished(cut: bool) -> None:
    chunks: list[Chunk] = []
    error = await raised(saying(events_of(start(), *text(0, "half an")), cut=cut), chunks)
    assert isinstance(error, anthropic.APIConnectionError)
    assert is_transient(error)
    assert {"contentBlockDelta": {"delta": {"text": "half an"}}} in chunks
    assert not any("messageStop" in chunk for chunk in chunks)


def failed(kind: str, message: str = "words") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected", "transient"),
    [
        (429, "rate_limit_error", "slow down", ModelThrottledException, True),
        (529, "overloaded_error", "Overloaded", anthropic.APIStatusError, True),
        (500, "api_error", "oops", anthropic.InternalServerError, True),
        (400, "invalid_request_error", "max_tokens: 9 > 8", anthropic.BadRequestError, False),
        (401, "authentication_error", "invalid x-api-key", anthropic.AuthenticationError, False),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8", ContextWindowOverflowException, False),
        (400, "invalid_request_error", "input length exceeds context window", ContextWindowOverflowException, False),
        (
            400,
            "invalid_request_error",
            "input and output tokens exceed your context limit",
            ContextWindowOverflowException,
            False,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 9 + 9 > 8",
            ContextWindowOverflowException,
            False,
        ),
    ],
)
async def test_an_http_error_is_told_by_its_kind_and_asked_once(
    status: int, kind: str, message: str, expected: type[Exception], transient: bool
) -> None:
    async with serving(refusing(status, failed(kind, f"{message} ({KEY})"), retry_after="3")) as server:
        with pytest.raises(expected) as caught:
            await ask(model_of(server))
        assert len(server.asked) == 1
    assert message in str(caught.value)
    assert KEY not in f"{caught.value} {caught.value!r}"
    assert is_transient(caught.value) is transient
    if transient:
        assert asked_to_wait(caught.value, now=0) == 3


@pytest.mark.parametrize(
    ("kind", "expected", "transient"),
    [
        ("overloaded_error", ModelResponseError, True),
        ("api_error", ModelResponseError, True),
        ("rate_limit_error", ModelThrottledException, True),
        ("invalid_request_error", ModelResponseError, False),
    ],
)
async def test_an_error_inside_the_stream_fails_the_call(kind: str, expected: type[Exception], transient: bool) -> None:
    error = await raised(saying(events_of(start(), *text(0, "so"), failed(kind))))
    assert type(error) is expected
    assert "words" in str(error)
    assert is_transient(error) is transient


async def test_a_page_in_the_place_of_a_stream_is_an_error_with_its_words() -> None:
    error = await raised(saying(b"<html>Sign in</html>", content_type="text/html"))
    assert isinstance(error, ModelResponseError)
    assert "Sign in" in str(error)


async def test_a_call_without_a_key_is_an_error_that_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AnthropicModel("claude")
    with pytest.raises(ModelConfigurationError, match="Set ANTHROPIC_API_KEY"):
        model.check_ready()
    with pytest.raises(ModelConfigurationError, match="Set ANTHROPIC_API_KEY"):
        await ask(model)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    model.check_ready()
    assert KEY not in f"{model!r} {model.get_config()}"


async def test_a_profile_that_cannot_be_read_is_told_as_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", "/nowhere")
    with pytest.raises(ModelConfigurationError, match="/nowhere"):
        AnthropicModel("claude").check_ready()
    with pytest.raises(ModelConfigurationError, match="/nowhere"):
        await ask(AnthropicModel("claude"))


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with serving(saying(HI)) as server:
        model = AnthropicModel("claude", base_url=server.url)
        model.check_ready()
        assert len(await ask(model)) == 6
