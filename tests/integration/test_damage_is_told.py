"""Damage by another program is told within seconds, by a typed error or a notice: no reader waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.runtime import Agent
from playhead.runtime.core.codec import pack
from playhead.runtime.core.errors import ForeignRecordError, GapError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.log.values import Batch, NewRun, RunEnd, WriteStatus

if TYPE_CHECKING:
    from playhead.client import Run
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SECONDS = 12.0
FORGED = pack([1, 1, "forged"])


async def told(read: Callable[[], Any], error: type[Exception], match: str) -> None:
    with anyio.fail_after(SECONDS), pytest.raises(error, match=match):
        await read()


async def streamed(run: Run) -> None:
    async for _ in run.stream_async():
        pass


@pytest.mark.parametrize("state", ["queued", "cancelled"])
async def test_an_entry_above_the_head_is_an_error_to_every_reader(fleet: Fleet, state: str) -> None:
    async with fleet.client() as client:
        run = await client.start("absent", "Hi")
        await fleet.ask("XADD", client.log.keys.log(run.id), "2-0", "r", FORGED)
        if state == "cancelled":
            await run.cancel()
            await told(run.result, ForeignRecordError, "record 2, and the run has 1")
        await told(lambda: streamed(run), ForeignRecordError, f"playhead doctor {run.id}")


@pytest.mark.parametrize(
    ("field", "value"), [("state", "banana"), ("head", "many"), ("epoch", b"\xff"), ("created", "")]
)
async def test_a_hash_that_is_nonsense_is_an_error_to_every_reader_and_hides_no_other_run(
    fleet: Fleet, field: str, value: str | bytes
) -> None:
    async with fleet.client() as client:
        good = await client.start("absent", "Hi")
        bad = await client.start("absent", "Hi")
        await fleet.ask("HSET", client.log.keys.run(bad.id), field, value or "x")
        for read in (bad.info, bad.result, lambda: streamed(bad)):
            await told(read, ForeignRecordError, "its hash is damaged")
        assert [info.run_id for info in await client.runs()] == [good.id]


async def test_a_running_run_without_a_lease_is_found_and_goes_on(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await fleet.ask("ZREM", owner.log.keys.leases, owner.id)
        await fleet.ask("HSET", owner.log.keys.run(owner.id), "agent", "agent")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.viewer(client.run(owner.id)).watch)
            with anyio.fail_after(SECONDS):
                await fleet.until(lambda: queued(client.run(owner.id)))
            tasks.cancel_scope.cancel()


async def queued(run: Run) -> bool:
    return (await run.info()).state == "queued"


async def test_a_living_owner_keeps_a_run_whose_lease_another_program_removed(fleet: Fleet) -> None:
    log = fleet.log()
    run_id, token = new_run_id(), new_token()
    await log.submit(NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent")))
    await log.claim({"agent": b"\x80"}, worker="w", token=token, lease_ms=60_000)
    assert await log.adopt([run_id]) == [], "it has its lease"
    await fleet.ask("ZREM", log.keys.leases, run_id)
    assert await log.adopt([run_id, "no-such-run"]) == [run_id]
    (renewal,) = await log.renew([(run_id, token)], lease_ms=60_000)
    assert renewal.ours
    assert await log.reap() == []
    await log.aclose()


@pytest.mark.parametrize(
    "garbage",
    [b"", b"hello", b"\xff\xfe", b"2-1 1\n", b"2-1 1\n\xc1", b"9-1 9\n" + b"\x80" * 9, b"3-1 1\n\x80", b"-5-1 1\n\x80"],
)
async def test_garbage_on_the_channel_ends_no_tail_whose_log_is_whole(fleet: Fleet, garbage: bytes) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(2)
        for _ in range(3):
            await fleet.ask("PUBLISH", owner.stream, garbage)
        await owner.append("one", "two")
        await fleet.ask("PUBLISH", owner.stream, garbage)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)


async def test_a_log_deleted_under_its_owner_is_not_begun_again_in_its_middle(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with (
        fleet.worker(Agent(model, name="agent", callback_handler=None), lease_ms=2000) as worker,
        fleet.client() as client,
    ):
        run = await client.start("agent", "Hi")
        await model.held.wait()
        await fleet.ask("DEL", client.log.keys.log(run.id))
        model.go.set()
        await told(run.result, GapError, "is missing")
        with anyio.fail_after(SECONDS):
            await fleet.until(lambda: failed(run))
        assert await fleet.ask("EXISTS", client.log.keys.log(run.id)) == 0
        assert worker.statistics().ended["fenced"] == 1


async def failed(run: Run) -> bool:
    return (await run.info()).state == "failed"


@pytest.mark.parametrize("write", ["append", "finish", "release", "pause"])
async def test_no_write_makes_a_deleted_log_anew(fleet: Fleet, write: str) -> None:
    async with fleet.owner() as owner:
        log, batch = owner.log, Batch(owner.id, owner.claim.token, owner.head, [owner.END])
        await fleet.ask("DEL", owner.stream)
        before = await fleet.ask("HGETALL", log.keys.run(owner.id))
        if write == "append":
            (result,) = await log.append([batch])
        elif write == "finish":
            result = await log.finish(RunEnd(batch, "completed"))
        elif write == "release":
            result = await log.release(batch)
        else:
            result = await log.pause(batch, interrupts=["i"])
        assert result.status is WriteStatus.GONE
        assert await fleet.ask("EXISTS", owner.stream) == 0
        assert await fleet.ask("HGETALL", log.keys.run(owner.id)) == before
