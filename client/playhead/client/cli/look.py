"""Commands that look and control: `runs`, `show`, `workers`, `cancel`, `doctor`."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from playhead.client.cli.reach import reach
from playhead.client.cli.render import printable, seconds, short, write_json
from playhead.client.cli.watch import Json, Prefix, RunId, Url
from playhead.client.client import Client
from playhead.runtime.errors import PlayheadError, RunFailedError
from playhead.runtime.log import RunInfo
from playhead.runtime.log.connection import point, redact, redis_info, tell_topology
from playhead.runtime.log.keys import Keys
from playhead.runtime.log.redis import check_server, connect
from playhead.runtime.records import Entry

__all__ = ["cancel", "doctor", "runs", "show", "workers"]

_STATE_STYLES = {"completed": "green", "failed": "red", "running": "cyan", "queued": "yellow", "cancelled": "magenta"}


def _with_client(url: str | None, prefix: str, act: Callable[[Client], Awaitable[int]]) -> None:
    async def main() -> int:
        async with reach(url, at_rest=True) as where, Client(where, prefix=prefix) as client:
            return await act(client)

    raise typer.Exit(anyio.run(main))


def _print_json(value: Any) -> None:
    write_json(json.dumps(value, ensure_ascii=False, default=str))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ago(at_ms: int) -> str:
    passed = max(0, time.time_ns() // 1_000_000 - at_ms)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if passed >= size:
            return f"{passed // size} {unit} ago"
    return f"{passed // 1000} s ago"


def _state(info: RunInfo) -> Text:
    return Text(info.state, style=_STATE_STYLES.get(info.state, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "run")
    return table


def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """List the newest runs."""

    async def act(client: Client) -> int:
        found = await client.runs(limit=limit)
        if as_json:
            for info in found:
                _print_json(asdict(info))
            return 0
        if not found:
            typer.echo("no runs yet; start one: playhead ask AGENT PROMPT", err=True)
            return 0
        table = _table("run", "agent", "state", "records", "owners", "session", "submitted")
        for info in found:
            owners = str(info.epoch) + (f" ({info.crashes} died)" if info.crashes else "")
            table.add_row(
                info.run_id, info.agent, _state(info), str(info.head), owners, info.session or "", _ago(info.created)
            )
        Console(highlight=False).print(table)
        return 0

    _with_client(url, prefix, act)


def show(
    run_id: RunId,
    records: Annotated[bool, typer.Option("--records", help="List every record of the log.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Show what a run did: its state, its records, its result."""
    _with_client(url, prefix, partial(_show, run_id=run_id, records=records, as_json=as_json))


async def _show(client: Client, *, run_id: str, records: bool, as_json: bool) -> int:
    run = client.run(run_id)
    info = await run.info()
    console = Console(highlight=False, soft_wrap=True)
    if as_json:
        _print_json(asdict(info))
    else:
        _print_info(console, info)
    if records:
        await _print_records(console, client, info, as_json=as_json)
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
    table = Table(box=None, show_header=False, pad_edge=False)
    took = seconds(info.updated - info.created) if info.ended else f"submitted {_ago(info.created)}"
    rows: list[tuple[str, str | Text]] = [
        ("run", info.run_id),
        ("agent", info.agent),
        ("state", _state(info)),
        ("session", info.session or "none"),
        ("records", str(info.head)),
        ("owners", f"{info.epoch}, {info.crashes} died" if info.crashes else str(info.epoch)),
        ("worker", info.worker or "none"),
        ("took" if info.ended else "since", took),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="bold"), value)
    console.print(table)


async def _print_records(console: Console, client: Client, info: RunInfo, *, as_json: bool) -> None:
    after = 0
    while after < info.head and (page := await client.log.read(info.run_id, after=after)):
        for entry in page:
            after = entry.seq
            if as_json:
                _print_json({"seq": entry.seq, "epoch": entry.epoch, **dict(entry.record)})
            else:
                console.print(Text(printable(_record_line(entry))))


def _record_line(entry: Entry) -> str:
    fields = {key: value for key, value in dict(entry.record).items() if key not in ("v", "type", "at")}
    return f"{entry.seq:>6}-{entry.epoch}  {entry.record.type:<18} {short(fields)}"


def _print_outcome(console: Console, outcome: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(outcome)
    elif "error" in outcome:
        console.print(Text(printable(f"\n{outcome['error']['type']}: {outcome['error']['message']}"), style="red"))
    else:
        metrics = outcome["result"].get("metrics", {})
        usage = metrics.get("usage", {})
        console.print(
            Text(
                f"\n{outcome['result'].get('stop_reason')} · {_count(metrics.get('cycles', 0), 'cycle')} · "
                f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)} tokens",
                style="dim",
            )
        )
        for block in outcome["result"].get("message", {}).get("content", []):
            if "text" in block:
                console.print(Text(printable(block["text"])))


def workers(as_json: Json = False, url: Url = None, prefix: Prefix = "ph") -> None:
    """List the live workers and what they serve."""

    async def act(client: Client) -> int:
        found = await client.workers()
        if as_json:
            for worker in found:
                _print_json(asdict(worker))
            return 0
        if not found:
            typer.echo("no live workers; start one: playhead worker TARGET", err=True)
            return 0
        table = _table("worker", "agents", "runs", "host", "pid", "started")
        for worker in found:
            load = f"{worker.running} of {worker.concurrency}"
            agents = ", ".join(worker.agents)
            table.add_row(worker.worker, agents, load, worker.host, str(worker.pid), _ago(worker.started))
        Console(highlight=False).print(table)
        return 0

    _with_client(url, prefix, act)


def cancel(run_id: RunId, as_json: Json = False, url: Url = None, prefix: Prefix = "ph") -> None:
    """Stop a run. A run in line ends at once; a running one at its next word, or when its present tool call returns."""

    async def act(client: Client) -> int:
        run = client.run(run_id)
        before = await run.info()
        state = await run.cancel()
        if as_json:
            _print_json({"run": run_id, "state": state, "had_ended": before.ended})
            return 0
        if state == "running":
            with anyio.move_on_after(5):
                async with aclosing(run.records(after=before.head)) as entries:
                    async for _ in entries:
                        pass
            state = (await run.info()).state
        if before.ended:
            typer.echo(f"run {run_id} had ended already: {state}", err=True)
        elif state in ("running", "queued"):
            typer.echo(
                f"run {run_id}: still {state}; the cancel is sent, and takes effect when the tool call that runs now "
                "returns, or when another worker takes the run over",
                err=True,
            )
        else:
            typer.echo(f"run {run_id}: {state}", err=True)
        return 0

    _with_client(url, prefix, act)


def doctor(as_json: Json = False, url: Url = None, prefix: Prefix = "ph") -> None:
    """Check the server, its settings and the fleet; exit 1 if something stands in the way."""

    async def main() -> int:
        async with reach(url, at_rest=True) as where:
            findings = await _examine(where, prefix)
        if as_json:
            for level, text in findings:
                _print_json({"level": level, "text": text})
        else:
            console = Console(highlight=False, soft_wrap=True)
            styles = {"ok": "green", "warning": "yellow", "error": "red"}
            for level, text in findings:
                console.print(Text.assemble((f"{level:<8}", styles[level]), text))
        return 1 if any(level == "error" for level, _ in findings) else 0

    raise typer.Exit(anyio.run(main))


async def _examine(url: str, prefix: str) -> list[tuple[str, str]]:
    findings: list[tuple[str, str]] = []
    redis = connect(url, connections=1)
    point(redis, Keys(prefix))
    try:
        info = await redis_info(redis)
        warnings = await check_server(redis)
        began = time.perf_counter()
        for _ in range(10):
            await redis.execute_command("PING")
        trip = (time.perf_counter() - began) * 100
    except PlayheadError as error:
        return [("error", f"{redact(url)}: {error}")]
    finally:
        await redis.aclose()
    name = "fakeredis (in memory only)"
    if info:  # Valkey also tells the Redis version it is compatible with
        version = info.get("valkey_version") or info.get("redis_version")
        name = f"{info.get('server_name', 'redis')} {version}"
    findings.append(("ok", f"{redact(url)}: {name}, {trip:.2f} ms a round trip"))
    if info:
        findings.append(("ok", tell_topology(redis, info)))
    findings += [("warning", text) for text in warnings]
    async with Client(url, prefix=prefix) as client:
        live = await client.workers()
        waiting = {run.agent for run in await client.runs(limit=500) if run.state == "queued"}
    served = {name for worker in live for name in worker.agents}
    agents = ", ".join(sorted(served)) or "none"
    findings.append(("ok" if live else "warning", f"{_count(len(live), 'live worker')}; agents served: {agents}"))
    for agent in sorted(waiting - served):
        findings.append(("error", f"runs wait for agent {agent!r}, which no live worker serves"))
    return findings
