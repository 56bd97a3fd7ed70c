"""The tail: every record once and in order, whatever happens to the link, the log or the viewer in between."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable, Sized
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.client import Client, Notice, Run
from playhead.client.hub import Hub, Subscription
from playhead.runtime import Agent, tool
from playhead.runtime.codec import encode_record, pack
from playhead.runtime.embedded import EmbeddedServer
from playhead.runtime.errors import ForeignRecordError, GapError, RunNotFoundError
from playhead.runtime.events import Event
from playhead.runtime.log.base import Batch, Claim, Finish, NewRun, new_run_id, new_token
from playhead.runtime.log.redis import RedisLog, connect
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.records import Entry, ModelChunk, Record, RunClaimed, RunCompleted, RunSubmitted

if TYPE_CHECKING:
    from .conftest import Fleet, HeldModel, Proxy

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENT = "agent"


def text(value: str) -> bytes:
    return encode_record(ModelChunk(at=1, chunk={"contentBlockDelta": {"delta": {"text": value}}}))


CLAIMED = {AGENT: encode_record(RunClaimed(at=1, worker="w"))}
END = encode_record(RunCompleted(at=1, result={"stop_reason": "end_turn", "message": {}, "metrics": {}, "state": {}}))


class Owner:
    """Owns one run and writes what the test wants: a worker without a will of its own."""

    def __init__(self, log: RedisLog, claim: Claim) -> None:
        self.log = log
        self.claim = claim
        self.head = claim.head

    @property
    def id(self) -> str:
        return self.claim.run_id

    @property
    def stream(self) -> str:
        return self.log.keys.log(self.id)

    def _batch(self, records: list[bytes]) -> Batch:
        return Batch(self.id, self.claim.token, self.head, records)

    async def append(self, *texts: str) -> None:
        (answer,) = await self.log.append([self._batch([text(one) for one in texts])])
        assert answer.stored
        self.head = answer.head

    async def append_unheard(self, one: str) -> None:
        """As `append`, but the published message is lost."""
        self.head += 1
        await self.log.client.execute_command("XADD", self.stream, f"{self.head}-{self.claim.epoch}", "r", text(one))
        await self.log.client.execute_command("HSET", self.log.keys.run(self.id), "head", self.head)

    async def end(self) -> None:
        answer = await self.log.finish(Finish(self._batch([END]), "completed"))
        assert answer.stored
        self.head = answer.head


@asynccontextmanager
async def owning(fleet: Fleet) -> AsyncGenerator[Owner]:
    """The owner of a fresh run."""
    log = fleet.log("owner")
    try:
        yield await owner_of(log, new_run_id())
    finally:
        await log.aclose()


async def owner_of(log: RedisLog, run_id: str) -> Owner:
    await log.submit(NewRun(run_id, AGENT, RunSubmitted(at=1, agent=AGENT)))
    claim = await log.claim(CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
    assert claim is not None
    assert claim.run_id == run_id
    return Owner(log, claim)


class Viewer:
    """Tails a run in a task and keeps what it saw."""

    def __init__(self, run: Run, *, after: int = 0) -> None:
        self.entries: list[Entry] = []
        self._run = run
        self._after = after
        self._grown = anyio.Event()

    async def watch(self) -> None:
        async for entry in self._run.records(after=self._after):
            self.entries.append(entry)
            self._grown.set()
            self._grown = anyio.Event()

    async def seen(self, seq: int) -> None:
        """Wait until record `seq` has been seen."""
        while not self.entries or self.entries[-1].seq < seq:
            await self._grown.wait()

    def assert_dense(self, head: int) -> None:
        assert [entry.seq for entry in self.entries] == list(range(self._after + 1, head + 1))


def texts_of(records: list[Record]) -> list[str]:
    return [record.chunk["contentBlockDelta"]["delta"]["text"] for record in records if isinstance(record, ModelChunk)]


async def all_records(run: Run, *, after: int = 0) -> list[Entry]:
    return [entry async for entry in run.records(after=after)]


async def all_events(run: Run, after: int | str | None = None) -> list[Event]:
    return [event async for event in run.stream_async(after=after)]


# Records come once and in order


async def test_records_come_live_once_and_in_order_and_the_tail_ends_with_the_terminal_one(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        for number in range(50):
            await owner.append(f"{number} a", f"{number} b")
            await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(103)
        assert client.statistics().messages >= 51, "they came by the link, not by looking again and again"
        assert client.statistics().reconnects == 0


async def test_a_hole_in_what_is_published_is_filled_from_the_log(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await owner.append("heard")
        await viewer.seen(owner.head)
        for number in range(5):
            await owner.append_unheard(f"{number} unheard")
            await owner.append_unheard(f"{number} unheard either")
            await owner.append(f"{number} heard")
            with anyio.fail_after(0.9):  # before the tail would look at the run by itself
                await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)


async def test_what_nobody_published_is_found_by_looking_now_and_then(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        await owner.append_unheard("nobody tells")
        await viewer.seen(owner.head)
        await owner.end()


async def test_an_end_that_nobody_published_ends_the_tail(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        run_key = owner.log.keys.run(owner.id)
        await fleet.ask("XADD", owner.stream, "3-1", "r", END)
        await fleet.ask("HSET", run_key, "head", "3", "state", "completed")


async def test_what_is_published_twice_or_late_is_seen_once(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        await owner.append("a", "b", "c")
        for first, batch in ((3, "abc"), (4, "bc"), (3, "ab")):
            await fleet.ask("PUBLISH", owner.stream, f"{first}-1\n".encode() + b"".join(map(text, batch)))
        await owner.append("d")
        await fleet.ask("PUBLISH", owner.stream, b"5-1\n" + text("c") + text("d") + text("e"))
        await owner.append_unheard("e")  # that message overtook its record's being looked at; it is one record still
        await owner.append("f")
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)
        assert texts_of([entry.record for entry in viewer.entries]) == list("abcdef")


async def test_a_killed_link_is_made_again_and_nothing_is_missed(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewers = [Viewer(client.run(owner.id)) for _ in range(3)]
        for viewer in viewers:
            tasks.start_soon(viewer.watch)
        for number in range(5):
            await owner.append(f"before {number}")
            await viewers[0].seen(owner.head)
            assert await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await owner.append(f"meanwhile {number}")
        await owner.end()
        for viewer in viewers:
            await viewer.seen(owner.head)
            viewer.assert_dense(owner.head)
        assert client.statistics().reconnects >= 1


async def test_every_link_killed_over_and_over_loses_nothing(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client(name="victim") as client, anyio.create_task_group() as tasks:
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        for number in range(20):
            await owner.append(str(number))
            for link in await fleet.connections("victim"):
                await fleet.ask("CLIENT", "KILL", "ID", link["id"])
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)


async def test_a_dead_link_that_looks_alive_does_not_stop_a_tail(fleet: Fleet, proxy: Proxy) -> None:
    async with (
        owning(fleet) as owner,
        fleet.at(proxy.url).client() as client,
        anyio.create_task_group() as tasks,
    ):
        viewer = Viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await owner.append("heard")
        await viewer.seen(owner.head)
        proxy.hold(only_subscribers=True)
        for number in range(2):
            await owner.append(f"not heard {number}")
            await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)
        proxy.let_go()


async def test_a_run_watched_again_while_the_server_still_ends_the_former_watch_is_heard_at_once(
    fleet: Fleet,
) -> None:
    """The server's word that a channel ended must not be taken for the end of the one begun since."""
    client = connect(fleet.named("hub"), connections=1, timeout=None)
    hub = Hub(client)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        with anyio.fail_after(10):
            for number in range(20):
                first = hub.subscribe("channel")
                await first.confirmed.wait()
                hub.unsubscribe(first)
                for _ in range(number % 5):
                    await checkpoint()
                second = hub.subscribe("channel")
                await second.confirmed.wait()
                second.listen()
                others = hub.subscribe(f"other {number}")
                await others.confirmed.wait()  # by now the server has answered everything before
                assert await fleet.ask("PUBLISH", "channel", f"{number}") == 1
                hub.unsubscribe(second)
                hub.unsubscribe(others)
        tasks.cancel_scope.cancel()
    await client.aclose()


# Viewers


async def test_a_viewer_that_reads_one_event_and_stops_misses_nothing_and_holds_up_nobody(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        quick = Viewer(client.run(owner.id))
        tasks.start_soon(quick.watch)
        async with aclosing(client.run(owner.id).records()) as slow:
            seen = [await anext(slow)]
            await quick.seen(owner.head)
            for number in range(400):
                await owner.append(f"{number} a", f"{number} b")
            await quick.seen(owner.head)
            assert client.statistics().overflows >= 1
            await owner.end()
            seen += [entry async for entry in slow]
        await quick.seen(owner.head)
        quick.assert_dense(803)
        assert seen == quick.entries


def test_a_full_buffer_is_given_up_and_not_grown() -> None:
    ear = Subscription(b"channel")
    assert ear.push(b"before it listens")
    assert not ear.batches
    ear.listen()
    kept = 0
    while ear.push(b"x"):
        kept += 1
        assert kept <= 10_000
    assert not ear.batches
    assert ear.behind
    assert ear.push(b"y"), "what comes while it is behind is in the log and needs no place here"
    assert not ear.batches


async def test_two_clients_and_many_tails_see_the_same(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name=AGENT)), fleet.client() as one, fleet.client() as two:
        run = await one.start(AGENT, "Hi")
        seen: list[list[Event]] = []

        async def watch(client: Client) -> None:
            seen.append(await all_events(client.run(run.id)))

        async with anyio.create_task_group() as tasks:
            for client in (one, two) * 5:
                tasks.start_soon(watch, client)
            await model.held.wait()
            model.go.set()
        assert len(seen) == 10
        assert all(events == seen[0] for events in seen)
        assert [event.cursor for event in seen[0]] == [event.cursor for event in seen[-1]]
        assert "".join(event["data"] for event in seen[0] if "data" in event) == model.text


async def test_two_hundred_tails_on_one_run_take_two_connections(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client(name="crowd") as client, anyio.create_task_group() as tasks:
        viewers = [Viewer(client.run(owner.id)) for _ in range(200)]
        for viewer in viewers:
            tasks.start_soon(viewer.watch)
        for viewer in viewers:
            await viewer.seen(owner.head)
        statistics = client.statistics()
        assert (statistics.channels, statistics.subscriptions, statistics.connections) == (1, 200, 1)
        await owner.append("to all")
        for viewer in viewers:
            await viewer.seen(owner.head)
        assert len(await fleet.connections("crowd")) <= 2
        await owner.end()
        for viewer in viewers:
            await viewer.seen(owner.head)
            viewer.assert_dense(owner.head)


async def test_two_hundred_tails_on_two_hundred_runs_take_two_connections_and_leave_nothing(fleet: Fleet) -> None:
    async with owning(fleet) as first, fleet.client(name="crowd") as client:
        owners = [first, *[await owner_of(first.log, new_run_id()) for _ in range(199)]]
        async with anyio.create_task_group() as tasks:
            viewers = [Viewer(client.run(owner.id)) for owner in owners]
            for viewer in viewers:
                tasks.start_soon(viewer.watch)
            for owner, viewer in zip(owners, viewers, strict=True):
                await viewer.seen(owner.head)
                await owner.append(owner.id)
            for owner, viewer in zip(owners, viewers, strict=True):
                await viewer.seen(owner.head)
                assert texts_of([viewer.entries[-1].record]) == [owner.id]
            assert client.statistics().channels == 200
            assert len(await fleet.connections("crowd")) <= 2
            tasks.cancel_scope.cancel()
        assert client.statistics()[:2] == (0, 0)

        async def nothing_subscribed() -> bool:
            return all(int(link["sub"]) == 0 for link in await fleet.connections("crowd"))

        await fleet.until(nothing_subscribed)


async def test_a_hubs_memory_does_not_grow_with_the_runs_it_has_heard(fleet: Fleet) -> None:
    hub_client = connect(fleet.named("hub"), connections=1, timeout=None)
    hub = Hub(hub_client)
    held: list[dict[str, int]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        with anyio.fail_after(10):
            for turn in range(3):
                ears = [hub.subscribe(f"{turn} {number}") for number in range(100)]
                for ear in ears:
                    await ear.confirmed.wait()
                for ear in ears:
                    hub.unsubscribe(ear)

                async def forgotten() -> bool:
                    return all(int(link["sub"]) == 0 for link in await fleet.connections("hub"))

                await fleet.until(forgotten)
                last = hub.subscribe("last")
                await last.confirmed.wait()  # by now every answer before has been read
                hub.unsubscribe(last)
                await fleet.until(forgotten)
                held.append({name: len(value) for name, value in vars(hub).items() if isinstance(value, Sized)})
        tasks.cancel_scope.cancel()
    await hub_client.aclose()
    assert all(count <= 1 for sizes in held for count in sizes.values()), held


# Joining in the middle


@tool
async def add(a: int, b: int) -> AsyncGenerator[int, None]:
    """Adds."""
    yield a
    yield a + b


async def test_joining_at_any_cursor_gives_exactly_what_is_behind_it(fleet: Fleet) -> None:
    model = ScriptedModel([tool_call("add", {"a": 2, "b": 2}, text="Let me see."), "That is four."])
    async with fleet.worker(Agent(model, name=AGENT, tools=[add])), fleet.client() as client:
        run = await client.start(AGENT, "What is 2+2?", invocation_state={"mood": "fine"})
        events = await all_events(run)
        assert len(events) > 20
        assert len({event.cursor for event in events}) == len(events)
        for place, event in enumerate(events):
            assert await all_events(run, after=event.cursor) == events[place + 1 :], event.cursor
        for seq in range(events[-1].seq + 1):
            assert await all_events(run, after=seq) == [event for event in events if event.seq > seq], seq


async def test_joining_live_in_the_middle_of_an_answer_is_as_if_one_had_never_left(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model(before=[f"{number} " for number in range(10)])
    async with fleet.worker(Agent(model, name=AGENT)), fleet.client() as client:
        run = await client.start(AGENT, "Count")
        first: list[Event] = []
        async with aclosing(run.stream_async()) as events:
            async for event in events:
                first.append(event)
                if event.get("data") == "9 ":
                    break
        seen: dict[str, list[Event]] = {}

        async def rejoin(cursor: str) -> None:
            seen[cursor] = await all_events(client.run(run.id), after=cursor)

        async with anyio.create_task_group() as tasks:
            for event in first:
                tasks.start_soon(rejoin, event.cursor)
            for _ in range(50):
                await checkpoint()
            model.go.set()
        whole = await all_events(run)
        for place, event in enumerate(first):
            assert seen[event.cursor] == whole[place + 1 :]


async def test_a_very_long_answer_is_read_and_joined_anywhere(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """Thousands of records: more than any page, buffer or batch holds."""
    model, heir = held_model(before=[f"{number} " for number in range(3000)]), held_model()
    heir.go.set()
    async with fleet.client() as client:
        run = await client.start(AGENT, "Hi")
        async with fleet.worker(Agent(model, name=AGENT)):
            await model.held.wait()
        async with fleet.worker(Agent(heir, name=AGENT)):
            events = await all_events(run)
        assert [event["text"] for event in events if "retracted" in event] == ["".join(model.before)]
        assert len(events) > 6000
        assert [entry.seq for entry in await all_records(run)] == list(range(1, events[-1].seq + 1))
        for place in (2, 700, 2900, 5999):
            assert await all_events(run, after=events[place].cursor) == events[place + 1 :]


async def test_a_record_of_a_later_version_is_passed_over(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
        future = pack({"v": 9, "type": "future.thing", "at": 1, "what": {"new": True}})
        (answer,) = await owner.log.append([Batch(owner.id, owner.claim.token, owner.head, [future])])
        owner.head = answer.head
        await owner.append("a")
        note = Batch(owner.id, owner.claim.token, owner.head, [future])
        assert (await owner.log.release(note)).stored
        async with fleet.worker(Agent(ScriptedModel(["Done."]), name=AGENT)):
            events = await all_events(client.run(owner.id))
        assert str(events[-1]["result"]) == "Done.\n"
        types = [entry.record.type for entry in await all_records(client.run(owner.id))]
        assert types.count("future.thing") == 2


async def test_a_finished_run_is_read_to_its_end_and_behind_its_end_is_nothing(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
        await owner.append("a")
        await owner.end()
        run = client.run(owner.id)
        assert [entry.seq for entry in await all_records(run)] == [1, 2, 3, 4]
        assert [entry.seq for entry in await all_records(run, after=3)] == [4]
        assert (await all_events(run))[-1]["result"].stop_reason == "end_turn"
        assert await all_events(run, after=4) == []


# What cannot be read ends with one clear error


async def test_an_unknown_run_is_not_found(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = client.run(new_run_id())
        with anyio.fail_after(2):
            for read in (lambda: all_records(run), lambda: all_events(run), lambda: all_events(run, after=5)):
                with pytest.raises(RunNotFoundError, match=f"no run '{run.id}'"):
                    await read()
            for ask in (run.info, run.result, run.cancel):
                with pytest.raises(RunNotFoundError, match=f"no run '{run.id}'"):
                    await ask()


@pytest.mark.parametrize("ended", [True, False])
async def test_a_cursor_beyond_the_head_is_a_gap(fleet: Fleet, ended: bool) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
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
    async with owning(fleet) as owner, fleet.client() as client:
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
        assert found == [5, 6, 7], "what is whole behind the cursor is still read"


async def test_a_log_trimmed_while_it_is_watched_ends_the_tail(fleet: Fleet) -> None:
    async with (
        owning(fleet) as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]
        await owner.append_unheard("lost")
        await fleet.ask("XDEL", owner.stream, "3-1")
        await owner.append("kept")
        with pytest.raises(GapError, match="record 3 is missing"):
            await anext(records)


async def test_a_log_whose_end_was_lost_is_a_gap(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
        await owner.append("a")
        await owner.end()
        await fleet.ask("XDEL", owner.stream, f"{owner.head}-1")
        with pytest.raises(GapError) as raised:
            await all_records(client.run(owner.id))
        assert (raised.value.expected, raised.value.found) == (owner.head, None)


async def test_a_foreign_entry_is_named_and_not_shown(fleet: Fleet) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
        await fleet.ask("XADD", owner.stream, "3-1", "hello", "world")
        with pytest.raises(ForeignRecordError, match=r"entry 3-1: not written by playhead \(fields \['hello'\]\)"):
            await all_records(client.run(owner.id))


@pytest.mark.parametrize("junk", [b"\xc1", b"\x93\x01", b"\x05", b"\x81\xa1v\x01"])
async def test_a_damaged_entry_is_named(fleet: Fleet, junk: bytes) -> None:
    async with owning(fleet) as owner, fleet.client() as client:
        await fleet.ask("XADD", owner.stream, "3-1", "r", junk)
        with pytest.raises(ForeignRecordError, match="entry 3-1: not a playhead record"):
            await all_records(client.run(owner.id))


@pytest.mark.parametrize("junk", [b"hello", b"3-1\n\xc1", b"x-y\n", b"3-1\n" + text("cut")[:-3]])
async def test_junk_on_the_channel_is_named(fleet: Fleet, junk: bytes) -> None:
    async with (
        owning(fleet) as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]

        async def heard() -> bool:
            return bool(await fleet.ask("PUBLISH", owner.stream, junk))

        await fleet.until(heard)
        with pytest.raises(ForeignRecordError, match="not"):
            await anext(records)


@pytest.mark.parametrize("how", ["PEXPIRE", "FLUSHALL"])
async def test_a_run_that_goes_while_it_is_watched_is_not_found(fleet: Fleet, how: str) -> None:
    async with (
        owning(fleet) as owner,
        fleet.client() as client,
        aclosing(client.run(owner.id).records()) as records,
    ):
        assert [(await anext(records)).seq for _ in range(2)] == [1, 2]
        if how == "FLUSHALL":
            await fleet.ask("FLUSHALL")
        else:
            for key in (owner.stream, owner.log.keys.run(owner.id)):
                await fleet.ask("PEXPIRE", key, 1)
        with pytest.raises(RunNotFoundError, match="removed when its retention ended"):
            await anext(records)


async def test_a_server_restored_from_an_older_copy_is_a_gap_and_not_another_story(fleet: Fleet) -> None:
    """A failover can lose the log's end; a new owner then writes other records under numbers already seen."""
    async with owning(fleet) as owner, fleet.client() as client:
        run_key = owner.log.keys.run(owner.id)
        await owner.append("kept")
        copies: list[tuple[Any, bytes]] = [(key, await fleet.ask("DUMP", key)) for key in (owner.stream, run_key)]
        async with aclosing(client.run(owner.id).records()) as records:
            await owner.append("seen", "and lost")
            assert [(await anext(records)).seq for _ in range(5)] == [1, 2, 3, 4, 5]
            for key, copy in copies:
                await fleet.ask("RESTORE", key, 0, copy, "REPLACE")
            await fleet.ask("ZADD", owner.log.keys.leases, 1, owner.id)
            assert await owner.log.reap(failure=END, crash_limit=3, retention_ms=1000) == [owner.id]
            again = await owner.log.claim(CLAIMED, worker="w", token=new_token(), lease_ms=60_000)
            assert again is not None
            assert (again.head, again.epoch) == (4, 2)
            other = Owner(owner.log, again)
            await other.append("something", "else")
            with pytest.raises(GapError, match="restored from an older copy"):
                await anext(records)


# The server goes and comes back


async def test_a_tail_goes_on_when_the_server_was_killed_and_started_again(
    tmp_path: Path, fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    start = partial(EmbeddedServer.start, directory=tmp_path, extra_args=("--appendfsync", "always"))
    server = await start()
    try:
        there = fleet.at(server.url)
        async with there.worker(Agent(model, name=AGENT)), there.client() as client:
            run = await client.start(AGENT, "Hi")
            async with aclosing(run.stream_async()) as events:
                seen = [await anext(events)]
                while seen[-1].get("data") != "two ":
                    seen.append(await anext(events))
                os.kill(server.pid, signal.SIGKILL)
                await server.stop()
                server = await start(port=server.port)
                model.go.set()
                seen += [event async for event in events]
            assert seen == await all_events(run)
            assert "".join(event["data"] for event in seen if "data" in event) == model.text
    finally:
        await server.stop()


async def test_a_tail_says_once_that_the_server_is_away_and_goes_on_when_it_is_back(
    tmp_path: Path, fleet: Fleet
) -> None:
    told: list[str] = []
    away = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice.kind)
        if notice.kind == "unreachable":
            away.set()

    start = partial(EmbeddedServer.start, directory=tmp_path, extra_args=("--appendfsync", "always"))
    server = await start()
    try:
        there = fleet.at(server.url)
        async with owning(there) as owner, there.client(on_notice=on_notice) as client:
            viewer = Viewer(client.run(owner.id))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(viewer.watch)
                await viewer.seen(owner.head)
                await server.stop()
                await away.wait()
                server = await start(port=server.port)
                await owner.append("back")
                await viewer.seen(owner.head)
                await owner.end()
            viewer.assert_dense(owner.head)
            assert told == ["unreachable"]
    finally:
        await server.stop()
