"""A long wait before a model is called again: the run waits in the queue, and holds no place in a worker."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import Agent, ModelThrottledException, RetryPolicy
from playhead.runtime.core.records import ModelFailed, ModelStarted, RunClaimed, RunHandedOver
from playhead.runtime.core.timeline import timeline
from playhead.runtime.models import ScriptedCall, ScriptedModel
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from playhead.client import Notice, Run
    from playhead.workers import Worker
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

PATIENT = RetryPolicy(initial_delay=0, max_delay=7200, max_total_delay=7200)


def agent_of(*calls: Any, name: str = "agent") -> Agent:
    return Agent(ScriptedModel(list(calls)), name=name, callback_handler=None, retry=PATIENT)


def busy(seconds: float) -> ScriptedCall:
    return ScriptedCall(error=ModelThrottledException("slow down", retry_after=seconds))


async def handed_back(run: Run) -> RunHandedOver:
    """The record by which the run was handed back; the log has it."""
    async with aclosing(run.records()) as entries:
        async for entry in entries:
            if isinstance(entry.record, RunHandedOver):
                return entry.record
    raise AssertionError("it was not handed back")


async def test_another_run_gets_the_place_of_one_that_waits_and_a_cancel_ends_the_wait(fleet: Fleet) -> None:
    agents = agent_of(busy(3600), name="busy"), agent_of("Hello", name="quick")
    async with fleet.worker(*agents, concurrency=1) as worker, fleet.client() as client:
        run = await client.start("busy", "Hi")
        assert (await handed_back(run)).delay == pytest.approx(3600, abs=30)
        assert str(await client.invoke_async("quick", "Hi")) == "Hello\n"
        info = await run.info()
        assert info.state == "queued"
        assert info.due is not None
        assert info.due - info.updated == pytest.approx(3_600_000, abs=30_000)
        failed = await run.failed_call()
        assert failed is not None
        assert failed.delay == 3600
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"
        await fleet.ended(worker, postponed=1, completed=1)


async def test_when_the_wait_is_over_the_run_goes_on_and_its_readers_see_one_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.workers.execution.HELD_WAIT_S", 0.05)
    agent = agent_of(busy(0.4), "Hello")
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        events = [event async for event in run.stream_async()]
        entries = [entry async for entry in run.records()]
        found = await verify(run, agent)
    assert str(events[-1]["result"]) == "Hello\n"
    waits = [event for event in events if "retrying" in event or "event_loop_throttled_delay" in event]
    assert [next(iter(event)) for event in waits] == ["retrying", "event_loop_throttled_delay"]
    assert waits[-1]["event_loop_throttled_delay"] == 0.4
    (failed,) = [entry.record for entry in entries if isinstance(entry.record, ModelFailed)]
    starts = [entry for entry in entries if isinstance(entry.record, ModelStarted)]
    assert [entry.epoch for entry in starts] == [1, 2]
    assert starts[1].record.at - failed.at >= 390, "not before the wait was over"
    assert [bar.kind for bar in timeline(entries).bars] == ["queue", "model", "retry", "model"]
    assert found.same, found.text


async def test_a_worker_drains_at_once_while_a_run_waits_and_another_goes_on_later(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playhead.workers.execution.HELD_WAIT_S", 0.05)
    async with fleet.client() as client:
        async with fleet.worker(agent_of(busy(0.5)), grace_s=60.0):
            run = await client.start("agent", "Hi")
            await handed_back(run)
        assert (await run.info()).crashes == 0
        async with fleet.worker(agent_of("Hello")):
            assert str(await run.result()) == "Hello\n"
        claims = [entry.record.worker async for entry in run.records() if isinstance(entry.record, RunClaimed)]
    assert len(set(claims)) == 2


async def test_a_tail_tells_that_the_run_waits_and_not_that_no_worker_is_free(fleet: Fleet) -> None:
    told: list[Notice] = []
    seen = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice)
        seen.set()

    worker: Worker
    async with fleet.worker(agent_of(busy(3600))) as worker, fleet.client(on_notice=on_notice) as client:
        run = await client.start("agent", "Hi")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.result)
            await seen.wait()
            await run.cancel()
        await fleet.ended(worker, postponed=1)
    assert [notice.kind for notice in told] == ["queued"]
    assert "before its model is called again, because the last call failed" in told[0].message
