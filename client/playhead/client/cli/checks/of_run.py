"""The checks of one run, of a server or of a file: its hash, its log and the places where it is looked for."""

from __future__ import annotations

from dataclasses import asdict

from playhead.client.cli.checks.check import Check
from playhead.client.cli.render import counted
from playhead.client.client import Client
from playhead.client.files import open_log
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import encoded_pages
from playhead.runtime.log.redis.inspection import FIELDS, StoredRun, faults_of

__all__ = ["check_file", "check_run"]


async def check_run(url: str, *, prefix: str, run_id: str) -> list[Check]:
    """Check a run that a server has."""
    async with Client(url, prefix=prefix) as client:
        client.run(run_id)  # refuses what cannot be an id
        return _checks(run_id, await client.log_of(run_id).stored(run_id))


async def check_file(path: str, *, run_id: str | None) -> list[Check]:
    """Check the runs of a file, or one of them."""
    try:
        with open_log(path) as file:
            ids = file.run_ids if run_id is None else [file.run(run_id).id]
            return [check for one in ids for check in _checks(one, await _stored(file.reader, one))]
    except PlayheadError as error:
        return [Check(check="file", state="failed", what=str(error))]


def _checks(run_id: str, stored: StoredRun) -> list[Check]:
    state = (stored.fields["state"] or b"").decode("utf-8", "replace")
    records = counted(len(stored.entries), "record")
    whole = Check(
        check="run", state="ok", what=f"run {run_id}: {state}, {records}, nothing is wrong with it", runs=[run_id]
    )
    return [
        Check(check="run", state="failed", what=f"run {run_id}: {fault}", runs=[run_id]) for fault in faults_of(stored)
    ] or [whole]


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
