"""Control: a signal reaches the loop once, at once, and without disturbing anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime.core.signals import Signal
from playhead.runtime.loop.control import Control, breaking_off

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CANCEL = Signal("one", "cancel")
RESPONSE = Signal("two", "respond", {"yes": True})


async def next_of(control: Control, source: AsyncGenerator[int, None]) -> int | None:
    """The next item of `source`, taken as a model's call takes its chunks; None at its end, or for a cancel."""
    if control.cancelling:
        return None
    async with breaking_off(control):
        async for item in source:
            return item
    return None


class Stream:
    """Gives `items` and then waits for ever; knows whether it was closed."""

    def __init__(self, *items: int) -> None:
        self.items = items
        self.asked = 0
        self.waiting = anyio.Event()
        self.closed = False

    async def stream(self) -> AsyncGenerator[int, None]:
        try:
            for item in self.items:
                self.asked += 1
                yield item
            self.waiting.set()
            await anyio.sleep_forever()
        finally:
            self.closed = True


async def numbers(count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number


async def test_without_signals_it_gives_the_sources_items_and_then_none() -> None:
    control, source = Control(), numbers(2)
    assert [await next_of(control, source) for _ in range(4)] == [0, 1, None, None]
    assert not control.cancelling


async def test_a_signal_ends_the_wait_at_once_and_closes_the_source() -> None:
    control, stream = Control(), Stream(7)
    source = stream.stream()
    taken: list[int | None] = []

    async def take_two() -> None:
        taken.append(await next_of(control, source))
        taken.append(await next_of(control, source))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_two)
            await stream.waiting.wait()
            control.deliver([CANCEL])
    assert taken == [7, None]
    assert control.cancelling
    assert stream.closed


async def test_a_signal_leaves_no_cancellation_in_the_waiting_task() -> None:
    control, stream = Control(), Stream()
    source = stream.stream()

    async def wait_and_go_on() -> None:
        assert await next_of(control, source) is None
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        control.take()
        assert [await next_of(control, numbers(1)) for _ in range(2)] == [0, 0]
        await checkpoint()
        went_on.set()

    went_on = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_and_go_on)
            await stream.waiting.wait()
            control.deliver([CANCEL])
        assert went_on.is_set()


async def test_with_a_signal_pending_the_source_is_not_even_asked() -> None:
    control, stream = Control(), Stream(1)
    source = stream.stream()
    control.deliver([CANCEL])
    assert await next_of(control, source) is None
    assert stream.asked == 0
    control.take()
    assert await next_of(control, source) == 1
    await source.aclose()


async def test_a_signal_that_comes_with_an_item_is_not_lost() -> None:
    control = Control()

    async def signals_itself() -> AsyncGenerator[int, None]:
        control.deliver([CANCEL])
        yield 1

    source = signals_itself()
    await next_of(control, source)
    assert control.cancelling
    assert control.take() == [CANCEL]
    await source.aclose()


async def test_each_signal_is_taken_once_however_often_it_is_delivered() -> None:
    control = Control()
    control.deliver([CANCEL, RESPONSE])
    control.deliver([CANCEL])
    assert control.take() == [CANCEL, RESPONSE]
    assert control.take() == []
    control.deliver([CANCEL, RESPONSE])  # the inbox is read again before the acknowledgement is stored
    assert control.take() == []
    assert not control.cancelling


async def test_only_a_cancel_breaks_off_what_runs_and_other_signals_wait_for_a_boundary() -> None:
    control = Control()
    control.deliver([RESPONSE])
    assert not control.cancelling
    assert not control.cancel_signal.is_set()
    assert await next_of(control, numbers(1)) == 0
    control.deliver([CANCEL])
    assert control.cancel_signal.is_set()
    control.take()
    assert control.cancel_signal.is_set(), "the flag stays for tools that look late"


async def test_a_signal_that_is_not_a_cancel_breaks_off_no_wait() -> None:
    control = Control()
    go, waiting = anyio.Event(), anyio.Event()
    taken: list[int | None] = []

    async def slow() -> AsyncGenerator[int, None]:
        waiting.set()
        await go.wait()
        yield 1

    async def take_one() -> None:
        taken.append(await next_of(control, slow()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_one)
            await waiting.wait()
            control.deliver([RESPONSE])
            for _ in range(5):
                await checkpoint()
            assert taken == []
            go.set()
    assert taken == [1]
    assert control.take() == [RESPONSE]


class Stubborn:
    """Will not be cancelled: says one thing more, or ends, instead."""

    def __init__(self, *, then: int | None) -> None:
        self.then = then
        self.waiting = anyio.Event()

    async def stream(self) -> AsyncGenerator[int, None]:
        self.waiting.set()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            if self.then is not None:
                yield self.then


@pytest.mark.parametrize("then", [1, None])
async def test_a_source_that_will_not_be_cancelled_leaves_no_cancellation(then: int | None) -> None:
    control, stubborn = Control(), Stubborn(then=then)
    done = anyio.Event()

    async def wait_and_go_on() -> None:
        source = stubborn.stream()
        assert await next_of(control, source) == then
        await source.aclose()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert control.take() == [CANCEL]
        assert await next_of(control, numbers(1)) == 0
        await checkpoint()
        done.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_and_go_on)
            await stubborn.waiting.wait()
            control.deliver([CANCEL])
        assert done.is_set()


@pytest.mark.parametrize("first", ["signal", "outside"])
async def test_a_signal_and_a_cancellation_from_outside_at_once_are_a_cancellation(first: str) -> None:
    control, stream = Control(), Stream()
    source = stream.stream()
    went_on = False

    async def wait() -> None:
        nonlocal went_on
        await next_of(control, source)
        await checkpoint()
        went_on = True

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await stream.waiting.wait()
            if first == "signal":
                control.deliver([CANCEL])
                tasks.cancel_scope.cancel()
            else:
                tasks.cancel_scope.cancel()
                control.deliver([CANCEL])
    assert not went_on
    assert stream.closed
    assert control.take() == [CANCEL]


async def test_signals_delivered_again_and_again_while_it_waits_are_one_interruption() -> None:
    control, stream = Control(), Stream()
    source = stream.stream()
    done = anyio.Event()

    async def wait() -> None:
        assert await next_of(control, source) is None
        await checkpoint()
        done.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await stream.waiting.wait()
            for number in range(5):
                control.deliver([CANCEL, Signal(f"more {number}", "cancel")])
        assert done.is_set()
    assert len(control.take()) == 6


async def test_cancellation_from_outside_goes_through() -> None:
    control, stream = Control(), Stream()
    source = stream.stream()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next_of, control, source)
            await stream.waiting.wait()
            tasks.cancel_scope.cancel()
    assert stream.closed
    assert not control.cancelling
    assert await next_of(control, numbers(1)) == 0, "the control still works"


async def test_what_the_source_raises_comes_through() -> None:
    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        raise RuntimeError("the provider is down")

    control, source = Control(), fails()
    assert await next_of(control, source) == 1
    with pytest.raises(RuntimeError, match="provider is down"):
        await next_of(control, source)
    assert await next_of(control, numbers(1)) == 0
