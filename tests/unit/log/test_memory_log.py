"""The memory log by a clock that the test moves: when exactly things end, and that nothing of them stays."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.records import RunClaimed, RunFailed, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import SESSION_RETENTION_MS, Batch, Claim, NewRun, RunEnd, WorkerInfo, WriteStatus

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
FAILED = encode_record(RunFailed(at=0, error_type="WorkerLost", message=""))


class Clock:
    """Milliseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> MemoryLog:
    return MemoryLog(clock=clock)


async def owned(log: MemoryLog, run_id: str = "r1", *, session: str | None = None) -> Claim:
    await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo"), session))
    claim = await log.claim({"echo": CLAIMED}, worker="w", token=f"token of {run_id}", lease_ms=10_000)
    assert claim is not None
    return claim


def ending(claim: Claim, *, messages: Any = (), retention_ms: int = 5000, ack: int = 0) -> RunEnd:
    return RunEnd(
        Batch(claim.run_id, claim.token, 2, [FAILED] * ack, ack), "completed", claim.session, messages, retention_ms
    )


async def test_a_clock_that_goes_back_keeps_the_queue_and_its_order(log: MemoryLog, clock: Clock) -> None:
    order = ["r3", "r1", "r2"]
    for run_id in order:
        await log.submit(NewRun(run_id, "echo", RunSubmitted(at=0, agent="echo")))
        clock.now -= 1000
    claims = [await log.claim({"echo": CLAIMED}, worker="w", token=run_id, lease_ms=10_000) for run_id in order]
    assert [claim and claim.run_id for claim in claims] == order


async def reap(log: MemoryLog) -> list[str]:
    return await log.reap()


async def test_a_lease_ends_after_its_last_millisecond(log: MemoryLog, clock: Clock) -> None:
    claim = await owned(log)
    clock.now += 10_000
    assert await reap(log) == []
    await log.renew([(claim.run_id, claim.token)], lease_ms=500)
    clock.now += 500
    assert await reap(log) == []
    clock.now += 1
    assert await reap(log) == ["r1"]


async def test_times_are_the_clocks(log: MemoryLog, clock: Clock) -> None:
    claim = await owned(log)
    clock.now += 7
    await log.release(Batch(claim.run_id, claim.token, 2, []))
    info = await log.info("r1")
    assert info is not None
    assert (info.created, info.updated) == (1_000_000, 1_000_007)


async def test_a_finished_run_is_readable_for_its_retention(log: MemoryLog, clock: Clock) -> None:
    await log.finish(ending(await owned(log)))
    clock.now += 4999
    assert len(await log.read("r1")) == 2
    clock.now += 1
    assert (await log.read("r1"), await log.info("r1"), await log.runs()) == ([], None, [])


async def test_a_run_is_gone_when_its_retention_is_over(log: MemoryLog, clock: Clock) -> None:
    claim = await owned(log)
    assert (await log.finish(ending(claim, retention_ms=1))).status is WriteStatus.OK
    clock.now += 1
    assert await log.info("r1") is None
    assert (await log.finish(ending(claim, retention_ms=1))).status is WriteStatus.GONE


async def test_a_claims_token_is_remembered_for_a_minute(log: MemoryLog, clock: Clock) -> None:
    async def again() -> Claim | None:
        return await log.claim({"echo": CLAIMED}, worker="w", token="token of r1", lease_ms=10)

    claim = await owned(log)
    await log.release(Batch("r1", claim.token, 2, []))
    assert await again() is None
    clock.now += 60_000
    await owned(log, "r2")  # takes r1, which has waited longer
    assert (await again()) is not None


async def test_announcements_end_with_their_last_millisecond(log: MemoryLog, clock: Clock) -> None:
    await log.announce(WorkerInfo("w", ["echo"]), ttl_ms=100)
    clock.now += 99
    assert len(await log.workers()) == 1
    clock.now += 1
    assert await log.workers() == []


async def test_what_cannot_be_stored_changes_nothing(log: MemoryLog) -> None:
    with pytest.raises(EncodingError):
        await log.submit(NewRun("r0", "echo", RunSubmitted(at=0, agent="echo", prompt=object()), "ada"))
    assert await log.runs() == []
    claim = await owned(log, session="ada")
    with pytest.raises(EncodingError):
        await log.finish(ending(claim, messages=[{"role": "user", "content": [object()]}]))
    with pytest.raises(EncodingError):
        await log.signal("r1", Signal("s1", "steer", object()))
    info = await log.info("r1")
    assert info is not None
    assert (info.state, await log.inbox("r1"), await log.messages("ada")) == ("running", [], [])
    assert await log.signal("r1", Signal("s1", "steer")) == "running"
    assert len(await log.inbox("r1")) == 1


def sizes(holder: object) -> dict[str, int]:
    """How many things each attribute of the log, and of what it is made of, holds."""
    found: dict[str, int] = {}
    for name, value in vars(holder).items():
        if isinstance(value, Sized):
            found[name] = len(value)
        elif type(value).__module__.startswith("playhead.runtime.log.rules"):
            found |= {f"{name}.{inner}": size for inner, size in sizes(value).items()}
    return found


async def test_nothing_stays_of_runs_and_conversations_whose_time_is_over(log: MemoryLog, clock: Clock) -> None:
    for number in range(20):
        first = await owned(log, f"a{number}", session=f"s{number}")
        await log.signal(first.run_id, Signal("s1", "steer"))
        await log.finish(ending(first, ack=1, messages=[{"role": "user", "content": []}]))
        await log.submit(NewRun(f"b{number}", "echo", RunSubmitted(at=0, agent="echo"), f"s{number}"))
        await log.signal(f"b{number}", Signal("s1", "cancel"))
    assert sizes(log)["_rules.runs"] == sizes(log)["_rules.sessions.all"] * 2 == 40
    clock.now += SESSION_RETENTION_MS
    await owned(log, "last")  # the next call clears what is over
    assert {name: size for name, size in sizes(log).items() if size > 1} == {}


async def test_a_conversation_is_kept_for_its_time_after_its_last_run(log: MemoryLog, clock: Clock) -> None:
    said = [{"role": "user", "content": [{"text": "hello"}]}]
    await log.finish(ending(await owned(log, "r1", session="ada"), messages=said))
    clock.now += SESSION_RETENTION_MS - 1
    second = await owned(log, "r2", session="ada")
    clock.now += SESSION_RETENTION_MS
    assert await log.messages("ada") == said, "a run that lasts long does not lose the conversation it has begun from"
    await log.finish(ending(second))
    clock.now += SESSION_RETENTION_MS
    assert await log.messages("ada") == []
