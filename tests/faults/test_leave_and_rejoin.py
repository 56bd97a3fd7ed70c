"""Leaving and coming back: a viewer's process dies, another goes on from its cursor, and each event is seen once."""

from __future__ import annotations

import os
import signal
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from playhead.runtime.core.cursor import parse_cursor
from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.programs import events_in, everything

if TYPE_CHECKING:
    from tests.support.programs import Programs

__all__: list[str] = []

pytestmark = pytest.mark.anyio

WORDS = [f"word{number} " for number in range(20)]
TEXT = "".join(WORDS)


async def test_a_viewer_killed_half_way_and_another_at_its_cursor_see_each_event_once(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("talker", "Go")
        worker = await programs.worker(hold="word 9")
        first = await programs.viewer(run)
        lines = await first.lines_until("word9 ")
        lines += await first.kill()
        seen = events_in(lines)
        await worker.tell("go")
        second = await programs.viewer(run, after=seen[-1][0])
        rest = await second.rest()
        assert rest[-1] == {"said": "ended"}
        assert seen + events_in(rest) == await everything(run)
        assert "".join(event.get("data", "") for _, event in seen + events_in(rest)) == TEXT


async def test_worker_and_viewer_killed_in_turn_lose_and_repeat_nothing(programs: Programs) -> None:
    async with programs.client() as client:
        run = await client.start("talker", "Go")
        worker = await programs.worker(hold="word 9")
        first = await programs.viewer(run)
        lines = await first.lines_until("word9 ")
        await worker.kill()
        await programs.expire_lease(run)
        heir = await programs.worker(hold="word 12")
        lines += await first.lines_until("word12 ")
        lines += await first.kill()
        seen = events_in(lines)
        assert [event["text"] for _, event in seen if "retracted" in event] == ["".join(WORDS[:10])]
        second = await programs.viewer(run, after=seen[-1][0])
        seen += events_in(await second.kill())  # before it has said anything, or after: its cursor is what counts
        third = await programs.viewer(run, after=seen[-1][0])
        await heir.tell("go")
        seen += events_in(await third.rest())
        assert seen == await everything(run)


@pytest.mark.parametrize("after", [None, "3", "5.0", "9-1", "14-1"])
async def test_viewers_in_other_processes_see_what_is_after_their_cursor(programs: Programs, after: str | None) -> None:
    async with programs.client() as client:
        run = await client.start("talker", "Go")
        worker = await programs.worker(hold="word 9")
        await worker.hears("held")
        viewers = [await programs.viewer(run, after=after) for _ in range(2)]
        await worker.tell("go")
        whole = await everything(run)
        for viewer in viewers:
            said = events_in(await viewer.rest())
            place = parse_cursor(after)[:2]
            assert said == [(cursor, event) for cursor, event in whole if parse_cursor(cursor)[:2] > place]


async def test_worker_and_viewer_go_on_when_the_server_was_killed_and_started_again(
    programs: Programs, tmp_path: Path
) -> None:
    start = partial(EmbeddedServer.start, directory=tmp_path / "data", extra_args=("--appendfsync", "always"))
    server = await start()
    try:
        there = programs.at(server.url)
        async with there.client() as client:
            run = await client.start("talker", "Go")
            worker = await there.worker(hold="word 9", lease_ms=10_000)
            viewer = await there.viewer(run)
            lines = await viewer.lines_until("word9 ")
            os.kill(server.pid, signal.SIGKILL)
            await server.stop()
            await worker.tell("go")
            server = await start(port=server.port)
            lines += await viewer.rest()
            assert lines[-1] == {"said": "ended"}
            assert events_in(lines) == await everything(run)
            assert (await run.info()).epoch == 1
            await there.dense_entries(run)
    finally:
        await server.stop()


async def test_a_server_that_forgot_everything_ends_the_tail_and_not_the_worker(programs: Programs) -> None:
    server = await EmbeddedServer.start(durable=False)
    try:
        there = programs.at(server.url)
        async with there.client() as client:
            run = await client.start("talker", "Go")
            worker = await there.worker(hold="word 9")
            async with aclosing(run.stream_async()) as events:
                async for event in events:
                    if event.get("data") == "word9 ":
                        break
                await server.stop()
                server = await EmbeddedServer.start(durable=False, port=server.port)
                with pytest.raises(RunNotFoundError):
                    await anext(events)
            await worker.tell("go")
            again = await client.start("talker", "Go")
            assert str(await again.result()) == f"{TEXT}\n"
            assert worker.alive
    finally:
        await server.stop()
