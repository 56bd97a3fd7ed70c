"""Replies lost on the way back: the server has done as asked, the caller cannot know, and everything happens once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client, Run
from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import ToolFinished
from playhead.runtime.log.redis.script import Script
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

STEPS = 4


class Steps:
    """An agent that calls a tool four times, one after the other, and talks in between; it counts the calls."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

        @tool
        async def step(run: str, number: int) -> str:
            """One step."""
            self.done.append((run, number))
            return "done"

        def script(messages: Messages) -> Any:
            number = sum("toolResult" in block for message in messages for block in message.get("content", []))
            text = messages[0].get("content", [])[0]["text"]
            if number == STEPS:
                return "All of it is done now, and here is what there is to say about it."
            return tool_call("step", {"run": text, "number": number}, f"t{number}", text="Now the next one.")

        self.agent = Agent(ScriptedModel([script], repeat=True), name="steps", tools=[step], callback_handler=None)


async def assert_whole(run: Run) -> None:
    """The run ended well, its log is dense, and each step finished once."""
    assert (await run.result()).stop_reason == "end_turn"
    entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    types = [entry.record.type for entry in entries]
    assert types.count("run.submitted") == types.count("run.completed") == 1
    assert sum(isinstance(entry.record, ToolFinished) for entry in entries) == STEPS


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_a_worker_that_loses_every_nth_reply_still_does_everything_once(
    fleet: Fleet, proxy: Proxy, every: int
) -> None:
    steps, runs = Steps(), dict[str, Run]()
    async with fleet.client() as client:
        async with fleet.at(proxy.url).worker(steps.agent):
            proxy.lose(every=every)
            while proxy.lost < 5:  # how many replies there are depends on how many records share an append
                for name in [f"run {len(runs) + number}" for number in range(4)]:
                    runs[name] = await client.start("steps", name)
                for run in runs.values():
                    await run.result()
            proxy.lose(every=None)
        for run in runs.values():
            await assert_whole(run)
            assert (await run.info()).epoch == 1, "a lost reply does not lose the run"
        assert sorted(steps.done) == sorted((name, number) for name in runs for number in range(STEPS))


LEASE_MS = 6000
"""With it a run is given up 1.5 s after the last try that succeeds here, and a busy machine may hold a worker up so long."""


async def held_beyond_its_first_lease(fleet: Fleet, client: Client, run: Run) -> None:
    """Until a renewal has gone through after the time when the lease of the claim ended, by the server's own keys."""
    leases = client.log.keys.leases
    first = float(await fleet.ask("ZSCORE", leases, run.id))

    async def held() -> bool:
        until = await fleet.ask("ZSCORE", leases, run.id)
        assert until is not None, "it was taken from its owner"
        return float(until) > first + LEASE_MS

    await fleet.until(held)


async def test_renewals_whose_link_hangs_go_over_another_and_keep_the_lease(
    fleet: Fleet, proxy: Proxy, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.client() as client, fleet.at(proxy.url).worker(Agent(model, name="agent"), lease_ms=LEASE_MS):
        run = await client.start("agent", "Hi")
        await model.held.wait()
        proxy.silence(Script("renew"))
        await held_beyond_its_first_lease(fleet, client, run)
        assert not model.closed.is_set()
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        assert (await run.info()).epoch == 1


async def test_renewals_whose_replies_are_lost_half_of_the_time_keep_the_lease(
    fleet: Fleet, proxy: Proxy, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.client() as client, fleet.at(proxy.url).worker(Agent(model, name="agent"), lease_ms=LEASE_MS):
        run = await client.start("agent", "Hi")
        await model.held.wait()
        proxy.lose(every=2, only=Script("renew"))
        await held_beyond_its_first_lease(fleet, client, run)
        assert proxy.lost >= 2
        assert not model.closed.is_set()
        proxy.lose(every=None)
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        assert (await run.info()).epoch == 1


async def test_a_client_whose_links_are_cut_sees_everything_once(fleet: Fleet, proxy: Proxy) -> None:
    steps = Steps()
    async with fleet.worker(steps.agent), fleet.at(proxy.url).client(on_notice=lambda notice: None) as client:
        run = await client.start("steps", "run")
        proxy.cut()
        events = [event async for event in run.stream_async()]
        assert events == [event async for event in run.stream_async()]
        await assert_whole(run)


async def test_a_submission_whose_reply_was_lost_can_be_sent_again(fleet: Fleet, proxy: Proxy) -> None:
    async with fleet.at(proxy.url).client() as client:
        run_id = new_run_id()
        proxy.lose(every=1)
        with pytest.raises(LogUnavailableError, match="cannot reach Redis"):
            await client.start("steps", "run", run_id=run_id)
        proxy.lose(every=None)
        run = await client.start("steps", "run", run_id=run_id)
        assert (await run.info()).head == 1
        assert len(await client.runs()) == 1


async def test_a_cancel_whose_reply_was_lost_can_be_sent_again(fleet: Fleet, proxy: Proxy) -> None:
    async with fleet.at(proxy.url).client() as client:
        run = await client.start("steps", "run")
        proxy.lose(every=1)
        with pytest.raises(LogUnavailableError):
            await run.cancel(signal_id="once")
        proxy.lose(every=None)
        assert await run.cancel(signal_id="once") == "cancelled"
        assert [entry.record.type async for entry in run.records()] == [
            "run.submitted",
            "signal.received",
            "run.cancelled",
        ]


async def test_links_cut_again_and_again_under_worker_and_client_leave_whole_runs(fleet: Fleet, proxy: Proxy) -> None:
    steps = Steps()
    there = fleet.at(proxy.url)
    async with there.client(on_notice=lambda notice: None) as client:
        runs = [await client.start("steps", f"run {number}") for number in range(3)]
        async with there.worker(steps.agent, concurrency=1):
            for run in runs:
                seen: list[int] = []
                async for entry in run.records():
                    seen.append(entry.seq)
                    if entry.seq % 20 == 0:
                        proxy.cut()
                assert seen == list(range(1, len(seen) + 1))
        for run in runs:
            await assert_whole(run)
            assert (await run.info()).epoch == 1
        assert len(steps.done) == len(set(steps.done)) == 3 * STEPS
