"""The worker: claims, holds, runs, hands over; and survives what the server and its runs do to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import LeaseTooShortError, PlayheadError
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Claim, RunInfo
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.workers import Worker, WorkerOptions
from tests.support.quick_runs import assert_dense, completes, quick

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel, Steps

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def results_in(messages: Messages) -> int:
    """How many tool results a history holds."""
    return sum("toolResult" in block for message in messages for block in message.get("content", []))


# Claiming and holding


async def test_a_worker_holds_no_more_runs_than_it_may_and_runs_them_all(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]]
) -> None:
    most = running = 0
    full = anyio.Event()

    @tool
    async def work() -> str:
        """Works; the first ones until all that may have begun."""
        nonlocal most, running
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await anyio.sleep(0.01)  # a piece of work, long enough for others to begin if they might
        running -= 1
        return "worked"

    def script(messages: Messages) -> Any:
        return "Done." if results_in(messages) else tool_call("work", {})

    agent = Agent(ScriptedModel([script], repeat=True), name="quick", tools=[work])
    async with fleet.client() as client:
        runs = [await client.start("quick", "Hi") for _ in range(20)]
        async with fleet.worker(agent, concurrency=3) as worker:
            for run in runs:
                assert str(await run.result()) == "Done.\n"
        assert most == 3
        statistics = worker.statistics()
        assert (statistics.running, statistics.claimed, statistics.ended) == (0, 20, {"completed": 20})
        for run in runs:
            await assert_dense(run)
    assert no_key_leaks() == []


async def test_runs_that_wait_are_taken_in_the_order_they_were_submitted(fleet: Fleet) -> None:
    order: list[str] = []

    def script(messages: Messages) -> str:
        order.append(messages[0].get("content", [])[0]["text"])
        return "Done."

    async with fleet.client() as client:
        runs = {str(number): await client.start("quick", str(number)) for number in range(10)}
        async with fleet.worker(Agent(ScriptedModel([script], repeat=True), name="quick"), concurrency=1):
            for run in runs.values():
                await run.result()
        created = [(await runs[name].info()).created for name in order]
    assert sorted(order) == sorted(runs)
    assert created == sorted(created), "the server's clock, in milliseconds, is what counts"


async def test_two_workers_share_the_work_and_no_run_is_run_twice(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    agent = Agent(model, name="agent")
    async with fleet.client() as client:
        runs = [await client.start("agent", "Hi") for _ in range(60)]
        async with fleet.worker(agent, concurrency=2) as one, fleet.worker(agent, concurrency=2) as two:
            await model.called(4)  # each of the two is full
            model.go.set()
            for run in runs:
                await run.result()
        assert one.statistics().claimed + two.statistics().claimed == 60
        assert min(one.statistics().claimed, two.statistics().claimed) >= 2
        assert {(await run.info()).epoch for run in runs} == {1}


async def test_a_run_that_comes_while_the_worker_is_idle_begins_at_once(fleet: Fleet) -> None:
    async with fleet.worker(quick()), fleet.client() as client:
        await completes(client)
        with anyio.fail_after(6):  # a worker that only looks now and then takes two seconds for each
            for _ in range(10):
                await completes(client)


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"lease_ms": 1999}, "lease_ms"),
        ({"grace_s": -1.0}, "grace_s"),
        ({"crash_limit": -1}, "crash_limit"),
        ({"retention_ms": 0}, "retention_ms"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(bad: Mapping[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        WorkerOptions(**bad)


async def test_a_worker_needs_agents_with_names_of_their_own(fleet: Fleet) -> None:
    log = fleet.log()
    for agents in ([], [quick(), quick()]):
        with pytest.raises(ValueError, match="at least one agent, each with a name of its own"):
            Worker(agents, log=log)
    await log.aclose()


class FarLog(RedisLog):
    """A log whose replies are slow."""

    delay_s = 0.4

    async def info(self, run_id: str) -> RunInfo | None:
        await anyio.sleep(self.delay_s)  # the delay of a reply
        return await super().info(run_id)


async def test_a_lease_that_cannot_be_kept_over_the_way_to_redis_is_refused_with_one_that_can(fleet: Fleet) -> None:
    log = fleet.log()
    far = FarLog(log.client, prefix=fleet.prefix)
    with pytest.raises(
        LeaseTooShortError, match=r"a lease of 2 s cannot be kept.* takes \d\.\d\d s.*lease of \d+ s or more"
    ):
        await Worker([quick()], log=far, options=WorkerOptions(lease_ms=2000)).run()
    await log.aclose()
    far = FarLog(fleet.log().client, prefix=fleet.prefix)
    async with fleet.worker(quick(), log=far, lease_ms=5000), fleet.client() as client:
        await completes(client)


# Draining


async def test_draining_hands_a_run_over_at_a_boundary_and_no_finished_tool_runs_again(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps, heir = make_steps(hold=2), make_steps()
    async with fleet.client() as client:
        async with fleet.worker(steps.agent, grace_s=10) as first:
            run = await client.start("steps", "Go")
            await steps.held.wait()
            first.drain()
            steps.go.set()
        assert first.statistics().ended == {"handed_over": 1}
        assert steps.done == [1, 2]
        async with fleet.worker(heir.agent):
            assert str(await run.result()) == "All done.\n"
        assert heir.done == [3]
        info = await run.info()
        assert (info.state, info.epoch, info.crashes) == ("completed", 2, 0)
        types = await assert_dense(run)
        assert types.count("run.handed_over") == 1
        assert types.count("tool.started") == types.count("tool.finished") == 3


async def test_what_does_not_reach_a_boundary_in_the_grace_is_stopped_and_handed_over(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model, heir = held_model(), held_model()
    heir.go.set()
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        async with fleet.worker(Agent(model, name="agent"), grace_s=0.1) as first:
            await model.held.wait()
        assert model.closed.is_set()
        assert first.statistics().ended == {"handed_over": 1}
        async with fleet.worker(Agent(heir, name="agent")):
            events = [event async for event in run.stream_async()]
        assert [event["text"] for event in events if "retracted" in event] == ["one two "]
        assert (await run.info()).crashes == 0
        assert (await assert_dense(run)).count("model.retried") == 1


async def test_a_tool_that_is_stopped_by_a_drain_is_run_again_by_the_next_worker(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps, heir = make_steps(hold=2), make_steps()
    async with fleet.client() as client:
        run = await client.start("steps", "Go")
        async with fleet.worker(steps.agent, grace_s=0.05):
            await steps.held.wait()
        async with fleet.worker(heir.agent):
            assert str(await run.result()) == "All done.\n"
        assert (steps.done, heir.done) == ([1, 2], [2, 3])
        assert (await run.info()).crashes == 0


async def test_a_drained_worker_takes_no_new_run(fleet: Fleet, make_steps: Callable[..., Steps]) -> None:
    steps = make_steps(hold=1)
    async with fleet.client() as client, fleet.worker(steps.agent, grace_s=10) as worker:
        await client.start("steps", "Go")
        await steps.held.wait()
        worker.drain()
        late = await client.start("steps", "Go")
        steps.go.set()
    assert worker.statistics().claimed == 1
    async with fleet.client() as client:
        assert (await client.run(late.id).info()).state == "queued"


class SlowClaims(RedisLog):
    """A log whose claims get late replies."""

    def __init__(self, beneath: RedisLog) -> None:
        super().__init__(beneath.client, prefix=beneath.keys.prefix)
        self.claimed = anyio.Event()
        self.go = anyio.Event()

    async def claim(self, agents: Mapping[str, bytes], **terms: Any) -> Claim | None:
        claim = await super().claim(agents, **terms)
        if claim is not None:
            self.claimed.set()
            await self.go.wait()
        return claim


async def test_a_run_claimed_while_the_drain_began_does_not_hold_it_up(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    first, second = held_model(), held_model()
    log = SlowClaims(fleet.log("slow"))
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        async with fleet.worker(Agent(first, name="agent")):
            await first.held.wait()
        async with fleet.worker(Agent(second, name="agent"), log=log, grace_s=0.1) as worker:
            await log.claimed.wait()
            worker.drain()
            for _ in range(10):
                await checkpoint()
            log.go.set()
        assert worker.statistics().ended == {"handed_over": 1}
        info = await run.info()
        assert (info.state, info.crashes) == ("queued", 0)


class UnansweredClaims(RedisLog):
    """A log whose claims get no reply."""

    def __init__(self, beneath: RedisLog) -> None:
        super().__init__(beneath.client, prefix=beneath.keys.prefix)
        self.asked = anyio.Event()

    async def claim(self, agents: Mapping[str, bytes], **options: Any) -> Claim | None:
        self.asked.set()
        await anyio.sleep_forever()


async def test_a_claim_that_is_never_answered_holds_a_drain_for_a_lease_and_no_longer(fleet: Fleet) -> None:
    log = UnansweredClaims(fleet.log())
    with anyio.fail_after(6):
        async with fleet.worker(quick(), log=log, lease_ms=2000) as worker:
            await log.asked.wait()
            worker.drain()


async def test_draining_an_idle_worker_ends_it_at_once_and_twice_is_once(fleet: Fleet) -> None:
    async with fleet.client() as client:
        with anyio.fail_after(6):  # a wait for its notification's or its claim's next turn takes two seconds
            for _ in range(10):
                async with fleet.worker(quick()) as worker:
                    await completes(client)
                    worker.drain()
                    worker.drain()
        assert await client.workers() == []
    log = fleet.log()
    with anyio.fail_after(1.9):
        worker = Worker([quick()], log=log)
        worker.drain()
        await worker.run()
    await log.aclose()


async def test_a_drain_ends_although_the_server_is_gone(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    server = await EmbeddedServer.start(durable=False)
    try:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name="agent"), lease_ms=2000) as worker:
            async with there.client() as client:
                await client.start("agent", "Hi")
                await model.held.wait()
            await server.stop()
            with anyio.fail_after(6):
                worker.drain()
                await model.closed.wait()
        assert worker.statistics().running == 0
    finally:
        await server.stop()


async def test_a_drain_ends_in_bounded_time_although_the_server_hangs(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """Links that are up and never reply: a call fails only when the client has waited for its time limit."""
    model = held_model()
    server = await EmbeddedServer.start(durable=False)
    try:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name="agent"), lease_ms=2000, concurrency=2) as worker:
            async with there.client() as client:
                await client.start("agent", "Hi")
                await model.held.wait()
            os.kill(server.pid, signal.SIGSTOP)
            model.go.set()
            worker.drain()
            began = time.monotonic()
        assert time.monotonic() - began < 9, "the lease, a log message, the withdrawal, and a busy machine"
        assert worker.statistics().running == 0
    finally:
        os.kill(server.pid, signal.SIGCONT)
        await server.stop()


class OneOfAKind(RedisLog):
    """A log that cannot be opened a second time."""

    def clone(self) -> RedisLog:
        raise OSError("no more files can be opened")


async def test_a_worker_whose_leases_cannot_be_renewed_ends_and_says_why_instead_of_losing_run_after_run(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    beneath = fleet.log("worker")
    try:
        worker = Worker([make_steps().agent], log=OneOfAKind(beneath.client, prefix=fleet.prefix))
        with anyio.fail_after(10), pytest.raises(PlayheadError, match="no more files can be opened"):
            await worker.run()
    finally:
        await beneath.aclose()
