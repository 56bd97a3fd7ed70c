"""`BedrockModel` against a server on loopback that speaks ConverseStream in AWS' binary event-stream format."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import boto3
import pytest
from botocore.config import Config
from strands.models.bedrock import BedrockModel as StrandsModel

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Message, Messages
from playhead.runtime.core.errors import (
    ContextWindowOverflowException,
    ModelConfigurationError,
    ModelResponseError,
    ModelThrottledException,
    ModelUnavailableError,
)
from playhead.runtime.core.faults import is_transient
from playhead.runtime.models import BedrockModel
from tests.support.aws_events import aws_event, aws_events, aws_exception
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
    without_index,
)

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

CLAUDE = "us.anthropic.claude-x-v1:0"
NOVA = "amazon.nova-lite-v1:0"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": SECRET}
STREAM = "application/vnd.amazon.eventstream"
S3 = {"location": {"type": "s3", "uri": "s3://b/k", "bucketOwner": "1"}}
WORKED: Messages = [
    {
        "role": "user",
        "content": [
            {"text": "Add 1 and 2 — größer."},
            {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}},
            {"document": {"format": "docx", "name": "a", "source": {"bytes": b"PK"}}},
            {"video": {"format": "mp4", "source": S3}},
            {"cachePoint": {"type": "default", "ttl": "1h"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "I add.", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": b"\x01\x02"}},
            {"reasoningContent": {"reasoningText": {"text": "of another model"}}},
            {"text": "Let me add."},
            {"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 1, "b": [2.5, {"c": None}]}}},
            {"toolUse": {"toolUseId": "t2", "name": "add", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "toolResult": {
                    "toolUseId": "t1",
                    "status": "success",
                    "content": [{"text": "3"}, {"json": {"sum": 3}}, {"image": {"format": "png", "source": S3}}],
                }
            },
            {"toolResult": {"toolUseId": "t2", "status": "error", "content": []}},
        ],
    },
]
UNTHOUGHT: Message = {"role": "assistant", "content": WORKED[1].get("content", [])[2:]}
"""Without Claude's reasoning, which Strands sends to other models too if it is encrypted."""


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": fields}}


def stop(index: int) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": index}}


START: dict[str, Any] = {"messageStart": {"role": "assistant"}}
USAGE = {"inputTokens": 7, "outputTokens": 9, "totalTokens": 21, "cacheReadInputTokens": 5}
METADATA: dict[str, Any] = {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 12}}}


def ended(reason: str) -> list[dict[str, Any]]:
    return [{"messageStop": {"stopReason": reason}}, METADATA]


THOUGHT = [
    delta(0, reasoningContent={"text": "I add."}),
    delta(0, reasoningContent={"signature": "c2ln"}),
    delta(0, reasoningContent={"redactedContent": b"\x01\xff"}),
    stop(0),
]
CALLED = [
    {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "add"}}}},
    delta(1, toolUse={"input": '{"a": 1,'}),
    delta(1, toolUse={"input": ' "b": 2}'}),
    stop(1),
]
HI = aws_events(START, delta(0, text="Hi"), stop(0), *ended("end_turn"))


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)


def speaking(*pieces: bytes, cut: bool = False) -> Respond:
    return saying(*pieces, content_type=STREAM, cut=cut)


def model_of(server: Server, model_id: str = CLAUDE, **options: Any) -> BedrockModel:
    args = {"endpoint_url": server.url, **KEYS}
    return BedrockModel(model_id, region="us-east-1", client_args=args, **options)


async def ask_strands(server: Server, messages: Messages = HELLO, model_id: str = CLAUDE, **asked: Any) -> list[Chunk]:
    session = boto3.Session(region_name="us-east-1", **KEYS)
    config = Config(retries={"total_max_attempts": 1})
    model: Any = StrandsModel(
        boto_session=session, boto_client_config=config, endpoint_url=server.url, model_id=model_id
    )
    try:
        return await ask(model, messages, **asked)
    finally:
        model.client.close()


async def raised(respond: Respond) -> Exception:
    async with serving(respond) as server:
        try:
            chunks = await ask(model_of(server))
        except Exception as error:
            assert len(server.asked) == 1
            return error
    raise AssertionError(f"no error after {chunks}")


async def test_the_chunks_are_those_of_strands_provider() -> None:
    """Apart from block numbers, which cost a byte per token and which readers do not need."""
    said = aws_events(START, *THOUGHT, *CALLED, *ended("tool_use"))
    async with serving(speaking(*said)) as server:
        ours, theirs = await ask(model_of(server)), await ask_strands(server)
    assert ours == [without_index(chunk) for chunk in theirs]
    assert ours[-1] == METADATA
    assert {"contentBlockDelta": {"delta": {"reasoningContent": {"redactedContent": b"\x01\xff"}}}} in ours


@pytest.mark.parametrize(
    ("messages", "model_id", "asked"),
    [
        (HELLO, CLAUDE, {}),
        (HELLO, NOVA, {"tool_specs": [ADD], "tool_choice": {"any": {}}}),
        (WORKED, CLAUDE, {"tool_specs": [ADD, ADD], "tool_choice": {"tool": {"name": "add"}}}),
        ([WORKED[0], UNTHOUGHT, WORKED[2]], NOVA, {"tool_specs": [ADD]}),
        (WORKED, CLAUDE, {}),
        (PARTIAL, CLAUDE, {}),
        (HELLO, CLAUDE, {"system_prompt_content": [{"text": "A"}, {"cachePoint": {"type": "default", "ttl": "5m"}}]}),
    ],
    ids=["text", "any", "worked", "nova", "no tools", "partial", "system blocks"],
)
async def test_a_request_is_that_of_strands_provider_byte_by_byte(
    messages: Messages, model_id: str, asked: dict[str, Any]
) -> None:
    async with serving(speaking(*HI)) as server:
        await ask(model_of(server, model_id), messages, **asked)
        await ask_strands(server, messages, model_id, **asked)
    ours, theirs = server.asked
    assert ours.path == theirs.path
    assert ours.raw == theirs.raw
    assert ours.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


async def test_params_are_sent_in_the_apis_own_form() -> None:
    params = {"inferenceConfig": {"maxTokens": 9}, "additionalModelRequestFields": {"top_k": 5}}
    async with serving(speaking(*HI)) as server:
        await ask(model_of(server, params=params), system_prompt="Be brief.")
    assert server.asked[0].body == {
        **params,
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "system": [{"text": "Be brief."}],
    }


async def test_reasoning_goes_back_as_it_came() -> None:
    """Over a whole turn of an agent with a tool."""

    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    answers = [aws_events(START, *THOUGHT, *CALLED, *ended("tool_use")), HI]

    async def respond(asked: Asked) -> None:
        await speaking(*answers.pop(0))(asked)

    async with serving(respond) as server:
        agent = Agent(model_of(server), tools=[add], callback_handler=None)
        assert str(await agent.invoke_async("Add 1 and 2")) == "Hi\n"
    assert server.asked[1].body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "I add.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "Af8="}},
                {"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 1, "b": 2}}},
            ],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "3"}], "status": "success"}}],
        },
    ]


async def test_a_piece_arrives_while_the_service_still_writes() -> None:
    send, received = anyio.create_memory_object_stream[bytes](0)

    async def respond(asked: Asked) -> None:
        await asked.begin(STREAM)
        async for piece in received:
            await asked.send(piece)

    async with serving(respond) as server, send, received, aclosing(model_of(server).stream(HELLO)) as stream:
        with anyio.fail_after(10):
            for chunk in (START, delta(0, text="a"), delta(0, text="b")):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send.send, aws_events(chunk)[0])
                    assert await anext(stream) == without_index(chunk)


async def test_a_message_that_is_cut_into_bytes_is_read() -> None:
    async with serving(speaking(*(bytes([byte]) for byte in b"".join(HI)))) as server:
        assert await ask(model_of(server)) == [
            START,
            {"contentBlockDelta": {"delta": {"text": "Hi"}}},
            {"contentBlockStop": {}},
            {"messageStop": {"stopReason": "end_turn"}},
            METADATA,
        ]


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_leaving_the_stream_closes_the_connection(way: str) -> None:
    begun = anyio.Event()

    async def respond(asked: Asked) -> None:
        await asked.begin(STREAM)
        await asked.send(aws_event("messageStart", {"role": "assistant"}))
        begun.set()

    async with serving(respond) as server:
        if way == "close":
            async with aclosing(model_of(server).stream(HELLO)) as stream:
                assert await anext(stream) == START
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, model_of(server))  # it waits for an event that never comes
                await begun.wait()
                tasks.cancel_scope.cancel()
        with anyio.fail_after(10):
            await server.left.wait()


async def test_the_end_of_one_call_leaves_another_one_that_overlaps_alone() -> None:
    held = anyio.Event()

    async def respond(asked: Asked) -> None:
        await asked.begin(STREAM)
        await asked.send(HI[0])
        if asked.body["messages"][0]["content"][0]["text"] == "hello":
            await held.wait()
        for piece in HI[1:]:
            await asked.send(piece)
        await asked.end()

    async with serving(respond) as server:
        model = model_of(server)
        with anyio.fail_after(20):
            async with aclosing(model.stream(HELLO)) as stream:
                first = [await anext(stream)]
                second = await ask(model, [{"role": "user", "content": [{"text": "and"}]}])
                held.set()
                first += [chunk async for chunk in stream]
    assert first == second


@pytest.mark.parametrize("cut", [False, True], ids=["clean", "cut"])
async def test_half_a_message_never_looks_finished(cut: bool) -> None:
    error = await raised(speaking(*aws_events(START, delta(0, text="half an"), stop(0)), cut=cut))
    assert isinstance(error, ModelUnavailableError)
    assert is_transient(error)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected", "transient"),
    [
        (429, "ThrottlingException", "slow down", ModelThrottledException, True),
        (503, "ServiceUnavailableException", "busy", ModelResponseError, True),
        (400, "ValidationException", "Input is too long for requested model.", ContextWindowOverflowException, False),
        (400, "ValidationException", "too many total text bytes: 9", ContextWindowOverflowException, False),
        (400, "ValidationException", "The model identifier is invalid.", ModelResponseError, False),
        (403, "AccessDeniedException", "You don't have access", ModelResponseError, False),
        (424, "ModelErrorException", "the model failed", ModelResponseError, False),
    ],
)
async def test_an_error_of_the_service_is_told_by_its_kind_and_asked_once(
    status: int, kind: str, message: str, expected: type[Exception], transient: bool
) -> None:
    error = await raised(refusing(status, {"message": message}, x_amzn_ErrorType=kind))
    assert type(error) is expected
    assert message in str(error)
    assert CLAUDE in str(error)
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("kind", "expected", "transient"),
    [
        ("throttlingException", ModelThrottledException, True),
        ("internalServerException", ModelResponseError, True),
        ("modelStreamErrorException", ModelResponseError, True),
        ("serviceUnavailableException", ModelResponseError, True),
        ("validationException", ModelResponseError, False),
    ],
)
async def test_an_error_inside_the_stream_fails_the_call(kind: str, expected: type[Exception], transient: bool) -> None:
    error = await raised(speaking(*aws_events(START, delta(0, text="so")), aws_exception(kind, "words")))
    assert type(error) is expected
    assert "words" in str(error)
    assert is_transient(error) is transient


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
async def test_a_stop_reason_that_says_that_the_message_broke_off_fails_the_call(reason: str) -> None:
    error = await raised(speaking(*aws_events(START, delta(0, text="so"), stop(0), *ended(reason))))
    assert isinstance(error, ModelResponseError)
    assert is_transient(error)


async def test_bytes_that_are_not_an_event_are_an_error_that_may_pass() -> None:
    error = await raised(speaking(HI[0], b"\0" * 40))
    assert isinstance(error, ModelResponseError | ModelUnavailableError)
    assert is_transient(error)


async def test_a_service_that_cannot_be_reached_is_an_error_that_may_pass() -> None:
    model = BedrockModel("m", region="us-east-1", client_args={"endpoint_url": "http://127.0.0.1:1", **KEYS})
    with pytest.raises(ModelUnavailableError, match="model m: Could not connect"):
        await ask(model)


async def test_what_is_missing_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelConfigurationError, match="Set AWS_REGION"):
        BedrockModel("m").check_ready()
    with pytest.raises(ModelConfigurationError, match="Set AWS_REGION"):
        await ask(BedrockModel("m"))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    BedrockModel("m").check_ready()
    with pytest.raises(ModelConfigurationError, match="Set AWS_ACCESS_KEY_ID"):
        await ask(BedrockModel("m"))


async def test_no_secret_is_in_the_description() -> None:
    model = BedrockModel("m", client_args=KEYS)
    assert SECRET not in json.dumps(model.get_config()) + repr(model)
