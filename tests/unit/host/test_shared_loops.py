"""Agents of frameworks share an event loop, which no run leaves anything on, and which no blocked run keeps from others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import strands

from playhead.runtime.core.records import RunFailed
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host import host, loops
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from tests.support.guest_owners import Owners
from tests.support.strands_agents import World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Act = Callable[[GuestContext], Awaitable[Any]]


class Actor:
    """An agent of a framework."""

    def __init__(self, act: Act) -> None:
        self.name = "actor"
        self.act = act


class ActorGuest(MadeGuest):
    """Runs it."""

    kinds = (Actor,)
    told = "an Actor"

    async def run(self, agent: Actor, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        """Run it."""
        ctx.result = await agent.act(ctx)
        yield {}


def owners(act: Act, **options: Any) -> Owners:
    return Owners(ActorGuest(Actor(act), **options))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARED", [])


@pytest.mark.parametrize(("own_loop", "same"), [(False, True), (True, False)])
async def test_runs_share_a_loop_unless_the_author_wants_one_for_each(own_loop: bool, same: bool) -> None:
    seen: set[Any] = set()

    async def act(ctx: GuestContext) -> None:
        seen.add(asyncio.get_running_loop())

    guest = ActorGuest(Actor(act), own_loop=own_loop)
    for _ in range(2):
        await Owners(guest).to_the_end()
    assert (len(seen) == 1) == same


async def waiting(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """Wait for all the others, on their loop."""
    await meet()
    ctx.result = "met"
    yield {}


@strands.tool
async def meeting() -> str:
    """Wait for all the others, on their loop."""
    await meet()
    return "met"


async def meet() -> None:
    """Wait until all are here, and see which threads there are."""
    LOOPS.add(asyncio.get_running_loop())
    HERE.append(asyncio.Event())
    if len(HERE) < 5:
        await HERE[-1].wait()
    else:
        THREADS[:] = [one.name for one in threading.enumerate()]
        for one in HERE:
            one.set()


LOOPS: set[Any] = set()
HERE: list[asyncio.Event] = []
THREADS: list[str] = []


def agent() -> strands.Agent:
    """An agent with that tool."""
    return World().agent(said(calls=[("meeting", "m", {})]), said("Done."), tools=[meeting])


@pytest.mark.parametrize(
    "guest", [FunctionGuest(waiting, own_loop=False), StrandsGuest(agent, own_loop=False)], ids=["function", "strands"]
)
async def test_no_thread_is_made_for_a_run_of_a_guest_that_blocks_nothing(guest: Guest) -> None:
    for seen in (LOOPS, HERE, THREADS):
        seen.clear()
    runs = [Owners(guest) for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(run.to_the_end)
    assert {run.end.type for run in runs} == {"run.completed"}
    assert len(LOOPS) == 1
    assert asyncio.get_running_loop() not in LOOPS, "the worker's own goes on, whatever they do"
    assert "guests" in THREADS
    assert not [name for name in THREADS if name.startswith("guest of run")]


async def test_a_guest_that_blocks_a_loop_of_its_own_stalls_none_of_those_that_share_one() -> None:
    go_on, blocked, home = threading.Event(), anyio.Event(), asyncio.get_running_loop()

    async def blocks(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        home.call_soon_threadsafe(blocked.set)
        go_on.wait(20)
        yield {}

    async def works(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        await anyio.lowlevel.checkpoint()
        yield {}

    first, second = Owners(FunctionGuest(blocks)), Owners(FunctionGuest(works, own_loop=False))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.to_the_end)
        await blocked.wait()
        await second.to_the_end()
        assert not first.ended
        go_on.set()
    assert (first.end.type, second.end.type) == ("run.completed", "run.completed")


async def test_a_client_that_works_on_one_loop_serves_all_runs() -> None:
    free = asyncio.Semaphore(1)

    async def act(ctx: GuestContext) -> str:
        async with free:  # bound to the loop of the first that waits
            await anyio.sleep(0.01)
            return "served"

    runs = [owners(act) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(run.to_the_end)
    assert [run.end.result["message"]["content"][0]["text"] for run in runs] == ["served"] * 3


async def test_tasks_that_a_run_leaves_end_with_it() -> None:
    ended = threading.Event()
    left: list[Any] = []

    async def goes_on() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def act(ctx: GuestContext) -> str:
        left.append(asyncio.get_running_loop().create_task(goes_on()))
        await anyio.sleep(0.001)
        return "done"

    run = owners(act)
    await run.to_the_end()
    assert ended.wait(5)
    assert run.end.type == "run.completed"


async def test_one_that_ends_the_process_ends_its_run_only() -> None:
    async def leaves(ctx: GuestContext) -> None:
        raise SystemExit(3)

    async def stays(ctx: GuestContext) -> str:
        return "here"

    first, second = owners(leaves), owners(stays)
    await first.to_the_end()
    assert isinstance(first.end, RunFailed)
    assert first.end.error_type == "SystemExit"
    await second.to_the_end()
    assert second.end.type == "run.completed"


async def test_a_loop_that_is_blocked_gets_no_new_runs_and_a_warning_names_the_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loops, "STUCK_S", 0.02)
    go_on, blocked, home = threading.Event(), anyio.Event(), asyncio.get_running_loop()

    async def blocks(ctx: GuestContext) -> str:
        home.call_soon_threadsafe(blocked.set)
        go_on.wait(20)
        return "at last"

    async def works(ctx: GuestContext) -> str:
        return "at once"

    first, second = owners(blocks), owners(works)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.to_the_end)
        await blocked.wait()
        time.sleep(0.03)  # noqa: ASYNC251 - its loop has been blocked for that long
        await second.to_the_end()
        go_on.set()
    assert second.end.result["message"]["content"] == [{"text": "at once"}]
    assert first.end.result["message"]["content"] == [{"text": "at last"}]
    (warning,) = [record.getMessage() for record in caplog.records if record.name == loops.__name__]
    assert f"in blocks, {__file__}, line " in warning


async def test_a_loop_that_is_busy_and_not_blocked_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "STUCK_S", 0.1)
    stop, begun, home = threading.Event(), anyio.Event(), asyncio.get_running_loop()

    async def works(ctx: GuestContext) -> str:
        home.call_soon_threadsafe(begun.set)
        while not stop.is_set():  # noqa: ASYNC110 - it is to keep the loop busy
            await asyncio.sleep(0)
        return "at last"

    run = owners(works)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.to_the_end)
        await begun.wait()
        time.sleep(0.15)  # noqa: ASYNC251 - its loop has been busy for that long
        with anyio.fail_after(10):
            while loops.SHARED[-1].stuck:  # only for as long as this machine gives its thread no turn
                await anyio.lowlevel.checkpoint()
        stop.set()
    assert run.end.type == "run.completed"


async def test_a_cancel_ends_one_of_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CLOSE_GRACE_S", 5.0)
    begun = [asyncio.Event(), asyncio.Event()]
    loop = asyncio.get_running_loop()

    async def waits(ctx: GuestContext) -> str:
        async def works() -> str:
            loop.call_soon_threadsafe(begun[len([one for one in begun if one.is_set()])].set)
            while not runs[0].ended:  # noqa: ASYNC110 - it ends on another loop
                await anyio.sleep(0.001)
            return "done"

        return await ctx.step("works", works)

    runs = [owners(waits), owners(waits)]
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(run.to_the_end)
            await begun[runs.index(run)].wait()
        runs[0].control.deliver([Signal("c", "cancel")])
    assert [run.end.type for run in runs] == ["run.cancelled", "run.completed"]
