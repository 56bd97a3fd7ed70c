"""What a tail cannot read ends it with one clear error: never a silent skip, never a wait for ever."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest

from playhead.client import Run
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import ForeignRecordError, GapError, PlayheadError, RunNotFoundError
from playhead.runtime.core.events import Event
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import Entry, RunPaused
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.values import Batch

if TYPE_CHECKING:
    from tests.support.fleet import Fleet, Owner

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def all_records(run: Run, *, after: int = 0) -> list[Entry]:
    return [entry async for entry in run.records(after=after)]


async def all_events(run: Run, after: int | str | None = None) -> list[Event]:
    return [event async for event in run.stream_async(after=after)]


async def test_an_unknown_run_is_not_found(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = client.run(new_run_id())
        with anyio.fail_after(10):
            for read in (lambda: all_records(run), lambda: all_events(run), lambda: all_events(run, after=5)):
                with pytest.raises(RunNotFoundError, match=f"no run '{run.id}'"):
                    await read()
            for ask in (run.info, run.result, run.cancel):
                with pytest.raises(RunNotFoundError, match=f"no run '{run.id}'"):
                    await ask()


@pytest.mark.parametrize("ended", [True, False])
async def test_a_cursor_beyond_the_head_is_a_gap(fleet: Fleet, ended: bool) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        if ended:
            await owner.end()
        with pytest.raises(GapError) as raised:
            await all_events(client.run(owner.id), after=50)
        assert (raised.value.run_id, raised.value.expected, raised.value.found) == (owner.id, 50, owner.head)
        if ended:
            with pytest.raises(GapError) as raised:
                await all_records(client.run(owner.id), after=50)
            assert (raised.value.expected, raised.value.found) == (51, None)


@pytest.mark.parametrize("how", ["XDEL", "XTRIM"])
async def test_a_log_trimmed_by_hand_is_a_gap_and_not_a_silent_skip(fleet: Fleet, how: str) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("a", "b", "c", "d")
        await owner.end()
        cut = ("XDEL", owner.stream, "4-1") if how == "XDEL" else ("XTRIM", owner.stream, "MINID", "5-0")
        assert await fleet.ask(*cut)
        found: list[int] = []

        async def read(after: int) -> None:
            async for entry in client.run(owner.id).records(after=after):
                found.append(entry.seq)  # noqa: PERF401 - those before the gap count too

        with pytest.raises(GapError) as raised:
            await read(0)
        assert found == ([1, 2, 3] if how == "XDEL" else [])
        assert (raised.value.expected, raised.value.found) == ((4, 5) if how == "XDEL" else (1, 5))
        found.clear()
        await read(4)
        assert found == [5, 6, 7], "whole records after the cursor are still read"


async def test_a_log_trimmed_while_it_is_watched_ends_the_tail(fleet: Fleet) -> None:
    async with (
        fleet.owner() as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]
        await owner.append_unpublished("lost")
        await fleet.ask("XDEL", owner.stream, "3-1")
        await owner.append("kept")
        with pytest.raises(GapError, match="record 3 is missing"):
            await anext(records)


async def test_a_log_whose_end_was_lost_is_a_gap(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("a")
        await owner.end()
        await fleet.ask("XDEL", owner.stream, f"{owner.head}-1")
        with pytest.raises(GapError) as raised:
            await all_records(client.run(owner.id))
        assert (raised.value.expected, raised.value.found) == (owner.head, None)


async def test_a_foreign_entry_is_named_and_not_shown(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await fleet.ask("XADD", owner.stream, "3-1", "hello", "world")
        with pytest.raises(ForeignRecordError, match=r"entry 3-1: not written by playhead \(fields \['hello'\]\)"):
            await all_records(client.run(owner.id))


@pytest.mark.parametrize("junk", [b"\xc1", b"\x93\x01", b"\x05", b"\x81\xa1v\x01"])
async def test_a_damaged_entry_is_named(fleet: Fleet, junk: bytes) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await fleet.ask("XADD", owner.stream, "3-1", "r", junk)
        with pytest.raises(ForeignRecordError, match="entry 3-1: not a playhead record"):
            await all_records(client.run(owner.id))


@pytest.mark.parametrize("junk", [b"hello", b"3-1 1\n\xc1", b"x-y 1\n", b"3-1\n", b"3-1 1\n\x93\x01\x01"])
async def test_junk_on_the_channel_ends_no_tail(fleet: Fleet, junk: bytes) -> None:
    async with (
        fleet.owner() as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]

        async def heard() -> bool:
            return bool(await fleet.ask("PUBLISH", owner.stream, junk))

        await fleet.until(heard)
        await owner.append("next")
        assert (await anext(records)).seq == 3


@pytest.mark.parametrize("how", ["PEXPIRE", "FLUSHALL"])
async def test_a_run_that_goes_while_it_is_watched_is_not_found(fleet: Fleet, how: str) -> None:
    async with (
        fleet.owner() as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]
        if how == "FLUSHALL":
            await fleet.ask("FLUSHALL")
        else:
            for key in (owner.stream, owner.log.keys.run(owner.id)):
                await fleet.ask("PEXPIRE", key, 1)
        with pytest.raises(RunNotFoundError, match="its records up to 2 were read; since then Redis was emptied"):
            await anext(records)


async def paused(owner: Owner) -> None:
    """The owner pauses the run, as its record 3."""
    asked = {"id": "q", "name": "q", "reason": None, "response": None}
    record = encode_record(RunPaused(at=1, interrupts=[asked], result={}))
    result = await owner.log.pause(Batch(owner.id, owner.claim.token, owner.head, [record]), interrupts=["q"])
    assert result.stored


async def test_a_tail_at_a_pause_whose_client_was_closed_with_redis_away_ends(fleet: Fleet) -> None:
    """It asks whether the run is still paused, and gets no reply."""
    async with EmbeddedServer.running(durable=False) as server:
        there = fleet.at(server.url)
        async with there.owner() as owner:
            await paused(owner)
            async with there.client() as client:
                records = client.run(owner.id).records()
                assert [(await anext(records)).seq for _ in range(3)] == [1, 2, 3]
                await server.stop()
            async with aclosing(records):
                with anyio.fail_after(10), pytest.raises(PlayheadError, match="the client was closed"):
                    await anext(records)


async def test_a_pause_whose_record_is_gone_is_a_gap(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await paused(owner)
        await fleet.ask("DEL", owner.stream)
        with pytest.raises(GapError):
            await all_records(client.run(owner.id), after=3)
