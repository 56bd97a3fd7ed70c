"""The primary is killed, a replica takes its place, and worker and viewer go on by themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from playhead.runtime.core.errors import RewindError, RunNotFoundError
from playhead.runtime.core.events import Event
from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels
from tests.support.fleet import replicated
from tests.support.programs import events_in, everything

if TYPE_CHECKING:
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

TEXT = "".join(f"word{number} " for number in range(20))
LONG_MS = 10_000  # a lease that outlasts the failover: what is tested is that no other worker has to take over


@pytest.fixture
def servers() -> Iterator[EmbeddedSentinels]:
    with EmbeddedSentinels(down_after_ms=300) as made:
        yield made


async def until(events: AsyncIterator[Event], word: str) -> None:
    """Read up to this word."""
    async for event in events:
        if event.get("data") == word:
            break


@pytest.mark.parametrize(("durability", "replicas"), [("memory", 1), ("replicated", 2)])
async def test_worker_and_viewer_go_on_at_the_new_primary(programs: Programs, durability: str, replicas: int) -> None:
    """With `replicated` the new primary needs a replica in its turn: nothing is stored before it has one."""
    with EmbeddedSentinels(down_after_ms=300, replicas=replicas) as servers:
        there = programs.at(servers.url)
        async with there.client() as client:
            run = await client.start("talker", "Go")
            worker = await there.worker(hold="word 9", lease_ms=LONG_MS, durability=durability)
            viewer = await there.viewer(run)
            lines = await viewer.lines_until("word9 ")
            await replicated(client.log)
            await to_thread.run_sync(servers.fail_over)
            await worker.tell("go")
            lines += await viewer.rest()
            assert lines[-1] == {"said": "ended"}
            assert events_in(lines) == await everything(run)
            assert (await run.info()).epoch == 1
            await there.dense_entries(run)
            again = await client.start("talker", "Again")
            assert str(await again.result()) == f"{TEXT}\n"


async def test_a_primary_that_hangs_is_left_before_the_lease_is_lost(
    programs: Programs, servers: EmbeddedSentinels
) -> None:
    there = programs.at(servers.url)
    async with there.client() as client:
        run = await client.start("talker", "Go")
        worker = await there.worker(hold="word 9", lease_ms=LONG_MS)
        viewer = await there.viewer(run)
        lines = await viewer.lines_until("word9 ")
        await replicated(client.log)
        os.kill(servers.primary.pid, signal.SIGSTOP)
        try:
            await worker.tell("go")
            lines += await viewer.rest()
        finally:
            os.kill(servers.primary.pid, signal.SIGCONT)
        assert lines[-1] == {"said": "ended"}
        async with there.client() as fresh:  # this one may still be in the middle of a call to the one that hung
            run = fresh.run(run.id)
            assert events_in(lines) == await everything(run)
            assert (await run.info()).epoch == 1
            await there.dense_entries(run)


async def test_what_a_failover_lost_is_written_again_by_its_owner_and_no_reader_notices(
    programs: Programs, servers: EmbeddedSentinels
) -> None:
    there = programs.at(servers.url)
    async with there.client() as client:
        run = await client.start("talker", "Go")
        worker = await there.worker(hold="word 5, word 12", lease_ms=LONG_MS)
        viewer = await there.viewer(run)
        lines = await viewer.lines_until("word5 ")
        await replicated(client.log)
        await to_thread.run_sync(servers.cut_replication)
        await worker.tell("go")
        lines += await viewer.lines_until("word12 ")
        head = (await run.info()).head
        await to_thread.run_sync(servers.fail_over)
        assert (await run.info()).head < head, "the failover lost records that the viewer has seen"
        await worker.tell("go")
        lines += await viewer.rest()
        assert lines[-1] == {"said": "ended"}
        assert events_in(lines) == await everything(run)
        assert (await run.info()).epoch == 1
        await there.dense_entries(run)
        assert "which it had acknowledged; sending them again" in worker.logged


async def test_a_claim_that_a_failover_lost_is_made_again_and_readers_that_saw_it_are_told(
    programs: Programs, servers: EmbeddedSentinels
) -> None:
    there = programs.at(servers.url)
    async with there.client() as client:
        run = await client.start("talker", "Go")
        await replicated(client.log)
        await to_thread.run_sync(servers.cut_replication)
        worker = await there.worker(hold="word 9", lease_ms=LONG_MS)
        async with aclosing(run.stream_async()) as events:
            await until(events, "word9 ")
            await to_thread.run_sync(servers.fail_over)
            await worker.tell("go")
            with pytest.raises(RewindError):
                await until(events, "never said")
        assert str(await run.result()) == f"{TEXT}\n"
        entries = await there.dense_entries(run)
        assert [entry.record.type for entry in entries].count("run.claimed") == (await run.info()).epoch
        assert worker.alive


async def test_what_a_failover_lost_with_its_owner_is_made_anew_and_readers_that_saw_it_are_told(
    programs: Programs, servers: EmbeddedSentinels
) -> None:
    there = programs.at(servers.url)
    async with there.client() as client:
        run = await client.start("talker", "Go")
        worker = await there.worker(hold="word 5, word 12")
        async with aclosing(run.stream_async()) as events:
            await until(events, "word5 ")
            kept = (await run.info()).head
            await replicated(client.log)
            await to_thread.run_sync(servers.cut_replication)
            await worker.tell("go")
            await until(events, "word12 ")
            await worker.kill()
            await to_thread.run_sync(servers.fail_over)
            await there.expire_lease(run)
            await there.worker()
            with pytest.raises(RewindError) as raised:
                await until(events, "never said")
        assert raised.value.common <= kept
        again = [event async for event in run.stream_async(after=raised.value.common)]
        assert "".join(event["text"] for event in again if "retracted" in event) == TEXT[: TEXT.index("word6 ")]
        assert str(await run.result()) == f"{TEXT}\n"
        await there.dense_entries(run)


async def test_a_submission_that_a_failover_lost_is_reported_and_can_be_made_again(
    programs: Programs, servers: EmbeddedSentinels
) -> None:
    there = programs.at(servers.url)
    async with there.client() as client:
        await to_thread.run_sync(servers.cut_replication)
        run = await client.start("talker", "Go")
        worker = await there.worker(hold="word 9", lease_ms=LONG_MS)
        await worker.hears("held")
        async with aclosing(run.stream_async()) as events:
            await until(events, "word9 ")
            await to_thread.run_sync(servers.fail_over)
            with pytest.raises(RunNotFoundError):
                await anext(events)
        await worker.tell("go")
        with pytest.raises(RunNotFoundError):
            await run.result()
        again = await client.start("talker", "Go", run_id=run.id)
        assert str(await again.result()) == f"{TEXT}\n"
        await there.dense_entries(again)
        assert worker.alive


async def test_worker_and_viewer_go_on_when_a_node_of_a_cluster_dies(programs: Programs) -> None:
    with EmbeddedCluster(replicas=1) as servers:
        there = programs.at(servers.url)
        async with there.client() as client:
            run = await client.start("talker", "Go")
            worker = await there.worker(hold="word 9", lease_ms=LONG_MS)
            viewer = await there.viewer(run)
            lines = await viewer.lines_until("word9 ")
            await replicated(client.log)
            os.kill(servers.owner(there.prefix).pid, signal.SIGKILL)
            await worker.tell("go")
            lines += await viewer.rest()
            assert lines[-1] == {"said": "ended"}
            assert events_in(lines) == await everything(run)
            assert (await run.info()).epoch == 1
            await there.dense_entries(run)
