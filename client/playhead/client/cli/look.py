"""Commands that inspect: `show`, `workers`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from playhead.client.cli.owners import owners_told
from playhead.client.cli.page.files import write_pictures
from playhead.client.cli.page.terminal import COSTS, cost_rows, timeline_lines, transcript_lines
from playhead.client.cli.place import show_at
from playhead.client.cli.queued import what_it_waits_for
from playhead.client.cli.reach import with_client, with_run
from playhead.client.cli.render import (
    STATE_STYLES,
    age,
    counted,
    date,
    failed_call,
    preview,
    print_json,
    printable,
    record_line,
    seconds,
    short,
    tags_text,
)
from playhead.client.cli.requests import show_request
from playhead.client.cli.tables import Column, print_beside, print_table
from playhead.client.cli.watch import Json, Last, Prefix, RunOrLast, Url, run_or_last
from playhead.client.client import Client
from playhead.client.questions import how_to_respond
from playhead.client.reader import RunReader
from playhead.client.run import Run
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.core.timeline import Drawing
from playhead.runtime.core.transcript import Transcript
from playhead.runtime.log.reading import pages
from playhead.runtime.log.values import RunInfo, WorkerInfo

__all__ = ["show", "workers"]


def _until(at_ms: int) -> str:
    """A future time, by this machine's clock; the log uses the server's."""
    left = (at_ms - time.time_ns() // 1_000_000) / 1000
    return f"in {left:,.0f} s" if left > 0 else "passed"


_WORKERS: Final = (
    Column("worker"),
    Column("agents"),
    Column("runs", 1),
    Column("host", 3),
    Column("pid", 4),
    Column("started", 2),
)


def show(
    run_id: RunOrLast = None,
    last: Last = False,
    records: Annotated[bool, typer.Option("--records", help="List every record of the log.")] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="List the records of this type, such as tool.finished or tool.*."),
    ] = None,
    request: Annotated[
        int | None,
        typer.Option("--request", metavar="SEQ", help="Only what the model was asked at record SEQ, as JSON."),
    ] = None,
    here: Annotated[
        str | None,
        typer.Option(
            "--here", metavar="TARGET", help="With --request: run the guest of TARGET again, to see all of it."
        ),
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
    run = run_or_last(run_id, last)
    if here is not None and request is None:
        raise ValueError("--here is for --request SEQ: it runs the guest again up to the call of that record")
    if html is not None or svg is not None:
        with_run(run, url, prefix, partial(write_pictures, html=html, svg=svg))
    elif at is not None:
        with_run(run, url, prefix, partial(show_at, seq=at, as_json=as_json))
    elif request is not None:
        with_run(run, url, prefix, partial(show_request, seq=request, here=here, as_json=as_json))
    else:
        wanted = types or (["*"] if records else [])
        with_run(run, url, prefix, partial(_show, types=wanted, as_json=as_json))


async def _show(run: RunReader, *, types: Sequence[str], as_json: bool) -> int:
    info = await run.info()
    console = Console(highlight=False, soft_wrap=True)
    pause = await run.pause() if info.state == "paused" else None
    failed = await run.failed_call()
    if as_json:
        waits_for = {"interrupts": pause.interrupts} if pause else {"failed_call": dict(failed)} if failed else {}
        print_json(asdict(info) | waits_for)
    else:
        first = await run.log.read(run.id, limit=1)
        owners = await owners_told(run.log, info, first[0].record if first else None)
        is_queued = isinstance(run, Run) and info.state == "queued" and info.due is None
        waits = await what_it_waits_for(run.log, info) if is_queued else ""
        _print_info(info, first, owners=", ".join(owners), waits=waits)
    if types:
        await _print_records(console, run, info, types, as_json=as_json)
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


def _print_info(info: RunInfo, first: Sequence[Entry], *, owners: str, waits: str) -> None:
    submitted = first[0].record if first and isinstance(first[0].record, RunSubmitted) else None
    asked = preview(submitted.prompt) if submitted else ""
    rows: list[tuple[str, str | Text]] = [
        ("run", info.run_id),
        ("agent", info.agent),
        ("state", Text(info.state, style=STATE_STYLES.get(info.state, ""))),
        ("prompt", printable(asked) or "none"),
        ("submitted", date(info.created) if info.ended else f"{date(info.created)} ({age(info.created)} ago)"),
        ("session", info.session or "none"),
        ("records", str(info.head)),
        ("owners", owners),
        ("worker", info.worker or "none"),
    ]
    if waits:
        rows.insert(3, ("waits for", printable(waits)))
    if info.ended:
        took = seconds(max(0, info.updated - info.created))
        rows.insert(5, ("ended", f"{date(info.updated)} (after {took})"))
    if submitted and (fork := submitted.options.get("fork")):
        rows.insert(1, ("fork of", f"{fork['run']}, at record {fork['at']}"))
    if info.metadata:
        rows.append(("tags", printable(tags_text(info.metadata))))
    if info.deadline is not None and not info.ended:
        rows.append(("deadline", _until(info.deadline)))
    widest = max(len(name) for name, _ in rows)
    for name, value in rows:
        print_beside(Text(f"{name:<{widest}}  ", style="bold"), value if isinstance(value, Text) else Text(value))


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
    for head, body in transcript_lines(writing.items):
        print_beside(head, body)
    console.print()
    drawn = drawing.value(now=None if info.ended or not isinstance(run, Run) else time.time_ns() // 1_000_000)
    for line in timeline_lines(drawn, width=console.width):
        console.print(line, soft_wrap=True)
    if drawn.cycles:
        console.print()
        print_table(COSTS, cost_rows(drawn))


async def _print_records(
    console: Console, run: RunReader, info: RunInfo, types: Sequence[str], *, as_json: bool
) -> None:
    """Print the records of these types, which are patterns of the shell. Raises ValueError if the run has none."""
    there: Counter[str] = Counter()
    async for page in pages(run.log, run.id, head=info.head):
        there.update(entry.record.type for entry in page)
        for entry in page:
            if not any(fnmatchcase(entry.record.type, one) for one in types):
                continue
            if as_json:
                print_json({"seq": entry.seq, "epoch": entry.epoch, **dict(entry.record)})
            else:
                console.print(Text(printable(record_line(entry))))
    if not any(fnmatchcase(kind, one) for kind in there for one in types):
        has = ", ".join(f"{kind} ({count})" for kind, count in there.items())
        raise ValueError(f"run {run.id} has no record of type {' or '.join(types)}; it has {has}")


def _print_outcome(console: Console, outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(outcome)
    elif "error" in outcome:
        console.print(Text(printable(f"\n{outcome['error']['type']}: {outcome['error']['message']}"), style="red"))
    else:
        metrics = outcome["result"].get("metrics", {})
        usage = metrics.get("usage", {})
        cycles = f"{counted(metrics['cycles'], 'cycle')} · " if metrics.get("cycles") else ""  # a guest's run has none
        console.print(
            Text(
                f"\n{outcome['result'].get('stop_reason')} · {cycles}"
                f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)} tokens",
                style="dim",
            )
        )


def _worker_row(worker: WorkerInfo) -> list[str]:
    load = f"{worker.running} of {worker.concurrency}"
    return [worker.worker, ", ".join(worker.agents), load, worker.host, str(worker.pid), f"{age(worker.started)} ago"]


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
