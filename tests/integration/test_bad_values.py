"""What models and tools give that cannot be: the run goes on or fails by name; and odd values survive the trip."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.errors import RecordTooLargeError, RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import MessageAdded
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c
from tests.support.quick_runs import quick

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LIMIT = 4000


class Opaque:
    """Not plain data."""

    def __str__(self) -> str:
        return "an opaque thing"


class Mute(Exception):
    """An error that gives no text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


# What tools give


@tool
def double(number: int) -> int:
    """Doubles."""
    return 2 * number


@tool
def give(what: str) -> Any:
    """Gives something odd."""
    return GIFTS[what]


@tool
async def tell(what: str) -> AsyncGenerator[Any, None]:
    """Tells something odd on the way."""
    yield GIFTS[what]
    yield "told"


@tool
def fail(what: str) -> str:
    """Fails oddly."""
    raise FAILURES[what]


GIFTS: dict[str, Any] = {
    "opaque": Opaque(),
    "opaque inside": {"status": "success", "content": [{"json": {"deep": [Opaque()]}}]},
    "bad content": {"status": "success", "content": "text"},
    "set": {1},
    "huge": "x" * (2 * LIMIT),
    "huge json": {"status": "success", "content": [{"json": ["x" * LIMIT, "x" * LIMIT]}]},
    "surrogate": "lone \ud800 surrogate",
    "bytes": b"\x00\xff",
    "none": None,
    "nan": math.nan,
    "big int": 2**200,
    "nul": "nul \0 byte",
}
FAILURES: dict[str, BaseException] = {
    "value": ValueError("bad value"),
    "mute": Mute(),
    "huge": RuntimeError("x" * (2 * LIMIT)),
    "surrogate": RuntimeError("\ud800"),
    "group": ExceptionGroup("two", [ValueError("one"), TypeError("other")]),
    "stop": StopIteration("stop"),
    "exit": SystemExit(3),
}


async def tool_result(fleet: Fleet, call: list[Chunk]) -> dict[str, Any]:
    """The result of the one call of a run that must go on to its end."""

    def script(messages: Messages) -> Any:
        return call if len(messages) == 1 else "I see."

    model = ScriptedModel([script], repeat=True)
    agent = Agent(model, name="agent", tools=[double, give, tell, fail], max_record_bytes=LIMIT)
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        events = [event async for event in run.stream_async()]
        assert str(events[-1]["result"]) == "I see.\n"
        assert all(json.loads(event.to_json()) is not None for event in events)
        (message,) = [e["message"] for e in events if e.get("message", {}).get("role") == "user"]
        return message["content"][0]["toolResult"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('{"number": "many"}', "valid integer"),
        ('{"numb', "cannot be read"),
        ("not json", "cannot be read"),
        ("[1, 2]", "Error"),
        ('"text"', "Error"),
        ("null", "Error"),
        ("", "Field required"),
        ('{"number": 1, "number": [[[', "cannot be read"),
        ("[" * 100_000, "Error"),
    ],
)
async def test_tool_input_that_does_not_fit_is_told_to_the_model_and_the_run_goes_on(
    fleet: Fleet, given: str, says: str
) -> None:
    pieces = [given[at : at + 2000] for at in range(0, len(given), 2000)]
    call = [
        c.message_start(),
        c.tool_start("t1", "double"),
        *map(c.tool_delta, pieces),
        c.block_stop(),
        c.message_stop("tool_use"),
    ]
    result = await tool_result(fleet, call)
    assert result["status"] == "error"
    assert says in result["content"][0]["text"]


@pytest.mark.parametrize("name", ["no_such_tool", "not a name", "", "x" * 65, "emoji\N{GRINNING FACE}"])
async def test_a_tool_that_does_not_exist_is_told_to_the_model(fleet: Fleet, name: str) -> None:
    if not name:  # a call without a name is not a call: the message ends the run
        return
    result = await tool_result(fleet, tool_call(name, {}))
    assert result["status"] == "error"


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("opaque", "success", "an opaque thing"),
        ("opaque inside", "error", "cannot be stored: result['content'][0]['json']['deep'][0] is Opaque"),
        ("bad content", "error", "returned content of type str, not list"),
        ("set", "success", "{1}"),
        ("huge", "error", "over the limit of 4,000"),
        ("huge json", "error", "over the limit of 4,000"),
        ("surrogate", "success", "lone"),
        ("none", "success", "null"),
        ("nan", "success", "NaN"),
        ("big int", "success", str(2**200)),
        ("nul", "success", "nul \0 byte"),
    ],
)
async def test_what_a_tool_returns_is_stored_or_named(fleet: Fleet, what: str, status: str, says: str) -> None:
    result = await tool_result(fleet, tool_call("give", {"what": what}))
    assert result["status"] == status
    assert says in result["content"][0]["text"]


@pytest.mark.parametrize("what", ["opaque", "huge", "surrogate", "bytes", "nan", "big int", "nul"])
async def test_what_a_tool_tells_on_the_way_does_not_end_the_run(fleet: Fleet, what: str) -> None:
    result = await tool_result(fleet, tool_call("tell", {"what": what}))
    assert result == {"toolUseId": "t1", "status": "success", "content": [{"text": "told"}]}


@pytest.mark.parametrize("what", FAILURES)
async def test_however_a_tool_fails_the_run_goes_on(fleet: Fleet, what: str) -> None:
    result = await tool_result(fleet, tool_call("fail", {"what": what}))
    assert result["status"] == "error"
    assert result["content"][0]["text"].startswith("Error: ")


async def test_calls_that_share_an_id_each_get_their_own_result(fleet: Fleet) -> None:
    """Some providers number calls within one message only, or not at all."""

    def script(messages: Messages) -> Any:
        if len(messages) > 1:
            return "I see."
        calls = [[c.tool_start("t1", "double"), c.tool_delta(f'{{"number": {n}}}'), c.block_stop()] for n in range(5)]
        return [c.message_start(), *[chunk for call in calls for chunk in call], c.message_stop("tool_use")]

    agent = Agent(ScriptedModel([script], repeat=True), name="agent", tools=[double])
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        events = [event async for event in run.stream_async()]
        (message,) = [e["message"] for e in events if e.get("message", {}).get("role") == "user"]
        texts = [block["toolResult"]["content"][0]["text"] for block in message["content"]]
        assert texts == ["0", "2", "4", "6", "8"]


# What models give


def saying(*middle: Any) -> list[Any]:
    return [c.message_start(), *middle, c.block_stop(), c.message_stop("end_turn")]


BAD_MESSAGES: dict[str, tuple[Any, type[Exception], str]] = {
    "a chunk over the limit": (saying(c.text_delta("x" * (2 * LIMIT))), RecordTooLargeError, "over the limit of 4,000"),
    "a chunk that is not plain": (
        saying(c.text_delta("a"), {"metadata": {"usage": {"x": Opaque()}}}),
        RunFailedError,
        "model.chunk: cannot be stored: a value of type Opaque",
    ),
    "a chunk that is not a dict": (saying("text"), RunFailedError, ""),
    "a chunk of no known shape": (saying({"contentBlockDelta": {}}), KeyError, "delta"),
    "a delta of a wrong type": (saying({"contentBlockDelta": {"delta": {"text": 7}}}), TypeError, ""),
    "an error": (ScriptedCall([], RuntimeError("no money left")), RuntimeError, "no money left"),
    "an error half-way": (ScriptedCall(text_call("a b c")[:4], RuntimeError("cut")), RuntimeError, "cut"),
    "a mute error": (ScriptedCall([], Mute()), RunFailedError, ""),
    "a huge error": (ScriptedCall([], RuntimeError("x" * 3_000_000)), RunFailedError, ""),
    "an error with odd text": (ScriptedCall([], RuntimeError("\ud800 \0")), RuntimeError, "\ufffd \0"),
    "an end without a beginning": (ScriptedCall([], StopAsyncIteration("end")), RunFailedError, ""),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_a_model_that_gives_what_cannot_be_fails_the_run_by_name_and_not_the_worker(
    fleet: Fleet, name: str
) -> None:
    message, error, says = BAD_MESSAGES[name]
    agent = Agent(ScriptedModel([message], repeat=True), name="agent", max_record_bytes=LIMIT)
    async with fleet.worker(agent, quick()) as worker, fleet.client() as client:
        run = await client.start("agent", "Hi")
        with pytest.raises(RunFailedError) as raised:
            await run.result()
        assert isinstance(raised.value, error), (type(raised.value).__mro__, str(raised.value))
        assert says in str(raised.value)
        entries = [entry async for entry in run.records()]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert entries[-1].record.type == "run.failed"
        assert str(await client.invoke_async("quick", "Hi")) == "Done.\n"
        await fleet.ended(worker, failed=1, completed=1)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("key"),
        OSError(2, "No such file", "name"),
        TimeoutError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SyntaxError("bad", ("file.py", 1, 2, "x =")),
        ExceptionGroup("several", [ValueError("one")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_text_of_an_error_arrives_whatever_its_class(fleet: Fleet, error: Exception) -> None:
    model = ScriptedModel([ScriptedCall([], error)])
    async with fleet.worker(Agent(model, name="agent", retry=None)), fleet.client() as client:
        with pytest.raises(RunFailedError) as raised:
            await client.invoke_async("agent", "Hi")
        assert type(raised.value).__name__ == type(error).__name__
        assert str(error) in str(raised.value)


async def test_a_limit_above_the_usual_one_holds_to_the_end_of_the_run(fleet: Fleet) -> None:
    text = "x" * 3_000_000
    agent = Agent(ScriptedModel([text]), name="agent", max_record_bytes=4 << 20)
    async with fleet.worker(agent), fleet.client() as client:
        assert str(await client.invoke_async("agent", "Hi")) == f"{text}\n"


async def test_a_message_whose_chunks_are_stored_does_not_fail_by_its_size(fleet: Fleet) -> None:
    texts = [letter * 900_000 for letter in "abc"]
    model = ScriptedModel([saying(*map(c.text_delta, texts)), "And then?"])
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        assert str(await client.invoke_async("agent", "Hi", session_id="ada")) == f"{''.join(texts)}\n"
        await client.invoke_async("agent", "Go on", session_id="ada")
        said = [message.get("content", [{}])[0].get("text") for message in await client.log.messages("ada")]
        assert said == ["Hi", "".join(texts), "Go on", "And then?"]


async def test_tools_whose_results_are_stored_do_not_fail_by_the_size_of_all_of_them(fleet: Fleet) -> None:
    @tool
    def page(number: int) -> str:
        """A page."""
        return str(number) * 900_000

    calls = [[c.tool_start(f"t{n}", "page"), c.tool_delta(f'{{"number": {n}}}'), c.block_stop()] for n in range(3)]
    asks = [c.message_start(), *[chunk for call in calls for chunk in call], c.message_stop("tool_use")]
    model = ScriptedModel([asks, "I see."])
    async with fleet.worker(Agent(model, name="agent", tools=[page])), fleet.client() as client:
        run = await client.start("agent", "Hi")
        assert str(await run.result()) == "I see.\n"
        records = [entry.record async for entry in run.records()]
        (told,) = [record for record in records if isinstance(record, MessageAdded) and record.origin == "tools"]
        assert [block["toolResult"]["status"] for block in told.message.get("content", [])] == ["success"] * 3


async def test_an_empty_message_completes_the_run(fleet: Fleet) -> None:
    async with fleet.worker(Agent(ScriptedModel([[], [c.message_start()]]), name="agent")), fleet.client() as client:
        for _ in range(2):
            result = await client.invoke_async("agent", "Hi")
            assert result.stop_reason == "end_turn"
            assert result.message.get("content") == []


# Odd values that are fine

ODD: dict[str, Any] = {
    "lone surrogates": "\ud800 \udfff",
    "surrogate key": {"\udc80": "\ud800"},
    "emoji": "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{FAMILY}",
    "nul": "a\0b",
    "line ends": "a\r\nb\u2028c\x85",
    "bidi and combining": "\u202eabc\u0301\u0301",
    "empty": "",
    "big ints": [2**63, 2**64, -(2**64), 2**1000],
    "floats": [1e308, 5e-324, -0.0, math.inf],
    "bytes": b"\x00\xff",
    "nested": [[[[[[{"a": [[[[]]]]}]]]]]],
    "redis words": "*3\r\n$3\r\nSET\r\n",
    "numbers as keys of text": {"1": 1, "": 2},
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_values_survive_the_trip_from_the_caller_to_the_tool_and_back(fleet: Fleet, name: str) -> None:
    value = ODD[name]
    agent, seen = echoing()
    async with fleet.worker(agent), fleet.client() as client:
        given = [{"text": value}] if isinstance(value, str) else [{"text": "see"}, {"cachePoint": value}]
        run = await client.start("agent", given, session_id="ada", invocation_state={"odd": value})
        events: list[Event] = [event async for event in run.stream_async()]
        assert events[0]["odd"] == value
        blocks = plain(given)
        assert seen[0][0].get("content") == blocks
        stored = await client.log.messages("ada")
        assert stored[0].get("content") == blocks
        said = "".join(event["data"] for event in events if "data" in event)
        assert said == blocks[0]["text"]
        again = [event async for event in run.stream_async()]
        assert again == events


def echoing() -> tuple[Agent, list[Messages]]:
    """An agent that says what it was told, and what its model was given."""
    seen: list[Messages] = []

    def script(messages: Messages) -> list[Chunk]:
        seen.append(messages)
        text = messages[0].get("content", [])[0]["text"]
        return [c.message_start(), *([c.text_delta(text)] if text else []), c.block_stop(), c.message_stop("end_turn")]

    return Agent(ScriptedModel([script], repeat=True), name="agent", callback_handler=None), seen


@pytest.mark.parametrize("prompt", [[], (), None])
async def test_no_prompt_on_an_empty_session_asks_the_model_with_no_messages(fleet: Fleet, prompt: Any) -> None:
    model = ScriptedModel([lambda messages: f"{len(messages)} messages"], repeat=True)
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        assert str(await client.invoke_async("agent", prompt, session_id="ada")) == "0 messages\n"
        assert str(await client.invoke_async("agent", prompt, session_id="ada")) == "1 messages\n"


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        [{"text": ""}],
        [{"role": "user", "content": []}],
        [{"role": "assistant", "content": [{"text": "I was first"}]}],
        [{"role": "user", "content": [{"text": "a"}]}, {"role": "user", "content": [{"text": "b"}]}],
    ],
)
async def test_odd_prompts_of_a_known_form_run(fleet: Fleet, prompt: Any) -> None:
    async with fleet.worker(quick()), fleet.client() as client:
        assert str(await client.invoke_async("quick", prompt)) == "Done.\n"
