"""`ToolContext.stop`, what a run's cancel does to a tool: an async body ends at its next wait, a thread is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest

from playhead.runtime.core.signals import Signal
from playhead.runtime.loop.control import Control
from playhead.runtime.tools import body as tool_body
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Outcome, Progress, Tool, ToolItem
from tests.support.tools import use

__all__: list[str] = []

pytestmark = pytest.mark.anyio

STOPPED = "Tool execution cancelled while it ran"
ABANDONED = f"{STOPPED} (its thread may still be running)"


async def stopped(made: Tool, *, when: Callable[[], Any], context: ToolContext | None = None) -> tuple[str, str, Any]:
    """Run a tool and stop it once `when()` has come back; its result's status and text, and the values before."""
    given = context or ToolContext(tool_use=use(made.name), run_id="r")
    items: list[ToolItem] = []

    async def run() -> None:
        async with aclosing(made.stream(given.tool_use, given)) as stream:
            items.extend([item async for item in stream])
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0, "nothing of the cancellation is left"
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await when()
            given.stop()
    end = items.pop()
    assert isinstance(end, Outcome)
    return end.result["status"], end.result["content"][0]["text"], [getattr(item, "value", None) for item in items]


async def test_a_coroutine_is_cancelled_where_it_waits() -> None:
    waiting, closed = anyio.Event(), anyio.Event()

    @tool
    async def patient() -> None:
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            closed.set()

    assert await stopped(patient, when=waiting.wait) == ("error", STOPPED, [])
    assert closed.is_set()


async def test_an_async_generator_is_cancelled_where_it_waits_and_closed() -> None:
    waiting, closed = anyio.Event(), anyio.Event()

    @tool
    async def patient() -> AsyncGenerator[int, None]:
        try:
            yield 1
            waiting.set()
            await anyio.sleep_forever()
        finally:
            closed.set()

    assert await stopped(patient, when=waiting.wait) == ("error", STOPPED, [1])
    assert closed.is_set()


async def test_a_body_that_ends_in_good_order_when_it_is_cancelled_keeps_its_result() -> None:
    waiting = anyio.Event()

    @tool
    async def orderly() -> str:
        waiting.set()
        with suppress(asyncio.CancelledError):
            await anyio.sleep_forever()
        return "half of it"

    assert await stopped(orderly, when=waiting.wait) == ("success", "half of it", [])


async def test_a_body_that_fails_when_it_is_cancelled_says_how() -> None:
    waiting = anyio.Event()

    @tool
    async def failing() -> None:
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("could not undo")

    assert await stopped(failing, when=waiting.wait) == ("error", "Error: could not undo", [])


async def test_a_thread_is_left_and_told() -> None:
    running, go, told = threading.Event(), threading.Event(), threading.Event()

    @tool
    def stubborn(context: ToolContext) -> str:
        running.set()
        assert go.wait(10)
        if context.cancel_requested:
            told.set()
        return "late"

    assert await stopped(stubborn, when=lambda: anyio.to_thread.run_sync(running.wait)) == ("error", ABANDONED, [])
    go.set()
    assert await anyio.to_thread.run_sync(told.wait, 10)


async def test_a_sync_generator_is_left_in_its_thread() -> None:
    running, go, ended = threading.Event(), threading.Event(), threading.Event()

    @tool
    def stubborn() -> Generator[int, None, None]:
        yield 1
        running.set()
        assert go.wait(10)
        ended.set()

    assert await stopped(stubborn, when=lambda: anyio.to_thread.run_sync(running.wait)) == ("error", ABANDONED, [1])
    go.set()
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_a_body_that_waits_for_a_thread_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_body, "MAX_TOOL_THREADS", 1)
    running, go = threading.Event(), threading.Event()
    ran: list[str] = []

    @tool
    def first() -> str:
        running.set()
        assert go.wait(10)
        return "first"

    @tool
    def second() -> str:
        ran.append("second")
        return "second"

    context = ToolContext(tool_use=use("first"), run_id="r")

    async def run_first() -> None:
        async with aclosing(first.stream(context.tool_use, context)) as stream:
            async for _ in stream:
                pass

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_first)
        await anyio.to_thread.run_sync(running.wait)
        assert await stopped(second, when=anyio.lowlevel.checkpoint) == ("error", STOPPED, [])
        go.set()
    assert ran == []


async def test_a_stop_before_the_body_begins_ends_it_at_its_first_wait() -> None:
    steps: list[str] = []

    @tool
    async def patient() -> None:
        steps.append("begun")
        await anyio.sleep_forever()

    context = ToolContext(tool_use=use("patient"), run_id="r")
    context.stop()
    assert await stopped(patient, when=anyio.lowlevel.checkpoint, context=context) == ("error", STOPPED, [])
    assert steps == ["begun"]


async def values_after_stop(made: Tool) -> tuple[list[Any], Outcome]:
    """Stop a generator tool between two of its values."""
    context = ToolContext(tool_use=use(made.name), run_id="r")
    values: list[Any] = []
    async with aclosing(made.stream(context.tool_use, context)) as stream:
        async for item in stream:
            if isinstance(item, Outcome):
                return values, item
            assert isinstance(item, Progress)
            values.append(item.value)
            context.stop()
    raise AssertionError("it has no outcome")


async def test_a_generator_that_does_not_wait_any_more_may_say_the_rest() -> None:
    @tool
    async def quick() -> AsyncGenerator[int, None]:
        for value in (1, 2, 3):
            yield value

    values, end = await values_after_stop(quick)
    assert values == [1, 2, 3]
    assert end.result["status"] == "success"


async def test_a_generator_that_never_waits_is_stopped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_body, "STOP_GRACE_S", 0.05)

    @tool
    async def endless() -> AsyncGenerator[int, None]:
        while True:
            yield 1

    with anyio.fail_after(10):
        _, end = await values_after_stop(endless)
    assert end.result["content"][0]["text"] == STOPPED


async def test_a_generator_that_waits_between_values_is_cancelled_at_its_next_wait() -> None:
    @tool
    async def slow() -> AsyncGenerator[int, None]:
        yield 1
        await anyio.sleep_forever()

    values, end = await values_after_stop(slow)
    assert values == [1]
    assert end.result["content"][0]["text"] == STOPPED


async def test_a_cancellation_from_outside_in_the_same_turn_goes_through() -> None:
    waiting = anyio.Event()

    @tool
    async def patient() -> AsyncGenerator[int, None]:
        waiting.set()
        await anyio.sleep_forever()
        yield 1

    context = ToolContext(tool_use=use("patient"), run_id="r")
    went_on = False

    async def run() -> None:
        nonlocal went_on
        async with aclosing(patient.stream(context.tool_use, context)) as stream:
            async for _ in stream:
                pass
        await anyio.lowlevel.checkpoint()
        went_on = True

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await waiting.wait()
            context.stop()
            tasks.cancel_scope.cancel()
    assert not went_on


async def test_a_control_stops_what_runs_within_the_block_and_nothing_after() -> None:
    control, stops = Control(), list[str]()
    with control.stopping(lambda: stops.append("first")):
        control.deliver([Signal("s", "steer", "hi")])
        assert stops == []
        control.deliver([Signal("c", "cancel")])
        assert stops == ["first"]
    with control.stopping(lambda: stops.append("late")):
        assert stops == ["first", "late"], "a cancel that is here already counts"
    control.take()
    with control.stopping(lambda: stops.append("never")):
        pass
    control.deliver([Signal("c2", "cancel")])
    assert stops == ["first", "late"]
