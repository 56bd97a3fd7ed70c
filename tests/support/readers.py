"""Readers of logs that publish nothing, as `Client.run` makes them, without a client; and a log that is a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anyio.lowlevel import checkpoint

from playhead.client.reader import RunReader
from playhead.client.tails.hub import Broadcast, Subscription
from playhead.client.tails.notice import Notice, OnNotice
from playhead.client.tails.state import OnPause
from playhead.client.tails.tail import Tail
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.listing import EVERY_RUN, Place, RunFilter, RunPage
from playhead.runtime.log.values import EncodedEntry, LeaseInfo, RunInfo, WorkerInfo

__all__ = ["KeptLog", "reader_of"]


class SilentSubscription(Subscription):
    """Nothing is received, and no time is lost by waiting for it."""

    async def wait(self, timeout: float) -> bool:
        await checkpoint()
        return self.missed


class Silence:
    """A hub that receives nothing."""

    closed = False
    channels = 1

    def subscribe(self, channel: str) -> Subscription:
        subscription = SilentSubscription(channel.encode())
        subscription.confirmed.set()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        pass


def ignore(notice: Notice) -> None:
    pass


def reader_of(log: LogReader, run_id: str, *, on_notice: OnNotice = ignore) -> RunReader:
    """A reader of one run."""
    hub: Broadcast = Silence()

    default = on_notice

    def open_tail(
        run_id: str,
        *,
        after: Cursor | Entry,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        on_notice: OnNotice | None = None,
    ) -> Tail:
        return Tail(
            run_id,
            log=log,
            hub=hub,
            channel=run_id,
            after=after,
            on_notice=on_notice or default,
            wait_for_worker=wait_for_worker,
            on_pause=on_pause,
        )

    return RunReader(run_id, log=log, open_tail=open_tail)


class KeptLog:
    """A `LogReader` of one run whose entries are in a list; entries may be added to it.

    Attributes:
        read_count: How many records were read.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        definitions: Mapping[str, AgentDefinition] | None = None,
        session: Sequence[Message] = (),
    ) -> None:
        self.entries = list(entries)
        self.read_count = 0
        self._definitions = definitions or {}
        self._session = list(session)

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        await checkpoint()
        found = self.entries[after : after + limit]
        self.read_count += len(found)
        return found

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        return [Segment(one.seq, one.epoch, [one.record]) for one in await self.read(run_id, after=after, limit=limit)]

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        found = await self.read(run_id, after=after, limit=limit)
        return [EncodedEntry(seq, epoch, encode_record(record)) for seq, epoch, record in found]

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        await checkpoint()
        return self.entries[max(0, before - 1 - limit) : before - 1][::-1]

    async def info(self, run_id: str) -> RunInfo | None:
        await checkpoint()
        if not self.entries:
            return None
        first, last = self.entries[0], self.entries[-1]
        assert isinstance(first.record, RunSubmitted)
        return RunInfo(
            run_id,
            fold(self.entries).status,
            first.record.agent,
            first.record.session,
            last.seq,
            last.epoch,
            crashes=0,
            created=first.record.at,
            updated=last.record.at,
        )

    async def lease(self, run_id: str) -> LeaseInfo | None:
        return None

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        return []

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        return RunPage()

    async def messages(self, session: str) -> list[Message]:
        await checkpoint()
        return self._session

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        await checkpoint()
        return self._session[: began.count]

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        await checkpoint()
        return self._definitions.get(digest)

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        found = await self.definition(run_id, digest)
        return found.stored() if found is not None else None

    async def holder(self, session: str) -> str | None:
        return None

    async def workers(self) -> list[WorkerInfo]:
        return []
