"""The tail hub: every record once and in order, whatever happens to the links, the server or other viewers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sized
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.client import Client, Notice, Run
from playhead.client.tails.hub import Hub, Subscription
from playhead.runtime import Agent
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import ModelChunk, Record
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect

if TYPE_CHECKING:
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENT = "agent"


def texts_of(records: list[Record]) -> list[str]:
    return [record.chunk["contentBlockDelta"]["delta"]["text"] for record in records if isinstance(record, ModelChunk)]


async def all_events(run: Run, after: int | str | None = None) -> list[Event]:
    return [event async for event in run.stream_async(after=after)]


# Records come once and in order


async def test_records_come_live_once_and_in_order_and_the_tail_ends_with_the_terminal_one(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        for number in range(50):
            await owner.append(f"{number} a", f"{number} b")
            await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(103)
        assert client.statistics().messages >= 50, "they came by the link, not by looking again and again"
        assert client.statistics().reconnects == 0


async def test_a_hole_in_what_is_published_is_filled_from_the_log(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await owner.append("heard")
        await viewer.seen(owner.head)
        with anyio.fail_after(8):  # a tail that only looks at the run by itself takes more than a second for each hole
            for number in range(20):
                await owner.append_unpublished(f"{number} unpublished")
                await owner.append_unpublished(f"{number} unpublished too")
                await owner.append(f"{number} heard")
                await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)


async def test_what_was_not_published_is_found_by_looking_now_and_then(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        await owner.append_unpublished("not published")
        await viewer.seen(owner.head)
        await owner.end()


async def test_an_end_that_was_not_published_ends_the_tail(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        run_key = owner.log.keys.run(owner.id)
        await fleet.ask("XADD", owner.stream, "3-1", "r", owner.END)
        await fleet.ask("HSET", run_key, "head", "3", "state", "completed")


async def test_what_is_published_twice_or_late_is_seen_once(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await viewer.seen(owner.head)
        await owner.append("a", "b", "c")
        for first, batch in ((3, "abc"), (4, "bc"), (3, "ab")):
            await fleet.ask(
                "PUBLISH", owner.stream, f"{first}-1 {len(batch)}\n".encode() + b"".join(map(owner.record, batch))
            )
        await owner.append("d")
        await fleet.ask("PUBLISH", owner.stream, b"5-1 3\n" + owner.record("c") + owner.record("d") + owner.record("e"))
        await owner.append_unpublished("e")  # a look found it before its message came; it is one record still
        await owner.append("f")
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)
        assert texts_of([entry.record for entry in viewer.entries]) == list("abcdef")


async def test_a_killed_link_is_made_again_and_nothing_is_missed(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        viewers = [fleet.viewer(client.run(owner.id)) for _ in range(3)]
        for viewer in viewers:
            tasks.start_soon(viewer.watch)

        async def killed() -> bool:
            return await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub") > 0

        for number in range(5):
            await owner.append(f"before {number}")
            await viewers[0].seen(owner.head)
            await fleet.until(killed)  # it may not have been made again yet: a tail also reads without it
            await owner.append(f"meanwhile {number}")
        await owner.end()
        for viewer in viewers:
            await viewer.seen(owner.head)
            viewer.assert_dense(owner.head)
        assert client.statistics().reconnects >= 1


async def test_every_link_killed_over_and_over_loses_nothing(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client(name="victim") as client, anyio.create_task_group() as tasks:
        viewer = fleet.viewer(client.run(owner.id))
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
        fleet.owner() as owner,
        fleet.at(proxy.url).client() as client,
        anyio.create_task_group() as tasks,
    ):
        viewer = fleet.viewer(client.run(owner.id))
        tasks.start_soon(viewer.watch)
        await owner.append("heard")
        await viewer.seen(owner.head)
        proxy.hold(only_subscribers=True)
        await owner.append("not heard")
        await viewer.seen(owner.head)
        await owner.end()
        await viewer.seen(owner.head)
        viewer.assert_dense(owner.head)
        proxy.release()


async def test_a_channel_subscribed_again_while_its_former_subscription_ends_gives_messages_at_once(
    fleet: Fleet,
) -> None:
    """The server's reply that a subscription ended must not count for the one begun after it."""
    client = connect(fleet.named("hub"))
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
                await others.confirmed.wait()  # by now the server has replied to everything before
                assert await fleet.ask("PUBLISH", "channel", f"{number}") == 1
                hub.unsubscribe(second)
                hub.unsubscribe(others)
        tasks.cancel_scope.cancel()
    await client.aclose()


async def test_a_user_without_channels_gets_a_link_about_once_a_second(fleet: Fleet) -> None:
    """The server refuses what it subscribes to: links made as fast as possible would only cost the server its time."""
    await fleet.ask("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "+@all", "resetchannels")
    client = connect(fleet.named("hub").replace("redis://", "redis://deaf:pw@"))
    hub = Hub(client)
    made: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        subscription = hub.subscribe("channel")
        with anyio.fail_after(20):
            while len(made) < 8:
                subscription.listen()
                await subscription.wait(5)
                if len(made) < hub.statistics().reconnects:
                    made.append(anyio.current_time())
        tasks.cancel_scope.cancel()
    await client.aclose()
    await fleet.ask("ACL", "DELUSER", "deaf")
    assert made[-1] - made[-3] >= 1.9


# Viewers


async def test_a_viewer_that_reads_one_event_and_stops_misses_nothing_and_holds_up_no_other(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client, anyio.create_task_group() as tasks:
        quick = fleet.viewer(client.run(owner.id))
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
    subscription = Subscription(b"channel")
    assert subscription.push(b"before it listens")
    assert not subscription.batches
    subscription.listen()
    kept = 0
    while subscription.push(b"x"):
        kept += 1
        assert kept <= 10_000
    assert not subscription.batches
    assert subscription.missed
    assert subscription.push(b"y"), "what comes after a miss is in the log and is not buffered here"
    assert not subscription.batches


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
    async with fleet.owner() as owner, fleet.client(name="crowd") as client, anyio.create_task_group() as tasks:
        viewers = [fleet.viewer(client.run(owner.id)) for _ in range(200)]
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
    async with fleet.owner() as first, fleet.client(name="crowd") as client:
        owners = [first, *[await first.another() for _ in range(199)]]
        async with anyio.create_task_group() as tasks:
            viewers = [fleet.viewer(client.run(owner.id)) for owner in owners]
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


async def test_a_hubs_memory_does_not_grow_with_the_runs_it_has_had(fleet: Fleet) -> None:
    hub_client = connect(fleet.named("hub"))
    hub = Hub(hub_client)
    held: list[dict[str, int]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        with anyio.fail_after(10):
            for turn in range(3):
                subscriptions = [hub.subscribe(f"{turn} {number}") for number in range(100)]
                for subscription in subscriptions:
                    await subscription.confirmed.wait()
                for subscription in subscriptions:
                    hub.unsubscribe(subscription)

                async def forgotten() -> bool:
                    return all(int(link["sub"]) == 0 for link in await fleet.connections("hub"))

                await fleet.until(forgotten)
                last = hub.subscribe("last")
                await last.confirmed.wait()  # by now every reply before has been read
                hub.unsubscribe(last)
                await fleet.until(forgotten)
                held.append({name: len(value) for name, value in vars(hub).items() if isinstance(value, Sized)})
        tasks.cancel_scope.cancel()
    await hub_client.aclose()
    assert all(count <= 1 for sizes in held for count in sizes.values()), held


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
        async with there.owner() as owner, there.client(on_notice=on_notice) as client:
            viewer = fleet.viewer(client.run(owner.id))
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
