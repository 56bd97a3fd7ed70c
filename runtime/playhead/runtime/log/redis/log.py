"""The Redis log: the interface of `interface.py`, each write one Lua script, each read one command."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Any, Final, Self, cast, get_args

from redis.asyncio import Redis

from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.checks import check_count, check_duration
from playhead.runtime.core.codec import pack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.core.errors import ForeignRecordError, InterruptNotOpenError, RedisAuthError, WriteRefusedError
from playhead.runtime.core.records import Entry, RunStateName
from playhead.runtime.core.segments import Segment
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.arguments import check_claim, check_pause, check_signal
from playhead.runtime.log.endings import cancel_ending, deadline_failure
from playhead.runtime.log.redis.commands import Commands, Later
from playhead.runtime.log.redis.connection import address_of, clone, point, redact, translate_errors
from playhead.runtime.log.redis.durability import Durability, waiting_links
from playhead.runtime.log.redis.importing import import_run
from playhead.runtime.log.redis.inspection import FIELDS, StoredRun
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.replies import (
    INFO_FIELDS,
    SignalReply,
    claim_of,
    encoded_of,
    info_of,
    lease_of,
    messages_of,
    renewals_of,
    segments_of,
    signal_of,
    text,
    worker_of,
    write_result_of,
    write_results_of,
)
from playhead.runtime.log.redis.rights import Role, missing_rights
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.redis.server_check import check_server
from playhead.runtime.log.values import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    EncodedEntry,
    ImportedRun,
    LeaseInfo,
    NewRun,
    Renewal,
    RunEnd,
    RunInfo,
    WorkerInfo,
    WriteResult,
)

__all__ = ["RedisLog"]

logger: logging.Logger = logging.getLogger(__name__)

_SUBMIT, _CLAIM, _APPEND, _RENEW = Script("submit"), Script("claim"), Script("append"), Script("renew")
_FINISH, _RELEASE, _REAP, _SIGNAL = Script("finish"), Script("release"), Script("reap"), Script("signal")
_ANNOUNCE, _PAUSE, _ADOPT = Script("announce"), Script("pause"), Script("adopt")
_GIVE_UP, _GOT_ON, _BURY, _SHOULD_EMPTY = Script("give_up"), Script("got_on"), Script("bury"), Script("should_empty")

_LISTED_PER_CALL: Final = 200  # a page takes a caller's event loop a few milliseconds
_RUNS_PER_CALL: Final = 64  # a script blocks the server: this many runs keep one call well below a millisecond
_RENEWALS_PER_CALL: Final = 256


def _bytes(text: str) -> bytes:
    """The bytes of a string from a model, which may contain a lone surrogate, as records may."""
    return text.encode("utf-8", "surrogatepass")


def _offer(record: bytes, definition: StoredDefinition | None, missing: Collection[str]) -> tuple[bytes, str, bytes]:
    """The arguments of a claim for one agent: its record, its definition's digest, and the definition if it is missing."""
    if definition is None:
        return record, "", b""
    return record, definition.digest, definition.data if definition.digest in missing else b""


def _listed(run_id: str, values: Sequence[bytes | None]) -> RunInfo | None:
    """One run of a list; None if it does not exist or is damaged, because one damaged run must not hide the others."""
    try:
        return info_of(run_id, values)
    except ForeignRecordError as error:
        logger.warning("%s", error)
        return None


class RedisLog:
    """The logs of one shard of one deployment, over `client` (see `connect` for the options it needs).

    All calls share one connection, in the order in which they are made; `wait_for_work`, which blocks, has another.
    Calls to `client` itself use connections of its pool.

    `durability` is what `submit`, `append`, `finish`, `release`, `pause` and `signal` wait for before they answer, over one
    more connection; if it is not reached in time they raise `LogUnavailableError`, and the identical call waits again. A
    claim does not wait: the owner's first append covers it, and a claim without an answer would count as a crash when its
    lease ends.
    """

    def __init__(self, client: Redis, *, prefix: str = "ph", shard: int = 0, durability: Durability = "memory") -> None:
        if isinstance(cast("object", client), str):
            raise TypeError(f"client must be a Redis client, not a URL: pass connect({redact(cast('str', client))!r})")
        check_choice("durability", durability, get_args(Durability))
        self.keys: Keys = Keys(prefix, shard)
        self.durability: Durability = durability
        self._use(client)

    def _use(self, client: Redis) -> None:
        self.client = client
        point(client, self.keys)
        self._commands = Commands(client)
        self._writes = self._commands
        if self.durability != "memory":
            self._writes = Commands(client, waiting_links(self.durability, marker=self.keys.durability_marker))

    def clone(self) -> Self:
        """The same log over connections of its own, for another event loop or thread; close it as this one.

        A subclass' attributes are shared between the two.
        """
        other = copy.copy(self)
        other._use(clone(self.client))
        return other

    async def aclose(self) -> None:
        """Close all connections, the client's too."""
        await self._commands.aclose()
        await self._writes.aclose()
        await self.client.aclose()

    async def check(self) -> list[str]:
        """See `Log.check`."""
        warnings = await check_server(self.client, durability=self.durability)
        await self.check_rights("worker")
        return warnings

    async def missing_rights(self, role: Role) -> list[str]:
        """The rights that the user of the URL lacks for `role`, in the words of `ACL SETUSER`. Asking changes nothing."""
        with translate_errors(self.client):
            return await missing_rights(self.client, self._commands, self.keys, role)

    async def check_rights(self, role: Role) -> None:
        """Refuse a user that lacks a right which `role` needs.

        Raises:
            RedisAuthError: If one is missing; the message names each of them, and how to grant them.
        """
        if missing := await self.missing_rights(role):
            user = self.client.connection_pool.connection_kwargs.get("username") or "default"
            raise RedisAuthError(
                f"Redis at {address_of(self.client)}: the user {user!r} lacks rights that a {role} needs. Give them to it: "
                f"ACL SETUSER {user} {' '.join(missing)}"
            )

    async def settled_shards(self) -> int | None:
        """The number of shards that the deployment has, as stored on shard 0; None if there is neither a number nor a run.

        A deployment with runs but without that number was used by a version that only knew 1.
        """
        kept, position = await self._calls([("GET", self.keys.shards), ("EXISTS", self.keys.queue_position)])
        return int(kept) if kept else 1 if position else None

    async def settle_shards(self, shards: int) -> int:
        """The number of shards that the deployment has from now on: the first number that was settled."""
        settled = await self.settled_shards()
        if settled is None:
            _, kept = await self._calls([("SET", self.keys.shards, shards, "NX"), ("GET", self.keys.shards)])
            settled = int(kept)
        return settled

    async def _call(self, *command: Any) -> Any:
        with translate_errors(self.client):
            return await self._commands.send(*command)

    async def _calls(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        with translate_errors(self.client):
            sent = [self._commands.send(*command) for command in commands]
            return [await one for one in sent]

    async def _run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with translate_errors(self.client):
            return await script(self._commands, keys, args)

    async def _write(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script that stores something, and wait until it is as safe as `durability` says."""
        with translate_errors(self.client):
            return await script(self._writes, keys, args)

    async def submit(self, run: NewRun) -> bool:
        keys = [self.keys.run(run.run_id), self.keys.log(run.run_id), self.keys.runs, self.keys.deadlines]
        args = [self.keys.root, run.run_id, run.agent, run.session or "", run.data]
        args += [run.deadline_ms or 0, DEFAULT_CRASH_LIMIT, DEFAULT_RETENTION_MS]
        return bool(await self._write(_SUBMIT, keys, args))

    async def import_run(self, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]) -> bool:
        return await import_run(self._write, self.keys, run, records)

    async def claim(
        self,
        agents: Mapping[str, bytes],
        *,
        worker: str,
        token: str,
        lease_ms: int,
        crash_limit: int = DEFAULT_CRASH_LIMIT,
        retention_ms: int = DEFAULT_RETENTION_MS,
        retentions: Mapping[str, int] | None = None,
        definitions: Mapping[str, StoredDefinition] | None = None,
        suspects: bool = True,
    ) -> Claim | None:
        check_claim(
            agents,
            worker=worker,
            token=token,
            lease_ms=lease_ms,
            crash_limit=crash_limit,
            retention_ms=retention_ms,
            retentions=retentions or {},
        )
        keys = [self.keys.leases, self.keys.claimed(token), *map(self.keys.ready, agents)]
        if suspects:
            keys += map(self.keys.suspects, agents)
        terms = [self.keys.root, token, lease_ms, worker, crash_limit]
        kept = {name: (retentions or {}).get(name, retention_ms) for name in agents}
        missing: set[str] = set()  # a definition is large, so it goes along only when the server does not have it
        while True:
            offers = [_offer(record, (definitions or {}).get(name), missing) for name, record in agents.items()]
            parts = [
                part for offer, retention in zip(offers, kept.values(), strict=True) for part in (*offer, retention)
            ]
            reply = await self._run(_CLAIM, keys, [*terms, *parts])
            if not isinstance(reply, bytes):
                return claim_of(reply, token=token)
            missing.add(text(reply))

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[WriteResult]]:
        """See `Log.append`. If the connection is up, the call is written before this returns, else upon await."""
        sent = [
            self._append(batches[start : start + _RUNS_PER_CALL]) for start in range(0, len(batches), _RUNS_PER_CALL)
        ]
        return Later(partial(self._results, sent))

    def _append(self, batches: Sequence[Batch]) -> Awaitable[Any]:
        keys: list[str] = []
        args: list[Any] = [len(batches)]
        for batch in batches:
            keys += self.keys.of_run(batch.run_id)
            args += (batch.token, batch.head, batch.ack, len(batch.records))
            args += batch.records
        return _APPEND(self._writes, keys, args)

    async def _results(self, sent: Sequence[Awaitable[Any]]) -> list[WriteResult]:
        with translate_errors(self.client):
            return [result for reply in [await one for one in sent] for result in write_results_of(reply)]

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        check_duration("lease_ms", lease_ms)
        renewals: list[Renewal] = []
        for start in range(0, len(owned), _RENEWALS_PER_CALL):
            some = owned[start : start + _RENEWALS_PER_CALL]
            keys = [self.keys.leases, *(self.keys.run(run_id) for run_id, _ in some)]
            renewals += renewals_of(
                await self._run(_RENEW, keys, [lease_ms, *(part for pair in some for part in pair)])
            )
        return renewals

    async def finish(self, end: RunEnd) -> WriteResult:
        batch = end.batch
        log = self.keys.log(batch.run_id)
        keys = [self.keys.run(batch.run_id), log, self.keys.messages(end.session) if end.session else log]
        messages = [pack(dict(message)) for message in end.messages]
        args = [self.keys.root, batch.run_id, batch.token, batch.head, batch.ack, end.state, end.retention_ms]
        args += [len(batch.records), *batch.records, len(messages), *messages]
        return write_result_of(await self._write(_FINISH, keys, args))

    async def release(self, batch: Batch) -> WriteResult:
        return await self._append_and_release(_RELEASE, batch)

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> WriteResult:
        check_pause(interrupts)
        return await self._append_and_release(_PAUSE, batch, len(interrupts), *map(_bytes, interrupts))

    async def _append_and_release(self, script: Script, batch: Batch, *more: Any) -> WriteResult:
        keys = self.keys.of_run(batch.run_id)
        args = [self.keys.root, batch.run_id, batch.token, batch.head, batch.ack, len(batch.records), *batch.records]
        return write_result_of(await self._write(script, keys, [*args, *more]))

    async def reap(self, *, limit: int = 32) -> list[str]:
        check_count("limit", limit, least=1)
        args = [self.keys.root, limit, deadline_failure()]
        return [text(run_id) for run_id in await self._run(_REAP, [self.keys.leases, self.keys.deadlines], args)]

    async def stored(self, run_id: str) -> StoredRun:
        """Everything that is stored of a run, as it is, for `inspection.faults_of`. A run that moves meanwhile is read again."""
        keys, ask = self.keys, ("HMGET", self.keys.run(run_id), *FIELDS)
        before = await self._call(*ask)
        while True:
            fields: dict[str, bytes | None] = dict(zip(FIELDS, before, strict=True))
            agent = text(fields["agent"])
            entries, signals, lease, ready, suspect, waiting, after = await self._calls(
                [
                    ("XRANGE", keys.log(run_id), "-", "+"),
                    ("LRANGE", keys.inbox(run_id), 0, -1),
                    ("ZSCORE", keys.leases, run_id),
                    ("ZSCORE", keys.ready(agent), run_id),
                    ("ZSCORE", keys.suspects(agent), run_id),
                    ("LRANGE", keys.waiting(text(fields["session"])), 0, -1),
                    ask,
                ]
            )
            if before == after:
                waits = run_id.encode() in waiting
                queued = (ready, suspect) != (None, None)
                return StoredRun(run_id, fields, entries, len(signals), lease is not None, queued, waits)
            before = after

    async def adopt(self, run_ids: Sequence[str]) -> list[str]:
        adopted: list[str] = []
        for start in range(0, len(run_ids), _RUNS_PER_CALL):
            some = run_ids[start : start + _RUNS_PER_CALL]
            adopted += map(text, await self._run(_ADOPT, [self.keys.leases, *map(self.keys.run, some)], some))
        return adopted

    async def give_up(self, owned: Sequence[tuple[str, str]]) -> None:
        for start in range(0, len(owned), _RUNS_PER_CALL):
            some = owned[start : start + _RUNS_PER_CALL]
            args = [self.keys.root, *(part for pair in some for part in pair)]
            await self._run(_GIVE_UP, [self.keys.run(run_id) for run_id, _ in some], args)

    async def got_on(self, run_id: str, token: str) -> bool:
        return bool(await self._run(_GOT_ON, [self.keys.run(run_id)], [token]))

    async def bury(self, worker: str, *, ended: str) -> list[str]:
        return [text(run_id) for run_id in await self._run(_BURY, [self.keys.leases], [self.keys.root, worker, ended])]

    async def should_empty(self, agents: Sequence[str], *, worker: str, for_ms: int) -> bool:
        check_duration("for_ms", for_ms)
        keys = [self.keys.emptying, *map(self.keys.suspects, agents)]
        return bool(await self._run(_SHOULD_EMPTY, keys, [worker, for_ms]))

    async def refusal(self) -> str | None:
        try:
            # By a write that is refused as all others, and changes nothing: no such key is to be made.
            await self._call("SET", self.keys.durability_marker, 1, "XX", "PX", 60_000)
        except WriteRefusedError as error:
            return str(error)
        except RedisAuthError:
            return None
        return None

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        check_signal(signal)
        keys = self.keys.of_run(run_id)
        ending, answered = cancel_ending(signal), signal.responds_to
        args = [self.keys.root, run_id, signal.signal_id, signal.kind, pack(asdict(signal))]
        args += [len(ending), *ending, len(answered), *map(_bytes, answered)]
        reply = SignalReply.of(await self._write(_SIGNAL, keys, args))
        if reply is not None and reply.not_open:
            raise InterruptNotOpenError(run_id, reply.not_open)
        return reply and reply.state

    async def inbox(self, run_id: str) -> list[Signal]:
        key = self.keys.inbox(run_id)
        return [signal_of(key, item) for item in await self._call("LRANGE", key, 0, -1)]

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

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        check_count("limit", limit, least=1)
        found: list[RunInfo] = []
        async with aclosing(self._run_pages(min(limit, _LISTED_PER_CALL))) as pages:
            async for page in pages:
                found += page
                if len(found) >= limit:
                    break
        return found[:limit]

    def run_pages(self) -> AsyncGenerator[list[RunInfo], None]:
        return self._run_pages(_LISTED_PER_CALL)

    async def _run_pages(self, size: int) -> AsyncGenerator[list[RunInfo], None]:
        """By their positions, which stay: the index changes, and also names runs whose retention has ended."""
        after = "+inf"
        while True:
            place = (self.keys.runs, after, "-inf", "BYSCORE", "REV", "LIMIT", 0, size, "WITHSCORES")
            reply = [text(one) for one in await self._call("ZRANGE", *place)]
            ids = reply[::2]
            rows = await self._calls([("HMGET", self.keys.run(run_id), *INFO_FIELDS) for run_id in ids])
            yield [info for run_id, values in zip(ids, rows, strict=True) if (info := _listed(run_id, values))]
            if len(ids) < size:
                return
            after = f"({reply[-1]}"

    async def messages(self, session: str) -> list[Message]:
        items = await self._call("XRANGE", self.keys.messages(session), "-", "+")
        return messages_of(items)

    async def definition(self, run_id: str, digest: str) -> AgentDefinition | None:
        stored = await self.stored_definition(run_id, digest)
        return None if stored is None else AgentDefinition.of(stored.data)

    async def stored_definition(self, run_id: str, digest: str) -> StoredDefinition | None:
        data = await self._call("HGET", self.keys.definition(digest), "definition")
        return None if data is None else StoredDefinition(digest, data)

    async def holder(self, session: str) -> str | None:
        return text(await self._call("HGET", self.keys.session(session), "holder")) or None

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        check_duration("ttl_ms", ttl_ms)
        keys = [self.keys.worker(worker.worker), self.keys.workers]
        await self._run(_ANNOUNCE, keys, [worker.worker, ttl_ms, json.dumps(asdict(worker))])

    async def withdraw(self, worker: str) -> None:
        own = (self.keys.worker(worker), self.keys.notify_worker(worker))
        await self._calls([("ZREM", self.keys.workers, worker), ("DEL", *own)])

    async def workers(self) -> list[WorkerInfo]:
        names = [text(name) for name in await self._call("ZRANGE", self.keys.workers, 0, -1)]
        rows = await self._calls([("GET", self.keys.worker(name)) for name in names])
        return [worker_of(row) for row in rows if row]

    def _blocking_s(self, wanted: float) -> float:
        """How long a call may block: less than the client's time limit, which would count it as lost."""
        limit: float | None = self.client.connection_pool.connection_kwargs.get("socket_timeout")
        return max(0.01, wanted if limit is None else min(wanted, limit / 2))

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        own = self.keys.notify_worker(worker)
        self._commands.home.enter()
        with translate_errors(self.client):
            # Not over the link, which it would block; and cancelling this call must end the wait on the server, too.
            notified: Any = await self.client.execute_command(
                "BLPOP", own, *map(self.keys.notify_agent, agents), self._blocking_s(timeout)
            )
        if notified is None or text(notified[0]) != own:
            return None
        return text(notified[1])
