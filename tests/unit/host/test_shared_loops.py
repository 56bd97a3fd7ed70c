"""Agents of frameworks share an event loop, which no run leaves anything on, and which no blocked run keeps from others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from playhead.runtime.core.records import RunFailed
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.host import host, loops
from playhead.runtime.host.context import GuestContext
from tests.support.guest_owners import Owners

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


async def test_a_loop_that_is_blocked_gets_no_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_cancel_ends_one_of_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CLOSE_GRACE_S", 5.0)
    begun = [asyncio.Event(), asyncio.Event()]
    loop = asyncio.get_running_loop()

    async def waits(ctx: GuestContext) -> str:
        async def works() -> str:
            loop.call_soon_threadsafe(begun[len([one for one in begun if one.is_set()])].set)
            await anyio.sleep(0.2)
            return "done"

        return await ctx.step("works", works)

    runs = [owners(waits), owners(waits)]
    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(run.to_the_end)
            await begun[runs.index(run)].wait()
        runs[0].control.deliver([Signal("c", "cancel")])
    assert [run.end.type for run in runs] == ["run.cancelled", "run.completed"]
