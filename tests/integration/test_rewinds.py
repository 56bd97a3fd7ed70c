"""A failover may lose the end of a log that was seen: no reader is ever given two histories in one."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import redis.asyncio

from playhead.client import Notice, Run
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import GapError, RewindError, RunNotFoundError
from playhead.runtime.core.events import Event
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.records import Entry, ToolProgressed
from playhead.runtime.log.values import Batch

if TYPE_CHECKING:
    from tests.support.fleet import Fleet, Owner

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Copy:
    """What a replica has of a run."""

    def __init__(self, fleet: Fleet, owner: Owner, keys: list[tuple[str, bytes]]) -> None:
        self._fleet = fleet
        self._owner = owner
        self._keys = keys

    @classmethod
    async def of(cls, fleet: Fleet, owner: Owner) -> Copy:
        """A copy as of now."""
        keys = (owner.stream, owner.log.keys.run(owner.id))
        return cls(fleet, owner, [(key, await fleet.ask("DUMP", key)) for key in keys])

    async def takes_over(self) -> None:
        """The replica is the primary now; what came after the copy is lost, in one moment for all readers."""
        async with redis.asyncio.Redis.from_url(self._fleet.url) as client, client.pipeline() as transaction:
            for key, dump in self._keys:
                transaction.execute_command("RESTORE", key, 0, dump, "REPLACE")
            await transaction.execute()

    async def loses_the_owner(self) -> None:
        """And the owner's lease runs out."""
        await self.takes_over()
        await self._fleet.ask("ZADD", self._owner.log.keys.leases, 1, self._owner.id)
        reaped = await self._owner.log.reap()
        assert reaped == [self._owner.id]

    async def has_another_owner(self) -> Owner:
        """And another worker takes the run over."""
        await self.loses_the_owner()
        claim = await self._owner.log.claim(self._owner.CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
        assert claim is not None
        return self._owner.of(claim)


async def resend(owner: Owner, *texts: str, after: int) -> None:
    """The owner sends again what was lost, and the next of it."""
    records = [owner.record(text) for text in texts]
    (result,) = await owner.log.append([Batch(owner.id, owner.claim.token, after, records)])
    assert result.stored
    owner.head = result.head


async def all_records(run: Run, *, after: Cursor = 0) -> list[Entry]:
    return [entry async for entry in run.records(after=after)]


async def all_events(run: Run, *, after: Cursor) -> list[Event]:
    return [event async for event in run.stream_async(after=after)]


def places(entries: list[Entry]) -> list[str]:
    return [entry.cursor for entry in entries]


# A tail that is open


@pytest.mark.parametrize("cut", [False, True])
async def test_other_records_under_numbers_seen_end_the_tail_and_name_what_is_common(fleet: Fleet, cut: bool) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("kept", "kept too")
        copy = await Copy.of(fleet, owner)
        await owner.append("seen", "and lost")
        async with aclosing(client.run(owner.id).records()) as records:
            assert [(await anext(records)).seq for _ in range(6)] == [1, 2, 3, 4, 5, 6]
            other = await copy.has_another_owner()
            await other.append("something", "else")
            if cut:
                assert await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(RewindError, match=r"record 6, which .* Read again after 4 \(after=4\)") as raised:
                await anext(records)
        assert (raised.value.expected, raised.value.found, raised.value.common) == (6, 6, 4)
        await other.end()
        again = await all_records(client.run(owner.id), after=raised.value.common)
        assert places(again) == ["5-2", "6-2", "7-2", "8-2"]


async def test_an_epoch_handed_out_twice_is_noticed_by_the_records(fleet: Fleet) -> None:
    """The loss includes the claim: the next owner's records have the very ids of those that were seen."""
    async with fleet.owner() as first, fleet.client() as client:
        log, run_id = first.log, first.id
        await first.append("one", "two")
        run_key = log.keys.run(run_id)
        async with aclosing(client.run(run_id).records()) as records:
            assert [(await anext(records)).seq for _ in range(4)] == [1, 2, 3, 4]
            ((_, submitted),) = await fleet.ask("XRANGE", first.stream, "1-0", "1-0")
            await fleet.ask("DEL", first.stream)
            await fleet.ask("XADD", first.stream, "1-0", *(part for field in submitted.items() for part in field))
            await fleet.ask("HSET", run_key, "head", 1, "epoch", 0, "state", "queued", "token", "")
            await fleet.ask("ZREM", log.keys.leases, run_id)
            await fleet.ask("ZADD", log.keys.ready("agent"), 1, run_id)
            claim = await log.claim(first.CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
            assert claim is not None
            assert (claim.epoch, claim.head) == (1, 2)
            other = first.of(claim)
            await other.append("one", "other", "three")
            with pytest.raises(RewindError) as raised:
                await anext(records)
        assert (raised.value.expected, raised.value.found) == (4, 4)
        assert raised.value.common < 4


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_the_owner_sends_again_is_seen_once(fleet: Fleet, at_once: bool) -> None:
    told: list[Notice] = []
    waits = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice)
        waits.set()

    async with (
        fleet.owner() as owner,
        fleet.client(on_notice=on_notice) as client,
        anyio.create_task_group() as tasks,
    ):
        await owner.append("kept")
        copy = await Copy.of(fleet, owner)
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await owner.append("lost", "lost too")
        await viewer.seen(5)
        await copy.takes_over()
        if not at_once:
            await waits.wait()
        await resend(owner, "lost", "lost too", "next", after=3)
        await viewer.seen(6)
        await owner.end()
        await viewer.seen(7)
        viewer.assert_dense(7)
        assert [notice.kind for notice in told] == ([] if at_once else ["rewound"])
        if not at_once:
            assert "lost the log after record 3, and 5 was seen" in told[0].message


async def test_a_log_that_no_owner_can_complete_ends_the_tail(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("seen", "and lost")
        async with aclosing(client.run(owner.id).records()) as records:
            assert [(await anext(records)).seq for _ in range(4)] == [1, 2, 3, 4]
            await copy.loses_the_owner()
            with pytest.raises(RewindError, match="the log ends before it") as raised:
                await anext(records)
        assert (raised.value.expected, raised.value.found, raised.value.common) == (4, None, 2)


async def test_another_owner_that_says_nothing_yet_ends_the_tail(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("seen", "and", "lost")
        async with aclosing(client.run(owner.id).records()) as records:
            assert [(await anext(records)).seq for _ in range(5)] == [1, 2, 3, 4, 5]
            assert (await copy.has_another_owner()).head == 3
            with pytest.raises(RewindError) as raised:
                await anext(records)
        assert (raised.value.expected, raised.value.found, raised.value.common) == (5, None, 2)


@pytest.mark.parametrize("more", [0, 1, 2])
async def test_a_run_that_ends_in_another_way_ends_the_tail(fleet: Fleet, more: int) -> None:
    """Shorter than what was seen, as long, or longer."""
    async with fleet.owner() as owner, fleet.client() as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("seen", "and", "lost")
        async with aclosing(client.run(owner.id).records()) as records:
            assert [(await anext(records)).seq for _ in range(5)] == [1, 2, 3, 4, 5]
            other = await copy.has_another_owner()
            if more:
                await other.append(*["other"] * more)
            await other.end()
            with pytest.raises(RewindError):
                await anext(records)


async def test_a_run_whose_whole_log_was_lost_is_not_found(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("seen")
        async with aclosing(client.run(owner.id).records()) as records:
            assert [(await anext(records)).seq for _ in range(3)] == [1, 2, 3]
            await fleet.ask("DEL", owner.stream, owner.log.keys.run(owner.id))
            assert await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(RunNotFoundError):
                await anext(records)


async def test_what_was_lost_before_a_reader_saw_it_is_not_a_rewind(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        await owner.append("seen")
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(3)
        copy = await Copy.of(fleet, owner)
        await owner.append_unpublished("lost")
        other = await copy.has_another_owner()
        await other.append("other")
        await other.end()
        await viewer.seen(6)
        assert places(viewer.entries) == ["1-0", "2-1", "3-1", "4-2", "5-2", "6-2"]


async def test_a_result_is_that_of_the_history_that_holds(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        copy = await Copy.of(fleet, owner)
        await owner.append("lost", "lost too")
        results: list[Any] = []

        async def wait() -> None:
            results.append(await client.run(owner.id).result())

        tasks.start_soon(wait)

        async def listens() -> bool:
            return client.statistics().subscriptions == 1

        await fleet.until(listens)
        other = await copy.has_another_owner()
        await other.end()
        with anyio.fail_after(10):
            while not results:  # noqa: ASYNC110 - nothing else happens
                await anyio.sleep(0.01)
        assert results[0].stop_reason == "end_turn"


async def test_a_record_that_is_not_equal_to_itself_is_not_a_rewind(fleet: Fleet) -> None:
    """A tool may well yield nan."""
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        use: ToolUse = {"toolUseId": "t", "name": "x", "input": {}}
        odd = encode_record(ToolProgressed(at=1, index=0, tool_use=use, data=float("nan")))
        (result,) = await owner.log.append([Batch(owner.id, owner.claim.token, owner.head, [odd])])
        owner.head = result.head
        await viewer.seen(3)
        assert await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await owner.append("next")
        await owner.end()
        await viewer.seen(5)
        viewer.assert_dense(5)


# A reader that comes back


@pytest.mark.parametrize("events", [True, False])
async def test_a_cursor_knows_whose_record_it_names(fleet: Fleet, events: bool) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("seen", "and lost")
        run = client.run(owner.id)
        async with aclosing(run.stream_async()) as stream:
            seen = [await anext(stream) for _ in range(4)]
        assert [event.cursor for event in seen] == ["3-1.0", "3-1", "4-1.0", "4-1"]
        other = await copy.has_another_owner()
        await other.append("other", "others")
        await other.end()
        for cursor in (event.cursor for event in seen):
            with pytest.raises(RewindError) as raised:
                await (all_events if events else all_records)(run, after=cursor)
            assert raised.value.expected == int(cursor[0])
        assert places(await all_records(run, after=4)) == ["5-2", "6-2"], "a bare number does not name its owner"
        assert places(await all_records(run, after="4-2")) == ["5-2", "6-2"]


@pytest.mark.parametrize("events", [True, False])
async def test_a_reader_that_comes_back_before_the_owner_has_sent_again_what_was_lost_waits(
    fleet: Fleet, events: bool
) -> None:
    waits = anyio.Event()
    async with (
        fleet.owner() as owner,
        fleet.client(on_notice=lambda _: waits.set()) as client,
        anyio.create_task_group() as tasks,
    ):
        copy = await Copy.of(fleet, owner)
        await owner.append("lost", "lost too")
        await copy.takes_over()
        run = client.run(owner.id)
        seen: list[int] = []

        async def come_back() -> None:
            if events:
                async for event in run.stream_async(after="4-1"):
                    seen.append(event.seq)  # noqa: PERF401
            else:
                seen.extend(entry.seq for entry in await all_records(run, after="4-1"))

        tasks.start_soon(come_back)
        await waits.wait()
        await resend(owner, "lost", "lost too", "next", after=2)
        await owner.end()
        with anyio.fail_after(10):
            while not seen or seen[-1] < 6:  # noqa: ASYNC110 - nothing else happens
                await anyio.sleep(0.01)
        assert seen == ([5, 5, 6] if events else [5, 6])


@pytest.mark.parametrize("state", ["queued", "ended"])
async def test_a_cursor_that_the_log_will_not_reach_again_is_told(fleet: Fleet, state: str) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("lost", "lost too")
        if state == "queued":
            await copy.loses_the_owner()
        else:
            await copy.takes_over()
            owner.head = 2
            await owner.end()
        run = client.run(owner.id)
        with pytest.raises(RewindError):
            await all_records(run, after="4-1")
        with pytest.raises(RewindError):
            await all_events(run, after="4-1.0")


async def test_a_bare_number_that_a_living_run_has_not_reached_is_a_gap_and_not_a_wait(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        with pytest.raises(GapError) as raised:
            await all_records(client.run(owner.id), after=50)
        assert not isinstance(raised.value, RewindError)
        assert (raised.value.expected, raised.value.found) == (51, None)


@pytest.mark.parametrize("events", [True, False])
async def test_waiting_for_what_the_owner_sends_again_can_be_left_and_leaves_nothing(
    fleet: Fleet, events: bool
) -> None:
    waits = anyio.Event()
    async with fleet.owner() as owner, fleet.client(on_notice=lambda _: waits.set()) as client:
        copy = await Copy.of(fleet, owner)
        await owner.append("lost")
        await copy.takes_over()
        run = client.run(owner.id)
        async with anyio.create_task_group() as tasks:
            reader = run.stream_async(after="3-1") if events else run.records(after="3-1")
            tasks.start_soon(anext, reader)
            await waits.wait()
            tasks.cancel_scope.cancel()
        assert client.statistics()[:2] == (0, 0)
        assert (await run.info()).state == "running"
