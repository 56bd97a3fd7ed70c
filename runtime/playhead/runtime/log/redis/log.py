"""The Redis log: the interface of `interface.py`. Each write is one Lua script; `reads` has the reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final, cast

from playhead.runtime.core.agent_state import packed_state
from playhead.runtime.core.checks import check_count, check_duration
from playhead.runtime.core.codec import pack
from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.errors import (
    InterruptNotOpenError,
    RedisAuthError,
    SessionHeldError,
    WriteRefusedError,
)
from playhead.runtime.core.if_busy import IfBusy
from playhead.runtime.core.records import RunStateName
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.arguments import check_claim, check_pause, check_signal
from playhead.runtime.log.endings import cancel_ending, deadline_failure, parent_ended
from playhead.runtime.log.queues import queues_of
from playhead.runtime.log.redis.commands import Later
from playhead.runtime.log.redis.connection import translate_errors
from playhead.runtime.log.redis.importing import import_run, index_arguments
from playhead.runtime.log.redis.replies import (
    SignalReply,
    claim_of,
    renewals_of,
    text,
    write_result_of,
    write_results_of,
)
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.redis.sessions import RedisSessions
from playhead.runtime.log.values import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Batch,
    Claim,
    EncodedEntry,
    ImportedRun,
    NewRun,
    Renewal,
    RunEnd,
    WorkerInfo,
    WriteResult,
)

__all__ = ["RedisLog"]

_SUBMIT, _CLAIM, _APPEND, _RENEW = Script("submit"), Script("claim"), Script("append"), Script("renew")
_FINISH, _RELEASE, _REAP, _SIGNAL = Script("finish"), Script("release"), Script("reap"), Script("signal")
_ANNOUNCE, _PAUSE, _ADOPT = Script("announce"), Script("pause"), Script("adopt")
_GIVE_UP, _GOT_ON, _BURY, _SHOULD_EMPTY = Script("give_up"), Script("got_on"), Script("bury"), Script("should_empty")
_DELETE_RUN = Script("delete_run")

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


class RedisLog(RedisSessions):
    """The logs of one shard of one deployment, over `client` (see `connect` for the options it needs).

    All calls share one connection, in the order in which they are made; `wait_for_work`, which blocks, has another.
    Calls to `client` itself use connections of its pool.

    `durability` is what `submit`, `append`, `finish`, `release`, `pause` and `signal` wait for before they answer, over one
    more connection; if it is not reached in time they raise `LogUnavailableError`, and the identical call waits again. A
    claim does not wait: the owner's first append covers it, and a claim without an answer would count as a crash when its
    lease ends.
    """

    async def submit(self, run: NewRun) -> bool:
        holder = await self._submit(run, run.if_busy)
        if isinstance(holder, list):
            raise SessionHeldError(run.session or "", text(holder[0]), state=text(holder[1]))
        return bool(holder)

    async def submit_or_steer(self, run: NewRun) -> str:
        holder = await self._submit(run, "steer")
        return text(holder[0]) if isinstance(holder, list) else run.run_id

    async def _submit(self, run: NewRun, if_busy: IfBusy) -> int | list[bytes]:
        keys = [self.keys.run(run.run_id), self.keys.log(run.run_id), self.keys.deadlines, self.keys.sessions]
        args = [self.keys.root, run.run_id, run.agent, run.session or "", run.data]
        args += [run.deadline_ms or 0, DEFAULT_CRASH_LIMIT, DEFAULT_RETENTION_MS, *index_arguments(run.metadata)]
        args += [if_busy]
        if if_busy in ("cancel", "steer"):
            signal = run.as_signal(if_busy)
            ending = cancel_ending(signal)
            args += [pack(asdict(signal)), len(ending), *ending]
        else:
            args += [b"", 0]
        if (end := parent_ended(run)) is not None:
            args += [run.parent, end.signal, *end.records]
        return await self._write(_SUBMIT, keys, args)

    async def import_run(self, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]) -> bool:
        return await import_run(self._write, self.keys, run, records)

    async def delete_run(self, run_id: str) -> RunStateName | None:
        state = await self._write(_DELETE_RUN, self.keys.of_run(run_id), [self.keys.root, run_id])
        return cast("RunStateName", text(state)) if state else None

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
        frameworks: Mapping[str, str] | None = None,
        suspects: bool = True,
        run_id: str | None = None,
    ) -> Claim | None:
        check_claim(
            agents,
            frameworks=frameworks or {},
            worker=worker,
            token=token,
            lease_ms=lease_ms,
            crash_limit=crash_limit,
            retention_ms=retention_ms,
            retentions=retentions or {},
            run_id=run_id,
        )
        queues = queues_of(agents, frameworks or {})
        keys = [self.keys.leases, self.keys.claimed(token), *map(self.keys.ready, queues)]
        if suspects:
            keys += map(self.keys.suspects, queues)
        terms = [self.keys.root, token, lease_ms, worker, crash_limit, run_id or ""]
        missing: set[str] = set()  # a definition is large, so it goes along only when the server does not have it
        while True:
            parts: list[Any] = []
            for name in queues.values():
                parts += _offer(agents[name], (definitions or {}).get(name), missing)
                parts += (retentions or {}).get(name, retention_ms), (frameworks or {}).get(name, "")
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
        session = end.session
        keys = [self.keys.run(batch.run_id), log]
        keys += [self.keys.messages(session), self.keys.about(session)] if session else [log, log]
        messages = [pack(dict(message)) for message in end.messages]
        args = [self.keys.root, batch.run_id, batch.token, batch.head, batch.ack, end.state, end.retention_ms]
        args += [len(batch.records), *batch.records, len(messages), *messages, packed_state(end.agent_state) or b""]
        return write_result_of(await self._write(_FINISH, keys, args))

    async def release(self, batch: Batch, *, delay_ms: int = 0) -> WriteResult:
        check_count("delay_ms", delay_ms)
        return await self._append_and_release(_RELEASE, batch, delay_ms)

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

    async def should_empty(self, queues: Sequence[str], *, worker: str, for_ms: int) -> bool:
        check_duration("for_ms", for_ms)
        keys = [self.keys.emptying, *map(self.keys.suspects, queues)]
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

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        check_duration("ttl_ms", ttl_ms)
        keys = [self.keys.worker(worker.worker), self.keys.workers, *map(self.keys.serving, worker.own_queues)]
        drains = "1" if worker.draining else ""
        await self._run(_ANNOUNCE, keys, [worker.worker, ttl_ms, json.dumps(asdict(worker)), drains])

    async def withdraw(self, worker: str) -> None:
        own = (self.keys.worker(worker), self.keys.notify_worker(worker))
        await self._calls([("ZREM", self.keys.workers, worker), ("DEL", *own)])

    def _blocking_s(self, wanted: float) -> float:
        """How long a call may block: less than the client's time limit, which would count it as lost."""
        limit: float | None = self.client.connection_pool.connection_kwargs.get("socket_timeout")
        return max(0.01, wanted if limit is None else min(wanted, limit / 2))

    async def wait_for_work(self, queues: Sequence[str], *, worker: str, timeout: float) -> str | None:
        own = self.keys.notify_worker(worker)
        self._commands.home.enter()
        with translate_errors(self.client):
            # Not over the link, which it would block; and cancelling this call must end the wait on the server, too.
            notified: Any = await self.client.execute_command(
                "BLPOP", own, *map(self.keys.notify_agent, queues), self._blocking_s(timeout)
            )
        if notified is None or text(notified[0]) != own:
            return None
        return text(notified[1])
