"""Each script with its reply lost: the server has done it, the link dies, the identical call comes again.

What the server then holds must be what one call left: read key by key, notifications and memos included. Every script
in `scripts/` has its case here, or a test fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunCompleted, RunPaused, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.connection import translate_errors
from playhead.runtime.log.redis.importing import import_run
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import (
    Batch,
    Claim,
    EncodedEntry,
    ImportedRun,
    NewRun,
    Renewal,
    RunEnd,
    RunInfo,
    WorkerInfo,
    WriteResult,
    WriteStatus,
)

if TYPE_CHECKING:
    from testkit.proxy import Proxy
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

MINUTE = 60_000
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
DEFINED = AgentDefinition("echo", {"model_id": "m"}).stored()
FACT = encode_record(CycleStarted(at=0, cycle=1))
PAUSED = encode_record(RunPaused(at=0, interrupts=[], result={}))
COMPLETED = encode_record(RunCompleted(at=0, result={}))
NEW = NewRun("r1", "echo", RunSubmitted(at=0, agent="echo"), "ada", deadline_ms=MINUTE)
ENDED = [EncodedEntry(1, 0, NEW.data), EncodedEntry(2, 1, CLAIMED), EncodedEntry(3, 1, COMPLETED)]
IMPORTED = ImportedRun(
    RunInfo("r1", "completed", "echo", "own", 3, 1, crashes=0, created=5, updated=9),
    [DEFINED],
    [{"role": "user", "content": []}],
)
SAID: Message = {"role": "user", "content": []}
STEER = Signal("s1", "steer", "left")
MOVING: Final = ("leases", "workers")
"""Sorted sets whose scores count from the call: a repeat may move them on."""

Call = Callable[[RedisLog], Awaitable[Any]]


# Each prepares the keys, then gives the call whose reply is lost and what its repeat must return.


async def submit(log: RedisLog) -> tuple[Call, Any]:
    await log.submit(replace(NEW, run_id="r0"))  # so that the new one waits for the session
    return lambda far: far.submit(NEW), False


async def claim(log: RedisLog) -> tuple[Call, Any]:
    await log.submit(NEW)
    await log.submit(replace(NEW, run_id="r2", session=None))  # which a second claim would take
    return lambda far: claimed(far), Claim("r1", "t1", 1, 2, "echo", "ada", 0, 0)


async def claim_with_a_definition(log: RedisLog) -> tuple[Call, Any]:
    terms: dict[str, Any] = {"worker": "w", "lease_ms": MINUTE, "definitions": {"echo": DEFINED}}
    await log.submit(replace(NEW, run_id="r0", session=None))
    await log.claim({"echo": CLAIMED}, token="t0", **terms)  # which stores the definition
    await log.submit(NEW)
    return lambda far: far.claim({"echo": CLAIMED}, token="t1", **terms), Claim("r1", "t1", 1, 2, "echo", "ada", 0, 0)


async def claimed(log: RedisLog, *, lease_ms: int = MINUTE) -> Claim:
    made = await log.claim({"echo": CLAIMED}, worker="w", token="t1", lease_ms=lease_ms)
    assert made is not None
    return made


async def owned(log: RedisLog, *last: bytes, signals: bool = True, lease_ms: int = MINUTE) -> Batch:
    """A batch by the owner of the run; another run waits for its session."""
    await log.submit(NEW)
    await log.submit(replace(NEW, run_id="r2"))
    made = await claimed(log, lease_ms=lease_ms)
    if signals:
        await log.signal("r1", STEER)
        await log.signal("r1", replace(STEER, signal_id="s2"))
    return Batch("r1", "t1", made.head, [FACT, FACT, *last], ack=1 if signals else 0)


async def append(log: RedisLog) -> tuple[Call, Any]:
    batch = await owned(log)
    return lambda far: far.append([batch]), [WriteResult(WriteStatus.DUP, 4, 1)]


async def renew(log: RedisLog) -> tuple[Call, Any]:
    await owned(log, lease_ms=1000)
    return lambda far: far.renew([("r1", "t1")], lease_ms=MINUTE), [Renewal(ours=True, inbox=2)]


async def finish(log: RedisLog) -> tuple[Call, Any]:
    batch = replace(await owned(log, COMPLETED), ack=2)
    end = RunEnd(batch, "completed", "ada", [{"role": "user", "content": []}], MINUTE)
    return lambda far: far.finish(end), WriteResult(WriteStatus.DUP, 5)


async def finish_as_failed(log: RedisLog) -> tuple[Call, Any]:
    end = RunEnd(await owned(log, COMPLETED), "failed", "ada", [], MINUTE)
    return lambda far: far.finish(end), WriteResult(WriteStatus.DUP, 5)


async def release(log: RedisLog) -> tuple[Call, Any]:
    batch = await owned(log)
    return lambda far: far.release(batch), WriteResult(WriteStatus.DUP, 4, 1)


async def release_with_a_cancel_not_taken_in(log: RedisLog) -> tuple[Call, Any]:
    batch = await owned(log, signals=False)
    await log.signal("r1", Signal("s3", "cancel"))
    return lambda far: far.release(batch), WriteResult(WriteStatus.DUP, 6)


async def pause(log: RedisLog) -> tuple[Call, Any]:
    batch = await owned(log, PAUSED, signals=False)
    return lambda far: far.pause(batch, interrupts=["i1", "i2"]), WriteResult(WriteStatus.DUP, 5)


async def pause_with_signals_waiting(log: RedisLog) -> tuple[Call, Any]:
    batch = await owned(log, PAUSED)
    return lambda far: far.pause(batch, interrupts=["i1"]), WriteResult(WriteStatus.DUP, 5, 1)


async def reap(log: RedisLog) -> tuple[Call, Any]:
    await owned(log)
    await log.submit(replace(NEW, run_id="r3", session=None))
    await log.client.zadd(log.keys.leases, {"r1": 1})
    await log.client.zadd(log.keys.deadlines, {"r3": 1})
    return lambda far: far.reap(), []


async def give_up(log: RedisLog) -> tuple[Call, Any]:
    claim = await owned(log)
    await log.client.zadd(log.keys.leases, {"r1": 1})
    await log.reap()
    return lambda far: far.give_up([("r1", claim.token)]), None


async def give_up_before_the_lease_ends(log: RedisLog) -> tuple[Call, Any]:
    claim = await owned(log)
    return lambda far: far.give_up([("r1", claim.token)]), None


async def got_on(log: RedisLog) -> tuple[Call, Any]:
    await owned(log)
    await log.bury("w", ended="was killed by SIGKILL")
    again = await log.claim({"echo": CLAIMED}, worker="w", token="t2", lease_ms=MINUTE)
    assert again is not None
    assert again.crash_end == "was killed by SIGKILL"
    return lambda far: far.got_on("r1", "t2"), True


async def bury(log: RedisLog) -> tuple[Call, Any]:
    await owned(log)
    return lambda far: far.bury("w", ended="was killed by SIGKILL"), []


async def should_empty(log: RedisLog) -> tuple[Call, Any]:
    await log.client.zadd(log.keys.suspects("echo"), {"r1": 1})
    return lambda far: far.should_empty(["echo"], worker="w", for_ms=MINUTE), True


async def signal(log: RedisLog) -> tuple[Call, Any]:
    await owned(log)
    return lambda far: far.signal("r1", replace(STEER, signal_id="s3")), "running"


async def signal_a_cancel(log: RedisLog) -> tuple[Call, Any]:
    await owned(log)
    return lambda far: far.signal("r1", Signal("s3", "cancel")), "running"


async def signal_a_cancel_of_a_queued_run(log: RedisLog) -> tuple[Call, Any]:
    await log.submit(NEW)
    await log.submit(replace(NEW, run_id="r2"))
    return lambda far: far.signal("r1", Signal("s3", "cancel")), "cancelled"


async def signal_an_answer(log: RedisLog) -> tuple[Call, Any]:
    await log.pause(await owned(log, PAUSED, signals=False), interrupts=["i1", "i2"])
    return lambda far: far.signal("r1", Signal("s3", "respond", {"i1": "yes"})), "queued"


async def announce(log: RedisLog) -> tuple[Call, Any]:
    await log.announce(WorkerInfo("v", ["echo"]), ttl_ms=MINUTE)
    return lambda far: far.announce(WorkerInfo("w", ["echo"]), ttl_ms=MINUTE), None


async def adopt(log: RedisLog) -> tuple[Call, Any]:
    await owned(log, signals=False)
    await log.client.zrem(log.keys.leases, "r1")
    return lambda far: far.adopt(["r1"]), []  # by then it has its lease


async def delete_run(log: RedisLog) -> tuple[Call, Any]:
    await log.finish(RunEnd(await owned(log, COMPLETED, signals=False), "completed"))
    return lambda far: far.delete_run("r1"), None  # by then it is gone


async def calls_of_import(log: RedisLog, run: ImportedRun, entries: Sequence[EncodedEntry]) -> list[Call]:
    """The calls of one import, each to be made by itself."""
    calls: list[Call] = []

    async def keep(script: Script, keys: Sequence[str], args: Sequence[Any]) -> int:
        calls.append(lambda far: sent(far, script, keys, args))
        return 1

    async def pages() -> AsyncIterator[Sequence[EncodedEntry]]:
        yield entries

    await import_run(keep, log.keys, run, pages())
    return calls


async def sent(log: RedisLog, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    commands = Commands(log.client)
    try:
        with translate_errors(log.client):
            return await script(commands, keys, args)
    finally:
        await commands.aclose()


async def import_part_of_messages(log: RedisLog) -> tuple[Call, Any]:
    return (await calls_of_import(log, IMPORTED, ENDED))[0], 1


async def import_part_of_records(log: RedisLog) -> tuple[Call, Any]:
    first, second, _ = await calls_of_import(log, IMPORTED, ENDED)
    await first(log)
    return second, 1


async def import_an_ended_run(log: RedisLog) -> tuple[Call, Any]:
    *parts, last = await calls_of_import(log, IMPORTED, ENDED)
    for part in parts:
        await part(log)
    return last, 1


async def import_a_fork(log: RedisLog) -> tuple[Call, Any]:
    fork = replace(IMPORTED, info=replace(IMPORTED.info, state="queued", head=2))
    *parts, last = await calls_of_import(log, fork, ENDED[:2])
    for part in parts:
        await part(log)
    return last, 1


async def session(log: RedisLog) -> None:
    """A free session with two messages."""
    batch = replace(await owned(log, COMPLETED), ack=2)
    await log.signal("r2", Signal("s3", "cancel"))
    await log.finish(RunEnd(batch, "completed", "ada", [SAID, SAID]))


async def cut_session(log: RedisLog) -> tuple[Call, Any]:
    await session(log)
    return lambda far: far.cut_session("ada", upto=1), True


async def cut_session_whole(log: RedisLog) -> tuple[Call, Any]:
    await session(log)
    return lambda far: far.cut_session("ada", upto=None), False


async def store_session(log: RedisLog) -> tuple[Call, Any]:
    await session(log)
    return lambda far: far.store_session("copy", [SAID]), False


CASES = [
    submit,
    claim,
    claim_with_a_definition,
    append,
    renew,
    finish,
    finish_as_failed,
    release,
    release_with_a_cancel_not_taken_in,
    pause,
    pause_with_signals_waiting,
    reap,
    give_up,
    give_up_before_the_lease_ends,
    got_on,
    bury,
    should_empty,
    signal,
    signal_a_cancel,
    signal_a_cancel_of_a_queued_run,
    signal_an_answer,
    announce,
    adopt,
    import_part_of_messages,
    import_part_of_records,
    import_an_ended_run,
    import_a_fork,
    cut_session,
    cut_session_whole,
    delete_run,
    store_session,
]


def scripts() -> set[str]:
    folder = resources.files("playhead.runtime.log.redis").joinpath("scripts")
    return {file.name.removesuffix(".lua") for file in folder.iterdir() if file.name.endswith(".lua")} - {
        "common",
        "fence",
        "run_states",
    }


def test_every_script_is_tried_with_its_reply_lost():
    tried = {case.__name__ for case in CASES}
    assert {name for name in scripts() if any(case.startswith(name) for case in tried)} == scripts()
    assert all(case.startswith(tuple(scripts())) for case in tried)


async def picture(log: RedisLog) -> tuple[dict[str, Any], dict[str, float]]:
    """Everything under the prefix, TTLs left out; and apart the times that a repeat may move on."""
    found: dict[str, Any] = {}
    moving: dict[str, float] = {}
    async for key in log.client.scan_iter(f"{log.keys.root}*"):
        name = key.decode().removeprefix(log.keys.root)
        kind = await log.client.type(key)
        if name in MOVING:
            scores: Any = await log.client.zrange(key, 0, -1, withscores=True)
            moving |= {f"{name} {member.decode()}": score for member, score in scores}
            found[name] = sorted(member for member, _ in scores)
        else:
            found[name] = await READ[kind](log, key), await log.client.ttl(key) >= 0
    return found, moving


READ: dict[Any, Callable[[RedisLog, bytes], Awaitable[Any]]] = {
    b"hash": lambda log, key: log.client.hgetall(key),
    b"string": lambda log, key: log.client.get(key),
    b"list": lambda log, key: log.client.lrange(key, 0, -1),
    b"zset": lambda log, key: log.client.zrange(key, 0, -1, withscores=True),
    b"stream": lambda log, key: log.client.xrange(key),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_call_whose_reply_is_lost_is_sent_again_and_counts_once(
    fleet: Fleet, proxy: Proxy, case: Callable[[RedisLog], Awaitable[tuple[Call, Any]]]
) -> None:
    near, far = fleet.log("near"), fleet.at(proxy.url).log("far")
    for name in scripts():  # a server that does not know the script yet would reply so, and that would be lost
        await near.client.script_load(Script(name).text)
    call, expected = await case(near)
    before = await picture(near)

    proxy.lose(every=1)
    with pytest.raises(LogUnavailableError):
        await call(far)
    once = await picture(near)
    assert (once != before, proxy.lost) == (True, 1), "the call arrived, once, and no reply came back"

    proxy.lose(every=None)
    assert await call(far) == expected
    twice = await picture(near)
    assert twice[0] == once[0]
    assert twice[1].keys() == once[1].keys()
    assert all(twice[1][name] >= once[1][name] for name in once[1])
    await near.aclose()
    await far.aclose()
