"""Commands that show a run as it happens, or as it happened: `demo`, `ask`, `tail`, `replay`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Annotated

import anyio
import typer

from playhead.client.cli.reach import DATA_DIRECTORY, PREFIX_HELP, URL_HELP, reach
from playhead.client.cli.render import EXIT_CANCELLED, EXIT_FAILED, RunView
from playhead.client.client import Client
from playhead.client.run import Run
from playhead.client.tail import Notice
from playhead.runtime.embedded import EmbeddedServer
from playhead.runtime.errors import AgentNotFoundError, PlayheadError, RunFailedError
from playhead.runtime.events import Event, parse_cursor

__all__ = ["ask", "demo", "replay", "tail"]

Url = Annotated[str | None, typer.Option("--url", envvar="PLAYHEAD_URL", help=URL_HELP, show_default=False)]
Prefix = Annotated[str, typer.Option("--prefix", envvar="PLAYHEAD_PREFIX", help=PREFIX_HELP)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per event, for programs.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `ask` and `runs` print it.")]

_DEMO_PROMPT = "What is 17 * 23?"


def _tell(notice: Notice) -> None:
    typer.secho(f"[{notice.message}]", err=True, fg=typer.colors.YELLOW)


def _no_wait(wait: bool) -> float | None:
    return None if wait else 2.0


class _Place:
    """Where a reader stands, for the hint when it leaves."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.seq = 0


def _watching(follow: Callable[[_Place], Awaitable[int]], *, stays: bool = True) -> None:
    """Run `follow`; Ctrl-C leaves the run alone and says how to come back to it."""
    place = _Place()
    try:
        code = anyio.run(partial(follow, place))
    except KeyboardInterrupt:
        if place.run_id is not None and stays:
            typer.echo(
                f"\nleft; the run goes on. Rejoin: playhead tail {place.run_id} --after {place.seq}\n"
                f"      stop it: playhead cancel {place.run_id}",
                err=True,
            )
        raise typer.Exit(130) from None
    raise typer.Exit(code)


async def _show(run: Run, place: _Place, *, after: str | None, as_json: bool, wait: float | None) -> int:
    place.run_id = run.id
    place.seq = parse_cursor(after)[0]
    if as_json:
        return await _print_events(run.stream_async(after=after, wait_for_worker=wait), place)
    view = RunView(run.id, after=place.seq)
    async with aclosing(run.records(wait_for_worker=wait)) as entries:
        async for entry in entries:
            view.feed(entry)
            place.seq = max(place.seq, entry.seq)
    return view.exit_code


async def _print_events(events: AsyncGenerator[Event, None], place: _Place) -> int:
    """One line per event; a failed run's error is the last line, on stderr the text."""
    code = 0
    try:
        async with aclosing(events) as stream:
            async for event in stream:
                head = json.dumps({"run": event.run_id, "cursor": event.cursor, "seq": event.seq, "at": event.at})
                sys.stdout.write(f'{head[:-1]}, "event": {event.to_json()}}}\n')
                sys.stdout.flush()
                place.seq = event.seq
                if "result" in event and event["result"].stop_reason == "cancelled":
                    code = EXIT_CANCELLED
    except RunFailedError as error:
        failure = {"run": error.run_id, "error": {"type": error.error_type, "message": str(error)}}
        sys.stdout.write(json.dumps(failure) + "\n")
        return EXIT_FAILED
    return code


def ask(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask; - reads it from standard input.")],
    session: Annotated[str | None, typer.Option("--session", help="Conversation to read and extend.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the run's id, and leave.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait if no worker serves the agent.")] = True,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Submit a run and watch it. Ctrl-C leaves; the run goes on."""
    text = sys.stdin.read() if prompt == "-" else prompt

    async def follow(place: _Place) -> int:
        async with reach(url) as where, Client(where, prefix=prefix, on_notice=_tell) as client:
            run = await client.start(agent, text, session_id=session)
            if detach:
                typer.echo(json.dumps({"run": run.id}) if as_json else run.id)
                return 0
            return await _show(run, place, after=None, as_json=as_json, wait=_no_wait(wait))

    _watching(follow)


def tail(
    run_id: RunId,
    after: Annotated[str, typer.Option("--after", help="Cursor: the last record (or event) already seen.")] = "0",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait if no worker serves the agent.")] = True,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Rejoin a run behind a cursor and watch it to its end."""
    parse_cursor(after)

    async def follow(place: _Place) -> int:
        async with (
            reach(url, look_only=True) as where,
            Client(where, prefix=prefix, on_notice=_tell) as client,
        ):
            run = client.run(run_id)
            await run.info()
            return await _show(run, place, after=after, as_json=as_json, wait=_no_wait(wait))

    _watching(follow)


def replay(
    run_id: RunId,
    speed: Annotated[float, typer.Option("--speed", help="2 is twice as fast as it happened.")] = 1.0,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait at all.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Play a past run again on its recorded clock. Nothing is run again: this only reads the log."""
    if speed <= 0:
        raise ValueError(f"--speed must be above 0, not {speed:g}; --fast does not wait at all")

    async def follow(place: _Place) -> int:
        async with (
            reach(url, look_only=True) as where,
            Client(where, prefix=prefix, on_notice=_tell) as client,
        ):
            run = client.run(run_id)
            place.run_id = run_id
            await run.info()
            rate = None if fast else speed
            if as_json:
                return await _print_events(run.replay(speed=rate), place)
            view = RunView(run_id)
            async with aclosing(run.replay_records(speed=rate)) as entries:
                async for entry in entries:
                    view.feed(entry)
            return view.exit_code

    _watching(follow, stays=False)


def demo(
    prompt: Annotated[str, typer.Argument(metavar="[PROMPT]", help="What to ask.")] = _DEMO_PROMPT,
    model: Annotated[
        str | None, typer.Option("--model", help='Default: PLAYHEAD_MODEL, else "demo", which is offline.')
    ] = None,
    as_json: Json = False,
) -> None:
    """The main job with nothing installed or running: a server, a worker in a process of its own, and a tail."""
    if importlib.util.find_spec("playhead.workers") is None:
        raise AgentNotFoundError("the demo needs a worker: pip install playhead-workers")

    async def follow(place: _Place) -> int:
        async with EmbeddedServer.running(directory=DATA_DIRECTORY) as server:
            if server.notice:
                typer.echo(server.notice, err=True)
            typer.secho(f"server {server.kind} · {server.url} · data in {DATA_DIRECTORY}/", err=True, dim=True)
            # Silent: the worker is on its way, and that nobody serves the agent yet is no news.
            async with _demo_worker(server.url, model), Client(server.url, on_notice=lambda _: None) as client:
                run = await client.start("assistant", prompt)
                code = await _show(run, place, after=None, as_json=as_json, wait=20.0)
            kept = f"{DATA_DIRECTORY}/" if server.kind != "fakeredis" else None
        if kept:
            typer.echo(
                f"\nLook at it again: playhead replay {run.id}\n"
                f"                  playhead show {run.id}   (the log is kept in {kept})",
                err=True,
            )
        return code

    _watching(follow, stays=False)


@asynccontextmanager
async def _demo_worker(url: str, model: str | None) -> AsyncGenerator[None]:
    """A worker process for the demo's agent; it stops when its standard input closes, so it never outlives us."""
    command = [sys.executable, "-m", "playhead.workers", "playhead.workers.demo:assistant"]
    env = {**os.environ, "PLAYHEAD_URL": url, **({"PLAYHEAD_MODEL": model} if model else {})}
    began = time.monotonic()
    async with await anyio.open_process(
        [*command, "--stop-with-stdin", "--quiet"], stdin=subprocess.PIPE, stdout=None, stderr=None, env=env
    ) as worker:
        typer.secho(f"worker process {worker.pid}", err=True, dim=True)
        try:
            yield
        finally:
            assert worker.stdin is not None
            with anyio.CancelScope(shield=True):
                await worker.stdin.aclose()
                with anyio.move_on_after(10):
                    await worker.wait()
    if worker.returncode:
        raise PlayheadError(f"the demo's worker ended with {worker.returncode} after {time.monotonic() - began:.1f} s")
