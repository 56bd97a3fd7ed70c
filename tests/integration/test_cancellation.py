"""Cancelling: a run by its signal, in force in the log's order; a caller's await, leaving everything usable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.client import Client
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import RunClaimed, SignalReceived, ToolFinished
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import ScriptedModel
from playhead.runtime.models import chunks as c
from playhead.workers import Worker
from tests.support.quick_runs import quick

if TYPE_CHECKING:
    from playhead.client import Run
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AT_ONCE_S = 3.0
"""Less than a third of a lease, when a worker whose notification is lost learns of a cancel."""


async def types_of(run: Run) -> list[str]:
    """The types of the run's records, whose numbers have no hole."""
    entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    return [entry.record.type for entry in entries]


def calls(*names: str) -> list[Chunk]:
    """A message that calls these tools."""
    middle = [
        chunk
        for number, name in enumerate(names)
        for chunk in (c.tool_start(f"t{number}", name), c.tool_delta("{}"), c.block_stop())
    ]
    return [c.message_start(), *middle, c.message_stop("tool_use")]


# Cancelling a run


async def test_a_cancel_reaches_a_model_that_hangs_at_once(
    fleet: Fleet, held_model: Callable[..., HeldModel], no_key_leaks: Callable[[], list[str]]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")) as worker, fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        with anyio.fail_after(AT_ONCE_S):
            assert await run.cancel() == "running"
            result = await run.result()
        assert model.closed.is_set()
        assert result.stop_reason == "cancelled"
        assert str(result) == "Cancelled by user\n"
        assert (await run.info()).state == "cancelled"
        await fleet.ended(worker, cancelled=1)
        types = await types_of(run)
        assert types[-3:] == ["signal.received", "message.added", "run.cancelled"]
    assert no_key_leaks() == []


async def test_every_run_of_a_busy_worker_can_be_cancelled_at_once(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent"), concurrency=30), fleet.client() as client:
        runs = [await client.start("agent", "Hi") for _ in range(30)]
        await model.called(30)
        await model.held.wait()
        with anyio.fail_after(AT_ONCE_S):
            for run in runs:
                await run.cancel()
            for run in runs:
                assert (await run.result()).stop_reason == "cancelled"


async def test_a_queued_run_is_cancelled_at_once_without_any_worker(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]]
) -> None:
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        assert await run.cancel() == "cancelled"
        assert (await run.result()).stop_reason == "cancelled"
        assert await types_of(run) == ["run.submitted", "signal.received", "run.cancelled"]
        async with fleet.worker(quick(), Agent(ScriptedModel(["Late."]), name="agent")) as worker:
            await client.invoke_async("quick", "Hi")
        assert worker.statistics().claimed == 1
    assert no_key_leaks() == []


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_a_run_that_has_ended_says_how(fleet: Fleet, state: str) -> None:
    model = ScriptedModel(["Done."] if state == "completed" else [])
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        if state == "cancelled":
            await run.cancel()
        else:
            async with fleet.worker(Agent(model, name="agent")):
                before = await types_of(run)
        before = await types_of(run)
        assert await run.cancel() == state
        assert await types_of(run) == before


async def test_the_same_cancel_sent_twice_counts_once_and_two_end_the_run_once(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        async with anyio.create_task_group() as tasks:
            for signal_id in ("one", "one", "one", "two"):
                tasks.start_soon(lambda signal_id=signal_id: run.cancel(signal_id=signal_id))
        await run.result()
        entries = [entry.record async for entry in run.records()]
        received = [record.signal_id for record in entries if isinstance(record, SignalReceived)]
        assert len(received) == len(set(received))
        assert set(received) <= {"one", "two"}
        assert [record.type for record in entries].count("run.cancelled") == 1


async def test_a_cancel_in_flight_when_the_run_ends_does_no_harm(fleet: Fleet) -> None:
    async with fleet.worker(quick()), fleet.client() as client:
        for _ in range(30):
            run = await client.start("quick", "Hi")
            assert await run.cancel() in ("running", "cancelled", "completed")
            assert (await run.result()).stop_reason in ("cancelled", "end_turn")
            types = await types_of(run)
            assert sum(kind in ("run.completed", "run.cancelled") for kind in types) == 1


async def test_a_cancel_between_tools_that_run_one_by_one_leaves_the_rest_out(fleet: Fleet) -> None:
    started = anyio.Event()
    ran: list[str] = []

    @tool
    async def first() -> str:
        """Ends in good order when it is cancelled."""
        ran.append("first")
        started.set()
        with suppress(asyncio.CancelledError):
            await anyio.sleep_forever()
        return "first done"

    @tool
    async def second() -> str:
        """Must not run."""
        ran.append("second")
        return "second done"

    model = ScriptedModel([calls("first", "second")])
    agent = Agent(model, name="agent", tools=[first, second], tool_executor="sequential")
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await started.wait()
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"
        assert ran == ["first"]
        assert await results_of(run) == ["first done", "Tool execution cancelled"]
        assert (await types_of(run)).count("tool.started") == 1


async def results_of(run: Run) -> list[str]:
    """The texts of the run's tool results."""
    records = [entry.record async for entry in run.records()]
    return [record.result["content"][0]["text"] for record in records if isinstance(record, ToolFinished)]


async def test_async_tools_that_run_are_cancelled_at_once_and_finished_ones_keep_their_results(fleet: Fleet) -> None:
    started, closed = anyio.Event(), anyio.Event()

    @tool
    async def quick() -> str:
        """Is done before the cancel."""
        return "done"

    @tool
    async def patient() -> None:
        """Never ends by itself."""
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            closed.set()

    agent = Agent(ScriptedModel([calls("quick", "patient")]), name="agent", tools=[quick, patient])
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        async for entry in run.records():
            if isinstance(entry.record, ToolFinished):
                break
        await started.wait()
        with anyio.fail_after(AT_ONCE_S):
            await run.cancel()
            assert (await run.result()).stop_reason == "cancelled"
        assert closed.is_set()
        assert await results_of(run) == ["done", "Tool execution cancelled while it ran"]


async def test_a_tool_in_a_thread_is_abandoned_at_once_and_told_to_stop(fleet: Fleet) -> None:
    started, stopped = threading.Event(), threading.Event()
    go = threading.Event()

    @tool
    def stubborn(context: ToolContext) -> str:
        """Looks too late whether it is to stop."""
        started.set()
        assert go.wait(10)
        if context.cancel_requested:
            stopped.set()
        return "too late"

    agent = Agent(ScriptedModel([calls("stubborn")]), name="agent", tools=[stubborn])
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await anyio.to_thread.run_sync(started.wait)
        with anyio.fail_after(AT_ONCE_S):
            await run.cancel()
            assert (await run.result()).stop_reason == "cancelled"
        assert await results_of(run) == ["Tool execution cancelled while it ran (its thread may still be running)"]
        go.set()
        assert await anyio.to_thread.run_sync(stopped.wait, 10)


async def claim_and_die(fleet: Fleet, run: Run, *, meanwhile: Callable[[], Awaitable[Any]]) -> None:
    """A worker claims the run and dies at once; `meanwhile` happens before its lease ends."""
    log = fleet.log()
    note = encode_record(RunClaimed(at=1, worker="dead"))
    claim = await log.claim({"agent": note}, worker="dead", token="t", lease_ms=60_000)
    assert claim is not None
    assert claim.run_id == run.id
    await meanwhile()
    await fleet.ask("ZADD", log.keys.leases, 1, run.id)
    await log.aclose()


async def test_a_cancel_that_a_dead_worker_did_not_take_in_is_in_force_for_the_next(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        await claim_and_die(fleet, run, meanwhile=run.cancel)
        async with fleet.worker(Agent(model, name="agent")):
            assert (await run.result()).stop_reason == "cancelled"
        assert model.calls == []
        assert (await types_of(run)).count("signal.received") == 1


async def test_a_run_of_a_dead_fleet_can_be_cancelled(fleet: Fleet) -> None:
    async with fleet.client(on_notice=lambda notice: None) as client:
        run = await client.start("agent", "Hi")

        async def nothing() -> None: ...

        await claim_and_die(fleet, run, meanwhile=nothing)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.result)  # a tail also reaps dead workers' runs

            async def is_queued() -> bool:
                return (await run.info()).state == "queued"

            await fleet.until(is_queued)
            assert await run.cancel() == "cancelled"
        assert (await run.result()).stop_reason == "cancelled"


# Leaving an await


async def none_blocked(fleet: Fleet) -> bool:
    return (await fleet.ask("INFO", "clients"))["blocked_clients"] == 0


async def no_more_than_two(fleet: Fleet, name: str) -> bool:
    """The server sees a moment later that a connection was closed."""
    return len(await fleet.connections(name)) <= 2


async def everything_works(fleet: Fleet, client: Client, name: str) -> None:
    """A run goes through, from start to result, by tail and by asking; and every connection is closed."""
    async with fleet.worker(quick()):
        run = await client.start("quick", "Hi")
        events = [event async for event in run.stream_async()]
        assert str(events[-1]["result"]) == "Done.\n"
        assert (await run.info()).state == "completed"
        assert str(await client.invoke_async("quick", "Hi")) == "Done.\n"
    assert client.statistics().subscriptions == 0
    await fleet.until(lambda: no_more_than_two(fleet, name))
    await fleet.until(lambda: none_blocked(fleet))


AWAITS: dict[str, Callable[[Client, Run], Awaitable[Any]]] = {
    "Client.start": lambda client, run: client.start("unserved", "Hi", deadline=60),
    "Client.stream_async": lambda client, run: anext(client.stream_async("unserved", "Hi")),
    "Client.invoke_async": lambda client, run: client.invoke_async("unserved", "Hi"),
    "Client.runs": lambda client, run: client.runs(),
    "Client.workers": lambda client, run: client.workers(),
    "Run.info": lambda client, run: run.info(),
    "Run.result": lambda client, run: run.result(),
    "Run.cancel": lambda client, run: run.cancel(),
    "Run.pause": lambda client, run: run.pause(),
    "Run.respond": lambda client, run: run.respond({"question": "yes"}),
    "Run.steer": lambda client, run: run.steer("Hurry"),
    "Run.received": lambda client, run: run.received("signal"),
    "Client.run_of_session": lambda client, run: client.run_of_session("ada"),
    "RemoteAgent.cancel": lambda client, run: client.agent("unserved").cancel(),
    "Run.records": lambda client, run: anext(run.records()),
    "Run.stream_async": lambda client, run: anext(run.stream_async()),
    "Run.stream_async after": lambda client, run: anext(run.stream_async(after=1)),
    "Run.replay": lambda client, run: anext(run.replay()),
    "RemoteAgent.stream_async": lambda client, run: anext(client.agent("unserved").stream_async("Hi")),
    "RemoteAgent.invoke_async": lambda client, run: client.agent("unserved").invoke_async("Hi"),
}


@pytest.mark.parametrize("name", AWAITS)
async def test_an_await_cancelled_while_the_server_is_slow_leaves_everything_usable(
    fleet: Fleet, proxy: Proxy, name: str
) -> None:
    """The reply comes after the caller has left; another call must not get it."""
    there = fleet.at(proxy.url)
    async with there.client(name="leaver") as client:
        run = await client.start("unserved", "Hi")
        proxy.hold()

        async def call() -> None:
            await AWAITS[name](client, run)
            pytest.fail("there was no reply")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await proxy.held.wait()
            tasks.cancel_scope.cancel()
        proxy.release()
        await everything_works(fleet, client, "leaver")


@pytest.mark.parametrize("name", ["Client.invoke_async", "Run.result", "Run.received", "Run.records"])
async def test_an_await_cancelled_while_it_waits_for_the_run_leaves_everything_usable(fleet: Fleet, name: str) -> None:
    told = anyio.Event()
    async with fleet.client(name="leaver", on_notice=lambda notice: told.set()) as client:
        run = await client.start("unserved", "Hi")

        async def call() -> None:
            if name == "Run.records":
                async for _ in run.records():
                    pass
            else:
                await AWAITS[name](client, run)
            pytest.fail("the run cannot have ended")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await told.wait()
            tasks.cancel_scope.cancel()
        await everything_works(fleet, client, "leaver")


async def test_an_entry_into_a_client_cancelled_on_the_way_leaves_no_connection(fleet: Fleet, proxy: Proxy) -> None:
    there = fleet.at(proxy.url)
    proxy.hold()

    async def enter() -> None:
        async with there.client(name="leaver"):
            pytest.fail("there was no reply")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await proxy.held.wait()
        tasks.cancel_scope.cancel()
    proxy.release()

    async def all_gone() -> bool:
        return not await fleet.connections("leaver")

    await fleet.until(all_gone)


async def test_a_client_of_a_server_that_hangs_can_be_left_at_once(fleet: Fleet, proxy: Proxy) -> None:
    there = fleet.at(proxy.url)
    hanging, left = anyio.Event(), anyio.Event()

    async def use() -> None:
        async with there.client(name="leaver") as client, anyio.create_task_group() as tasks:
            run = await client.start("unserved", "Hi")
            async with aclosing(run.records()) as records:
                await anext(records)
                proxy.hold()
                tasks.start_soon(run.result)
                await proxy.held.wait()
                hanging.set()
                tasks.cancel_scope.cancel()
        left.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        await hanging.wait()
        with anyio.fail_after(AT_ONCE_S):
            await left.wait()
    proxy.release()

    async def all_gone() -> bool:
        return not await fleet.connections("leaver")

    await fleet.until(all_gone)


async def test_cancelled_over_and_over_a_client_gives_every_caller_its_own_reply(fleet: Fleet) -> None:
    async with fleet.client(name="leaver") as client:
        runs = [await client.start(f"agent-{number}", "Hi") for number in range(10)]
        for turn in range(200):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    for run in runs:
                        tasks.start_soon(run.info)
                    for _ in range(turn % 7):
                        await checkpoint()
                    scope.cancel()
            number = turn % 10
            assert (await runs[number].info()).agent == f"agent-{number}"
        await fleet.until(lambda: no_more_than_two(fleet, "leaver"))


@pytest.mark.parametrize("point", ["idle", "model", "claim"])
async def test_a_cancelled_worker_leaves_no_connection_blocked_and_its_runs_to_others(
    fleet: Fleet, proxy: Proxy, held_model: Callable[..., HeldModel], point: str
) -> None:
    model, heir = held_model(), held_model()
    heir.go.set()
    log = RedisLog(connect(f"{proxy.url}?client_name=worker"), prefix=fleet.prefix)
    worker = Worker([Agent(model, name="agent")], log=log)
    async with fleet.client() as client:
        run = None if point == "idle" else await client.start("agent", "Hi")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            if point == "model":
                await model.held.wait()
            elif point == "claim":
                proxy.hold()
                await proxy.held.wait()
            else:

                async def blocked() -> bool:
                    return any("b" in link["flags"] for link in await fleet.connections("worker"))

                await fleet.until(blocked)
            tasks.cancel_scope.cancel()
        proxy.release()
        assert (await log.runs()) is not None, "the log can still be used"
        await log.aclose()

        async def all_gone() -> bool:
            return not await fleet.connections("worker")

        await fleet.until(all_gone)
        await fleet.until(lambda: none_blocked(fleet))
        if run is not None:
            await fleet.ask("ZADD", client.log.keys.leases, "XX", 1, run.id)  # its lease runs out
            async with fleet.worker(Agent(heir, name="agent")):
                assert str(await run.result()) == f"{heir.text}\n"
            await types_of(run)


async def test_leaving_a_stream_from_another_task_raises_nothing(fleet: Fleet) -> None:
    async with fleet.worker(quick()), fleet.client() as client:
        held: list[AsyncGenerator[Event, None]] = []

        async def begin() -> None:
            held.append(client.stream_async("quick", "Hi"))
            await anext(held[0])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
        await held[0].aclose()
        assert client.statistics().subscriptions == 0
