"""What happens to a tool's body when its stream is cancelled or closed."""

from __future__ import annotations

import functools
import gc
import logging
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing

import anyio
import pytest

from playhead.runtime.tools import body as tool_body
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Progress
from tests.support.tools import Stop, context, run, text, use

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_a_cancelled_stream_cancels_the_body():
    started = anyio.Event()
    seen: list[str] = []

    @tool
    async def slow() -> AsyncGenerator[int, None]:
        try:
            started.set()
            await anyio.sleep_forever()
            yield 1
        finally:
            seen.append("cleaned up")

    given = context()

    async def consume() -> None:
        async with aclosing(slow.stream(use("slow"), given)) as stream:
            await anext(stream)
            seen.append("value")

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await started.wait()
        group.cancel_scope.cancel()
    assert seen == ["cleaned up"]
    assert given.cancel_requested


async def test_a_cancelled_stream_does_not_wait_for_a_thread():
    started, release = threading.Event(), threading.Event()
    given = context()

    @tool
    def hold() -> None:
        started.set()
        release.wait(10)

    async with anyio.create_task_group() as group:
        group.start_soon(functools.partial(run, hold, given=given))
        await anyio.to_thread.run_sync(started.wait, 10)
        group.cancel_scope.cancel()
    assert not release.is_set()
    assert given.cancel_requested
    release.set()


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_a_closed_stream_closes_the_generator(form: str):
    ended: list[str] = []

    async def values() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await anyio.lowlevel.checkpoint()
            ended.append("cleaned up")

    def sync_values() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("cleaned up")

    made = tool(name="values")(values if form == "async" else sync_values)
    given = context()
    async with aclosing(made.stream(use("values"), given)) as stream:
        assert await anext(stream) == Progress(1)
        assert not given.cancel_requested
    assert ended == ["cleaned up"]
    assert given.cancel_requested


async def test_a_sync_generator_is_closed_even_where_the_caller_is_cancelled():
    ended = threading.Event()

    @tool
    def values() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            ended.set()

    with anyio.CancelScope() as scope:
        async with aclosing(values.stream(use("values"), context())) as stream:
            await anext(stream)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert ended.is_set()


@pytest.mark.exhaustive
async def test_a_generator_left_running_in_a_thread_is_closed_by_that_thread():
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    @tool(timeout=0.5)  # its thread has begun by then, on a busy machine too
    def values() -> Generator[int, None, None]:
        try:
            started.set()
            release.wait(10)
            yield 1
        finally:
            ended.set()

    assert "its thread may still be running" in await text(values)
    assert not ended.is_set()
    release.set()
    while not ended.is_set():  # the last reference goes when the thread drops its result
        gc.collect()
        await anyio.lowlevel.checkpoint()


async def test_an_error_in_a_closed_generator_is_logged_and_stops_no_caller(caplog: pytest.LogCaptureFixture):
    @tool
    async def untidy() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise RuntimeError("secret")

    @tool
    async def grouped() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group():
            yield 1

    @tool
    async def untidy_group() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group():
            try:
                yield 1
            finally:
                raise RuntimeError("secret")

    with caplog.at_level(logging.WARNING, "playhead"):
        for made in (untidy, grouped, untidy_group):
            async with aclosing(made.stream(use("x"), context())) as stream:
                assert await anext(stream) == Progress(1)
    assert [record.getMessage() for record in caplog.records] == [
        "tool untidy raised RuntimeError while it was being closed",
        "tool untidy_group raised ExceptionGroup while it was being closed",
    ]


async def test_what_is_not_an_exception_passes_out_of_a_closed_generator_too():
    @tool
    async def stopping() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group():
            try:
                yield 1
            finally:
                raise Stop

    stream = stopping.stream(use("x"), context())
    await anext(stream)
    with pytest.raises(BaseExceptionGroup) as raised:
        await stream.aclose()
    assert raised.group_contains(Stop)


async def test_a_body_that_has_ended_or_was_closed_has_nothing_more():
    body = tool_body.ToolBody(lambda: "done", on_loop=True, timeout=None, name="x")
    assert repr(await body.take()) == "END"
    assert body.result == "done"
    await body.aclose()
    assert await body.take() is tool_body.END


async def test_the_outcome_comes_after_the_body_is_closed():
    order: list[str] = []

    @tool
    async def values() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            order.append("closed")

    given = context()
    async with aclosing(values.stream(use("values"), given)) as stream:
        async for item in stream:
            order.append(type(item).__name__)  # noqa: PERF401  (appended to by the body too)
    assert order == ["Progress", "closed", "Outcome"]
    assert not given.cancel_requested
