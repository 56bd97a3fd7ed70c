"""What the scripts refuse on a real server: afterwards every key is, byte for byte and TTL for TTL, what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from operator import attrgetter
from typing import Any

import pytest
from redis.exceptions import ResponseError

from playhead.runtime.core.codec import encode_record, pack
from playhead.runtime.core.errors import InterruptNotOpenError
from playhead.runtime.core.records import CycleStarted, RunCancelled, RunClaimed, RunCompleted, RunPaused, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.redis.commands import Commands
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import Batch, Claim, NewRun, Renewal, RunEnd, WriteResult, WriteStatus

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
FACT = encode_record(CycleStarted(at=0, cycle=1))
PAUSED = encode_record(RunPaused(at=0, interrupts=[], result={}))
COMPLETED = encode_record(RunCompleted(at=0, result={}))
CANCELLED = encode_record(RunCancelled(at=0, result={}))
MESSAGE: Any = {"role": "user", "content": []}


@pytest.fixture
async def log(redis_url: str, prefix: str) -> AsyncIterator[RedisLog]:
    redis_log = RedisLog(connect(redis_url), prefix=prefix)
    yield redis_log
    await redis_log.aclose()


async def dump(log: RedisLog) -> dict[Any, Any]:
    """Every key of the server, as `DUMP` has it, and when it ends."""
    keys = [key async for key in log.client.scan_iter("*")]
    return {key: (await log.client.execute_command("DUMP", key), await expiry(log, key)) for key in keys}


async def expiry(log: RedisLog, key: Any) -> Any:
    try:
        return await log.client.execute_command("PEXPIRETIME", key)
    except ResponseError:  # a server before 7.0 does not tell
        return await log.client.pttl(key) >= 0


async def claimed(log: RedisLog, token: str, agent: str = "echo") -> Claim:
    made = await log.claim({agent: CLAIMED}, worker="w", token=token, lease_ms=HOUR)
    assert made is not None
    return made


# The states of the run r1 when a caller that does not own it writes to it. Each gives the head of its log.


async def queued(log: RedisLog) -> int:
    return 1


async def handed_over(log: RedisLog) -> int:
    made = await claimed(log, "former")
    return (await log.release(Batch("r1", "former", made.head, [FACT]))).head


async def taken_over(log: RedisLog) -> int:
    await handed_over(log)
    return (await claimed(log, "present")).head


async def reaped(log: RedisLog) -> int:
    made = await claimed(log, "former")
    await log.client.zadd(log.keys.leases, {"r1": 1})
    assert await log.reap() == ["r1"]
    return made.head


async def paused(log: RedisLog) -> int:
    made = await claimed(log, "former")
    return (await log.pause(Batch("r1", "former", made.head, [FACT, PAUSED]), interrupts=["i1"])).head


async def completed(log: RedisLog) -> int:
    made = await claimed(log, "former")
    return (await log.finish(RunEnd(Batch("r1", "former", made.head, [COMPLETED]), "completed", "ada"))).head


async def past_its_deadline(log: RedisLog) -> int:
    await claimed(log, "former")
    await log.client.zadd(log.keys.deadlines, {"r1": 1})
    assert await log.reap() == ["r1"]
    return 3


async def cancelled(log: RedisLog) -> int:
    await log.signal("r1", Signal("s1", "cancel"))
    return 3


Place = Callable[[RedisLog], Awaitable[int]]
NAME: Any = attrgetter("__name__")
PLACES: list[Place] = [queued, handed_over, taken_over, reaped, paused, completed, past_its_deadline, cancelled]


async def stage(log: RedisLog) -> None:
    """r1 is queued, r2 waits for its session, and another worker holds r3."""
    await log.submit(NewRun("r3", "other", RunSubmitted(at=0, agent="other")))
    await claimed(log, "another's", "other")
    for run_id in ("r1", "r2"):
        await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo"), "ada", deadline_ms=HOUR))


def writes(token: str, head: int) -> dict[str, Callable[[RedisLog], Awaitable[Any]]]:
    """Every write of an owner."""
    batch, paused, last = (Batch("r1", token, head, [FACT, FACT, *more]) for more in ([], [PAUSED], [COMPLETED]))
    return {
        "append": lambda log: log.append([batch]),
        "release": lambda log: log.release(batch),
        "pause": lambda log: log.pause(paused, interrupts=["i9"]),
        "finish": lambda log: log.finish(RunEnd(last, "completed", "ada", [MESSAGE])),
        "fail": lambda log: log.finish(RunEnd(last, "failed", "ada", [MESSAGE])),
        "renew": lambda log: log.renew([("r1", token)], lease_ms=2 * HOUR),
    }


@pytest.mark.parametrize("place", PLACES, ids=NAME)
@pytest.mark.parametrize("token", ["forged", "former", "another's", "", "{r1}\0"], ids=ascii)
async def test_a_caller_that_does_not_own_a_run_changes_nothing_in_any_state(
    log: RedisLog, token: str, place: Place
) -> None:
    await stage(log)
    head = await place(log)
    before = await dump(log)
    for at in (head, head + 5):
        for name, write in writes(token, at).items():
            answer = await write(log)
            answer = answer[0] if isinstance(answer, list) else answer
            refused = answer == Renewal(ours=False) if name == "renew" else answer.status is WriteStatus.FENCED
            assert refused, f"{name} after {at}: {answer}"
            assert await dump(log) == before, f"{name} after {at}"


async def test_an_owner_at_another_head_changes_nothing(log: RedisLog) -> None:
    await stage(log)
    await claimed(log, "t1")
    before = await dump(log)
    for head in (0, 1, 3, 9, 2**53):
        for name, write in writes("t1", head).items():
            if name == "renew" or head + len([FACT, FACT]) == 2:  # which is what a repeat of an append looks like
                continue
            answer = await write(log)
            answer = answer[0] if isinstance(answer, list) else answer
            assert (answer.status, answer.head) == (WriteStatus.CONFLICT, 2), f"{name} after {head}"
            assert await dump(log) == before, f"{name} after {head}"


async def test_what_is_written_to_a_run_that_does_not_exist_makes_no_key(log: RedisLog) -> None:
    await log.client.set("a key", "of another program")
    before = await dump(log)
    for name, write in writes("t1", 2).items():
        answer = await write(log)
        answer = answer[0] if isinstance(answer, list) else answer
        assert answer == (Renewal(ours=False) if name == "renew" else WriteResult(WriteStatus.GONE)), name
    for kind, body in (("cancel", None), ("steer", "left"), ("respond", {"i1": "yes"})):
        assert await log.signal("r1", Signal("s1", kind, body)) is None
    assert await dump(log) == before


@pytest.mark.parametrize("place", PLACES, ids=NAME)
@pytest.mark.parametrize("ids", [["i9"], ["i1", "i9"], ["*"], ["i1 "]], ids=str)
async def test_a_response_to_what_is_not_open_changes_nothing(log: RedisLog, ids: list[str], place: Place) -> None:
    await stage(log)
    await place(log)
    before = await dump(log)
    if place in (completed, past_its_deadline, cancelled):
        assert await log.signal("r1", Signal("s9", "respond", dict.fromkeys(ids, "yes"))) != "queued"
    else:
        with pytest.raises(InterruptNotOpenError, match="Nothing was changed") as refused:
            await log.signal("r1", Signal("s9", "respond", dict.fromkeys(ids, "yes")))
        assert refused.value.ids == (["i9"] if "i9" in ids and place is paused else ids)
    assert await dump(log) == before


async def test_an_interrupt_answered_once_is_not_answered_again(log: RedisLog) -> None:
    await stage(log)
    await paused(log)
    await log.signal("r1", Signal("s1", "respond", {"i1": "yes"}))
    for _ in ("queued", "taken over"):
        before = await dump(log)
        with pytest.raises(InterruptNotOpenError):
            await log.signal("r1", Signal("s2", "respond", {"i1": "no"}))
        assert await log.signal("r1", Signal("s1", "respond", {"i1": "no"})) in ("queued", "running"), "a repeat"
        assert await dump(log) == before
        await log.claim({"echo": CLAIMED}, worker="w", token="present", lease_ms=HOUR)


@pytest.mark.parametrize("kind", ["stop", "", "Cancel", "respond\0", "steer steer"], ids=ascii)
async def test_the_script_itself_refuses_a_kind_of_signal_it_does_not_know(log: RedisLog, kind: str) -> None:
    await stage(log)
    before = await dump(log)
    keys = [log.keys.run("r1"), log.keys.log("r1"), log.keys.inbox("r1")]
    signal = pack({"signal_id": "s1", "kind": kind, "body": None})
    commands = Commands(log.client)
    with pytest.raises(ResponseError, match="unknown kind of signal"):
        await Script("signal")(commands, keys, [log.keys.root, "r1", "s1", kind, signal, 1, CANCELLED, 0])
    await commands.aclose()
    assert await dump(log) == before


@pytest.mark.parametrize("kind", ["cancel", "steer", "respond"])
@pytest.mark.parametrize("place", [completed, past_its_deadline, cancelled], ids=NAME)
async def test_a_signal_to_a_run_that_has_ended_changes_nothing_and_says_so(
    log: RedisLog, place: Place, kind: str
) -> None:
    await stage(log)
    await place(log)
    before = await dump(log)
    state = {"past_its_deadline": "failed"}.get(NAME(place), NAME(place))
    assert await log.signal("r1", Signal("s9", kind, {"i1": "yes"})) == state
    assert await dump(log) == before


async def test_a_run_that_exists_is_not_created_again(log: RedisLog) -> None:
    await stage(log)
    for place in (queued, taken_over, completed):
        if place is completed:
            await log.finish(RunEnd(Batch("r1", "present", 4, [COMPLETED]), "completed", "ada"))
        else:
            await place(log)
        before = await dump(log)
        again = NewRun("r1", "other", RunSubmitted(at=1, agent="other"), "bob", deadline_ms=1)
        assert await log.submit(again) is False
        assert await dump(log) == before
