"""Control uses asyncio's own cancellation: it must keep apart whose cancellation is whose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import permutations

import anyio
import anyio.lowlevel
import pytest

from playhead.runtime.core.signals import Signal
from playhead.runtime.loop.control import Control, breaking_off

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CANCEL = Signal("one", "cancel")


async def next_of(control: Control, source: AsyncGenerator[int, None]) -> int | None:
    """The next item of `source`, taken as a model's call takes its chunks; None at its end, or for a cancel."""
    if control.cancelling:
        return None
    async with breaking_off(control):
        async for item in source:
            return item
    return None


class Held:
    """A source that gives nothing, in `next` of `control`: asleep, or going round and round through the event loop."""

    def __init__(self, *, asleep: bool = True) -> None:
        self.control = Control()
        self.waiting = anyio.Event()
        self.asleep = asleep

    async def items(self) -> AsyncGenerator[int, None]:
        with anyio.fail_after(60):  # providers hold scopes of their own while they wait
            self.waiting.set()
            while not self.asleep:
                await anyio.lowlevel.checkpoint()
            await anyio.sleep_forever()
            yield 1

    async def next(self) -> int | None:
        return await next_of(self.control, self.items())


@pytest.mark.parametrize("asleep", [True, False])
@pytest.mark.parametrize("signal_first", [True, False])
async def test_a_scope_cancelled_in_the_same_turn_as_the_signal_still_catches(signal_first: bool, asleep: bool) -> None:
    held, scope = Held(asleep=asleep), anyio.CancelScope()
    went_on = False

    async def wait() -> None:
        nonlocal went_on
        with scope:
            await held.next()
            await anyio.lowlevel.checkpoint()
            went_on = True
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.lowlevel.checkpoint()  # nothing of either cancellation is left
        ended.set()

    ended = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await held.waiting.wait()
            steps: list[Callable[[], None]] = [lambda: held.control.deliver([CANCEL]), scope.cancel]
            for step in steps if signal_first else reversed(steps):
                step()
    assert scope.cancelled_caught
    assert ended.is_set()
    assert not went_on
    assert held.control.cancelling


@pytest.mark.parametrize("asleep", [True, False])
@pytest.mark.parametrize("order", [*permutations(["signal", "scope", "task"]), *permutations(["signal", "task"])])
async def test_a_task_cancelled_in_the_same_turn_as_the_signal_is_cancelled(
    order: tuple[str, ...], asleep: bool
) -> None:
    held, scope = Held(asleep=asleep), anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await held.next()
            await anyio.lowlevel.checkpoint()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait())
        await held.waiting.wait()
        steps: dict[str, Callable[[], object]] = {
            "signal": lambda: held.control.deliver([CANCEL]),
            "scope": scope.cancel,
            "task": task.cancel,
        }
        for name in order:
            steps[name]()
    assert task.cancelled()


async def test_a_source_that_ignores_the_cancellation_leaves_no_cancellation() -> None:
    held = Held()

    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            held.waiting.set()
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            pass
        yield 1

    source = stubborn()

    async def wait() -> None:
        await next_of(held.control, source)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.lowlevel.checkpoint()
        went_on.set()

    went_on = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await held.waiting.wait()
            held.control.deliver([CANCEL])
    assert went_on.is_set()
    assert held.control.cancelling


async def test_two_signals_are_one_interruption() -> None:
    held = Held()

    async def wait() -> None:
        assert await held.next() is None
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await anyio.lowlevel.checkpoint()
        went_on.set()

    went_on = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await held.waiting.wait()
            held.control.deliver([CANCEL])
            held.control.deliver([Signal("two", "cancel")])
    assert went_on.is_set()
    assert len(held.control.take()) == 2


async def endless() -> AsyncGenerator[int, None]:
    number = 0
    while True:
        number += 1
        yield number


@pytest.mark.parametrize("pinned", [True, False])
async def test_a_cancel_between_two_waits_breaks_off_nothing_but_is_known(pinned: bool) -> None:
    control, source = Control(), endless()
    task = asyncio.current_task()
    assert task is not None
    taken: list[int] = []
    async with breaking_off(control, task=task if pinned else None) as wait:
        async for item in source:
            wait.pause()
            taken.append(item)
            if item == 3:
                control.deliver([CANCEL])
                assert task.cancelling() == 0
                await anyio.lowlevel.checkpoint()
                break
            wait.resume()
    await source.aclose()
    assert taken == [1, 2, 3]
    assert control.cancelling
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("pinned", [True, False])
async def test_a_cancel_breaks_off_the_wait_for_a_later_item_as_that_for_the_first(pinned: bool) -> None:
    held, taken = Held(), list[int]()

    async def source() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number
        async for item in held.items():
            yield item

    async def take_all() -> None:
        async with breaking_off(held.control, task=asyncio.current_task() if pinned else None) as wait:
            async for item in source():
                wait.pause()
                taken.append(item)
                wait.resume()
        await anyio.lowlevel.checkpoint()
        went_on.set()

    went_on = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_all)
            await held.waiting.wait()
            held.control.deliver([CANCEL])
    assert went_on.is_set()
    assert taken == [0, 1, 2]


async def test_a_generator_whose_every_item_is_asked_for_from_another_task_is_broken_off_in_the_right_one() -> None:
    """So does `asyncio.wait_for` on Python 3.11."""
    held = Held()

    async def items() -> AsyncGenerator[int, None]:
        async with breaking_off(held.control) as wait:
            async for item in mixed():
                wait.pause()
                yield item
                wait.resume()

    async def mixed() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        async for item in held.items():
            yield item

    generator = items()
    here = asyncio.current_task()
    assert here is not None
    with anyio.fail_after(5):
        assert [await asyncio.create_task(anext(generator)) for _ in range(2)] == [1, 2]
        last = asyncio.create_task(anext(generator, None))
        await held.waiting.wait()
        held.control.deliver([CANCEL])
        assert await last is None
    assert here.cancelling() == 0
