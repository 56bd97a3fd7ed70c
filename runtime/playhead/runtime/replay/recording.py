"""Sources of a recorded run: a log, or entries in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.records import Entry, ModelChunk
from playhead.runtime.core.segments import Segment, Stored, compact
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.interface import LogReader

__all__ = ["EntriesRecording", "LogRecording", "Recorded", "Recording", "recording_of"]


@runtime_checkable
class Recording(Protocol):
    """A run with everything outside its log that went into its requests to the model."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    async def segments(self, *, after: int, limit: int) -> list[Segment]:
        """Up to `limit` records after `after`; empty at the end."""
        ...

    async def definition(self, digest: str) -> AgentDefinition | None:
        """The definition that a `run.claimed` names; None if it is gone."""
        ...

    async def messages(self, session: str) -> Sequence[Message]:
        """The messages of the run's session."""
        ...

    async def history(self, began: BeganFrom) -> Sequence[Message]:
        """The messages of its session that the run began from; fewer if some are gone."""
        ...


class RunHandle(Protocol):
    """A run of a log: what `client.run(id)` and `open_log(file).run(id)` return."""

    @property
    def id(self) -> str: ...

    @property
    def log(self) -> LogReader: ...


Recorded = Recording | RunHandle | Sequence[Entry]
"""The forms of a run that `verify` accepts: a recording, a handle on a run, or its entries from record 1 on."""


@dataclass(frozen=True, slots=True)
class LogRecording:
    """A run in a log, read page by page."""

    log: LogReader
    run_id: str

    async def segments(self, *, after: int, limit: int) -> list[Segment]:
        """A page of the log."""
        return await self.log.read_segments(self.run_id, after=after, limit=limit)

    async def definition(self, digest: str) -> AgentDefinition | None:
        """The definition in the log."""
        return await self.log.definition(self.run_id, digest)

    async def messages(self, session: str) -> Sequence[Message]:
        """The messages in the log, in which an imported run has a session of its own."""
        info = await self.log.info(self.run_id)
        return await self.log.messages(info.session if info is not None and info.session is not None else session)

    async def history(self, began: BeganFrom) -> Sequence[Message]:
        """The messages in the log."""
        return await self.log.history(self.run_id, began)


@dataclass(frozen=True, slots=True)
class EntriesRecording:
    """A run in memory: its entries, the definitions that its claims name, and the messages of its session."""

    entries: Sequence[Entry]
    definitions: Mapping[str, AgentDefinition] = field(default_factory=dict[str, AgentDefinition])
    session: Sequence[Message] = ()
    run_id: str = "run"

    async def segments(self, *, after: int, limit: int) -> list[Segment]:
        """Some of the entries."""
        start = bisect_right(self.entries, after, key=lambda entry: entry.seq)
        return [Segment(one.seq, one.epoch, [_stored(one)]) for one in self.entries[start : start + limit]]

    async def definition(self, digest: str) -> AgentDefinition | None:
        """The definition given for the digest."""
        return self.definitions.get(digest)

    async def messages(self, session: str) -> Sequence[Message]:
        """The given messages."""
        return self.session

    async def history(self, began: BeganFrom) -> Sequence[Message]:
        """The given messages, which may be more than the run began from."""
        return self.session[: began.count]


def _stored(entry: Entry) -> Stored:
    record = entry.record
    return compact(record.at, record.chunk) if isinstance(record, ModelChunk) else record


def recording_of(run: Recorded) -> Recording:
    """The recording that `run` stands for.

    Raises:
        TypeError: If it has none of the forms of `Recorded`.
    """
    if isinstance(run, Recording):
        return run
    if isinstance(run, Sequence):
        return EntriesRecording(run)
    if isinstance(getattr(run, "id", None), str) and hasattr(run, "log"):
        return LogRecording(run.log, run.id)
    given = type(cast("object", run)).__name__
    raise TypeError(f"give a recorded run, such as client.run(id), or its entries, not a {given}")
