"""`merge`: several sources at once, nothing lost, nothing left running, however it ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime.concurrency import merge

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Source:
    """Gives `items`, then waits for `go`; knows how it ended."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.given = 0
        self.waiting = anyio.Event()
        self.go = anyio.Event()
        self.closed = anyio.Event()
        self.cancelled = False

    async def stream(self) -> AsyncGenerator[Any, None]:
        try:
            for item in self.items:
                yield item
                self.given += 1
            self.waiting.set()
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            await checkpoint()
            self.closed.set()


def free(*items: Any) -> Source:
    """A source that ends by itself."""
    source = Source(*items)
    source.go.set()
    return source


async def test_every_item_of_every_source_comes_once_and_each_source_keeps_its_order() -> None:
    sources = [free(*((name, number) for number in range(20))) for name in "abc"]
    items = [item async for item in merge([source.stream() for source in sources])]
    assert sorted(items) == sorted((name, number) for name in "abc" for number in range(20))
    for name in "abc":
        assert [number for source, number in items if source == name] == list(range(20))
    assert all(source.closed.is_set() for source in sources)


async def test_no_sources_give_no_items() -> None:
    assert [item async for item in merge([])] == []


async def test_a_source_that_waits_holds_up_no_other() -> None:
    slow, quick = Source(), free(1, 2, 3)
    merged = merge([slow.stream(), quick.stream()])
    with anyio.fail_after(5):
        assert [await anext(merged) for _ in range(3)] == [1, 2, 3]
        slow.go.set()
        assert [item async for item in merged] == []


async def test_a_source_is_never_more_than_one_item_ahead_of_the_consumer() -> None:
    source = free(*range(10))
    merged = merge([source.stream()])
    for taken in range(10):
        assert await anext(merged) == taken
        for _ in range(20):
            await checkpoint()
        assert source.given <= taken + 1
    await merged.aclose()


async def test_leaving_cancels_and_closes_every_source_and_raises_nothing() -> None:
    before = asyncio.all_tasks()
    waiting, ahead = Source(1), free(*range(100))
    merged = merge([waiting.stream(), ahead.stream()])
    with anyio.fail_after(5):
        await anext(merged)
        await waiting.waiting.wait()
        await merged.aclose()
    assert waiting.closed.is_set()
    assert waiting.cancelled
    assert ahead.closed.is_set()
    assert asyncio.all_tasks() == before


async def test_a_consumer_cancelled_while_it_waits_closes_every_source() -> None:
    before = asyncio.all_tasks()
    sources = [Source(), Source()]

    async def consume() -> None:
        async for _ in merge([source.stream() for source in sources]):
            pytest.fail("there is no item")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            for source in sources:
                await source.waiting.wait()
            tasks.cancel_scope.cancel()
    assert [source.cancelled for source in sources] == [True, True]
    assert all(source.closed.is_set() for source in sources)
    assert asyncio.all_tasks() == before


async def test_dropped_without_closing_it_is_closed_by_the_event_loop_without_an_error() -> None:
    """Garbage collection closes the generator in another task than the one that iterated it."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    source = Source(1)

    async def take_one_and_go() -> None:
        held.append(merge([source.stream(), free(2).stream()]))
        await anext(held[0])

    held: list[AsyncGenerator[Any, None]] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_one_and_go)
        await source.waiting.wait()
        held.clear()
        gc.collect()
        await source.closed.wait()
        while asyncio.all_tasks() != before:
            await checkpoint()
    assert source.cancelled
    assert complaints == []
