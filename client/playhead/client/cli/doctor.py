"""`playhead doctor`: checks the server, the user's rights and the fleet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, NamedTuple

import anyio
import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.text import Text

from playhead.client.cli.look import counted
from playhead.client.cli.reach import file_of, reach
from playhead.client.cli.render import print_json, printable
from playhead.client.cli.watch import Json, Prefix, Url
from playhead.client.client import Client
from playhead.client.files import open_log
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import encoded_pages
from playhead.runtime.log.redis.connection import connect, redact
from playhead.runtime.log.redis.inspection import FIELDS, StoredRun, faults_of
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.rights import ROLES, Role
from playhead.runtime.log.redis.server_check import check_server, redis_info, tell_topology

__all__ = ["doctor"]

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "red"}


class _Finding(NamedTuple):
    level: Literal["ok", "warning", "error"]
    text: str


def doctor(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Check this run.")] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Check the server, its settings, the user's rights and the fleet, or a run; exit 1 if something must be fixed."""

    async def main() -> int:
        if run_id is not None and (named := file_of(run_id)) is not None:
            findings = await _file(*named)
        else:
            async with reach(url, at_rest=True) as where:
                findings = await (_examine(where, prefix) if run_id is None else _run(where, prefix, run_id))
        _print(findings, as_json=as_json)
        return 1 if any(finding.level == "error" for finding in findings) else 0

    raise typer.Exit(anyio.run(main))


def _print(findings: list[_Finding], *, as_json: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for level, text in findings:
        if as_json:
            print_json({"level": level, "text": text})
        else:
            console.print(Text.assemble((f"{level:<8}", _STYLES[level]), printable(text)))


async def _examine(url: str, prefix: str) -> list[_Finding]:
    log = RedisLog(connect(url), prefix=prefix)
    try:
        findings = await _server(log.client, redact(url))
        missing: dict[Role, list[str]] = {role: await log.missing_rights(role) for role in ROLES}
    except PlayheadError as error:
        return [_Finding("error", f"{redact(url)}: {error}")]
    finally:
        await log.aclose()
    findings += _rights(missing)
    if not missing["viewer"]:
        async with Client(url, prefix=prefix) as client:
            findings += await _fleet(client)
    return findings


async def _run(url: str, prefix: str, run_id: str) -> list[_Finding]:
    """Check one run: its hash, its log and the places where it is looked for."""
    async with Client(url, prefix=prefix) as client:
        client.run(run_id)  # refuses what cannot be an id
        return _findings(run_id, await client.log_of(run_id).stored(run_id))


def _findings(run_id: str, stored: StoredRun) -> list[_Finding]:
    faults = faults_of(stored)
    state = (stored.fields["state"] or b"").decode("utf-8", "replace")
    return [_Finding("error", f"run {run_id}: {fault}") for fault in faults] or [
        _Finding("ok", f"run {run_id}: {state}, {counted(len(stored.entries), 'record')}, nothing is wrong with it")
    ]


async def _file(path: str, run_id: str | None) -> list[_Finding]:
    """Check the runs of a file, or one of them."""
    try:
        with open_log(path) as file:
            ids = file.run_ids if run_id is None else [file.run(run_id).id]
            return [finding for one in ids for finding in _findings(one, await _stored(file.reader, one))]
    except PlayheadError as error:
        return [_Finding("error", str(error))]


async def _stored(log: LogReader, run_id: str) -> StoredRun:
    """The run in the form of `RedisLog.stored`; it is in no place where a worker would look for it."""
    info = await log.info(run_id)
    assert info is not None
    facts = {name: str(value).encode() for name, value in asdict(info).items() if value is not None}
    fields: dict[str, bytes | None] = {name: facts.get(name, b"0" if name == "inbox" else b"") for name in FIELDS}
    pages = encoded_pages(log, run_id, head=info.head)
    entries = [(f"{seq}-{epoch}".encode(), (b"r", data)) async for page in pages for seq, epoch, data in page]
    at = info.state
    return StoredRun(run_id, fields, entries, 0, leased=at == "running", queued=at == "queued", waiting=False)


async def _server(redis: Redis, where: str) -> list[_Finding]:
    info = await redis_info(redis)
    warnings = await check_server(redis)
    began = time.perf_counter()
    for _ in range(10):
        await redis.execute_command("PING")
    trip = (time.perf_counter() - began) * 100
    name = _name(info) if info else "fakeredis (in memory only)"
    told = [tell_topology(redis, info)] if info else []
    oks = [f"{where}: {name}, {trip:.2f} ms a round trip", *told]
    return [*(_Finding("ok", text) for text in oks), *(_Finding("warning", text) for text in warnings)]


def _name(info: dict[str, Any]) -> str:
    version = info.get("valkey_version") or info.get("redis_version")  # Valkey also reports a compatible Redis version
    return f"{info.get('server_name', 'redis')} {version}"


def _rights(missing: Mapping[Role, Sequence[str]]) -> list[_Finding]:
    """The roles for which this user's rights suffice; an error if there are none."""
    enough = [role for role in ROLES if not missing[role]]
    findings = [_Finding("ok", f"the user has the rights of a {', a '.join(enough)}")] if enough else []
    level = "warning" if enough else "error"
    lacking = [f"as a {role} the user lacks {' '.join(rules)}" for role, rules in missing.items() if rules]
    return findings + [_Finding(level, text) for text in lacking]


async def _fleet(client: Client) -> list[_Finding]:
    findings: list[_Finding] = []
    shards = await client.shards()
    live = await client.workers()
    waiting = {run.agent for run in await client.runs(limit=500) if run.state == "queued"}
    if shards > 1:
        findings.append(_Finding("ok", f"{shards} shards, all of them answer"))
    served = {name for worker in live for name in worker.agents}
    agents = ", ".join(sorted(served)) or "none"
    level = "ok" if live else "warning"
    findings.append(_Finding(level, f"{counted(len(live), 'live worker')}; agents served: {agents}"))
    unserved = [f"runs wait for agent {agent!r}, which no live worker serves" for agent in sorted(waiting - served)]
    return [*findings, *(_Finding("error", text) for text in unserved)]
