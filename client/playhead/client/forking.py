"""Makes a fork: copies the first records of a run, with all that they name, to a new run that is queued."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.client.requests import session_messages
from playhead.client.tails.notice import run_not_found
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import RequestNotFoundError, RunExistsError
from playhead.runtime.core.fork import Fork, check_effects, first_record, next_records
from playhead.runtime.core.records import CycleStarted, Entry, RunClaimed, now_ms
from playhead.runtime.core.storable import ANY_SIZE
from playhead.runtime.log.interface import ClientLog
from playhead.runtime.log.reading import encoded_pages
from playhead.runtime.log.values import EncodedEntry, ImportedRun, RunInfo

__all__ = ["store_fork"]

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Parent:
    """The run that is forked, and its records up to the place."""

    info: RunInfo
    encoded: Sequence[EncodedEntry]
    entries: Sequence[Entry]


async def store_fork(log: ClientLog, parent_id: str, fork: Fork, *, run_id: str, session: str) -> None:
    """Store the fork `run_id` of a run, and queue it. The parent is only read.

    Args:
        log: The log of both.
        parent_id: The run to fork.
        fork: What the fork is to be.
        run_id: Its id.
        session: The name of its session, which it has if its parent has one.

    Raises:
        ForkAfterEffectsError: Tools have run before that place, and this was not accepted.
        ValueError: The parent does not have that many records, had ended there, or has no such call or question there;
            or the messages that it began from are not known.
        RunNotFoundError, GapError, ForeignRecordError, LogUnavailableError: As their texts say.
    """
    parent = await _read(log, parent_id, fork.at)
    check_effects(parent.entries, fork, parent=parent_id)
    said = await _began_from(log, parent)
    more = next_records(parent.entries, fork, parent=parent_id, history=said)
    own_session = None if parent.info.session is None else session
    first = first_record(parent.entries[0].record, fork, parent=parent_id, session=own_session)
    records = [parent.encoded[0]._replace(data=encode_record(first, limit=ANY_SIZE)), *parent.encoded[1:]]
    epoch = records[-1].epoch
    records += [EncodedEntry(seq, epoch, encode_record(record)) for seq, record in enumerate(more, fork.at + 1)]
    now = now_ms()  # until the log knows better
    info = RunInfo(run_id, "queued", parent.info.agent, own_session, len(records), epoch, 0, created=now, updated=now)
    if not await log.import_run(ImportedRun(info, await _definitions(log, parent), said), _pages(records)):
        raise RunExistsError(run_id)


async def _read(log: ClientLog, run_id: str, at: int) -> _Parent:
    info = await log.info(run_id)
    if info is None:
        raise run_not_found(run_id)
    if not 1 <= at <= info.head:
        raise ValueError(f"run {run_id} has records 1 to {info.head}, so it cannot be forked at {at}")
    encoded = [entry async for page in encoded_pages(log, run_id, head=at) for entry in page]
    return _Parent(info, encoded, [Entry(seq, epoch, decode_record(data)) for seq, epoch, data in encoded])


async def _began_from(log: ClientLog, parent: _Parent) -> Sequence[Message]:
    """The messages of its session that the parent began from; its first `cycle.started` tells how many they were."""
    info = parent.info
    if info.session is None:
        return []
    page = parent.entries
    while page:
        for _, _, record in page:
            if isinstance(record, CycleStarted):
                try:
                    return await session_messages(log, info, record.session_messages)
                except RequestNotFoundError as error:
                    raise ValueError(f"{error}: it cannot be forked") from error
        page = await log.read(info.run_id, after=page[-1].seq, limit=_PAGE)
    raise ValueError(f"run {info.run_id} has not begun its first cycle: start another run instead of a fork of it")


async def _definitions(log: ClientLog, parent: _Parent) -> list[StoredDefinition]:
    """The definitions that the copied claims name; without one that was deleted."""
    claims = [entry.record for entry in parent.entries if isinstance(entry.record, RunClaimed)]
    digests = dict.fromkeys(claim.definition for claim in claims if claim.definition)
    found = [await log.stored_definition(parent.info.run_id, digest) for digest in digests]
    return [definition for definition in found if definition is not None]


async def _pages(records: Sequence[EncodedEntry]) -> AsyncIterator[Sequence[EncodedEntry]]:
    for start in range(0, len(records), _PAGE):
        yield records[start : start + _PAGE]
