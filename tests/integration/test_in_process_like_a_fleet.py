"""What an agent does in this process it does on a fleet: the same events under the same cursors, the same errors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client
from playhead.runtime import Agent, BeforeToolCallEvent, RetryPolicy, ToolContext, tool
from playhead.runtime.core.errors import EncodingError, RecordTooLargeError, RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LIMIT = 4000
STATE = {"mood": "fine", "list": [1, {"two": b"2"}]}


class Opaque:
    """Not plain data."""


class Mute(Exception):
    """An error that gives no text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@tool
async def count(upto: int) -> AsyncGenerator[int, None]:
    """Counts."""
    for number in range(upto):
        yield number


@tool
def pay(context: ToolContext) -> str:
    """Asks twice."""
    first = context.interrupt("first", {"euros": 5})
    return f"{first} and {context.interrupt('second')}"


def saying(*middle: Any) -> list[Any]:
    return [c.message_start(), *middle, c.block_stop(), c.message_stop("end_turn")]


def agent_of(script: list[Any]) -> Agent:
    """A new agent each time: a script is used up."""
    options: dict[str, Any] = {"max_record_bytes": LIMIT, "retry": RetryPolicy(max_attempts=2, initial_delay=0)}
    return Agent(ScriptedModel(script), name="agent", tools=[count, pay], callback_handler=None, **options)


SCRIPTS: dict[str, list[Any]] = {
    "text": ["One two three"],
    "a tool that streams": [tool_call("count", {"upto": 3}, text="Let me see."), "Three."],
    "questions, one after the other": [tool_call("pay", {}), "Paid."],
    "reasoning": [saying(c.reasoning_delta("hm"), c.reasoning_delta("so"), c.block_stop(), c.text_delta("Yes"))],
    "an answer that was cut": [text_call("One two", stop_reason="max_tokens")],
    "an error half-way": [ScriptedCall(text_call("One two")[:4], RuntimeError("hung up"))],
    "a call made again": [ScriptedCall(text_call("One two")[:4], ConnectionResetError("hung up")), "One two three"],
    "a call made again in vain": [ScriptedCall([], ConnectionResetError("x" * 3 * LIMIT)), ScriptedCall([], OSError())],
    "a mute error": [ScriptedCall([], Mute())],
    "an error over the limit": [ScriptedCall([], RuntimeError("x" * 3 * LIMIT))],
    "a chunk over the limit": [saying(c.text_delta("One"), c.text_delta("x" * 2 * LIMIT), c.text_delta("Two"))],
    "an object in the metadata": [[*saying(c.text_delta("One")), {"metadata": {"usage": {"inputTokens": Opaque()}}}]],
    "an object in a chunk": [saying({"contentBlockDelta": {"delta": {"citation": {"of": Opaque()}}}})],
    "a key that is not text": [saying({"contentBlockDelta": {"delta": {"citation": {(1, 2): 3}}}})],
    "a chunk that is not a dict": [saying("text")],
}


async def here(agent: Agent) -> AsyncIterator[Event]:
    """All events of the agent; its questions are answered one at a time."""
    prompt: Any = "Hi"
    while prompt is not None:
        events, prompt = agent.stream_async(prompt, invocation_state=STATE), None
        async for event in events:
            yield event
            if "result" in event and event["result"].interrupts:
                asked = event["result"].interrupts[0]
                prompt = [{"interruptResponse": {"interruptId": asked.id, "response": f"yes to {asked.name}"}}]


async def there(client: Client) -> AsyncIterator[Event]:
    """The same on a fleet."""
    run = await client.start("agent", "Hi", invocation_state=STATE)
    after: str | None = None
    while True:
        asked = None
        async for event in run.stream_async(after=after):
            yield event
            after = event.cursor
            asked = event["result"].interrupts[0] if "result" in event and event["result"].interrupts else None
        if asked is None:
            return
        await run.respond({asked.id: f"yes to {asked.name}"})


async def seen(events: AsyncIterator[Event]) -> list[Any]:
    """What a consumer sees: each event with its cursor, and the error at the end."""
    found: list[Any] = []
    try:
        async for event in events:
            found.append((event.cursor, timeless(json.loads(event.to_json()))))  # noqa: PERF401 - those before an error
    except Exception as error:
        try:
            text = str(error)
        except RuntimeError:  # as a fleet says of an error that cannot say its text
            text = "(its text cannot be shown)"
        found.append((type(error).__name__, text))
    return found


TIMES = ("latencyMs", "timeToFirstByteMs", "ms", "tracking_id")


def timeless(value: Any) -> Any:
    """Without what differs from one time to the next: durations, and the ids that name a message."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SCRIPTS)
async def test_an_agent_gives_the_same_events_in_process_as_on_a_fleet(fleet: Fleet, name: str) -> None:
    said_here = await seen(here(agent_of(SCRIPTS[name])))
    async with fleet.worker(agent_of(SCRIPTS[name])), fleet.client() as client:
        said_there = await seen(there(client))
    assert len(said_here) > 3
    assert said_here == said_there


ERRORS: dict[str, tuple[type[Exception], str]] = {
    "a chunk over the limit": (RecordTooLargeError, "a model.chunk record is 8,014 bytes, over the limit of 4,000"),
    "an object in the metadata": (EncodingError, "model.chunk: cannot be stored: a value of type Opaque"),
    "an object in a chunk": (EncodingError, "model.chunk: cannot be stored: a value of type Opaque"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_what_cannot_be_stored_ends_the_run_in_process_and_the_agent_can_be_used_again(name: str) -> None:
    error, text = ERRORS[name]
    agent = agent_of([*SCRIPTS[name], "Fine now."])
    events: list[Event] = []

    async def consume() -> None:
        async for event in agent.stream_async("Hi"):
            events.append(event)  # noqa: PERF401 - those before the error count too

    with pytest.raises(error) as raised:
        await consume()
    assert text in str(raised.value)
    assert not isinstance(raised.value, RunFailedError), "the error itself, not what a reader makes of its record"
    assert events[-1] == {"force_stop": True, "force_stop_reason": str(raised.value)}
    assert [message.get("role") for message in agent.messages] == ["user"]
    assert str(await agent.invoke_async("Again")) == "Fine now.\n"


PROMPTS: dict[str, Any] = {
    "an object": [{"text": "Hi"}, {"image": {"format": "png", "source": Opaque()}}],
    "more than a record holds": "x" * 2 * LIMIT,
    "no known form": {"text": "Hi"},
}


@pytest.mark.parametrize("name", PROMPTS)
async def test_a_prompt_that_a_fleet_refuses_is_refused_in_process_with_the_same_text(fleet: Fleet, name: str) -> None:
    agent = agent_of(["Hi."])
    async with fleet.client(max_record_bytes=LIMIT) as client:
        with pytest.raises((EncodingError, RecordTooLargeError, ValueError)) as there:
            await client.start("agent", PROMPTS[name])
    with pytest.raises(type(there.value)) as here:
        await agent.invoke_async(PROMPTS[name])
    assert (type(here.value), str(here.value)) == (type(there.value), str(there.value))
    assert agent.messages == []
    assert str(await agent.invoke_async("Hi")) == "Hi.\n"


async def test_a_response_that_a_fleet_refuses_is_refused_in_process_with_the_same_text(fleet: Fleet) -> None:
    async with fleet.worker(agent_of([tool_call("pay", {})])), fleet.client() as client:
        run = await client.start("agent", "Hi")
        (asked,) = (await run.result()).interrupts or []
        with pytest.raises(EncodingError) as there:
            await run.respond({asked.id: Opaque()})
    agent = agent_of([tool_call("pay", {}), "Paid."])
    await agent.invoke_async("Hi")
    with pytest.raises(EncodingError) as here:
        await agent.invoke_async([{"interruptResponse": {"interruptId": asked.id, "response": Opaque()}}])
    assert str(here.value) == str(there.value)
    again = await agent.invoke_async([{"interruptResponse": {"interruptId": asked.id, "response": "yes"}}])
    assert [one.name for one in again.interrupts or []] == ["second"]


async def test_a_long_prompt_needs_a_larger_limit_of_the_client_and_of_the_agent(fleet: Fleet) -> None:
    prompt = "x" * 3_000_000
    make: Callable[[], Agent] = lambda: Agent(  # noqa: E731
        ScriptedModel(["I see."]), name="agent", callback_handler=None, max_record_bytes=4 << 20
    )
    async with fleet.worker(make()), fleet.client(max_record_bytes=4 << 20) as client:
        assert str(await client.invoke_async("agent", prompt)) == "I see.\n"
    assert str(await make().invoke_async(prompt)) == "I see.\n"


async def test_live_objects_reach_the_tools_in_process_and_only_plain_data_comes_back() -> None:
    given: list[Any] = []

    @tool
    def look(context: ToolContext) -> str:
        """Looks."""
        given.append(context.invocation_state["live"])
        return "seen"

    live = Opaque()
    agent = Agent(ScriptedModel([tool_call("look", {}), "Done."]), tools=[look], callback_handler=None)
    events = [event async for event in agent.stream_async("Hi", invocation_state={"live": live, "mood": "fine"})]
    assert given == [live]
    assert events[0] == {"init_event_loop": True, "mood": "fine"}
    assert not any("live" in event for event in events)


@pytest.mark.parametrize("second", [{"mood": "better"}, {}, None])
async def test_hooks_and_tools_of_a_call_that_responds_get_its_own_values_as_in_strands(
    fleet: Fleet, second: dict[str, Any] | None
) -> None:
    got: list[tuple[str, Any]] = []

    @tool
    def ask(context: ToolContext) -> str:
        """Asks."""
        got.append(("tool", context.invocation_state.get("mood")))
        return str(context.interrupt("sure"))

    def note(event: BeforeToolCallEvent) -> None:
        got.append(("hook", event.invocation_state.get("mood")))

    async def played(agent: Any) -> list[Any]:
        events = [event async for event in agent.stream_async("Hi", invocation_state={"mood": "fine"})]
        (asked,) = events[-1]["result"].interrupts
        responses: Any = [{"interruptResponse": {"interruptId": asked.id, "response": "yes"}}]
        events = [event async for event in agent.stream_async(responses, invocation_state=second)]
        return [event.get("mood") for event in events if "init_event_loop" in event or "data" in event]

    def made() -> Agent:
        script = [tool_call("ask", {}), "Done."]
        return Agent(ScriptedModel(script), name="agent", tools=[ask], hooks=[note], callback_handler=None)

    mood = (second or {}).get("mood")
    expected = [(who, one) for one in ("fine", mood) for who in ("hook", "tool")]
    assert await played(made()) == [mood] * 2
    assert got == expected
    got.clear()
    async with fleet.worker(made()), fleet.client() as client:
        assert await played(client.agent("agent")) == [mood] * 2
    assert got == expected


async def test_what_a_consumer_changes_in_an_event_changes_nothing_else() -> None:
    def script(messages: Any) -> Any:
        requests.append(json.dumps(messages))
        return tool_call("count", {"upto": 1}) if len(requests) == 1 else "Done."

    requests: list[str] = []
    agent = Agent(ScriptedModel([script], repeat=True), tools=[count], callback_handler=None)
    async for event in agent.stream_async("Hi"):
        for value in event.values():
            if isinstance(value, dict):
                value.clear()
    assert "toolUse" in requests[1]
    assert [list(block) for message in agent.messages for block in message.get("content", [])] == [
        ["text"],
        ["toolUse"],
        ["toolResult"],
        ["text"],
    ]
