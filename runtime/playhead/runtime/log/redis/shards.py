"""Several shards: finds the shard of a run, and joins all shards into one log to read, submit and control.

A shard is a log of its own whose keys share a hash slot: on a cluster each may be on another node. A run's id names its
shard, so it is never looked up. A session's shard is a hash of its id, and its runs are on that shard, because their queue
and their messages are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import Any, Final, Literal, TypeVar, cast

import anyio

from playhead.runtime.core.checks import check_count
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import PlayheadError, ShardsError
from playhead.runtime.core.records import Entry, RunStateName
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.session import BeganFrom, StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.listing import EVERY_RUN, Place, RunFilter, RunPage, merged
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import EncodedEntry, ImportedRun, LeaseInfo, NewRun, RunInfo, SessionInfo, WorkerInfo

__all__ = [
    "MAX_SHARDS",
    "ShardedLog",
    "check_shards",
    "session_of_its_own",
    "settle",
    "shard_of_run",
    "shard_of_session",
]

T = TypeVar("T")

MAX_SHARDS: Final = 256
"""The most shards that a deployment can have: each costs every worker connections and a thread."""

_MADE: Final = re.compile("(0|[1-9a-f][0-9a-f]{0,3})-[0-9a-hjkmnp-tv-z]{19}(?:[0-9a-hjkmnp-tv-z]{7})?")


def shard_of_run(run_id: str) -> int:
    """The shard that an id of `new_run_id` or `derived_run_id` names. An id of another form is on shard 0."""
    made = _MADE.fullmatch(run_id)
    return int(made[1], 16) if made else 0


def shard_of_session(session: str, *, shards: int) -> int:
    """The shard of a session and of its runs, which is the same in every process and version."""
    return zlib.crc32(session.encode("utf-8", "surrogatepass")) % shards


def session_of_its_own(run_id: str, *, shards: int, kind: Literal["imported", "forked"]) -> str:
    """The name of an imported run's or a fork's own session, which is on the run's shard.

    Raises:
        ValueError: If the run's id names a shard that does not exist.
    """
    _check_shard(run_id, shards)
    names = (f"{kind}-{run_id}" + (f"-{number}" if number else "") for number in count())
    return next(name for name in names if shard_of_session(name, shards=shards) == shard_of_run(run_id))


def check_shards(shards: int) -> None:
    """Refuse a number of shards that a deployment cannot have.

    Raises:
        ValueError: If it is below 1 or above `MAX_SHARDS`.
    """
    if not isinstance(cast("object", shards), int) or isinstance(cast("object", shards), bool):
        raise TypeError(f"shards must be a whole number from 1 to {MAX_SHARDS}, not {shards!r}")
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"shards must be 1 to {MAX_SHARDS}, not {shards}")


def _check_shard(run_id: str, shards: int) -> int:
    """The shard of a run."""
    named = shard_of_run(run_id)
    if named >= shards:
        raise ValueError(
            f"run_id {run_id!r} names shard {named}, and the deployment has {shards}, counted from 0: "
            "choose it by `await client.new_run_id()`"
        )
    return named


def _check_home(run: NewRun, shards: int) -> None:
    named = _check_shard(run.run_id, shards)
    home = named if run.session is None else shard_of_session(run.session, shards=shards)
    if named != home:
        raise ValueError(
            f"run_id {run.run_id!r} is on shard {named}, and its session {run.session!r} on shard {home} of {shards}: "
            f"choose it by `await client.new_run_id(session_id={run.session!r})`"
        )


async def settle(first: RedisLog, shards: int | None) -> int:
    """Return the number of shards of the deployment, and settle it if it is not settled yet.

    Args:
        first: The log of shard 0, which keeps the number.
        shards: The number that the caller expects; None accepts the settled number, and settles 1 if there is none.

    Raises:
        ShardsError: If another number is settled; nothing is changed.
        LogUnavailableError: If the number may or may not be settled; the identical call may be made again.
    """
    settled = await first.settle_shards(1 if shards is None else shards)
    if shards not in (None, settled):
        raise ShardsError(prefix=first.keys.prefix, settled=settled, wanted=shards)
    return settled


class _Check:
    """One check of the user's rights, which all calls that need its result wait for."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: PlayheadError | None = None


class ShardedLog:
    """The logs of all shards of one deployment, as one `LogReader` and `LogSubmitter`.

    Each shard's log is made by `make` when it is first used. If a shard cannot be reached, the calls for its runs and
    sessions fail, and so do the calls that ask all shards.

    Until the first submission settles the number of shards, reads assume 1 and ask again each time.
    """

    def __init__(self, make: Callable[[int], RedisLog]) -> None:
        self._make = make
        self._logs: dict[int, RedisLog] = {}
        self._settled: int | None = None
        self._writable: set[int] = set()  # shards where the user has a client's rights
        self._checks: dict[int, _Check] = {}  # in progress

    async def aclose(self) -> None:
        """Close all connections. A later call makes the logs again."""
        logs, self._logs, self._settled = self._logs, {}, None
        for log in logs.values():
            await log.aclose()

    def at(self, shard: int) -> RedisLog:
        """The log of one shard."""
        log = self._logs.get(shard)
        if log is None:
            log = self._logs[shard] = self._make(shard)
        return log

    def shard_of(self, run_id: str) -> int:
        """The shard to ask for a run. Shard 0 is asked for an id whose shard does not exist, and does not have it."""
        shard = shard_of_run(run_id)
        return shard if shard < (self._settled or MAX_SHARDS) else 0

    async def settle(self, shards: int | None = None) -> int:
        """See the function `settle`; the number is kept."""
        if self._settled is None or shards is not None:
            self._settled = await settle(self.at(0), shards)
        return self._settled

    async def settled(self) -> int:
        """The number of shards, and 1 while none is settled; settles nothing."""
        if self._settled is None:
            self._settled = await self.at(0).settled_shards()
        return self._settled or 1

    def _of(self, run_id: str) -> RedisLog:
        return self.at(self.shard_of(run_id))

    async def _to_write(self, run_id: str) -> RedisLog:
        return await self._with_rights(self._of(run_id))

    async def _with_rights(self, log: RedisLog) -> RedisLog:
        """The log, once the user is known to have a client's rights: a viewer is refused before anything changes.

        The check needs a connection of its own, so all calls that arrive meanwhile share it, and its failure.
        """
        shard = log.keys.shard
        while shard not in self._writable:
            check = self._checks.get(shard)
            if check is None:
                await self._check(log)
            else:
                await check.over.wait()
                if check.error is not None:
                    raise check.error
        return log

    async def _check(self, log: RedisLog) -> None:
        check = self._checks[log.keys.shard] = _Check()
        try:
            await log.check_rights("client")
            self._writable.add(log.keys.shard)
        except PlayheadError as error:
            check.error = error
            raise
        finally:  # if this call is cancelled, the next that waits checks
            del self._checks[log.keys.shard]
            check.over.set()

    async def _of_session(self, session: str) -> RedisLog:
        return self.at(shard_of_session(session, shards=await self.settled()))

    async def _all(self, ask: Callable[[RedisLog], Awaitable[T]]) -> list[T]:
        """The answer of every shard, in order. Each shard is asked, even if another one fails."""
        answers: dict[int, T] = {}
        errors: list[PlayheadError] = []

        async def one(shard: int) -> None:
            try:
                answers[shard] = await ask(self.at(shard))
            except PlayheadError as error:
                errors.append(error)

        shards = range(await self.settled())
        async with anyio.create_task_group() as tasks:
            for shard in shards:
                tasks.start_soon(one, shard)
        if errors:
            raise errors[0]
        return [answers[shard] for shard in shards]

    async def submit(self, run: NewRun) -> bool:
        """See `Log.submit`.

        Raises:
            ValueError: If the run's id does not name its session's shard, or names a shard that does not exist.
        """
        _check_home(run, await self.settle())
        return await (await self._to_write(run.run_id)).submit(run)

    async def submit_or_steer(self, run: NewRun) -> str:
        """See `Log.submit_or_steer`. Raises as `submit`."""
        _check_home(run, await self.settle())
        return await (await self._to_write(run.run_id)).submit_or_steer(run)

    async def import_run(self, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]) -> bool:
        """See `Log.import_run`. A run that has ended, and began from messages, gets a session that is on its shard.

        Raises:
            ValueError: If the run's id names a shard that does not exist.
        """
        info, shards = run.info, await self.settle()
        if shard_of_run(info.run_id) >= shards:
            raise ValueError(
                f"run_id {info.run_id!r} names shard {shard_of_run(info.run_id)}, and the deployment has {shards}, counted "
                "from 0: import it under another id, --as NEW_ID"
            )
        if info.ended:
            session = session_of_its_own(info.run_id, shards=shards, kind="imported") if run.messages else None
            run = replace(run, info=replace(info, session=session))
        return await (await self._to_write(info.run_id)).import_run(run, records)

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        """See `Log.signal`."""
        return await (await self._to_write(run_id)).signal(run_id, signal)

    async def delete_run(self, run_id: str) -> RunStateName | None:
        """See `Log.delete_run`."""
        return await (await self._to_write(run_id)).delete_run(run_id)

    async def adopt(self, run_ids: Sequence[str]) -> list[str]:
        """See `Log.adopt`."""
        return [adopted for run_id in run_ids for adopted in await self._of(run_id).adopt([run_id])]

    async def refusal(self) -> str | None:
        """See `Log.refusal`; of the first shard that refuses."""
        return next(filter(None, await self._all(lambda log: log.refusal())), None)

    async def reap(self, *, limit: int = 32) -> list[str]:
        """See `Log.reap`; up to `limit` on each shard."""
        return [run_id for reaped in await self._all(lambda log: log.reap(limit=limit)) for run_id in reaped]

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """See `Log.read`."""
        return await self._of(run_id).read(run_id, after=after, limit=limit)

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        """See `Log.read_segments`."""
        return await self._of(run_id).read_segments(run_id, after=after, limit=limit)

    async def read_encoded(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[EncodedEntry]:
        """See `Log.read_encoded`."""
        return await self._of(run_id).read_encoded(run_id, after=after, limit=limit)

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """See `Log.read_back`."""
        return await self._of(run_id).read_back(run_id, before=before, limit=limit)

    async def info(self, run_id: str) -> RunInfo | None:
        """See `Log.info`."""
        return await self._of(run_id).info(run_id)

    async def lease(self, run_id: str) -> LeaseInfo | None:
        """See `Log.lease`."""
        return await self._of(run_id).lease(run_id)

    async def runs(self, filters: RunFilter = EVERY_RUN, *, limit: int = 50, after: Place | None = None) -> RunPage:
        """See `Log.runs`; of all shards, or of that of the session."""
        check_count("limit", limit, least=1)
        if filters.session is not None:
            return await (await self._of_session(filters.session)).runs(filters, limit=limit, after=after)
        return merged(await self._all(lambda log: log.runs(filters, limit=limit, after=after)), limit=limit)

    async def find_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """See `Log.find_ids`; of all shards."""
        found = await self._all(lambda log: log.find_ids(beginning, limit=limit))
        return sorted(one for ids in found for one in ids)[:limit]

    async def run_pages(self) -> AsyncGenerator[list[RunInfo], None]:
        """See `Log.run_pages`; one shard after the other."""
        for shard in range(await self.settled()):
            async with aclosing(self.at(shard).run_pages()) as pages:
                async for page in pages:
                    yield page

    async def messages(self, session: str) -> list[Message]:
        """See `Log.messages`."""
        return await (await self._of_session(session)).messages(session)

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        """See `Log.history`."""
        return await self._of(run_id).history(run_id, began)

    async def stored_messages(self, session: str) -> StoredMessages:
        """See `Log.stored_messages`."""
        return await (await self._of_session(session)).stored_messages(session)

    async def session_info(self, session: str) -> SessionInfo | None:
        """See `Log.session_info`."""
        return await (await self._of_session(session)).session_info(session)

    async def sessions(self, *, limit: int = 50, before: tuple[int, str] | None = None) -> list[SessionInfo]:
        """See `Log.sessions`; of all shards, by their servers' clocks."""
        each = await self._all(lambda log: log.sessions(limit=limit, before=before))
        found = [info for infos in each for info in infos]
        return sorted(found, key=lambda info: (info.position, info.session), reverse=True)[:limit]

    async def cut_session(self, session: str, *, upto: int | None) -> bool:
        """See `Log.cut_session`."""
        return await (await self._with_rights(await self._of_session(session))).cut_session(session, upto=upto)

    async def store_session(
        self, session: str, messages: Sequence[Message], *, agent_state: Mapping[str, Any] | None = None
    ) -> bool:
        """See `Log.store_session`."""
        log = await self._with_rights(await self._of_session(session))
        return await log.store_session(session, messages, agent_state=agent_state)

    async def agent_state(self, session: str) -> dict[str, Any]:
        """See `Log.agent_state`."""
        return await (await self._of_session(session)).agent_state(session)

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        """See `Log.definition`."""
        return await self._of(run_id).definition(run_id, digest)

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        """See `Log.stored_definition`."""
        return await self._of(run_id).stored_definition(run_id, digest)

    async def holder(self, session: str) -> str | None:
        """See `Log.holder`."""
        return await (await self._of_session(session)).holder(session)

    async def workers(self) -> list[WorkerInfo]:
        """See `Log.workers`; a worker that serves several shards is listed once."""
        found = await self._all(lambda log: log.workers())
        return list({info.worker: info for infos in found for info in infos}.values())
