"""Guests in a fleet: to a client they are agents like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import TaskStatus

from playhead.runtime import Agent, DivergedError, FunctionGuest, GuestContext, OverrideRefusedError
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.records import RunClaimed, RunHandedOver, StepFinished
from playhead.runtime.models import ScriptedModel
from playhead.workers import Worker
from playhead.workers.checkpoints import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def words() -> AsyncGenerator[str]:
    for word in ("Three", " words", "."):
        yield word


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Say something, ask, and remember."""
    text = ""
    async for word in ctx.model(prompt, words):
        text += word
    yield {"thought": len(ctx.history)}
    approved = await ctx.ask("approve", {"text": text}) if prompt == "ask" else "unasked"
    ctx.result = f"{text} {approved}"


async def test_a_client_streams_answers_and_talks_on_as_with_an_agent(fleet: Fleet) -> None:
    async with fleet.worker(clerk), fleet.client() as client:
        run = await client.start("clerk", "ask", session_id="ada")
        seen = [event async for event in run.stream_async(on_pause="end")]
        assert [event["event"] for event in seen if "event" in event] == ["Three", " words", "."]
        assert "".join(event["data"] for event in seen if "data" in event) == "Three words."
        (interrupt,) = seen[-1]["result"].interrupts
        assert interrupt.reason == {"text": "Three words."}
        await run.respond({interrupt.id: "yes"})
        assert str(await run.result()) == "Three words. yes\n"
        again = await client.start("clerk", "hi", session_id="ada")
        events = [event async for event in again.stream_async()]
        assert {"thought": 2} in events, "the session has the prompt and the result of the run before"
        assert events[-1]["result"].message["content"] == [{"text": "Three words. unasked"}]


async def test_a_guest_that_blocks_its_loop_stalls_no_other_run(fleet: Fleet) -> None:
    release = asyncio.Event()
    home = asyncio.get_running_loop()

    async def blocks(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        asyncio.run_coroutine_threadsafe(release.wait(), home).result(20)  # its whole loop waits
        ctx.result = "released"
        yield {"released": True}

    agent = Agent(ScriptedModel(["Quick."], repeat=True), name="quick", callback_handler=None)
    async with fleet.worker(blocks, agent), fleet.client() as client:
        blocked = await client.start("blocks", "go")
        await fleet.until(lambda: _running(blocked))
        assert str(await client.agent("quick").invoke_async("go")) == "Quick.\n"
        release.set()
        assert str(await blocked.result()) == "released\n"


async def _running(run: Any) -> bool:
    return (await run.info()).state == "running"


async def test_a_cancel_reaches_a_guest_where_it_waits(fleet: Fleet) -> None:
    async def waits(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        yield {"waiting": True}
        await asyncio.Event().wait()

    async with fleet.worker(waits), fleet.client() as client:
        run = await client.start("waits", "go")
        async for event in run.stream_async():
            if "waiting" in event:
                await run.cancel()
        assert (await run.info()).state == "cancelled"


async def test_a_guest_whose_run_is_past_its_deadline_is_cancelled_where_it_waits(fleet: Fleet) -> None:
    home, begun, cleaned = asyncio.get_running_loop(), anyio.Event(), anyio.Event()
    at = Checkpoints()

    async def waits(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        async def forever() -> None:
            home.call_soon_threadsafe(begun.set)
            await asyncio.Event().wait()

        try:
            await ctx.step("forever", forever)
        finally:
            home.call_soon_threadsafe(cleaned.set)
        yield {}

    async with fleet.worker(waits, visit=at, lease_ms=2000) as worker, fleet.client() as client:
        run = await client.start("waits", "go", deadline=3600)
        await begun.wait()
        assert await fleet.ask("ZADD", client.log.keys.deadlines, "XX", 1, run.id) == 0  # an hour passes
        await cleaned.wait()
        with pytest.raises(RunFailedError, match="the deadline that was set when the run was submitted has passed"):
            await run.result()
        await at.reached(Checkpoint.LOST, run.id)
        assert worker.statistics().ended == {"fenced": 1}
        assert "step.finished" not in [one.type for one in await _records(run)]


async def test_a_drain_hands_a_guest_over_and_no_step_is_done_again(fleet: Fleet) -> None:
    done: list[int] = []
    drained = anyio.Event()
    home = asyncio.get_running_loop()

    async def counts(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        async def count() -> int:
            done.append(len(done))
            if len(done) == 2:
                asyncio.run_coroutine_threadsafe(drained.wait(), home).result(20)
            return len(done)

        for number in range(4):
            yield {"step": await ctx.step(f"step {number}", count)}

    async with fleet.client() as client:
        async with fleet.worker(counts, grace_s=20.0) as worker:
            run = await client.start("counts", "go")
            await fleet.until(lambda: _has(run, 2))
            worker.drain()
            drained.set()
        assert [one.type for one in await _records(run)].count("run.handed_over") == 1
        async with fleet.worker(counts):
            await run.result()
        assert done == [0, 1, 2, 3]
        steps = [one.value for one in await _records(run) if isinstance(one, StepFinished)]
        assert steps == [1, 2, 3, 4]


async def _records(run: Any) -> list[Any]:
    head = (await run.info()).head
    found: list[Any] = []
    async for entry in run.records():
        found.append(entry.record)
        if entry.seq == head:
            break
    return found


async def _has(run: Any, events: int) -> bool:
    """Whether the guest is in its second step."""
    return (await run.info()).head >= 2 + events


async def test_a_guest_that_sleeps_long_has_no_worker(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playhead.workers.execution.HELD_WAIT_S", 0.05)

    async def sleeps(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        await ctx.sleep(1.5)  # so long that a busy machine does not make the rest of it a short one
        yield {"awake": True}

    async with fleet.worker(sleeps), fleet.client() as client:
        run = await client.start("sleeps", "go")
        assert {"awake": True} in [event async for event in run.stream_async()]
        (left,) = [one for one in await _records(run) if isinstance(one, RunHandedOver)]
        assert 0.05 < left.delay <= 1.51


async def test_what_a_guest_does_not_know_is_refused_instead_of_ignored(fleet: Fleet) -> None:
    async with fleet.worker(clerk), fleet.client() as client:
        with pytest.raises(OverrideRefusedError, match="does not allow system_prompt="):
            await (await client.start("clerk", "hi", system_prompt="Be brief.")).result()
        run = await client.start("clerk", "hi", limits={"turns": 2})
        with pytest.raises(RunFailedError, match="does not allow limits="):
            await run.result()


async def test_a_reader_gets_the_exception_of_a_guest_by_its_class(fleet: Fleet) -> None:
    async def fails(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        yield {"so": "far"}
        raise DivergedError("of its own") if prompt == "diverged" else LookupError("nothing")

    async with fleet.worker(FunctionGuest(fails, name="fails")), fleet.client() as client:
        with pytest.raises(LookupError, match="nothing"):
            await (await client.start("fails", "go")).result()
        with pytest.raises(DivergedError, match="of its own"):
            await (await client.start("fails", "diverged")).result()


class OfVersion(FunctionGuest):
    """A guest of a framework in some version."""

    def __init__(self, version: str) -> None:
        super().__init__(asks_thrice)
        self._version = version

    @property
    def framework(self) -> str:
        return f"framework {self._version}"


async def asks_thrice(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    for name in "abc":
        yield {name: await ctx.ask(name)}


async def test_a_run_stays_with_workers_of_its_framework_while_there_are_any(fleet: Fleet) -> None:
    leave, left = anyio.Event(), anyio.Event()

    async def serve_old(*, task_status: TaskStatus[Worker]) -> None:
        async with fleet.worker(OfVersion("1")) as worker:
            task_status.started(worker)
            await leave.wait()
        left.set()

    async def go_on() -> list[str]:
        await run.respond({one.id: "yes" for one in seen[-1]["result"].interrupts})
        seen[:] = [event async for event in run.stream_async(on_pause="end")]
        return [one.worker for one in await _records(run) if isinstance(one, RunClaimed)]

    async with fleet.client() as client, anyio.create_task_group() as tasks:
        old: Worker = await tasks.start(serve_old)
        run = await client.start("asks_thrice", "go")
        seen = [event async for event in run.stream_async(on_pause="end")]
        async with fleet.worker(OfVersion("2")) as new:
            assert [await go_on() for _ in range(2)][1] == [old.name] * 3
            leave.set()
            await left.wait()
            assert await go_on() == [old.name] * 3 + [new.name]
