"""An agent in this process: left, cancelled or dropped at any point it stops cleanly and can be used again."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import AgentBusyError
from playhead.runtime.core.events import Event
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun
from playhead.runtime.loop import model_call
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

if TYPE_CHECKING:
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Body:
    """A tool body that waits until `go` is set, and knows how it ended."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.go = anyio.Event()
        self.cancelled = anyio.Event()

    async def wait(self) -> None:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def calls(*names: str) -> list[Chunk]:
    """A message that calls these tools together."""
    middle = [
        chunk
        for number, name in enumerate(names)
        for chunk in (c.tool_start(f"t{number}", name), c.tool_delta("{}"), c.block_stop())
    ]
    return [c.message_start(), *middle, c.message_stop("tool_use")]


class Parallel:
    """An agent whose model calls three waiting tools at once, one of which says something first."""

    def __init__(self) -> None:
        self.bodies = {name: Body() for name in ("left", "right", "loud")}

        @tool
        async def left() -> str:
            """Waits."""
            await self.bodies["left"].wait()
            return "left"

        @tool
        async def right() -> str:
            """Waits."""
            await self.bodies["right"].wait()
            return "right"

        @tool
        async def loud() -> AsyncGenerator[str, None]:
            """Says something and waits."""
            yield "here"
            await self.bodies["loud"].wait()
            yield "loud"

        model = ScriptedModel([calls("left", "right", "loud"), "Done."], repeat=True)
        self.agent = Agent(model, tools=[left, right, loud], callback_handler=None)

    async def all_started(self) -> None:
        for body in self.bodies.values():
            await body.started.wait()

    async def all_cancelled(self) -> None:
        for body in self.bodies.values():
            await body.cancelled.wait()


def text_of(events: list[Event]) -> str:
    return "".join(event["data"] for event in events if "data" in event)


async def no_task_but(before: set[asyncio.Task[Any]]) -> None:
    """Wait until the tasks are those from before; the event loop's own closing tasks give no signal."""
    with anyio.fail_after(5):
        while asyncio.all_tasks() - before:
            await checkpoint()


async def works(agent: Agent, *, text: str) -> None:
    """The agent can be used (again)."""
    events = [event async for event in agent.stream_async("Again")]
    assert text_of(events) == text
    assert events[-1]["result"].stop_reason == "end_turn"


async def test_leaving_in_the_middle_of_a_message_closes_the_models_stream(
    held_model: Callable[..., HeldModel],
) -> None:
    before = asyncio.all_tasks()
    model = held_model()
    agent = Agent(model, callback_handler=None)
    stream = agent.stream_async("Hi")
    with anyio.fail_after(5):
        async for event in stream:
            if event.get("data") == "two ":
                break
        await stream.aclose()
        assert model.closed.is_set()
        await no_task_but(before)
        assert [message.get("role") for message in agent.messages] == ["user"]
        model.go.set()
        await works(agent, text=model.text)


async def test_leaving_while_tools_run_together_cancels_every_body() -> None:
    before = asyncio.all_tasks()
    parallel = Parallel()
    stream = parallel.agent.stream_async("Hi")
    with anyio.fail_after(5):
        async for event in stream:
            if event.get("type") == "tool_stream":
                break
        await parallel.bodies["left"].started.wait()
        await parallel.bodies["right"].started.wait()
        await stream.aclose()
        assert parallel.bodies["left"].cancelled.is_set()
        assert parallel.bodies["right"].cancelled.is_set()
        await no_task_but(before)


@pytest.mark.parametrize("point", ["model", "tools"])
async def test_a_cancelled_consumer_leaves_nothing_running(point: str, held_model: Callable[..., HeldModel]) -> None:
    before = asyncio.all_tasks()
    parallel, model = Parallel(), held_model()
    agent = Agent(model, callback_handler=None) if point == "model" else parallel.agent

    async def consume() -> None:
        async for _ in agent.stream_async("Hi"):
            pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await (model.held.wait() if point == "model" else parallel.all_started())
            tasks.cancel_scope.cancel()
        if point == "model":
            assert model.closed.is_set()
        else:
            assert all(body.cancelled.is_set() for body in parallel.bodies.values())
        await no_task_but(before)
        model.go.set()
        for body in parallel.bodies.values():
            body.go.set()
        await works(agent, text="one two three" if point == "model" else "Done.")


@pytest.mark.parametrize("point", ["model", "tools"])
async def test_a_dropped_stream_is_closed_by_the_event_loop_without_an_error(
    point: str, held_model: Callable[..., HeldModel]
) -> None:
    """Garbage collection closes it in another task than the one that used it."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    parallel, model = Parallel(), held_model()
    agent = Agent(model, callback_handler=None) if point == "model" else parallel.agent
    held: list[AsyncGenerator[Event, None]] = []

    async def take_some_and_go() -> None:
        held.append(agent.stream_async("Hi"))
        async for event in held[0]:
            if event.get("data") == "two " or event.get("type") == "tool_stream":
                return

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_some_and_go)
        if point == "tools":
            await parallel.bodies["left"].started.wait()
        held.clear()
        gc.collect()
        if point == "model":
            await model.closed.wait()
        else:
            await parallel.bodies["left"].cancelled.wait()
        await no_task_but(before)
        assert complaints == []
        model.go.set()
        for body in parallel.bodies.values():
            body.go.set()
        await works(agent, text="one two three" if point == "model" else "Done.")


async def test_a_stream_never_begun_leaves_the_agent_free() -> None:
    agent = Agent(ScriptedModel(["Hi"], repeat=True), callback_handler=None)
    stream = agent.stream_async("Hello")
    await stream.aclose()
    await works(agent, text="Hi")


async def test_a_model_that_does_not_close_does_not_hold_up_a_caller_that_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider whose clean-up hangs, on a dead connection say, must not hang its caller, or a worker's drain."""
    monkeypatch.setattr(model_call, "CLOSE_GRACE_S", 0.05)

    class Sticky:
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            try:
                for chunk in text_call("one two"):
                    yield chunk
            finally:
                await anyio.sleep_forever()

    stream = Agent(Sticky(), callback_handler=None).stream_async("Hi")
    with anyio.fail_after(5):
        async for event in stream:
            if "data" in event:
                break
        await stream.aclose()


async def test_a_message_may_be_larger_than_a_record_because_its_chunks_are_not() -> None:
    chunks = [c.text_delta("x" * 900) for _ in range(5)]
    message = [c.message_start(), *chunks, c.block_stop(), c.message_stop("end_turn")]
    agent = Agent(ScriptedModel([message]), callback_handler=None, max_record_bytes=1000)
    assert str(await agent.invoke_async("Hi")) == f"{'x' * 4500}\n"


async def test_a_second_call_at_the_same_time_is_refused_and_harms_nothing(
    held_model: Callable[..., HeldModel],
) -> None:
    model = held_model()
    agent = Agent(model, callback_handler=None)
    events: list[Event] = []

    async def consume() -> None:
        events.extend([event async for event in agent.stream_async("First")])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await model.held.wait()
            with pytest.raises(AgentBusyError, match="'agent' is already running"):
                await agent.invoke_async("Second")
            model.go.set()
    assert text_of(events) == model.text
    assert [message.get("role") for message in agent.messages] == ["user", "assistant"]
    await works(agent, text=model.text)


async def test_a_models_error_is_raised_as_it_is_and_the_agent_can_be_used_again() -> None:
    error = ConnectionResetError("the provider hung up")
    script = [ScriptedCall(text_call("Half an answ")[:4], error), "Fine now."]
    agent = Agent(ScriptedModel(script), callback_handler=None, retry=None)
    events: list[Event] = []

    async def consume() -> None:
        async for event in agent.stream_async("Hi"):
            events.append(event)  # noqa: PERF401 - those before the error count too

    with pytest.raises(ConnectionResetError) as raised:
        await consume()
    assert raised.value is error
    assert events[-1] == {"force_stop": True, "force_stop_reason": "the provider hung up"}
    assert [message.get("role") for message in agent.messages] == ["user"]
    await works(agent, text="Fine now.")


@pytest.mark.parametrize("point", ["model", "tools"])
async def test_a_cancelled_invocation_says_so_at_once_and_the_agent_can_be_used_again(
    point: str, held_model: Callable[..., HeldModel]
) -> None:
    parallel, model = Parallel(), held_model()
    agent = Agent(model, callback_handler=None) if point == "model" else parallel.agent
    events: list[Event] = []

    async def consume() -> None:
        events.extend([event async for event in agent.stream_async("Hi")])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await (model.held.wait() if point == "model" else parallel.all_started())
            agent.cancel()
            agent.cancel()
            model.go.set()
            for body in parallel.bodies.values():  # a running tool is asked to stop, not stopped
                body.go.set()
    assert events[-1]["result"].stop_reason == "cancelled"
    if point == "model":
        assert [e["message"]["content"] for e in events if "message" in e] == [[{"text": "Cancelled by user"}]]
    await works(agent, text="one two three" if point == "model" else "Done.")


async def test_cancel_without_an_invocation_does_nothing() -> None:
    agent = Agent(ScriptedModel(["Hi"]), callback_handler=None)
    agent.cancel()
    await works(agent, text="Hi")


async def test_a_tool_in_a_thread_learns_that_no_caller_waits_for_it() -> None:
    started, told = threading.Event(), threading.Event()

    @tool
    def stubborn(context: ToolContext) -> str:
        """Waits until it is told."""
        started.set()
        while not context.cancel_requested:
            if told.wait(0.005):
                break
        told.set()
        return "late"

    agent = Agent(ScriptedModel([calls("stubborn")]), tools=[stubborn], callback_handler=None)

    async def consume() -> None:
        async for _ in agent.stream_async("Hi"):
            pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.to_thread.run_sync(started.wait)
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(told.wait)


@pytest.mark.parametrize("together", [False, True])
async def test_a_tool_that_exits_the_program_ends_only_its_call(together: bool) -> None:
    """`argparse` and other libraries call `sys.exit`; a worker holds a hundred other runs."""

    @tool
    def parse(arguments: str = "") -> str:
        """Parses."""
        raise SystemExit(2)

    @tool
    async def quit_now() -> str:
        """Ends."""
        raise SystemExit

    names = ("parse", "quit_now") if together else ("parse",)
    agent = Agent(ScriptedModel([calls(*names), "Done."]), tools=[parse, quit_now], callback_handler=None)
    with anyio.fail_after(5):
        result = await agent.invoke_async("Hi")
    assert str(result) == "Done.\n"
    assert result.metrics.tool_metrics["parse"] == {"calls": 1, "ok": 0, "errors": 1}


async def test_the_callback_handler_gets_every_event_that_is_yielded() -> None:
    heard: list[dict[str, Any]] = []

    @tool
    async def count() -> AsyncGenerator[int, None]:
        """Counts."""
        yield 1
        yield 2

    model = ScriptedModel([tool_call("count", {}, text="Let me see."), "Two."])
    agent = Agent(model, tools=[count], callback_handler=lambda **event: heard.append(event))
    events = [event async for event in agent.stream_async("Hi", invocation_state={"mood": "fine"})]
    assert heard == events
    assert {"init_event_loop": True, "mood": "fine"} in heard
    assert [event["tool_stream_event"]["data"] for event in events if "tool_stream_event" in event] == [1, 2]


async def test_a_callback_handler_that_raises_ends_the_stream_and_frees_the_agent() -> None:
    raising = True

    def handler(**event: Any) -> None:
        if raising and "data" in event:
            raise ZeroDivisionError

    agent = Agent(ScriptedModel(["Hi"], repeat=True), callback_handler=handler)
    with pytest.raises(ZeroDivisionError):
        await agent.invoke_async("Hello")
    raising = False
    await works(agent, text="Hi")


def test_calling_works_without_an_event_loop() -> None:
    agent = Agent(ScriptedModel(["Hi there"], repeat=True), callback_handler=None)
    assert str(agent("Hello")) == "Hi there\n"
    assert str(agent("Hello")) == "Hi there\n"
    assert [message.get("role") for message in agent.messages] == ["user", "assistant"] * 2


async def test_calling_works_with_a_running_event_loop() -> None:
    agent = Agent(ScriptedModel(["Hi there"]), callback_handler=None)
    assert str(agent("Hello")) == "Hi there\n"


def test_calling_raises_what_the_run_raised() -> None:
    agent = Agent(ScriptedModel([ScriptedCall([], ValueError("no such model"))]), callback_handler=None)
    with pytest.raises(ValueError, match="no such model"):
        agent("Hello")


def test_a_tool_may_be_an_agent_itself() -> None:
    """Called in a thread, awaited on the loop, and both at once."""
    inner = [Agent(ScriptedModel([f"inner {n}"]), name=f"inner{n}", callback_handler=None) for n in range(2)]

    @tool
    def ask() -> str:
        """Asks another agent."""
        return str(inner[0]("Hi"))

    @tool
    async def consult() -> str:
        """Asks another agent."""
        return str(await inner[1].invoke_async("Hi"))

    agent = Agent(ScriptedModel([calls("ask", "consult"), "Done."]), tools=[ask, consult], callback_handler=None)
    assert str(agent("Hi")) == "Done.\n"
    results = [block["toolResult"] for block in agent.messages[2].get("content", [])]
    assert [result["content"][0]["text"] for result in results] == ["inner 0\n", "inner 1\n"]


@pytest.mark.parametrize("prompt", [12, [1, 2], [{"no": "block"}], {"text": "Hi"}])
async def test_a_prompt_of_no_known_form_is_refused(prompt: Any) -> None:
    agent = Agent(ScriptedModel(["Hi"]), callback_handler=None)
    with pytest.raises(ValueError, match="a prompt must be text, a list of content blocks"):
        await agent.invoke_async(prompt)
    assert agent.messages == []
    await works(agent, text="Hi")


async def test_the_metadata_of_a_call_is_in_record_1_and_what_is_invalid_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted: list[Any] = []
    submit = MemoryLog.submit

    async def kept(log: MemoryLog, run: NewRun) -> bool:
        submitted.append(dict(run.record)["metadata"])
        return await submit(log, run)

    monkeypatch.setattr(MemoryLog, "submit", kept)
    agent = Agent(ScriptedModel(["Hi."], repeat=True), callback_handler=None)
    await agent.invoke_async("Hello", metadata={"customer": "ada"})
    await agent.invoke_async("Hello")
    agent("Hello", metadata={"attempt": 3})
    assert submitted == [{"customer": "ada"}, {}, {"attempt": 3}]
    with pytest.raises(ValueError, match="a key of metadata must be 1 to 64 letters"):
        agent.stream_async("Hello", metadata={"a b": 1})
