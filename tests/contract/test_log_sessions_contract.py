"""What every log backend promises of sessions and signals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from playhead.runtime.core.converse import Message
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import (
    RunCancelled,
    SignalReceived,
)
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.steps import CANCELLED_TEXT
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, Renewal, RunEnd, WriteResult, WriteStatus
from tests.contract.contract_calls import (
    CANCEL,
    FACT,
    MINUTE,
    after,
    append,
    claimed,
    reaped,
    submitted,
    texts,
    try_claim,
)

__all__: list[str] = []

pytestmark = pytest.mark.anyio

STEER = Signal("s2", "steer", "left")


def ending(claim: Claim, *texts: str) -> RunEnd:
    messages: list[Message] = [{"role": "user", "content": [{"text": text}]} for text in texts]
    return RunEnd(after(claim, [FACT]), "completed", claim.session, messages)


# ---------------------------------------------------------------- sessions


async def test_a_session_runs_one_at_a_time_in_order(log: Log) -> None:
    order = [await submitted(log, session="ada") for _ in range(4)]
    for run_id in order:
        claim = await claimed(log)
        assert (claim.run_id, claim.session) == (run_id, "ada")
        assert await try_claim(log) is None
        await log.finish(ending(claim))
    assert await try_claim(log) is None


async def test_sessions_do_not_wait_for_each_other(log: Log) -> None:
    runs = {await submitted(log, session=name) for name in ("ada", "bob")} | {await submitted(log)}
    assert {(await claimed(log)).run_id for _ in runs} == runs


async def test_a_session_is_free_again_when_its_last_run_has_ended(log: Log) -> None:
    await submitted(log, session="ada")
    await log.finish(ending(await claimed(log)))
    again = await submitted(log, session="ada")
    assert (await claimed(log)).run_id == again


async def test_a_session_tells_which_of_its_runs_has_it(log: Log) -> None:
    assert await log.holder("ada") is None
    first, second = [await submitted(log, session="ada") for _ in range(2)]
    await submitted(log, session="bob")
    assert await log.holder("ada") == first
    await log.finish(ending(await claimed(log)))
    assert await log.holder("ada") == second
    await log.signal(second, CANCEL)
    assert await log.holder("ada") is None


async def test_messages_of_a_finished_run_are_read_by_the_next(log: Log) -> None:
    await submitted(log, session="ada")
    await submitted(log, session="ada")
    assert await log.messages("ada") == []
    await log.finish(ending(await claimed(log), "one", "two"))
    assert await texts(log, "ada") == ["one", "two"]
    await log.finish(ending(await claimed(log), *map(str, range(15))))
    assert await texts(log, "ada") == ["one", "two", *map(str, range(15))]
    assert await log.messages("bob") == []


async def test_messages_come_back_as_they_went_in(log: Log) -> None:
    message: Message = {
        "role": "assistant",
        "content": [{"text": "naïve \ud83d"}, {"image": {"format": "png", "source": {"bytes": b"\x00\xff"}}}],
        "metadata": {"usage": {"inputTokens": 2**70}},
    }
    await submitted(log, session="ada")
    claim = await claimed(log)
    await log.finish(RunEnd(after(claim, [FACT]), "completed", "ada", [message]))
    assert await log.messages("ada") == [message]


async def test_a_refused_finish_adds_no_messages(log: Log) -> None:
    await submitted(log, session="ada")
    claim = await claimed(log)
    for batch in (Batch(claim.run_id, "not its token", 2, [FACT]), Batch(claim.run_id, claim.token, 9, [FACT])):
        await log.finish(RunEnd(batch, "completed", "ada", [{"role": "user", "content": [{"text": "no"}]}]))
    assert await log.messages("ada") == []


async def test_a_released_run_keeps_its_session(log: Log) -> None:
    first, second = [await submitted(log, session="ada") for _ in range(2)]
    await log.release(after(await claimed(log)))
    again = await claimed(log)
    assert (again.run_id, await try_claim(log)) == (first, None)
    await log.finish(ending(again))
    assert (await claimed(log)).run_id == second


async def test_past_crash_limit_the_next_owner_fails_it_and_the_next_of_the_session_runs(log: Log) -> None:
    first, second = [await submitted(log, session="ada") for _ in range(2)]
    await claimed(log, lease_ms=1, crash_limit=1)
    assert await reaped(log) == [first]
    assert (await claimed(log, lease_ms=1, crash_limit=1)).run_id == first
    assert await reaped(log) == [first]
    last = await claimed(log, lease_ms=MINUTE, crash_limit=1)
    assert (last.run_id, last.crash_streak) == (first, 2)
    await log.finish(RunEnd(after(last, [FACT]), "failed"))
    assert (await claimed(log)).run_id == second


async def test_cancel_of_the_sessions_queued_run_lets_the_next_one_run(log: Log) -> None:
    first, second = [await submitted(log, session="ada") for _ in range(2)]
    assert await log.signal(first, CANCEL) == "cancelled"
    assert (await claimed(log)).run_id == second


async def test_cancel_of_a_waiting_run_takes_it_out_of_the_queue(log: Log) -> None:
    first, second, third = [await submitted(log, session="ada") for _ in range(3)]
    assert await log.signal(second, CANCEL) == "cancelled"
    claim = await claimed(log)
    assert (claim.run_id, await try_claim(log)) == (first, None)
    await log.finish(ending(claim))
    assert ((await claimed(log)).run_id, await try_claim(log)) == (third, None)


# ---------------------------------------------------------------- signals


async def test_signals_wait_in_order_until_acknowledged(log: Log) -> None:
    run_id = await submitted(log)
    signals = [
        Signal(f"s{number}", "steer", {"text": "é", "bytes": b"\xff", "n": [number, 2**70]}) for number in (1, 2, 3)
    ]
    assert await log.inbox(run_id) == []
    assert await log.signal(run_id, signals[0]) == "queued"
    claim = await claimed(log)
    assert claim.inbox == 1
    assert [await log.signal(run_id, signal) for signal in signals[1:]] == ["running"] * 2
    assert await log.inbox(run_id) == signals
    assert await log.renew([(run_id, claim.token)], lease_ms=MINUTE) == [Renewal(ours=True, inbox=3)]
    assert await append(log, after(claim, [FACT], ack=1)) == WriteResult(WriteStatus.OK, head=3, inbox=2)
    assert await log.inbox(run_id) == signals[1:]
    last = Batch(run_id, claim.token, 3, [FACT], ack=1)
    assert await log.release(last) == WriteResult(WriteStatus.OK, head=4, inbox=1)
    assert await log.inbox(run_id) == signals[2:]


async def test_an_acknowledgement_counts_once(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    for number in range(3):
        await log.signal(run_id, Signal(f"s{number}", "steer"))
    batch = after(claim, [FACT], ack=1)
    assert await append(log, batch) == WriteResult(WriteStatus.OK, head=3, inbox=2)
    assert await append(log, batch) == WriteResult(WriteStatus.DUP, head=3, inbox=2)
    conflict = Batch(run_id, claim.token, 9, [FACT], ack=1)
    assert await append(log, conflict) == WriteResult(WriteStatus.CONFLICT, head=3, inbox=2)
    assert [signal.signal_id for signal in await log.inbox(run_id)] == ["s1", "s2"]


async def test_a_signal_that_a_failover_lost_is_not_owed_by_the_next_ones(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    assert await append(log, after(claim, [FACT], ack=1)) == WriteResult(
        WriteStatus.OK, head=3
    )  # read before the failover
    await log.signal(run_id, Signal("s2", "steer", "left"))
    assert await log.renew([(run_id, claim.token)], lease_ms=MINUTE) == [Renewal(ours=True, inbox=1)]
    await log.release(Batch(run_id, claim.token, 3, [FACT, FACT], ack=2))
    await log.signal(run_id, Signal("s3", "steer", "left"))
    assert (await claimed(log)).inbox == 1


def test_no_more_signals_are_acknowledged_than_there_are_records():
    with pytest.raises(ValueError, match="0 records cannot acknowledge 1 signals"):
        Batch("r1", "t1", 2, [], ack=1)
    with pytest.raises(ValueError, match="1 records cannot acknowledge -1 signals"):
        Batch("r1", "t1", 2, [FACT], ack=-1)


async def test_an_owner_at_another_head_is_still_told_of_its_signals(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    await log.signal(run_id, CANCEL)
    batch = Batch(run_id, claim.token, 9, [FACT])
    results = [await append(log, batch), await log.release(batch), await log.finish(RunEnd(batch, "completed"))]
    assert results == [WriteResult(WriteStatus.CONFLICT, head=2, inbox=1)] * 3


async def test_signals_count_once(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    assert [await log.signal(run_id, CANCEL) for _ in range(2)] == ["running"] * 2
    assert await log.inbox(run_id) == [CANCEL]
    await append(log, after(claim, [FACT], ack=1))
    assert await log.signal(run_id, CANCEL) == "running"
    assert await log.inbox(run_id) == []
    await log.release(Batch(run_id, claim.token, 3, []))
    assert await log.signal(run_id, CANCEL) == "queued"


async def test_signals_outlive_their_owner(log: Log) -> None:
    run_id = await submitted(log)
    await claimed(log, lease_ms=1)
    await log.signal(run_id, STEER)
    await reaped(log)
    assert (await claimed(log)).inbox == 1
    assert await log.inbox(run_id) == [STEER]


async def test_a_signal_to_an_unknown_run_finds_no_run(log: Log) -> None:
    run_id = new_run_id()
    assert await log.signal(run_id, CANCEL) is None
    assert (await log.info(run_id), await log.inbox(run_id)) == (None, [])


async def test_a_signal_to_an_ended_run_changes_nothing(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    await log.signal(run_id, Signal("s0", "steer"))
    await log.finish(replace(ending(claim), batch=after(claim, [FACT], ack=1)))
    assert await log.inbox(run_id) == []
    assert await log.signal(run_id, CANCEL) == "completed"
    assert (await log.inbox(run_id), len(await log.read(run_id))) == ([], 3)


async def test_cancel_of_a_queued_run_ends_it_at_once(log: Log) -> None:
    run_id = await submitted(log)
    assert await log.signal(run_id, CANCEL) == "cancelled"
    _, received, ended = await log.read(run_id)
    assert received[:2] == (2, 0)
    assert isinstance(received.record, SignalReceived)
    assert (received.record.signal_id, received.record.kind) == ("s1", "cancel")
    assert ended[:2] == (3, 0)
    assert isinstance(ended.record, RunCancelled)
    result = AgentResult(ended.record.result)
    assert (result.stop_reason, str(result).strip()) == ("cancelled", CANCELLED_TEXT)
    info = await log.info(run_id)
    assert info
    assert (info.state, info.head, info.ended) == ("cancelled", 3, True)
    assert (await try_claim(log), await log.inbox(run_id)) == (None, [])
    assert await log.signal(run_id, CANCEL) == "cancelled"
    assert len(await log.read(run_id)) == 3


async def test_cancel_of_a_released_run_ends_it_in_its_last_epoch(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    await log.release(after(claim, [FACT]))
    assert await log.signal(run_id, CANCEL) == "cancelled"
    assert [(entry.seq, entry.epoch) for entry in await log.read(run_id)] == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
    assert (await log.release(after(claim, [FACT]))).status is WriteStatus.DUP, "a repeat gets the first call's reply"


async def test_other_signals_to_a_queued_run_wait_for_its_owner(log: Log) -> None:
    run_id = await submitted(log)
    assert await log.signal(run_id, STEER) == "queued"
    assert await log.signal(run_id, Signal("s3", "steer")) == "queued"
    assert (len(await log.inbox(run_id)), len(await log.read(run_id))) == (2, 1)


async def test_cancel_of_a_running_run_is_left_to_its_owner(log: Log) -> None:
    run_id = await submitted(log)
    claim = await claimed(log)
    assert await log.signal(run_id, CANCEL) == "running"
    assert len(await log.read(run_id)) == 2
    assert await append(log, after(claim, [FACT])) == WriteResult(WriteStatus.OK, head=3, inbox=1)
