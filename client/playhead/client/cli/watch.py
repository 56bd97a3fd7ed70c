"""Commands that show a run while it runs or afterwards: `demo`, `ask`, `tail`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

import anyio
import typer

from playhead.client.cli.answering import Answering, can_ask
from playhead.client.cli.filters import metadata_of
from playhead.client.cli.questions import read_values
from playhead.client.cli.reach import NEWEST, PREFIX_HELP, URL_HELP, kept_here, opened, reach
from playhead.client.cli.render import EXIT_CANCELLED, EXIT_FAILED, printable, read_stdin, write_json
from playhead.client.cli.run_view import RunView
from playhead.client.client import Client
from playhead.client.event_stream import prelude
from playhead.client.finding import DATA_DIRECTORY
from playhead.client.questions import how_to_respond
from playhead.client.reader import RunReader
from playhead.client.run import Run
from playhead.client.tails.notice import Notice
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.core.if_busy import IfBusy
from playhead.runtime.core.interrupts import names_of
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.overrides import RunOverrides
from playhead.runtime.core.records import Entry, RunResumed
from playhead.runtime.embedded.server import EmbeddedServer

__all__ = [
    "Json",
    "Last",
    "Place",
    "Prefix",
    "RunId",
    "RunOrFile",
    "RunOrLast",
    "Tags",
    "Url",
    "ask",
    "demo",
    "print_events",
    "print_run",
    "run_or_last",
    "tail",
    "watching",
]

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", envvar="PLAYHEAD_URL", help=URL_HELP, show_default=False)
]
Prefix = Annotated[str, typer.Option("--prefix", metavar="PREFIX", envvar="PLAYHEAD_PREFIX", help=PREFIX_HELP)]
Json = Annotated[bool, typer.Option("--json", help="JSON lines instead of text, for programs.")]
_ID_HELP = "The run's id, as `ask` and `runs` print it, or the beginning of it, or @last, the newest run"
RunId = Annotated[str, typer.Argument(metavar="RUN", help=f"{_ID_HELP}.")]
RunOrFile = Annotated[
    str, typer.Argument(metavar="RUN", help=f"{_ID_HELP}; or a file that `export` wrote, as FILE or FILE#RUN.")
]
RunOrLast = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help=f"{_ID_HELP}; or a file that `export` wrote, as FILE or FILE#RUN."),
]
Last = Annotated[bool, typer.Option("--last", help="The newest run, in place of RUN.")]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="KEY=VALUE", help="An item of the run's metadata; KEY alone is KEY=true. Repeatable."
    ),
]


def run_or_last(run: str | None, last: bool) -> str:
    """The RUN that is meant. Raises typer.BadParameter unless there is either RUN or `--last`."""
    if (run is None) != last:
        wanted = "name one run, or pass --last for the newest one" + ("; not both" if last else "")
        raise typer.BadParameter(wanted, param_hint="RUN")
    return NEWEST if run is None else run


_DEMO_PROMPT = "What is 17 * 23?"


def _no_wait(wait: bool) -> float | None:
    return None if wait else 2.0


class Place:
    """A reader's cursor, for the hint when it leaves, and its notices."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.cursor: Cursor = 0
        self.view: RunView | None = None
        self.answering: Answering | None = None

    def say(self, text: str) -> None:
        """Print one line on standard error, between the lines of the run."""
        if self.view is not None:
            self.view.note(text, style="yellow")
        else:
            typer.secho(printable(text), err=True, fg=typer.colors.YELLOW)

    def tell(self, notice: Notice) -> None:
        """Print a notice of the client."""
        if notice.kind == "paused":  # the run's output already shows its questions
            if self.answering is not None and self.answering.ask(notice.interrupts):
                return
            asked = ", ".join(names_of(notice.interrupts).values())
            self.say(f"[waits for a response to {asked}; respond: {how_to_respond(notice.run_id, notice.interrupts)}]")
        else:
            self.say(f"[{notice.message}]")


def _how_to_rejoin(place: Place) -> str:
    return (
        f"\nleft; the run goes on. Rejoin: playhead tail {place.run_id} --after {place.cursor}\n"
        f"      stop it: playhead cancel {place.run_id}"
    )


def watching(follow: Callable[[Place], Awaitable[int]], *, hint: Callable[[Place], str] = _how_to_rejoin) -> None:
    """Run `follow`. Ctrl-C prints the hint and does not stop the run."""
    place = Place()
    try:
        code = anyio.run(partial(follow, place))
    except KeyboardInterrupt:
        if place.run_id is not None:
            typer.echo(hint(place), err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(code)


async def _alongside(act: Callable[[], Awaitable[int]], *others: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `act` and return its result, with the others running until then. Raises whatever the first of them raises."""
    code = 0
    try:
        async with anyio.create_task_group() as tasks:
            for other in others:
                tasks.start_soon(other)
            code = await act()
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):  # the first to fail cancelled the others, so it holds one
            error = error.exceptions[0]
        raise error from None
    return code


async def _show(run: RunReader, place: Place, *, after: str | None, as_json: bool, wait: float | None) -> int:
    place.run_id = run.id
    place.cursor = after or 0
    if as_json:
        events = run.stream_async(after=after, wait_for_worker=wait, on_pause="wait")
        return await print_events(events, place)
    view = RunView(run.id, after=parse_cursor(after).seq)
    if isinstance(run, Run) and can_ask():
        place.answering = Answering(run, view)
    return await print_run(_with_prelude(run, after=after, wait=wait), place, view)


async def _with_prelude(run: RunReader, *, after: str | None, wait: float | None) -> AsyncGenerator[Entry, None]:
    """The records after a cursor, and before them those on which depends what is shown: as `stream_async` reads them."""
    seen: Cursor = 0
    for entry in await prelude(run, parse_cursor(after)):
        yield entry
        seen = entry.cursor
    async with aclosing(run.records(after=seen, wait_for_worker=wait)) as entries:
        async for entry in entries:
            yield entry


async def print_run(records: AsyncGenerator[Entry, None], place: Place, view: RunView) -> int:
    """Show the run to a user; a terminal also shows what the run waits for, and may ask the user."""
    answering = place.answering

    async def feed() -> int:
        async with aclosing(records) as entries:
            async for entry in entries:
                if view.feed(entry):
                    place.cursor = entry.cursor
                if answering is not None and isinstance(entry.record, RunResumed):
                    answering.withdraw()
        return view.exit_code

    async def tick() -> None:
        while True:
            await anyio.sleep(0.1)
            view.tick()

    place.view = view
    try:
        return await _alongside(feed, tick, *([] if answering is None else [answering.run]))
    finally:
        place.view = None
        view.clear()


async def print_events(events: AsyncGenerator[Event, None], place: Place) -> int:
    """Write one line per event; the last line of a failed run is the error."""
    code = 0
    try:
        async with aclosing(events) as stream:
            async for event in stream:
                head = json.dumps({"run": event.run_id, "cursor": event.cursor, "seq": event.seq, "at": event.at})
                write_json(f'{head[:-1]}, "event": {event.to_json()}}}')
                place.cursor = event.cursor
                if "result" in event and event["result"].stop_reason == "cancelled":
                    code = EXIT_CANCELLED
    except RunFailedError as error:
        failure = {"run": error.run_id, "error": {"type": error.error_type, "message": str(error)}}
        write_json(json_line(failure))
        return EXIT_FAILED
    return code


def ask(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt; - reads it from standard input.")],
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="Conversation to read and extend.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", metavar="SECONDS", help="Fail the run if it has not ended by then.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model, if the agent allows it.")
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option("--system-prompt", metavar="TEXT", help="Another system prompt, if it allows it.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", metavar="NAME", help="Only this tool of the agent's; repeatable.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the model; repeatable.")
    ] = None,
    tag: Tags = None,
    if_busy: Annotated[
        IfBusy, typer.Option("--if-busy", help="What to do if a run of the session has not ended.")
    ] = "queue",
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the run's id, and leave.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait if no worker serves the agent.")] = True,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Submit a run and watch it. Ctrl-C leaves; the run goes on."""
    text = read_stdin() if prompt == "-" else prompt
    if not text.strip():
        raise ValueError("the prompt is empty: give a text, or - and a text on standard input")
    params = read_values("--param", param or ())
    overrides: RunOverrides = {"model": model, "system_prompt": system_prompt, "tools": tool, "params": params or None}
    metadata = metadata_of(tag or ())

    async def follow(place: Place) -> int:
        async with reach(url) as where, Client(where, prefix=prefix, on_notice=place.tell) as client:
            run = await client.start(
                agent,
                text,
                session_id=session,
                deadline=deadline,
                metadata=metadata,
                if_busy=if_busy,
                **overrides,
            )
            if detach:
                typer.echo(json.dumps({"run": run.id}) if as_json else run.id)
                return 0
            return await _show(run, place, after=None, as_json=as_json, wait=_no_wait(wait))

    watching(follow)


def tail(
    run_id: RunOrLast = None,
    last: Last = False,
    after: Annotated[
        str, typer.Option("--after", metavar="CURSOR", help="Cursor: the last record (or event) already seen.")
    ] = "0",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait if no worker serves the agent.")] = True,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Rejoin a run after a cursor and watch it to its end."""
    parse_cursor(after)
    named = run_or_last(run_id, last)

    async def follow(place: Place) -> int:
        async with opened(named, url, prefix, on_notice=place.tell) as run:
            await run.info()
            return await _show(run, place, after=after, as_json=as_json, wait=_no_wait(wait))

    watching(follow)


def demo(
    prompt: Annotated[str, typer.Argument(metavar="[PROMPT]", help="The prompt.")] = _DEMO_PROMPT,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help='Default: PLAYHEAD_MODEL, else "demo", which is offline.'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an agent with nothing installed or running: starts a server and a worker process, and tails the run."""

    async def follow(place: Place) -> int:
        async with EmbeddedServer.running(directory=DATA_DIRECTORY) as server:
            if server.notice:
                typer.echo(server.notice, err=True)
            kept = "" if server.directory is None else f" · data in {DATA_DIRECTORY}/"
            typer.secho(f"server {server.kind} · {server.url}{kept}", err=True, dim=True)
            # Silent, because the worker is still starting: no worker serves the agent yet.
            async with Client(server.url, on_notice=lambda _: None) as client:
                run = await client.start("assistant", prompt)
                place.run_id = run.id
                show = partial(_show, run, place, after=None, as_json=as_json, wait=20.0)
                try:
                    code = await _alongside(show, partial(_keep_worker, server.url, model, place))
                except typer.Exit:
                    await run.cancel()  # else the next demo would run it as well
                    raise
            if server.directory is not None:
                typer.echo(_demo_hint(run.id), err=True)
        return code

    watching(follow, hint=lambda place: f"\nstopped; the run so far: playhead show {place.run_id}{kept_here()}")


def _demo_hint(run_id: str) -> str:
    return (
        f"\nLook at it again: playhead replay {run_id}{kept_here()}\n"
        f"                  playhead show {run_id}{kept_here()}   (the log is kept in {DATA_DIRECTORY}/)"
    )


async def _keep_worker(url: str, model: str | None, place: Place) -> None:
    """Run a worker process for the demo's agent and, if it is killed, another one, which takes the run over.

    The worker stops when its standard input is closed, so it never outlives this process.

    Raises:
        typer.Exit: The worker ended by itself, with its exit code; it has printed the reason.
    """
    command = [sys.executable, "-m", "playhead.workers", "playhead.workers.demo:assistant"]
    command += ["--stop-with-stdin", "--quiet", "--lease", "2", "--drain", "0"]
    env = {**os.environ, "PLAYHEAD_URL": url, **({"PLAYHEAD_MODEL": model} if model else {})}
    env.pop("PLAYHEAD_ARCHIVE", None)  # which is of another deployment
    code = -1
    while code < 0:
        async with await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=None, stderr=None, env=env, start_new_session=True
        ) as worker:
            typer.secho(f"worker process {worker.pid}", err=True, dim=True)
            try:
                code = await worker.wait()
            finally:
                assert worker.stdin is not None
                with anyio.CancelScope(shield=True):
                    await worker.stdin.aclose()
                    with anyio.move_on_after(10):
                        await worker.wait()
        if code < 0:
            place.say(f"[the worker was killed (signal {-code}); another one takes over when its lease of 2 s ends]")
    raise typer.Exit(code or 1)
