"""The worker survives what the server and its runs do to it: refusals, deletions, dead links, foreign writers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import pack
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.errors import ForeignRecordError, ModelConfigurationError, RunFailedError, RunNotFoundError
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import OpenAIModel, ScriptedModel, tool_call
from tests.support.quick_runs import assert_dense, completes, quick

if TYPE_CHECKING:
    from playhead.workers import Worker
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel, Steps

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def test_scripts_flushed_in_the_middle_of_a_run_are_loaded_again(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps = make_steps(hold=2)
    async with fleet.worker(steps.agent), fleet.client() as client:
        run = await client.start("steps", "Go")
        await steps.held.wait()
        await fleet.ask("SCRIPT", "FLUSH")
        steps.go.set()
        assert str(await run.result()) == "All done.\n"
        assert (await run.info()).epoch == 1
        await assert_dense(run)


async def test_a_worker_whose_keys_are_all_deleted_stops_the_run_and_goes_on(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps = make_steps(hold=2)
    async with fleet.worker(steps.agent, quick(), lease_ms=2000) as worker, fleet.client() as client:
        run = await client.start("steps", "Go")
        await steps.held.wait()
        await fleet.ask("FLUSHALL")
        steps.go.set()
        with pytest.raises(RunNotFoundError):
            await run.result()
        await completes(client)
        assert steps.done == [1, 2]
        await fleet.ended(worker, fenced=1, completed=1)
        assert await fleet.ask("EXISTS", client.log.keys.run(run.id)) == 0


async def test_a_worker_survives_the_death_of_all_its_connections(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps = make_steps(hold=2)
    log = fleet.log("victim")
    async with fleet.worker(steps.agent, quick(), log=log), fleet.client() as client:
        run = await client.start("steps", "Go")
        await steps.held.wait()
        for link in await fleet.connections("victim"):
            await fleet.ask("CLIENT", "KILL", "ID", link["id"])
        steps.go.set()
        assert str(await run.result()) == "All done.\n"
        await completes(client)
        await assert_dense(run)


async def test_a_blocked_read_that_the_server_ends_with_an_error_does_not_end_the_worker(fleet: Fleet) -> None:
    """A change of roles does that to every blocked client."""
    log = fleet.log("blocked")
    async with fleet.worker(quick(), log=log), fleet.client() as client:
        for _ in range(3):

            async def unblocked() -> bool:
                links = [link for link in await fleet.connections("blocked") if "b" in link["flags"]]
                return any([await fleet.ask("CLIENT", "UNBLOCK", link["id"], "ERROR") for link in links])

            await fleet.until(unblocked)
            await completes(client)


@pytest.mark.parametrize("setting", [("maxmemory", "1", "0"), ("min-replicas-to-write", "3", "0")])
async def test_a_server_that_refuses_writes_for_a_while_is_waited_out(
    fleet: Fleet, held_model: Callable[..., HeldModel], setting: tuple[str, str, str]
) -> None:
    name, refusing, usual = setting
    model = held_model()
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name="agent")) as worker, there.client() as client:
            run = await client.start("agent", "Hi")
            await model.held.wait()
            await there.ask("CONFIG", "SET", name, refusing)
            model.go.set()

            async def refused() -> bool:
                stats = await there.ask("INFO", "errorstats")
                return "errorstat_OOM" in stats or "errorstat_NOREPLICAS" in stats

            await there.until(refused)
            await there.ask("CONFIG", "SET", name, usual)
            assert str(await run.result()) == f"{model.text}\n"
            await fleet.ended(worker, completed=1)
            assert (await run.info()).epoch == 1
            await assert_dense(run)


async def test_a_run_whose_log_another_program_wrote_to_is_given_up_and_no_other(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent"), quick()) as worker, fleet.client() as client:
        bad, good = await client.start("agent", "Hi"), await client.start("agent", "Hi")
        await model.called(2)
        await model.held.wait()
        await fleet.ask("XADD", client.log.keys.log(bad.id), "*", "not", "ours")
        model.go.set()
        assert str(await good.result()) == f"{model.text}\n"
        with pytest.raises(ForeignRecordError):
            await bad.result()
        await completes(client)
        await fleet.ended(worker, fenced=1, completed=2)


async def test_a_queued_run_whose_log_another_program_wrote_to_does_not_end_the_worker(fleet: Fleet) -> None:
    async with fleet.client() as client:
        bad = await client.start("quick", "Hi")
        good = await client.start("quick", "Hi")
        await fleet.ask("XADD", client.log.keys.log(bad.id), "*", "not", "ours")
        async with fleet.worker(quick()):
            assert str(await good.result()) == "Done.\n"
            with pytest.raises(ForeignRecordError):
                await bad.result()
            await completes(client)


async def test_a_model_that_turns_out_unusable_fails_its_runs_and_not_the_worker(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)

    class Late(OpenAIModel):
        def check_ready(self) -> None:
            """Does not look: the key is missing only at the call."""

    broken = Agent(Late("m"), name="broken")
    async with fleet.worker(broken, quick()), fleet.client() as client:
        with pytest.raises(ModelConfigurationError):
            await client.invoke_async("broken", "Hi")
        await completes(client)


async def test_a_model_whose_stream_is_cancelled_from_within_costs_no_other_run_its_worker(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """A task group takes the cancellation of one of its tasks for its own, even if that task raised it itself."""

    class Cancelled(ScriptedModel):
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            async for chunk in super().stream(*args, **kwargs):
                yield chunk
                if "contentBlockDelta" in chunk:
                    raise asyncio.CancelledError

    model = held_model()
    broken = Agent(Cancelled(["Hello there"]), name="broken", callback_handler=None)
    async with fleet.worker(broken, Agent(model, name="agent")) as worker, fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        with pytest.raises(RunFailedError, match="cancelled from within"):
            await client.invoke_async("broken", "Hi")
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        await fleet.ended(worker, failed=1, completed=1)


async def test_a_signal_with_what_a_newer_version_adds_is_taken_in_and_ends_no_worker(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        newer = pack({"signal_id": "from later", "kind": "steer", "body": "And?", "added": 1})
        await fleet.ask("RPUSH", client.log.keys.inbox(run.id), newer)
        await fleet.ask("HINCRBY", client.log.keys.run(run.id), "inbox", 1)
        model.go.set()
        await run.received("from later")
        await run.result()
        assert len(model.calls) == 2


async def test_a_worker_that_cannot_renew_stops_its_runs_before_others_may_take_them(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name="agent"), lease_ms=3000) as worker, there.client() as client:
            run = await client.start("agent", "Hi")
            await model.held.wait()
            over_ms = float(
                await there.ask("ZSCORE", client.log.keys.leases, run.id)
            )  # by the server's clock, ours too
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await model.closed.wait()
                assert time.time() * 1000 < over_ms
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await fleet.ended(worker, fenced=1)
            model.go.set()
            assert str(await run.result()) == f"{model.text}\n"
            info = await run.info()
            assert (info.epoch, info.crashes) == (2, 0)  # it lives, and says so
            await assert_dense(run)


async def renewed(worker: Worker, times: int) -> None:
    """Wait for so many more renewals, one every third of the lease."""
    until = worker.statistics().renewals + times
    while worker.statistics().renewals < until:  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def test_a_server_without_memory_for_longer_than_the_lease_costs_no_run_its_owner(
    fleet: Fleet, make_steps: Callable[..., Steps]
) -> None:
    steps = make_steps(hold=2)
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.worker(steps.agent, lease_ms=2000) as worker, there.client() as client:
            run = await client.start("steps", "Go")
            await steps.held.wait()
            await there.ask("CONFIG", "SET", "maxmemory", "1")
            await renewed(worker, 4)
            assert [one.worker for one in await client.workers()] == [worker.name]
            await there.ask("CONFIG", "SET", "maxmemory", "0")
            steps.go.set()
            assert str(await run.result()) == "All done.\n"
            assert steps.done == [1, 2, 3]
            assert (await run.info()).epoch == 1


async def test_a_claim_refused_for_longer_than_the_lease_gives_a_run_that_is_held(fleet: Fleet) -> None:
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.client() as client:
            run = await client.start("quick", "Hi")
            await there.ask("CONFIG", "SET", "maxmemory", "1")
            async with there.worker(quick(), lease_ms=2000) as worker:
                await renewed(worker, 4)
                await there.ask("CONFIG", "SET", "maxmemory", "0")
                assert str(await run.result()) == "Done.\n"
                await fleet.ended(worker, completed=1)
                assert (await run.info()).crashes == 0


class DeafLog(RedisLog):
    """A log that gets no notification, as over a link that is dead and does not say so."""

    def __init__(self, beneath: RedisLog) -> None:
        super().__init__(beneath.client, prefix=beneath.keys.prefix)

    async def wait_for_work(self, queues: Sequence[str], *, worker: str, timeout: float) -> str | None:
        await anyio.sleep_forever()


async def test_a_worker_that_gets_no_notification_still_takes_its_work_and_its_signals(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """A notification is a hint: every wait ends in a claim, and a renewal tells of signals."""
    model = held_model()
    log = DeafLog(fleet.log("deaf"))
    async with fleet.worker(Agent(model, name="agent"), log=log, lease_ms=2000), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"


def sizes(thing: Any) -> dict[str, int]:
    """How much each container among a thing's attributes holds."""
    return {name: len(value) for name, value in vars(thing).items() if isinstance(value, Sized)}


async def test_a_workers_memory_does_not_grow_with_the_runs_it_has_had(fleet: Fleet) -> None:
    async with fleet.worker(quick()) as worker, fleet.client() as client:
        parts = [worker, *(value for value in vars(worker).values() if hasattr(value, "__dict__"))]
        seen: list[list[dict[str, int]]] = []
        for _ in range(3):
            runs = [await client.start("quick", "Hi") for _ in range(20)]
            for run in runs:
                await run.result()
                await run.cancel()

            async def idle() -> bool:
                return worker.statistics().running == 0

            await fleet.until(idle)
            seen.append([sizes(part) for part in parts])
        assert seen[0] == seen[-1]


async def test_tools_in_threads_do_not_keep_a_worker_from_renewing(fleet: Fleet) -> None:
    """A busy worker must not look like a dead one."""
    go = threading.Event()
    started = threading.Event()

    @tool
    def busy() -> str:
        """Computes without a pause until it is told."""
        started.set()
        while not go.is_set():
            sum(range(10_000))
        return "computed"

    def script(messages: Messages) -> Any:
        return "Done." if len(messages) > 1 else tool_call("busy", {})

    agent = Agent(ScriptedModel([script], repeat=True), name="busy", tools=[busy])
    try:
        async with fleet.worker(agent, quick(), lease_ms=2000), fleet.client() as client:
            run = await client.start("busy", "Hi")
            await anyio.to_thread.run_sync(started.wait)
            renewed = [await fleet.ask("ZSCORE", client.log.keys.leases, run.id)]

            async def renewed_again() -> bool:
                score = await fleet.ask("ZSCORE", client.log.keys.leases, run.id)
                if score != renewed[-1]:
                    renewed.append(score)
                return len(renewed) > 2

            await fleet.until(renewed_again)
            await completes(client)
            go.set()
            assert str(await run.result()) == "Done.\n"
            assert (await run.info()).epoch == 1
    finally:
        go.set()


async def test_a_run_whose_keys_are_damaged_costs_no_other_run_its_lease(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent"), lease_ms=2000) as worker, fleet.client() as client:
        bad, good = await client.start("agent", "Hi"), await client.start("agent", "Hi")
        await model.called(2)
        await fleet.ask("SET", client.log.keys.run(bad.id), "not ours")
        first = float(await fleet.ask("ZSCORE", client.log.keys.leases, good.id))

        async def renewed_past_its_lease() -> bool:
            score = await fleet.ask("ZSCORE", client.log.keys.leases, good.id)
            return float(score) > first + 2000

        await fleet.until(renewed_past_its_lease)
        await fleet.ask("DEL", client.log.keys.run(bad.id), client.log.keys.log(bad.id))
        model.go.set()
        assert str(await good.result()) == f"{model.text}\n"
        assert worker.statistics().renewals > 2


async def test_renewal_goes_on_after_dead_links_and_refusals_and_its_thread_ends_with_the_worker(
    fleet: Fleet, held_model: Callable[..., HeldModel], caplog: pytest.LogCaptureFixture
) -> None:
    model = held_model()
    log = fleet.log("victim")
    async with fleet.worker(Agent(model, name="agent"), log=log, lease_ms=2000) as worker, fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()

        async def renews() -> None:
            before = worker.statistics().renewals

            async def renewed() -> bool:
                return worker.statistics().renewals > before

            await fleet.until(renewed)

        await renews()
        for link in await fleet.connections("victim"):
            await fleet.ask("CLIENT", "KILL", "ID", link["id"])
        await renews()
        await fleet.ask("SCRIPT", "FLUSH")
        await renews()
        await fleet.ask("SET", client.log.keys.leases, "no longer a sorted set")

        async def refused() -> bool:
            return "renew: " in caplog.text and "WRONGTYPE" in caplog.text

        await fleet.until(refused)
        await fleet.ask("DEL", client.log.keys.leases)
        await renews()
        assert any(thread.name == "playhead leases" for thread in threading.enumerate())
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        assert (await run.info()).epoch == 1
    assert not any(thread.name == "playhead leases" for thread in threading.enumerate())


async def test_leases_are_renewed_by_connections_of_their_own(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """All the worker's other connections may be blocked, or wait for a slow call."""
    model = held_model()
    log = fleet.log("busy")
    async with fleet.worker(Agent(model, name="agent"), log=log, lease_ms=2000) as worker, fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        async with anyio.create_task_group() as tasks:
            for _ in range(8):  # the whole pool
                tasks.start_soon(log.client.execute_command, "BLPOP", "nothing", 4)
            before = worker.statistics().renewals

            async def renewed() -> bool:
                return worker.statistics().renewals > before + 2

            await fleet.until(renewed)
            tasks.cancel_scope.cancel()
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"
        assert (await run.info()).epoch == 1
