"""Runs as responses: what a browser gets, when it comes back, leaves, reads slowly, or asks for what does not exist."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from playhead.client import Client
from playhead.client.web import RunStreams, error_response
from playhead.runtime import Agent, PlayheadError, ToolContext, tool
from playhead.runtime.core.errors import NoWorkerError, RunFailedError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from tests.support.browsers import browse, get

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

LINES = {"accept": "application/x-ndjson"}
TEXT = {"accept": "text/plain"}


def site(client: Client, *, heartbeat_s: float = 15.0, **options: Any) -> tuple[Starlette, RunStreams]:
    """An application with one route."""
    streams = RunStreams(client, heartbeat_s=heartbeat_s)

    async def events(request: Request) -> Response:
        return await streams.response(request, request.path_params["run_id"], **options)

    app = Starlette(routes=[Route("/runs/{run_id}", events)], exception_handlers={PlayheadError: error_response})
    return app, streams


@asynccontextmanager
async def finished(fleet: Fleet) -> AsyncGenerator[tuple[Client, str]]:
    """A client, and a run that has two messages and a tool call."""

    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    script = [tool_call("add", {"a": 2, "b": 2}, text="Let me see."), "That is four."]
    agent = Agent(ScriptedModel(script), name="adder", tools=[add], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("adder", "What is 2+2?")
        await run.result()
        yield client, run.id


# What comes, and where it goes on


async def test_a_browser_gets_all_events_and_at_each_id_exactly_the_rest(fleet: Fleet) -> None:
    async with finished(fleet) as (client, run_id):
        app, _ = site(client)
        whole = await get(app, f"/runs/{run_id}")
        *events, end = whole.events
        assert [json.dumps(one.data) for one in events] == [
            json.dumps(json.loads(event.to_json())) async for event in client.run(run_id).stream_async()
        ]
        assert (end.name, end.data) == ("end", {"error": None})
        assert whole.body.startswith(b"retry: 2000\n\n")
        assert whole.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (whole.headers["cache-control"], whole.headers["x-accel-buffering"]) == ("no-cache, no-transform", "no")
        for place, event in enumerate(events[:-1], 1):
            assert (await get(app, f"/runs/{run_id}", last_event_id=event.id)).events == whole.events[place:]
        after_reload = await get(app, f"/runs/{run_id}?after={events[4].id}")
        assert after_reload.events == whole.events[5:]
        both = await get(app, f"/runs/{run_id}?after={events[4].id}", last_event_id=events[8].id)
        assert both.events == whole.events[9:]


async def test_the_same_run_comes_as_json_lines_and_as_plain_text(fleet: Fleet) -> None:
    async with finished(fleet) as (client, run_id):
        app, _ = site(client)
        lines = [json.loads(line) for line in (await get(app, f"/runs/{run_id}", **LINES)).body.splitlines()]
        assert lines.pop() == {"end": {"error": None}}
        assert [(one["cursor"], one["event"]) for one in lines] == [
            (event.cursor, json.loads(event.to_json())) async for event in client.run(run_id).stream_async()
        ]
        assert (await get(app, f"/runs/{run_id}", **TEXT)).body == b"Let me see.\nThat is four.\n"
        always_text, _ = site(client, media="text", show=lambda event: event.get("data"))
        assert (await get(always_text, f"/runs/{run_id}")).body == b"Let me see.That is four."


async def test_after_the_end_there_is_no_content_so_that_a_browser_does_not_connect_again(fleet: Fleet) -> None:
    async with finished(fleet) as (client, run_id):
        app, _ = site(client)
        last = (await get(app, f"/runs/{run_id}")).events[-2]
        over = await get(app, f"/runs/{run_id}", last_event_id=last.id)
        assert (over.status, over.body) == (204, b"")
        async with browse(app, f"/runs/{run_id}", method="HEAD") as browser:
            await browser.until_ended()
        assert (browser.status, browser.body) == (200, b"")


async def test_what_a_browser_is_shown_is_chosen_event_by_event(fleet: Fleet) -> None:
    async with finished(fleet) as (client, run_id):
        app, _ = site(client, show=lambda event: {"text": event["data"]} if "data" in event else None)
        *events, _ = (await get(app, f"/runs/{run_id}")).events
        assert "".join(one.data["text"] for one in events) == "Let me see.That is four."
        assert (await get(app, f"/runs/{run_id}", last_event_id=events[1].id)).events[:-1] == events[2:]


async def test_a_paused_run_ends_the_stream_or_is_told_of_and_goes_on(fleet: Fleet) -> None:
    @tool
    async def ask(context: ToolContext) -> str:
        """Asks."""
        return context.interrupt("approve", reason="May I?")

    script = [tool_call("ask", {}), "Done."]
    agent = Agent(ScriptedModel(script), name="clerk", tools=[ask], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("clerk", "Go")
        ends, _ = site(client)
        paused = (await get(ends, f"/runs/{run.id}")).events
        (question,) = paused[-2].data["result"]["interrupts"]
        assert (paused[-1].name, question["reason"]) == ("end", "May I?")
        assert (await get(ends, f"/runs/{run.id}", last_event_id=paused[-2].id)).status == 204
        waits, _ = site(client, on_pause="wait")
        async with browse(waits, f"/runs/{run.id}") as browser:
            await browser.until(b"event: notice\n")
            notice = next(one.data for one in browser.events if one.name == "notice")
            assert (notice["kind"], notice["interrupts"][0]["id"]) == ("paused", question["id"])
            await run.respond({question["id"]: "yes"})
            await browser.until(b"event: end\n")
        assert "Done." in str(browser.events[-2].data)


# What is refused before the stream begins


@pytest.mark.parametrize("headers", [{}, LINES, TEXT], ids=["sse", "jsonl", "text"])
async def test_what_does_not_exist_is_refused_with_a_status_and_a_reason(fleet: Fleet, headers: dict[str, str]) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("one", "two", "three")
        app, streams = site(client)
        other = new_run_id()
        head = owner.head

        async def refused(run_id: str, given: str) -> tuple[int, str, str]:
            answer = await get(app, f"/runs/{run_id}", last_event_id=given, **headers)
            return answer.status, answer.error["type"], answer.error["message"]

        assert await refused(other, "") == (404, "RunNotFoundError", (await refused(other, "0"))[2])
        assert (await refused("no run!", ""))[:2] == (400, "ValueError")
        status, _, text = await refused(owner.id, "rubbish")
        assert (status, "'rubbish' is not a cursor" in text) == (400, True)
        status, _, text = await refused(owner.id, f"{other}:3-1")
        assert (status, f"is a cursor of run {other}, not of run {owner.id}" in text) == (400, True)
        assert (await refused(owner.id, f"{owner.id}:{head}-9"))[:2] == (409, "RewindError")
        assert (await refused(owner.id, f"{head + 9}"))[:2] == (409, "GapError")
        assert streams.open == 0


async def test_a_form_that_is_not_offered_is_refused(fleet: Fleet) -> None:
    async with fleet.client() as client:
        app, _ = site(client)
        answer = await get(app, f"/runs/{new_run_id()}", accept="image/png")
        assert (answer.status, answer.error["type"]) == (406, "NotAcceptable")


async def test_a_cursor_that_waits_in_vain_for_records_to_be_sent_again_is_a_conflict(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client(on_notice=lambda _: None) as client:
        await owner.append("one")
        app, _ = site(client)
        answer = await get(app, f"/runs/{owner.id}", last_event_id=f"{owner.id}:{owner.head + 5}-1")
        assert (answer.status, answer.error["type"]) == (409, "GapError")


async def test_while_redis_is_away_a_browser_is_asked_to_come_again_and_others_are_refused(fleet: Fleet) -> None:
    server = await EmbeddedServer.start(durable=False)
    try:
        async with fleet.at(server.url).client() as client:
            run = await client.start("unserved", "Hi")
            app, streams = site(client)
            await server.stop()
            browser = await get(app, f"/runs/{run.id}")
            notices = [(one.name, one.data["kind"]) for one in browser.events]
            assert (browser.status, notices) == (200, [("notice", "unreachable")])
            lines = await get(app, f"/runs/{run.id}", **LINES)
            assert (lines.status, lines.headers["retry-after"]) == (503, "1")
            message = "the runs cannot be reached now; try again"
            assert lines.error == {"type": "LogUnavailableError", "message": message}
            assert streams.open == 0
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "wrong", [{"media": "xml"}, {"on_pause": "stop"}, {"show": 3}, {"after": "x"}, {"wait_for_worker": -1}]
)
async def test_a_mistake_of_the_program_is_raised_and_not_told_to_the_browser(fleet: Fleet, wrong: Any) -> None:
    async with fleet.client() as client:
        request = Request({"type": "http", "headers": [], "query_string": b""})
        with pytest.raises((ValueError, TypeError)):
            await RunStreams(client).response(request, new_run_id(), **wrong)


# While it runs


async def test_a_run_that_waits_is_told_of_by_notices_and_heartbeats_and_its_end_by_an_error(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("unserved", "Hi")
        app, streams = site(client, heartbeat_s=0.2, wait_for_worker=1.5)
        async with browse(app, f"/runs/{run.id}") as browser:
            await browser.until(b":\n\n")
            assert streams.open == 1
            await browser.until_ended()
        notice, end = browser.events
        assert (notice.name, notice.data["kind"], "message" in notice.data) == ("notice", "no_worker", False)
        assert (end.name, end.data["error"]["type"]) == ("end", NoWorkerError.__name__)
        assert b"unserved" not in browser.body
        assert streams.open == 0


async def test_a_browser_that_leaves_does_not_stop_its_run(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="slow", callback_handler=None)), fleet.client() as client:
        run = await client.start("slow", "Hi")
        app, streams = site(client)
        async with browse(app, f"/runs/{run.id}") as browser:
            await model.held.wait()
            await browser.until(b"id: ")
        assert (streams.open, client.statistics().subscriptions, browser.ended) == (0, 0, False)
        assert (await run.info()).state == "running"
        model.go.set()
        assert (await run.result()).stop_reason == "end_turn"


async def test_a_browser_that_reads_slowly_gets_everything_once_and_costs_a_bounded_buffer(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        app, _ = site(client, show=lambda event: event.get("data"))
        async with browse(app, f"/runs/{owner.id}") as browser:
            await owner.append("0")
            await browser.until(b'data: "0"')
            browser.pause()

            async def dropped() -> bool:
                return client.statistics().overflows > 0

            texts = [str(number) for number in range(1, 400)]
            for text in texts:
                await owner.append(text)
            await fleet.until(dropped)
            browser.resume()
            await owner.end()
            await browser.until_ended()
        assert [one.data for one in browser.events[:-1]] == ["0", *texts]


async def test_a_run_that_fails_ends_with_its_error_in_every_form(fleet: Fleet) -> None:
    model = ScriptedModel([ScriptedCall(text_call("half"), ValueError("the model said no"))], repeat=True)
    async with fleet.worker(Agent(model, name="broken", retry=None)), fleet.client() as client:
        run = await client.start("broken", "Hi")
        with pytest.raises(RunFailedError):
            await run.result()
        app, _ = site(client)
        error = {"type": "ValueError", "message": "the model said no"}
        assert (await get(app, f"/runs/{run.id}")).events[-1].data == {"error": error}
        lines = (await get(app, f"/runs/{run.id}", **LINES)).body.splitlines()
        assert json.loads(lines[-1]) == {"end": {"error": error}}
        assert (await get(app, f"/runs/{run.id}", **TEXT)).body == b"Error: the model said no\n"


async def test_a_log_that_is_rewritten_while_it_streams_ends_with_the_place_to_read_on(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        app, _ = site(client)
        async with browse(app, f"/runs/{owner.id}") as browser:
            await owner.append("one", "two")
            await browser.until(b"two")
            last, epoch = owner.head, owner.claim.epoch
            await fleet.ask("XDEL", owner.stream, f"{last}-{epoch}")
            await fleet.ask("XADD", owner.stream, f"{last}-{epoch + 1}", "r", owner.record("other"))
            await fleet.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await browser.until(b"event: end")
        error = browser.events[-1].data["error"]
        assert (error["type"], error["after"]) == ("RewindError", last - 1)


class Uvicorn:
    """What the streams look at of uvicorn: its handler of SIGTERM is a method of this."""

    def __init__(self, *, should_exit: bool, serving: bool) -> None:
        self.should_exit = should_exit
        self.servers = [self]
        self._serving = serving

    def is_serving(self) -> bool:
        return self._serving

    def handle_exit(self) -> None: ...


@pytest.mark.parametrize(
    ("should_exit", "serving"), [(True, True), (False, False)], ids=["signal", "limit of requests"]
)
async def test_when_uvicorn_ends_by_a_signal_or_by_its_limit_of_requests_the_streams_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, should_exit: bool, serving: bool
) -> None:
    async with fleet.client() as client:
        run = await client.start("unserved", "Hi")
        app, streams = site(client)
        server = Uvicorn(should_exit=False, serving=True)
        monkeypatch.setattr(signal, "getsignal", lambda _: server.handle_exit)
        async with browse(app, f"/runs/{run.id}") as first, browse(app, f"/runs/{run.id}") as second:
            for browser in (first, second):
                await browser.until(b"retry")
            server.__init__(should_exit=should_exit, serving=serving)
            for browser in (first, second):
                await browser.until_ended()
        assert [first.events, second.events, streams.open] == [[], [], 0]
        assert (await get(app, f"/runs/{run.id}", **LINES)).status == 503


async def test_heartbeats_go_on_when_the_stream_that_began_first_has_left(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("unserved", "Hi")
        app, streams = site(client, heartbeat_s=0.1)
        async with browse(app, f"/runs/{run.id}") as first:
            await first.until(b"retry")
            async with browse(app, f"/runs/{run.id}") as second:
                await second.until(b"retry")
                first.leave()
                await fleet.until(lambda: checked(streams.open == 1))
                beats = second.body.count(b":\n\n")
                await second.until(b":\n\n" * (beats + 1))


async def checked(found: bool) -> bool:
    return found


async def test_shutdown_ends_the_streams_without_an_end_and_asks_new_ones_to_come_again(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("unserved", "Hi")
        app, streams = site(client)
        async with browse(app, f"/runs/{run.id}") as browser:
            await browser.until(b"retry")
            streams.shutdown()
            await browser.until_ended()
        assert browser.events == []
        assert (await get(app, f"/runs/{run.id}")).body == b"retry: 2000\n\n"
        assert (await get(app, f"/runs/{run.id}", **LINES)).status == 503
        assert (await run.info()).state == "queued"


async def test_a_client_that_is_closed_ends_its_streams_so_that_browsers_connect_again(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        app, _ = site(client)
        async with browse(app, f"/runs/{owner.id}") as browser:
            await owner.append("one")
            await browser.until(b"one")
            await client.__aexit__(None, None, None)
            await browser.until_ended()
        assert all(event.name == "" for event in browser.events)
