"""The Redis log: the interface of `base`, each write one Lua script, each read one command."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final, Self, cast

from redis.asyncio import Redis

from playhead.runtime.codec import Stored, decode_stored, encode_record, pack, unpack
from playhead.runtime.errors import ForeignRecordError, InterruptNotOpenError
from playhead.runtime.log.base import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Answer,
    Batch,
    Claim,
    Code,
    Finish,
    NewRun,
    Renewal,
    RunInfo,
    RunStateName,
    Signal,
    WorkerInfo,
    cancel_ending,
    check_claim,
    check_pause,
    check_signal,
    crash_failure,
    deadline_failure,
)
from playhead.runtime.log.check import check_count, check_duration
from playhead.runtime.log.connection import again, check_server, connect, point, redact, translate_errors
from playhead.runtime.log.durability import Durability, Wait
from playhead.runtime.log.keys import Keys
from playhead.runtime.log.script import Script
from playhead.runtime.records import Entry
from playhead.runtime.segments import Segment, segments
from playhead.runtime.types import Message

__all__ = ["RedisLog", "check_server", "connect", "redact"]

_SUBMIT, _CLAIM, _APPEND, _RENEW = Script("submit"), Script("claim"), Script("append"), Script("renew")
_FINISH, _RELEASE, _REAP, _SIGNAL = Script("finish"), Script("release"), Script("reap"), Script("signal")
_ANNOUNCE, _PAUSE = Script("announce"), Script("pause")

_RUNS_PER_CALL: Final = 64  # a script blocks the server: this many runs keep one call well below a millisecond
_RENEWALS_PER_CALL: Final = 256
_INFO_FIELDS: Final = (
    *("state", "agent", "session", "head", "epoch", "crashes", "created", "updated", "worker"),
    *("handovers", "errors", "deadline"),
)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _bytes(text: str) -> bytes:
    """Of a text from a model, which may hold half a surrogate pair as its records may."""
    return text.encode("utf-8", "surrogatepass")


class RedisLog:
    """The logs of one shard of one deployment, over `client` (see `connect` for the options it needs).

    `durability` says what `submit`, `append`, `finish`, `release`, `pause` and `signal` wait for before they answer; a
    wait in vain raises `LogUnavailableError`, and the identical call waits again. A claim is not waited for: the wait of
    the owner's first append covers it, and a claim made and not answered would count as a crash when its lease ends.
    """

    def __init__(self, client: Redis, *, prefix: str = "ph", shard: int = 0, durability: Durability = "memory") -> None:
        self.client = client
        self.keys = Keys(prefix, shard)
        self.durability: Durability = durability
        self._wait = None if durability == "memory" else Wait(durability, marker=self.keys.waited)
        point(client, self.keys)

    def again(self) -> Self:
        """The same log over connections of its own, for another event loop or thread; close it as this one.

        A subclass' attributes are shared between the two.
        """
        other = copy.copy(self)
        other.client = again(self.client)
        return other

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self.client.aclose()

    async def _call(self, *command: Any) -> Any:
        with translate_errors(self.client):
            return await self.client.execute_command(*command)

    async def _calls(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        if not commands:
            return []
        with translate_errors(self.client):
            pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute())

    async def _write(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script whose answer means that something is stored, and wait until it is as safe as asked for."""
        if self._wait is None:
            return await script(self.client, keys, args)
        answer, *_, reply = await script(self.client, keys, args, behind=self._wait.commands)
        self._wait.check(reply)
        return answer

    async def submit(self, run: NewRun) -> bool:
        keys = [self.keys.run(run.run_id), self.keys.log(run.run_id), self.keys.runs, self.keys.deadlines]
        args: list[Any] = [self.keys.root, run.run_id, run.agent, run.session or "", encode_record(run.record)]
        args += [run.deadline_ms or 0, DEFAULT_CRASH_LIMIT, DEFAULT_RETENTION_MS]
        return bool(await self._write(_SUBMIT, keys, args))

    async def claim(
        self,
        agents: Mapping[str, bytes],
        *,
        worker: str,
        token: str,
        lease_ms: int,
        crash_limit: int = DEFAULT_CRASH_LIMIT,
        retention_ms: int = DEFAULT_RETENTION_MS,
    ) -> Claim | None:
        check_claim(
            agents, worker=worker, token=token, lease_ms=lease_ms, crash_limit=crash_limit, retention_ms=retention_ms
        )
        keys = [self.keys.leases, self.keys.claimed(token), *map(self.keys.ready, agents)]
        args = [self.keys.root, token, lease_ms, worker, crash_limit, retention_ms, *agents.values()]
        answer = await _CLAIM(self.client, keys, args)
        if not answer:
            return None
        run_id, epoch, head, agent, session, crashes, inbox = map(_text, answer)
        return Claim(
            run_id=run_id,
            token=token,
            epoch=int(epoch),
            head=int(head),
            agent=agent,
            session=session or None,
            crashes=int(crashes),
            inbox=int(inbox),
        )

    async def append(self, batches: Sequence[Batch]) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(batches), _RUNS_PER_CALL):
            some = batches[start : start + _RUNS_PER_CALL]
            keys: list[str] = []
            args: list[Any] = [len(some)]
            for batch in some:
                keys += (self.keys.run(batch.run_id), self.keys.log(batch.run_id), self.keys.inbox(batch.run_id))
                args += (batch.token, batch.head, batch.ack, len(batch.records))
                args += batch.records
            flat = await self._write(_APPEND, keys, args)
            answers += [Answer(Code(flat[i]), flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]
        return answers

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        check_duration("lease_ms", lease_ms)
        renewals: list[Renewal] = []
        for start in range(0, len(owned), _RENEWALS_PER_CALL):
            some = owned[start : start + _RENEWALS_PER_CALL]
            keys = [self.keys.leases, *(self.keys.run(run_id) for run_id, _ in some)]
            flat = await _RENEW(self.client, keys, [lease_ms, *(part for pair in some for part in pair)])
            renewals += [Renewal(bool(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]
        return renewals

    async def finish(self, end: Finish) -> Answer:
        batch = end.batch
        log = self.keys.log(batch.run_id)
        keys = [self.keys.run(batch.run_id), log, self.keys.messages(end.session) if end.session else log]
        messages = [pack(dict(message)) for message in end.messages]
        args = [self.keys.root, batch.run_id, batch.token, batch.head, batch.ack, end.state, end.retention_ms]
        args += [len(batch.records), *batch.records, len(messages), *messages]
        code, head, inbox = await self._write(_FINISH, keys, args)
        return Answer(Code(code), head, inbox)

    async def release(self, batch: Batch) -> Answer:
        return await self._part(_RELEASE, batch)

    async def pause(self, batch: Batch, *, interrupts: Sequence[str]) -> Answer:
        check_pause(interrupts)
        return await self._part(_PAUSE, batch, len(interrupts), *map(_bytes, interrupts))

    async def _part(self, script: Script, batch: Batch, *more: Any) -> Answer:
        keys = [self.keys.run(batch.run_id), self.keys.log(batch.run_id), self.keys.inbox(batch.run_id)]
        args = [self.keys.root, batch.run_id, batch.token, batch.head, batch.ack, len(batch.records), *batch.records]
        code, head, inbox = await self._write(script, keys, [*args, *more])
        return Answer(Code(code), head, inbox)

    async def reap(self, *, limit: int = 32) -> list[str]:
        check_count("limit", limit, least=1)
        args = [self.keys.root, limit, crash_failure(), deadline_failure()]
        return [_text(run_id) for run_id in await _REAP(self.client, [self.keys.leases, self.keys.deadlines], args)]

    async def signal(self, run_id: str, signal: Signal) -> RunStateName | None:
        check_signal(signal)
        keys = [self.keys.run(run_id), self.keys.log(run_id), self.keys.inbox(run_id)]
        ending, answers = cancel_ending(signal), signal.answers
        args = [self.keys.root, run_id, signal.signal_id, signal.kind, pack(asdict(signal))]
        args += [len(ending), *ending, len(answers), *map(_bytes, answers)]
        answer = await self._write(_SIGNAL, keys, args)
        if not answer:
            return None
        state, *refused = answer
        if refused:
            raise InterruptNotOpenError(run_id, [interrupt.decode("utf-8", "surrogatepass") for interrupt in refused])
        return cast("RunStateName", _text(state))

    async def inbox(self, run_id: str) -> list[Signal]:
        key = self.keys.inbox(run_id)
        return [_signal(key, item) for item in await self._call("LRANGE", key, 0, -1)]

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        found = await self.read_segments(run_id, after=after, limit=limit)
        return [entry for segment in found for entry in segment.entries()]

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        check_count("after", after)
        check_count("limit", limit, least=1)
        log = self.keys.log(run_id)
        return _segments(log, await self._call("XRANGE", log, after + 1, "+", "COUNT", limit))

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        check_count("before", before)
        check_count("limit", limit, least=1)
        log = self.keys.log(run_id)
        if before <= 1:
            return []
        items = await self._call("XREVRANGE", log, before - 1, "-", "COUNT", limit)
        return [entry for item in items for segment in _segments(log, [item]) for entry in segment.entries()]

    async def info(self, run_id: str) -> RunInfo | None:
        return _info(run_id, await self._call("HMGET", self.keys.run(run_id), *_INFO_FIELDS))

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        check_count("limit", limit, least=1)
        ids = [_text(one) for one in await self._call("ZREVRANGE", self.keys.runs, 0, limit - 1)]
        rows = await self._calls([("HMGET", self.keys.run(run_id), *_INFO_FIELDS) for run_id in ids])
        return [info for run_id, values in zip(ids, rows, strict=True) if (info := _info(run_id, values))]

    async def messages(self, session: str) -> list[Message]:
        items = await self._call("XRANGE", self.keys.messages(session), "-", "+")
        return [cast("Message", unpack(fields[b"m"])) for _, fields in items]

    async def holder(self, session: str) -> str | None:
        return _text(await self._call("HGET", self.keys.session(session), "run")) or None

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        check_duration("ttl_ms", ttl_ms)
        keys = [self.keys.worker(worker.worker), self.keys.workers]
        await _ANNOUNCE(self.client, keys, [worker.worker, ttl_ms, json.dumps(asdict(worker))])

    async def retire(self, worker: str) -> None:
        own = (self.keys.worker(worker), self.keys.worker_bell(worker))
        await self._calls([("ZREM", self.keys.workers, worker), ("DEL", *own)])

    async def workers(self) -> list[WorkerInfo]:
        names = [_text(name) for name in await self._call("ZRANGE", self.keys.workers, 0, -1)]
        rows = await self._calls([("GET", self.keys.worker(name)) for name in names])
        return [WorkerInfo(**_known(WorkerInfo, json.loads(row))) for row in rows if row]

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        own = self.keys.worker_bell(worker)
        rung = await self._call("BLPOP", own, *map(self.keys.bell, agents), max(1, round(timeout)))
        if rung is None or _text(rung[0]) != own:
            return None
        return _text(rung[1])


def _segments(log: str, items: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Segment]:
    return segments([_place(entry_id) for entry_id, _ in items], [_stored(log, *item) for item in items])


def _place(entry_id: bytes) -> tuple[int, int]:
    seq, _, epoch = entry_id.partition(b"-")
    return int(seq), int(epoch)


def _stored(log: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Stored:
    if len(fields) != 1 or b"r" not in fields:
        raise ForeignRecordError(
            f"stream {log}, entry {_text(entry_id)}: not written by playhead (fields {sorted(map(_text, fields))}). "
            "Something else writes to this key; give playhead a prefix of its own."
        )
    try:
        return decode_stored(fields[b"r"])
    except ForeignRecordError as error:
        raise ForeignRecordError(f"stream {log}, entry {_text(entry_id)}: {error}") from error


def _known(kind: type[Signal | WorkerInfo], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version knows: what a newer one adds is passed over."""
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}


def _signal(key: str, item: bytes) -> Signal:
    try:
        return Signal(**_known(Signal, unpack(item)))
    except (TypeError, ForeignRecordError) as error:
        raise ForeignRecordError(f"list {key}: not a signal of playhead: {error}") from error


def _info(run_id: str, values: Sequence[bytes | None]) -> RunInfo | None:
    if values[0] is None:
        return None
    state, agent, session, head, epoch, crashes, created, updated, worker, *more = map(_text, values)
    handovers, errors, deadline = more
    return RunInfo(
        run_id=run_id,
        state=cast("RunStateName", state),
        agent=agent,
        session=session or None,
        head=int(head or 0),
        epoch=int(epoch or 0),
        crashes=int(crashes or 0),
        created=int(float(created or 0)),
        updated=int(float(updated or 0)),
        worker=worker or None,
        handovers=int(handovers or 0),
        errors=int(errors or 0),
        deadline=int(float(deadline)) if deadline else None,
    )
