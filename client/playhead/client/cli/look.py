"""Commands that inspect: `runs`, `show`, `workers`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from playhead.client.cli.filters import filters_of, fitting
from playhead.client.cli.page.files import write_pictures
from playhead.client.cli.page.terminal import COSTS, cost_rows, timeline_lines, transcript_lines
from playhead.client.cli.place import show_at
from playhead.client.cli.reach import with_client, with_run
from playhead.client.cli.render import failed_call, print_json, printable, record_line, seconds, short
from playhead.client.cli.tables import Column, print_table
from playhead.client.cli.watch import Json, Prefix, RunOrFile, Url
from playhead.client.client import Client
from playhead.client.questions import how_to_respond, names_of
from playhead.client.reader import RunReader
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import now_ms
from playhead.runtime.core.retry import rest_of_wait
from playhead.runtime.core.timeline import Drawing
from playhead.runtime.core.transcript import Transcript
from playhead.runtime.log.reading import pages
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["counted", "runs", "show", "workers"]

_STATE_STYLES = {
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "queued": "yellow",
    "cancelled": "magenta",
    "paused": "bright_yellow",
}


def counted(number: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ago(at_ms: int) -> str:
    passed = max(0, time.time_ns() // 1_000_000 - at_ms)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if passed >= size:
            return f"{passed // size} {unit} ago"
    return f"{passed // 1000} s ago"


def _until(at_ms: int) -> str:
    """A future time, by this machine's clock; the log uses the server's."""
    left = (at_ms - time.time_ns() // 1_000_000) / 1000
    return f"in {left:,.0f} s" if left > 0 else "passed"


def _counters(info: RunInfo) -> str:
    """How the run's ownerships ended, except the one that completed it."""
    counts = [(info.crashes, "died"), (info.handovers, "handed it over"), (info.errors, "failed")]
    return ", ".join(f"{number} {what}" for number, what in counts if number)


def _state(info: RunInfo) -> Text:
    return Text(info.state, style=_STATE_STYLES.get(info.state, ""))


_RUNS: Final = (
    Column("run"),
    Column("agent", 1),
    Column("state"),
    Column("records", 4, right=True),
    Column("owners", 3),
    Column("session", 5),
    Column("submitted", 2),
)
_WORKERS: Final = (
    Column("worker"),
    Column("agents"),
    Column("runs", 1),
    Column("host", 3),
    Column("pid", 4),
    Column("started", 2),
)


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of runs, newest first.")] = 20,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Only runs of this agent.")] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only runs in this state.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="Only runs submitted within 7d, 12h, 30m, 90s.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """List the newest runs; archived ones too, with PLAYHEAD_ARCHIVE."""
    filters = filters_of(agents=None if agent is None else [agent], state=state, since=since)

    async def act(client: Client) -> int:
        found = await fitting(client, filters, limit=limit)
        if as_json:
            for info in found:
                print_json(asdict(info))
            return 0
        if not found:
            none = "no runs yet; start one: playhead ask AGENT PROMPT" if filters.all_fit else "no such runs"
            typer.echo(none, err=True)
            return 0
        rows: list[list[str | Text]] = []
        for info in found:
            state = _state(info)
            state.append(printable(await _waits_for(client, info)))
            told = _counters(info)
            owners = f"{info.epoch} ({told})" if told else str(info.epoch)
            rows.append(
                [info.run_id, info.agent, state, str(info.head), owners, info.session or "", _ago(info.created)]
            )
        print_table(_RUNS, rows)
        return 0

    with_client(url, prefix, act)


async def _waits_for(client: Client, info: RunInfo) -> str:
    """What a run waits for, to append to its state; empty if it does not wait."""
    run = client.run(info.run_id)
    if info.state == "paused" and (pause := await run.pause()):
        return f": {', '.join(names_of(pause.interrupts).values())}"
    if (info.state == "running" or info.due) and (failed := await run.failed_call()):
        rest = rest_of_wait(failed.delay, since=failed.at, now=now_ms())
        return f": {failed.error_type}, calls the model again in {rest:.0f} s"
    return ""


def show(
    run_id: RunOrFile,
    records: Annotated[bool, typer.Option("--records", help="List every record of the log.")] = False,
    request: Annotated[
        int | None,
        typer.Option("--request", metavar="SEQ", help="Only what the model was asked at record SEQ, as JSON."),
    ] = None,
    at: Annotated[
        int | None, typer.Option("--at", metavar="SEQ", min=1, help="Only the run's state after record SEQ.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page in which you move through the run.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write a picture of the timeline.")] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Show what a run did: its state, its transcript, its timeline, its result."""
    if html is not None or svg is not None:
        with_run(run_id, url, prefix, partial(write_pictures, html=html, svg=svg))
    elif at is not None:
        with_run(run_id, url, prefix, partial(show_at, seq=at, as_json=as_json))
    elif request is not None:
        with_run(run_id, url, prefix, partial(_show_request, seq=request, as_json=as_json))
    else:
        with_run(run_id, url, prefix, partial(_show, records=records, as_json=as_json))


async def _show_request(run: RunReader, *, seq: int, as_json: bool) -> int:
    found = asdict(await run.request(seq))
    sent = found.pop("request")
    messages = sent.pop("messages")  # last, because they are long
    print_json(
        {**found, "system_prompt": sent.pop("system_prompt"), **sent, "messages": messages},
        indent=None if as_json else 2,
    )
    return 0


async def _show(run: RunReader, *, records: bool, as_json: bool) -> int:
    info = await run.info()
    console = Console(highlight=False, soft_wrap=True)
    pause = await run.pause() if info.state == "paused" else None
    failed = await run.failed_call()
    if as_json:
        waits_for = {"interrupts": pause.interrupts} if pause else {"failed_call": dict(failed)} if failed else {}
        print_json(asdict(info) | waits_for)
    else:
        _print_info(console, info)
    if records:
        await _print_records(console, run, info, as_json=as_json)
    elif not as_json:
        await _print_course(run, info)
    if pause is not None and not as_json:
        _print_questions(console, run.id, pause.interrupts)
    if failed is not None and not as_json:
        console.print(Text(printable(f"\nwaits: {failed_call(failed)}"), style="yellow"))
    if not info.ended:
        return 0
    try:
        result = await run.result()
    except RunFailedError as error:
        _print_outcome(console, {"error": {"type": error.error_type, "message": str(error)}}, as_json=as_json)
        return 0
    _print_outcome(console, {"result": dict(result)}, as_json=as_json)
    return 0


def _print_info(console: Console, info: RunInfo) -> None:
    took = seconds(info.updated - info.created) if info.ended else f"submitted {_ago(info.created)}"
    rows: list[tuple[str, str | Text]] = [
        ("run", info.run_id),
        ("agent", info.agent),
        ("state", _state(info)),
        ("session", info.session or "none"),
        ("records", str(info.head)),
        ("owners", ", ".join(filter(None, [str(info.epoch), _counters(info)]))),
        ("worker", info.worker or "none"),
        ("took" if info.ended else "since", took),
    ]
    if info.deadline is not None and not info.ended:
        rows.append(("deadline", _until(info.deadline)))
    widest = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(Text.assemble((f"{name:<{widest}}  ", "bold"), value))


def _print_questions(console: Console, run_id: str, interrupts: Sequence[Interrupt]) -> None:
    console.print()
    for one in interrupts:
        reason = "" if one.reason is None else f": {short(one.reason, longest=1000)}"
        console.print(Text(printable(f"? {one.name}{reason}"), style="yellow"), Text(one.id, style="dim"))
    console.print(Text(f"answer: {how_to_respond(run_id, interrupts)}", style="dim"))


async def _print_course(run: RunReader, info: RunInfo) -> None:
    """Print the transcript, the timeline, and the cost of each cycle. The run is read page by page; only its texts are held."""
    writing, drawing = Transcript(), Drawing()
    async for page in pages(run.log, run.id, head=info.head):
        for entry in page:
            writing.add(entry)
            drawing.add(entry)
    console = Console(highlight=False)
    console.print()
    for line in transcript_lines(writing.items):
        console.print(line, soft_wrap=True)
    console.print()
    drawn = drawing.value()
    for line in timeline_lines(drawn, width=console.width):
        console.print(line, soft_wrap=True)
    if drawn.cycles:
        console.print()
        print_table(COSTS, cost_rows(drawn))


async def _print_records(console: Console, run: RunReader, info: RunInfo, *, as_json: bool) -> None:
    after = 0
    while after < info.head and (page := await run.log.read(run.id, after=after)):
        for entry in page:
            after = entry.seq
            if as_json:
                print_json({"seq": entry.seq, "epoch": entry.epoch, **dict(entry.record)})
            else:
                console.print(Text(printable(record_line(entry))))


def _print_outcome(console: Console, outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    elif "error" in outcome:
        console.print(Text(printable(f"\n{outcome['error']['type']}: {outcome['error']['message']}"), style="red"))
    else:
        metrics = outcome["result"].get("metrics", {})
        usage = metrics.get("usage", {})
        console.print(
            Text(
                f"\n{outcome['result'].get('stop_reason')} · {counted(metrics.get('cycles', 0), 'cycle')} · "
                f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)} tokens",
                style="dim",
            )
        )


def _worker_row(worker: WorkerInfo) -> list[str]:
    load = f"{worker.running} of {worker.concurrency}"
    return [worker.worker, ", ".join(worker.agents), load, worker.host, str(worker.pid), _ago(worker.started)]


def workers(as_json: Json = False, url: Url = None, prefix: Prefix = "ph") -> None:
    """List the live workers and what they serve."""

    async def act(client: Client) -> int:
        found = await client.workers()
        if as_json:
            for worker in found:
                print_json(asdict(worker))
            return 0
        if not found:
            typer.echo("no live workers; start one: playhead worker TARGET", err=True)
            return 0
        print_table(_WORKERS, map(_worker_row, found))
        return 0

    with_client(url, prefix, act)
