"""The reads of the Redis log, each of which is one command or a few of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from playhead.runtime.core.checks import check_count
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import ForeignRecordError, LogUnavailableError, PlayheadError
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.listing import EVERY_RUN, ListedRun, Place, RunFilter, RunPage
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.redis.calls import RedisCalls
from playhead.runtime.log.redis.inspection import FIELDS, StoredRun
from playhead.runtime.log.redis.replies import (
    INFO_FIELDS,
    encoded_of,
    info_of,
    lease_of,
    segments_of,
    signal_of,
    text,
    worker_of,
)
from playhead.runtime.log.values import (
    EncodedEntry,
    LeaseInfo,
    RunInfo,
    WorkerInfo,
)

__all__ = ["RedisReads"]

logger: logging.Logger = logging.getLogger(__name__)

_LISTED_PER_CALL: Final = 200  # a page takes a caller's event loop a few milliseconds
_COMPARED_PER_CALL: Final = 1000  # entries of one index that are looked for in others


def _listed(run_id: str, values: Sequence[bytes | None]) -> RunInfo | None:
    """One run of a list; None if it does not exist or is damaged, because one damaged run must not hide the others."""
    try:
        return info_of(run_id, values)
    except ForeignRecordError as error:
        logger.warning("%s", error)
        return None


def _ms(time: Sequence[bytes]) -> int:
    """The reply of `TIME`, in milliseconds."""
    seconds, microseconds = map(int, time)
    return seconds * 1000 + microseconds // 1000


class RedisReads(RedisCalls):
    """The `LogReader` part of the Redis log, and what a check of a run reads."""

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        check_count("after", after)
        check_count("limit", limit, least=1)
        log = self.keys.log(run_id)
        return segments_of(log, await self._call("XRANGE", log, after + 1, "+", "COUNT", limit))

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        check_count("after", after)
        check_count("limit", limit, least=1)
        log = self.keys.log(run_id)
        return encoded_of(log, await self._call("XRANGE", log, after + 1, "+", "COUNT", limit))

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        check_count("before", before)
        check_count("limit", limit, least=1)
        log = self.keys.log(run_id)
        if before <= 1:
            return []
        items = await self._call("XREVRANGE", log, before - 1, "-", "COUNT", limit)
        return [entry for item in items for segment in segments_of(log, [item]) for entry in segment.entries()]

    async def info(self, run_id: str) -> RunInfo | None:
        return info_of(run_id, await self._call("HMGET", self.keys.run(run_id), *INFO_FIELDS))

    async def lease(self, run_id: str) -> LeaseInfo | None:
        ask = [("ZSCORE", self.keys.leases, run_id), ("HGET", self.keys.run(run_id), "lease_ms"), ("TIME",)]
        return lease_of(*await self._calls(ask))

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        check_count("limit", limit, least=1)
        found: list[ListedRun] = []
        size = min(limit + 1, _LISTED_PER_CALL)  # one more tells whether there are more
        async with aclosing(self._places(filters, after, size)) as pages:
            async for places in pages:
                for start in range(0, len(places), size):
                    if len(found) <= limit:
                        some = await self._listed(places[start : start + size])
                        found += [one for one in some if filters.fits(one.info)]
                if len(found) > limit:
                    break
        return RunPage(found[:limit], more=len(found) > limit)

    async def run_pages(self) -> AsyncGenerator[list[RunInfo], None]:
        async with aclosing(self._places(EVERY_RUN, None, _LISTED_PER_CALL)) as pages:
            async for places in pages:
                yield [info for _, info in await self._listed(places)]

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        check_count("limit", limit, least=1)
        first = beginning.encode("utf-8", "surrogatepass")
        place = (b"[" + first, b"(" + first + b"\xff", "BYLEX", "LIMIT", 0, limit)
        return [text(one) for one in await self._call("ZRANGE", self.keys.ids, *place)]

    async def _places(self, filters: RunFilter, after: Place | None, size: int) -> AsyncGenerator[list[Place], None]:
        """The places of the runs that the indexes name, newest first; also of runs whose retention has ended.

        By positions, which stay, because the indexes change. Of several indexes the smallest is read.
        """
        last = "-inf" if filters.since is None else str(filters.since * 1000)
        first = "+inf" if filters.until is None else f"({filters.until * 1000}"
        if after is not None and (filters.until is None or after.position < filters.until * 1000):
            first = str(after.position)  # inclusive, because a run of another shard may have the same one
            size += 1  # for the run at that place
        index, others = await self._smallest(filters, first, last)
        while True:
            place = (index, first, last, "BYSCORE", "REV", "LIMIT", 0, size, "WITHSCORES")
            reply = [text(one) for one in await self._call("ZRANGE", *place)]
            read = [Place(int(float(score)), run_id) for run_id, score in zip(reply[::2], reply[1::2], strict=True)]
            yield await self._in_all(others, [one for one in read if after is None or one < after])
            if len(read) < size:
                return
            first = f"({read[-1].position}"
            size = min(2 * size, _COMPARED_PER_CALL) if others else size  # the more, the fewer fit all of them

    async def _smallest(self, filters: RunFilter, first: str, last: str) -> tuple[str, list[str]]:
        """The index with the fewest runs, and the others."""
        keys = [self.keys.index(name) for name in filters.indexes]
        if len(keys) < 2:
            return (keys or [self.keys.runs])[0], []
        counts: list[int] = await self._calls([("ZCOUNT", key, last, first) for key in keys])
        smallest = min(zip(counts, keys, strict=True))[1]
        return smallest, [key for key in keys if key != smallest]

    async def _in_all(self, indexes: Sequence[str], places: Sequence[Place]) -> list[Place]:
        """Those of the places whose runs are in all of the indexes."""
        if not indexes or not places:
            return list(places)
        ids = [run_id for _, run_id in places]
        rows: list[list[Any]] = await self._calls([("ZMSCORE", index, *ids) for index in indexes])
        return [one for one, scores in zip(places, zip(*rows, strict=True), strict=True) if None not in scores]

    async def _listed(self, places: Sequence[Place]) -> list[ListedRun]:
        """The runs at these places that exist."""
        rows = await self._calls([("HMGET", self.keys.run(run_id), *INFO_FIELDS) for _, run_id in places])
        pairs = zip(places, rows, strict=True)
        return [ListedRun(one, info) for one, row in pairs if (info := _listed(one.run_id, row))]

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        stored = await self.stored_definition(run_id, digest)
        return None if stored is None else AgentDefinition.of(stored.data)

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        data = await self._call("HGET", self.keys.definition(digest), "definition")
        return None if data is None else StoredDefinition(digest, data)

    async def holders(self, sessions: Sequence[str]) -> dict[str, str]:
        """The run that holds each of these sessions, of those that are held."""
        found = await self._calls([("HGET", self.keys.session(session), "holder") for session in sessions])
        return {session: text(holder) for session, holder in zip(sessions, found, strict=True) if holder}

    async def inbox(self, run_id: str) -> list[Signal]:
        key = self.keys.inbox(run_id)
        return [signal_of(key, item) for item in await self._call("LRANGE", key, 0, -1)]

    async def workers(self) -> list[WorkerInfo]:
        names = [text(name) for name in await self._call("ZRANGE", self.keys.workers, 0, -1)]
        rows = await self._calls([("GET", self.keys.worker(name)) for name in names])
        return [worker_of(row) for row in rows if row]

    async def now(self) -> int:
        """The time by the server's clock, in unix milliseconds."""
        return _ms(await self._call("TIME"))

    async def expired_leases(self, *, limit: int = 100) -> dict[str, int]:
        """The runs whose lease has ended and that are still held by it: run id → milliseconds since then, longest first.

        Each worker looks for them twice a second, so one that stays is of a fleet that has died.
        """
        now = await self.now()
        held = (self.keys.leases, "-inf", now, "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
        reply = [text(one) for one in await self._call("ZRANGE", *held)]
        return {run_id: now - int(float(ends)) for run_id, ends in zip(reply[::2], reply[1::2], strict=True)}

    async def without_lease(self, run_ids: Sequence[str]) -> list[str]:
        """Those of these runs that have no lease."""
        found = await self._calls([("ZSCORE", self.keys.leases, run_id) for run_id in run_ids])
        return [run_id for run_id, ends in zip(run_ids, found, strict=True) if ends is None]

    async def memory_of(self, run_id: str) -> int | None:
        """The bytes that a run's log takes in the server's memory; None if it is gone, or the user may not ask."""
        try:
            size = await self._call("MEMORY", "USAGE", self.keys.log(run_id))
        except LogUnavailableError:
            raise
        except PlayheadError:
            return None
        return None if size is None else int(size)

    async def stored(self, run_id: str) -> StoredRun:
        """Everything that is stored of a run, as it is, for `inspection.faults_of`. A run that moves meanwhile is read again."""
        keys, ask = self.keys, ("HMGET", self.keys.run(run_id), *FIELDS, "framework")
        before = await self._call(*ask)
        while True:
            fields: dict[str, bytes | None] = dict(zip(FIELDS, before[:-1], strict=True))
            agent, framework = text(fields["agent"]), before[-1]
            queues = queues_of([agent], {agent: text(framework)} if framework else {})
            entries, signals, lease, *places, waiting, after = await self._calls(
                [
                    ("XRANGE", keys.log(run_id), "-", "+"),
                    ("LRANGE", keys.inbox(run_id), 0, -1),
                    ("ZSCORE", keys.leases, run_id),
                    *(("ZSCORE", key(queue), run_id) for key in (keys.ready, keys.suspects) for queue in queues),
                    ("LRANGE", keys.waiting(text(fields["session"])), 0, -1),
                    ask,
                ]
            )
            if before == after:
                waits = run_id.encode() in waiting
                queued = any(place is not None for place in places)
                return StoredRun(run_id, fields, entries, len(signals), lease is not None, queued, waits)
            before = after
