"""Makes a fork: copies the first records of a run, with all that they name, to a new run that is queued."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from playhead.client.requests import session_messages
from playhead.client.tails.notice import run_not_found
from playhead.runtime.core.codec import decode_stored, encode_record
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import RequestNotFoundError, RunConflictError, RunExistsError
from playhead.runtime.core.fork import Fork, check_effects, differing, first_record, next_records
from playhead.runtime.core.records import Entry, ModelStarted, Record, RunClaimed, StateChanged, now_ms
from playhead.runtime.core.segments import changes_state, expanded, record_of
from playhead.runtime.core.session import BeganFrom, StoredMessages
from playhead.runtime.core.storable import ANY_SIZE
from playhead.runtime.log.interface import ClientLog, LogReader
from playhead.runtime.log.reading import encoded_pages
from playhead.runtime.log.values import EncodedEntry, ImportedRun, RunInfo
from playhead.runtime.telemetry.presence import current_trace

__all__ = ["NewFork", "new_fork", "store_fork"]

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class NewFork:
    """A fork that can be stored.

    Attributes:
        run: The run, queued, with all that its records name.
        records: Its records.
        asked: Record 1, and the records after those of its parent.
    """

    run: ImportedRun
    records: Sequence[EncodedEntry]
    asked: Sequence[Record]

    async def pages(self) -> AsyncIterator[Sequence[EncodedEntry]]:
        """The records, page by page."""
        for start in range(0, len(self.records), _PAGE):
            yield self.records[start : start + _PAGE]


@dataclass(frozen=True, slots=True)
class _Parent:
    """The run that is forked, and its records up to the place.

    `entries` are those that its fold needs, and `chunks` those of the last model call, if the fork says something after it.
    """

    info: RunInfo
    encoded: Sequence[EncodedEntry]
    entries: Sequence[Entry]
    chunks: Sequence[Chunk]


async def new_fork(log: LogReader, parent_id: str, fork: Fork, *, run_id: str, session: str) -> NewFork:
    """Make a fork of a run. Nothing is stored.

    Memory grows with the records that the fork begins with, by their stored bytes.

    Args:
        log: The log of the parent.
        parent_id: The run to fork.
        fork: What the fork is to be.
        run_id: Its id.
        session: The name of its session, which it has if its parent has one.

    Raises:
        ForkAfterEffectsError: If tools have run before that record and this was not accepted.
        ValueError: The parent does not have that many records, had ended there, or has no such call or question there;
            or the messages that it began from are not known.
        RunNotFoundError, GapError, ForeignRecordError, LogUnavailableError: As their messages say.
    """
    parent = await _read(log, parent_id, fork)
    check_effects(parent.entries, fork, parent=parent_id)
    said = await _began_from(log, parent)
    more = next_records(parent.entries, fork, parent=parent_id, history=said.messages, chunks=parent.chunks)
    own_session = None if parent.info.session is None else session
    first = first_record(parent.entries[0].record, fork, parent=parent_id, session=own_session)
    first = first.model_copy(update={"trace": current_trace()})
    records = [parent.encoded[0]._replace(data=encode_record(first, limit=ANY_SIZE)), *parent.encoded[1:]]
    epoch = records[-1].epoch
    records += [EncodedEntry(seq, epoch, encode_record(record)) for seq, record in enumerate(more, fork.at + 1)]
    now = now_ms()  # until the log knows better
    info = RunInfo(
        run_id,
        "queued",
        first.agent,
        own_session,
        len(records),
        epoch,
        crashes=0,
        created=now,
        updated=now,
        metadata=first.metadata,
    )
    definitions = await _definitions(log, parent)
    run = ImportedRun(info, definitions, said.messages, session_cut=said.cut, agent_state=said.agent_state)
    return NewFork(run, records, [first, *more])


async def store_fork(log: ClientLog, fork: NewFork) -> None:
    """Store a fork, which queues it; nothing is changed if it is stored already.

    Raises:
        RunConflictError: Another run has its id.
        RunExistsError: Another process is storing a run of its id.
        LogUnavailableError: It may be stored or not; the identical call may be made again.
    """
    if await log.import_run(fork.run, fork.pages()):
        return
    run_id, own = fork.run.info.run_id, len(fork.asked) - 1
    at, epoch = len(fork.records) - own, fork.records[-1].epoch
    first = await log.read(run_id, limit=1)
    if not first:
        raise RunExistsError(run_id)
    told = await log.read(run_id, after=at, limit=own + 1)
    before_its_claim = [entry.record for entry in told if entry.epoch == epoch]
    if differs := differing(fork.asked, [first[0].record, *before_its_claim]):
        raise RunConflictError(run_id, differs)


async def _read(log: LogReader, run_id: str, fork: Fork) -> _Parent:
    at = fork.at
    info = await log.info(run_id)
    if info is None:
        raise run_not_found(run_id)
    if not 1 <= at <= info.head:
        raise ValueError(f"run {run_id} has records 1 to {info.head}, so it cannot be forked at {at}")
    encoded: list[EncodedEntry] = []
    entries: list[Entry] = []
    last_call: list[list[Any]] = []
    async for page in encoded_pages(log, run_id, head=at):
        encoded += page
        for seq, epoch, data in page:
            if isinstance(stored := decode_stored(data), list):
                if fork.say is not None:
                    last_call.append(stored)
            elif isinstance(stored, ModelStarted) and not stored.continues:
                last_call.clear()
            if changes_state(stored):
                entries.append(Entry(seq, epoch, record_of(stored)))
    chunks = [expanded(one) for one in last_call]
    return _Parent(info, encoded, entries, chunks)


async def _began_from(log: LogReader, parent: _Parent) -> StoredMessages:
    """What of its session the parent began from: its first `cycle.started` tells which messages, a `state.changed` the state."""
    info = parent.info
    if info.session is None:
        return StoredMessages()
    page, after = parent.entries, parent.encoded[-1].seq
    state: dict[str, Any] | None = None
    while page:
        for _, _, record in page:
            if isinstance(record, StateChanged) and record.begins:
                state = record.values
            if (began := BeganFrom.told_by(record)) is not None:
                try:
                    return StoredMessages(began.cut, await session_messages(log, info, began), state)
                except RequestNotFoundError as error:
                    raise ValueError(f"{error}: it cannot be forked") from error
        if page := await log.read(info.run_id, after=after, limit=_PAGE):
            after = page[-1].seq
    raise ValueError(
        f"run {info.run_id} has not begun a cycle, whose record tells from which messages of its session the run began (a "
        "function that is hosted has none): start another run instead of a fork of it"
    )


async def _definitions(log: LogReader, parent: _Parent) -> list[StoredDefinition]:
    """The definitions that the copied claims name; without one that was deleted."""
    claims = [entry.record for entry in parent.entries if isinstance(entry.record, RunClaimed)]
    digests = dict.fromkeys(claim.definition for claim in claims if claim.definition)
    found = [await log.stored_definition(parent.info.run_id, digest) for digest in digests]
    return [definition for definition in found if definition is not None]
