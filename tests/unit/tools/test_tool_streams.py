"""Progress and outcome of a running tool, and its time limit."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import anyio
import pytest

from playhead.runtime.tools import body as tool_body
from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Outcome, Progress
from tests.support.tools import Item, Stop, context, ok, run, text, use

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SECRET: contextvars.ContextVar[str] = contextvars.ContextVar("SECRET", default="unset")


# Streams


async def test_every_yielded_value_is_progress_and_the_last_one_the_result():
    async def values() -> AsyncGenerator[Any, None]:
        yield "first"
        yield Item(name="pen")
        yield {"status": "success", "content": [{"json": {"n": 1}}]}

    last = {"status": "success", "content": [{"json": {"n": 1}}]}
    assert await run(tool(values)) == [
        Progress("first"),
        Progress({"name": "pen", "count": 1}),
        Progress(last),
        Outcome({"toolUseId": "t1", "status": "success", "content": [{"json": {"n": 1}}]}),
    ]


async def test_progress_is_plain_data_whatever_is_yielded():
    async def values() -> AsyncGenerator[Any, None]:
        yield {1: (2, {3}), "o": Stop}
        loop: list[Any] = []
        loop.append(loop)
        yield loop

    assert await run(tool(values)) == [
        Progress({"1": [2, [3]], "o": str(Stop)}),
        Progress(["<list that contains itself>"]),
        Outcome(ok("[[...]]")),
    ]


async def test_a_generator_that_yields_nothing_has_the_result_null():
    async def nothing() -> AsyncGenerator[int, None]:
        return
        yield 1

    assert await run(tool(nothing)) == [Outcome(ok("null"))]


async def test_a_sync_generator_streams_from_a_thread():
    threads: set[int] = set()

    def values(upto: int) -> Generator[int, None, None]:
        for number in range(upto):
            threads.add(threading.get_ident())
            yield number

    assert await run(tool(values), {"upto": 3}) == [Progress(0), Progress(1), Progress(2), Outcome(ok("2"))]
    assert threading.get_ident() not in threads


async def test_a_sync_body_does_not_block_the_loop_and_sees_the_context_variables():
    loop_went_on = threading.Event()

    @tool
    def wait() -> str:
        assert loop_went_on.wait(10)
        return SECRET.get()

    SECRET.set("seen")
    outcomes: list[str] = []

    async def collect() -> None:
        outcomes.append(await text(wait))

    async with anyio.create_task_group() as group:
        group.start_soon(collect)
        await anyio.lowlevel.checkpoint()
        loop_went_on.set()
    assert outcomes == ["seen"]


@pytest.mark.exhaustive
async def test_sync_bodies_beyond_the_thread_limit_wait_and_the_wait_is_not_their_time(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tool_body, "MAX_TOOL_THREADS", 1)
    started, release = threading.Event(), threading.Event()

    @tool
    def hold() -> None:
        started.set()
        release.wait(10)

    @tool(timeout=0.5)
    def quick() -> str:
        return "in time"

    outcomes: list[str] = []

    async def collect() -> None:
        outcomes.append(await text(quick))

    async with anyio.create_task_group() as group:
        group.start_soon(run, hold)
        await anyio.to_thread.run_sync(started.wait, 10)
        group.start_soon(collect)
        await anyio.sleep(0.6)  # past the limit of `quick`, which is queued
        assert not outcomes
        release.set()
    assert outcomes == ["in time"]


async def test_the_context_reaches_the_body():
    @tool(context="box")
    def look(box: Any, ctx: ToolContext) -> str:
        assert box is ctx
        return f"{ctx.effect_key} {ctx.agent_name} {ctx.attempt} {ctx.invocation_state}"

    request = use("look", {"box": "forged", "ctx": "forged"})
    given = context(request, agent_name="ada", attempt=2, invocation_state={"user": 7})
    assert await run(look, request["input"], given=given) == [Outcome(ok("run-1/t1 ada 2 {'user': 7}"))]
    assert "user" not in repr(given)


async def test_a_body_in_a_thread_sees_that_cancelling_is_requested():
    signal, polling = threading.Event(), threading.Event()

    @tool
    def poll(ctx: ToolContext) -> str:
        while not ctx.cancel_requested:
            polling.set()
            threading.Event().wait(0.001)
        return "stopped"

    outcomes: list[Any] = []

    async def collect() -> None:
        outcomes.extend(await run(poll, given=context(cancel_signal=signal)))

    async with anyio.create_task_group() as group:
        group.start_soon(collect)
        await anyio.to_thread.run_sync(polling.wait, 10)
        signal.set()
    assert outcomes == [Outcome(ok("stopped"))]


# Time limits


async def test_an_async_body_that_is_late_is_cancelled():
    ended: list[str] = []

    @tool(timeout=0.05)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cleaned up")

    given = context()
    (outcome,) = await run(slow, given=given)
    assert isinstance(outcome, Outcome)
    assert outcome.result["content"] == [{"text": "Error: TimeoutError - tool 'slow' did not finish within 0.05 s"}]
    assert ended == ["cleaned up"]
    assert given.cancel_requested


@pytest.mark.exhaustive
async def test_a_thread_that_is_late_is_left_and_told():
    left = threading.Event()

    @tool(timeout=0.5)  # its thread has begun by then, on a busy machine too
    def slow(ctx: ToolContext) -> None:
        while not ctx.cancel_requested:
            threading.Event().wait(0.001)
        left.set()

    assert await text(slow) == (
        "Error: TimeoutError - tool 'slow' did not finish within 0.5 s (its thread may still be running)"
    )
    assert await anyio.to_thread.run_sync(left.wait, 10)


async def test_a_generator_that_is_late_is_closed_and_what_it_yielded_stands():
    ended: list[str] = []

    @tool(timeout=0.3)
    async def slow() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            ended.append("cleaned up")

    progress, outcome = await run(slow)
    assert progress == Progress(1)
    assert isinstance(outcome, Outcome)
    assert outcome.result["status"] == "error"
    assert "'slow' did not finish within 0.3 s" in outcome.result["content"][0]["text"]
    assert ended == ["cleaned up"]


async def test_a_generator_that_never_waits_is_late_too():
    @tool(timeout=0.05)
    async def busy() -> AsyncGenerator[int, None]:
        while True:
            yield 1

    @tool(timeout=0.05)
    def busy_in_a_thread() -> Generator[int, None, None]:
        while True:
            yield 1

    assert "did not finish" in await text(busy)
    assert "did not finish" in await text(busy_in_a_thread)


async def test_a_generator_may_yield_inside_its_own_task_group_under_a_time_limit():
    @tool(timeout=30)
    async def session() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.fail_after(20):
                yield 1
                await anyio.lowlevel.checkpoint()
                yield 2
            group.cancel_scope.cancel()

    with anyio.CancelScope():  # a task whose scopes are out of order would fail to leave this one
        assert await run(session) == [Progress(1), Progress(2), Outcome(ok("2"))]


async def test_a_late_generator_with_its_own_task_group_leaves_the_task_in_order():
    @tool(timeout=0.05)
    async def session() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield 1
            await anyio.sleep_forever()

    with anyio.CancelScope():
        assert "did not finish" in await text(session)
    await anyio.lowlevel.checkpoint()


async def test_the_result_of_a_body_that_ignores_its_cancellation_counts():
    @tool(timeout=0.05)
    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        return "done all the same"

    assert await text(stubborn) == "done all the same"
