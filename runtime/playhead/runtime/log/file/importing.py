"""Imports the runs of a file into a log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import RunExistsError, RunFileError
from playhead.runtime.core.records import TERMINAL_TYPE_OF_STATE, TERMINAL_TYPES, RunFailed, now_ms
from playhead.runtime.log.file.lines import value_of
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.interface import ClientLog
from playhead.runtime.log.reading import encoded_pages
from playhead.runtime.log.values import DEFAULT_RETENTION_MS, EncodedEntry, ImportedRun, RunInfo

__all__ = ["import_runs"]


async def import_runs(
    file: FileLog, log: ClientLog, *, as_id: str | None = None, retention_ms: int = DEFAULT_RETENTION_MS
) -> list[str]:
    """Store every run of a file and return their ids. A run that had not ended gets one more record, `run.failed`.

    Args:
        file: The file.
        log: The log that gets the runs.
        as_id: The id of the run there; only for a file with one run.
        retention_ms: How long they are kept from now on.

    Raises:
        RunExistsError: If a run with that id exists; nothing was changed.
        RunFileError: If a run of the file is not consistent; it was not stored.
        ValueError: If `as_id` is given and the file does not have exactly one run.
    """
    if as_id is not None and len(file.run_ids) != 1:
        raise ValueError(
            f"{file.path} has {len(file.run_ids)} runs, and one id is given for them: import it without --as"
        )
    ids = [as_id] if as_id is not None else file.run_ids
    for run_id in ids:
        if await log.info(run_id) is not None:
            raise RunExistsError(run_id)
    for source, run_id in zip(file.run_ids, ids, strict=True):
        info = await file.info(source)
        assert info is not None
        run = await _imported(file, info, run_id, retention_ms=retention_ms)
        if not await log.import_run(run, _records(file, info)):
            raise RunExistsError(run_id)
    return ids


async def _imported(file: FileLog, info: RunInfo, run_id: str, *, retention_ms: int) -> ImportedRun:
    """The run, ended, with the definitions and messages that its records name."""
    messages = await file.messages_of(info.run_id)
    session = f"imported-{run_id}" if messages else None
    ended = replace(info, run_id=run_id, session=session)
    if not info.ended:
        ended = replace(ended, state="failed", head=info.head + 1, worker=None)
    definitions, cut = await _named(file, info)
    return ImportedRun(ended, definitions, messages, retention_ms, cut)


async def _named(file: FileLog, info: RunInfo) -> tuple[Sequence[StoredDefinition], int]:
    """The definitions that the run's claims name, and how many messages had been cut from its session before.

    Also checks the run's records, before any is stored.
    """
    found: dict[str, StoredDefinition] = {}
    cut, kind = 0, ""
    async for page in encoded_pages(file, info.run_id, head=info.head):
        for entry in page:
            value = value_of(entry.data)
            kind = str(cast("dict[str, Any]", value).get("type")) if isinstance(value, dict) else "model.chunk"
            if (entry.seq == 1) != (kind == "run.submitted"):
                raise RunFileError(file.path, 0, f"record {entry.seq} of run {info.run_id} is a {kind}")
            cut = value.get("session_cut", 0) if kind == "cycle.started" else cut
            digest = value.get("definition") if kind == "run.claimed" else None
            if digest and (stored := await file.stored_definition(info.run_id, digest)) is not None:
                if AgentDefinition.digest_of(stored.data) != digest:
                    raise RunFileError(file.path, 0, f"the definition {digest} of run {info.run_id} has another digest")
                found[digest] = stored
    if TERMINAL_TYPE_OF_STATE.get(info.state, "") != (kind if kind in TERMINAL_TYPES else ""):
        raise RunFileError(file.path, 0, f"run {info.run_id} is {info.state}, and its last record is a {kind}")
    return list(found.values()), cut if isinstance(cut, int) else 0


async def _records(file: FileLog, info: RunInfo) -> AsyncIterator[Sequence[EncodedEntry]]:
    async for page in encoded_pages(file, info.run_id, head=info.head):
        yield page
    if not info.ended:
        text = (
            f"the run was {info.state} when it was exported, after record {info.head}; an import does not continue it"
        )
        failed = RunFailed(at=now_ms(), error_type="ExportedUnfinished", message=text)
        yield [EncodedEntry(info.head + 1, info.epoch, encode_record(failed))]
