"""Group commit: one call in flight, everything put is stored once and in order, and one lost run harms no other."""

from __future__ import annotations

import asyncio
import copy
import gc
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import (
    EncodingError,
    FencedError,
    LogUnavailableError,
    PlayheadError,
    RecordTooLargeError,
)
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import ModelChunk, Record, RunClaimed, RunSubmitted, SignalReceived
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import Batch, NewRun, WriteResult
from playhead.workers.appends.group_commit import GroupCommit
from playhead.workers.appends.run_writer import (
    MAX_BUFFERED_RECORDS,
    MAX_BUFFERED_TOGETHER,
    MAX_KEPT_BYTES,
    MAX_KEPT_RECORDS,
    KeptRecords,
    RunWriter,
)
from playhead.workers.resend import retry_until_answered
from tests.support.jumping import JUMPING

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, object]:
    """Waits between tries take no time."""
    return JUMPING


AGENT = "agent"


def text(value: str) -> ModelChunk:
    return ModelChunk(at=1, chunk={"contentBlockDelta": {"delta": {"text": value}}})


class Slow(MemoryLog):
    """A log whose appends wait while `open` is unset, and which can fail before or after it stored them."""

    def __init__(self) -> None:
        super().__init__()
        self.open = anyio.Event()
        self.open.set()
        self.asked = anyio.Event()
        self.calls: list[list[Batch]] = []
        self.in_flight: set[str] = set()
        self.lose_calls = 0
        self.lose_answers = 0
        self.refused: set[str] = set()
        self.signals_wait: list[str] = []

    def hold(self) -> None:
        self.open, self.asked = anyio.Event(), anyio.Event()

    async def append(self, batches: Sequence[Batch]) -> list[WriteResult]:
        names = {batch.run_id for batch in batches}
        assert len(names) == len(batches), "a call holds one batch of a run"
        assert not names & self.in_flight, "a run has one write in flight"
        self.calls.append(list(batches))
        self.in_flight |= names
        try:
            return await self._answer_late(batches)
        finally:
            self.in_flight -= names

    async def _answer_late(self, batches: Sequence[Batch]) -> list[WriteResult]:
        self.asked.set()
        await self.open.wait()
        if self.lose_calls:
            self.lose_calls -= 1
            raise LogUnavailableError("the link was cut on the way there")
        if any(batch.run_id in self.refused for batch in batches):
            raise PlayheadError("the server refused")
        replies = await super().append(batches)
        if self.lose_answers:
            self.lose_answers -= 1
            raise LogUnavailableError("the link was cut on the way back")
        return replies


class AtOnce(Slow):
    """A log that has an open connection: a call is written before `append` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[list[Batch]] = []
        self.awaited = 0

    def append(self, batches: Sequence[Batch]) -> Any:
        self.written.append(list(batches))
        return self._answers(batches)

    async def _answers(self, batches: Sequence[Batch]) -> list[WriteResult]:
        self.awaited += 1
        return await super().append(batches)


async def settled() -> None:
    """Let every task go on until it waits for something from outside: the senders, for something to send."""
    for _ in range(10):
        await checkpoint()


@asynccontextmanager
async def committing(log: Slow) -> AsyncGenerator[GroupCommit]:
    """A running group commit; the block has ten seconds."""
    commit = GroupCommit(log, signals_wait=log.signals_wait.append)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commit.run)
            await settled()
            yield commit
            tasks.cancel_scope.cancel()


async def owned(
    log: MemoryLog, commit: GroupCommit, run_id: str, *, ownership: Ownership | None = None, limit: int = 1 << 20
) -> RunWriter:
    """A writer for a new run that this test owns."""
    await log.submit(NewRun(run_id, AGENT, RunSubmitted(at=1, agent=AGENT)))
    note = encode_record(RunClaimed(at=1, worker="w"))
    claim = await log.claim({AGENT: note}, worker="w", token=new_token(), lease_ms=60_000)
    assert claim is not None
    assert claim.run_id == run_id
    return commit.writer(ownership=ownership or Ownership(run_id), token=claim.token, head=claim.head, limit=limit)


async def busy_senders(log: Slow, commit: GroupCommit) -> None:
    """Have the log not reply, and each sender wait for a reply: what is put now stays queued."""
    log.hold()
    calls = len(log.calls)
    for number in range(2):
        await (await owned(log, commit, f"busy-{number}")).put(text("o"))
    while len(log.calls) < calls + 2:
        await checkpoint()


async def texts(log: MemoryLog, run_id: str) -> list[str]:
    """The texts in the log, after a look at its density."""
    entries = await log.read(run_id, limit=100_000)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    chunks = [entry.record.chunk for entry in entries if isinstance(entry.record, ModelChunk)]
    return [chunk["contentBlockDelta"]["delta"]["text"] for chunk in chunks]


async def test_what_is_put_while_a_runs_call_is_in_flight_goes_out_together_with_its_next() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        await writer.put(text("first"))
        await log.asked.wait()
        for number in range(50):
            await writer.put(text(str(number)))
        log.open.set()
        await writer.flush()
        assert [[len(batch.records) for batch in call] for call in log.calls] == [[1], [50]]
        assert commit.appends == 2
        assert commit.records == 51
    assert await texts(log, "run") == ["first", *map(str, range(50))]


async def test_many_runs_share_a_call() -> None:
    log = Slow()
    async with committing(log) as commit:
        writers = [await owned(log, commit, f"run-{number}") for number in range(40)]
        for writer in writers:
            await writer.put(text("a"))
        for writer in writers:
            await writer.flush()
        assert len(log.calls) <= 3
    for writer in writers:
        assert await texts(log, writer.run_id) == ["a"]


async def test_a_lone_record_waits_for_nothing() -> None:
    log = Slow()
    async with committing(log) as commit:
        one, two = await owned(log, commit, "one"), await owned(log, commit, "two")
        for number in range(3):
            await one.put(text(str(number)))
            await one.flush()
        await two.put(text("a"))
        await two.flush()
        assert [[len(batch.records) for batch in call] for call in log.calls] == [[1]] * 4


async def test_flush_returns_only_when_everything_is_stored() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        await writer.put(text("a"))
        await log.asked.wait()
        await writer.put(text("b"))
        flushed = anyio.Event()

        async def flush() -> None:
            await writer.flush()
            assert await texts(log, "run") == ["a", "b"]
            flushed.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flush)
            for _ in range(20):
                await checkpoint()
            assert not flushed.is_set()
            log.open.set()
        assert flushed.is_set()
        assert writer.head == writer.last == 4


@pytest.mark.parametrize("size", [1, 100_000], ids=["by number", "by bytes"])
async def test_a_slow_log_holds_up_put_instead_of_using_memory(size: int) -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        await writer.put(text("x" * size))
        await log.asked.wait()
        done = 0

        async def put_many() -> None:
            nonlocal done
            for _ in range(2 * MAX_BUFFERED_RECORDS):
                await writer.put(text("x" * size))
                done += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put_many)
            for _ in range(3 * MAX_BUFFERED_RECORDS):
                await checkpoint()
            assert 0 < done <= (MAX_BUFFERED_RECORDS if size == 1 else 45)
            log.open.set()
        await writer.flush()
    assert len(await texts(log, "run")) == 2 * MAX_BUFFERED_RECORDS + 1


async def test_a_put_cancelled_while_it_waits_queues_nothing_and_harms_nothing() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        for number in range(1 + MAX_BUFFERED_RECORDS):
            await writer.put(text(str(number)))
            if number == 0:
                await log.asked.wait()
        last = writer.last
        with anyio.CancelScope() as scope:
            scope.cancel()
            await writer.put(text("never"))
        assert scope.cancelled_caught
        assert writer.last == last
        log.open.set()
        await writer.put(text("after"))
        await writer.flush()
    assert await texts(log, "run") == [*(str(number) for number in range(1 + MAX_BUFFERED_RECORDS)), "after"]


async def test_a_call_that_is_lost_or_whose_reply_is_lost_is_sent_again_identically_and_stored_once() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.lose_calls, log.lose_answers = 1, 1
        await writer.put(text("a"))
        await writer.flush()
        assert len(log.calls) == 3
        assert log.calls[0] == log.calls[1] == log.calls[2]
    assert await texts(log, "run") == ["a"]


async def test_a_run_taken_over_is_refused_from_then_on_and_its_neighbour_goes_on() -> None:
    log = Slow()
    async with committing(log) as commit:
        lost, kept = await owned(log, commit, "lost"), await owned(log, commit, "kept")
        await log.release(Batch("lost", lost.token, lost.head, []))
        await lost.put(text("too late"))
        await kept.put(text("in time"))
        with pytest.raises(FencedError, match="run lost"):
            await lost.flush()
        for attempt in (lost.put(text("again")), lost.flush(), lost.take_rest()):
            with pytest.raises(FencedError):
                await attempt
        await kept.flush()
    assert await texts(log, "lost") == []
    assert await texts(log, "kept") == ["in time"]


async def test_the_loss_of_the_run_wakes_a_put_that_waits_for_space() -> None:
    log = Slow()
    async with committing(log) as commit:
        ownership = Ownership("run")
        writer = await owned(log, commit, "run", ownership=ownership)
        log.hold()
        await writer.put(text("a"))
        await log.asked.wait()
        for _ in range(MAX_BUFFERED_RECORDS):
            await writer.put(text("b"))

        async def put_one_more() -> None:
            with pytest.raises(FencedError, match="its lease was lost"):
                await writer.put(text("c"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put_one_more)
            await checkpoint()
            ownership.lose("its lease was lost")
        log.open.set()


async def test_a_run_the_server_refuses_for_good_is_given_up_alone() -> None:
    log = Slow()
    async with committing(log) as commit:
        bad, good = await owned(log, commit, "bad"), await owned(log, commit, "good")
        log.refused.add("bad")
        await bad.put(text("a"))
        await good.put(text("b"))
        await good.flush()
        with pytest.raises(FencedError, match="run bad"):
            await bad.flush()
        await good.put(text("c"))
        await good.flush()
    assert await texts(log, "good") == ["b", "c"]


async def test_the_rest_is_what_is_not_stored_once_nothing_is_in_flight_and_nothing_sends_it_later() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        await writer.put(text("a"))
        await log.asked.wait()
        await writer.put(text("b"))
        await writer.put(text("c"))
        rest: list[Batch] = []

        async def take() -> None:
            rest.append(await writer.take_rest())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await checkpoint()
            assert rest == []
            log.open.set()
        stored = await texts(log, "run")
        assert rest[0].head == writer.head == len(stored) + 2
        assert [*map(encode_record, map(text, stored)), *rest[0].records] == [
            encode_record(text(name)) for name in "abc"
        ]
        await busy_senders(log, commit)
        await writer.put(text("of the end"))
        assert (await writer.take_rest()).records == [encode_record(text("of the end"))]
        calls = len(log.calls)
        for _ in range(20):
            await checkpoint()
        assert len(log.calls) == calls


async def test_what_is_queued_when_the_rest_is_taken_is_not_sent_before_the_end_that_takes_it_along() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        for letter in "abc":
            assert writer.offer(text(letter))
        await log.asked.wait()
        rest: list[Batch] = []

        async def take() -> None:
            rest.append(await writer.take_rest())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await settled()
            log.open.set()
        assert rest[0].records == [encode_record(text(letter)) for letter in "bc"]
        assert rest[0].head == writer.head == 3
        assert (len(log.calls), commit.waiting) == (1, 0)


@pytest.mark.parametrize("how", ["lost", "cancelled"])
async def test_a_rest_that_is_not_taken_to_the_end_leaves_nothing_counted_as_waiting(how: str) -> None:
    log, ownership = Slow(), Ownership("run")
    async with committing(log) as commit:
        writer = await owned(log, commit, "run", ownership=ownership)
        log.hold()
        for letter in "abc":
            assert writer.offer(text(letter))
        await log.asked.wait()
        scope = anyio.CancelScope()
        ended: list[bool] = []

        async def take() -> None:
            with scope, suppress(FencedError):
                await writer.take_rest()
            ended.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await settled()
            if how == "cancelled":
                scope.cancel()
                await settled()
            ownership.lose("its lease was lost")
        assert ended == [True]
        assert commit.waiting == 0
        log.open.set()
        await settled()
        assert len(log.calls) == 1


async def test_the_rest_can_be_put_back_and_goes_out_before_what_comes_later() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        await log.signal("run", Signal("one", "cancel"))
        await writer.put(text("a"))
        await writer.flush()
        await busy_senders(log, commit)
        await writer.put(SignalReceived(at=1, signal_id="one", kind="cancel"))
        await writer.put(text("b"))
        rest = await writer.take_rest()
        assert (len(rest.records), rest.ack) == (2, 1)
        writer.put_back(rest)
        await writer.put(text("c"))
        log.open.set()
        await writer.flush()
        assert await texts(log, "run") == ["a", "b", "c"]
        assert await log.inbox("run") == []
        assert writer.head == writer.last == 6
        assert commit.waiting == 0


async def test_a_signal_is_announced_by_a_reply_and_acknowledged_by_the_batch_that_stores_its_receipt() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        for name in ("one", "two"):
            await log.signal("run", Signal(name, "cancel"))
        await writer.put(text("a"))
        await writer.flush()
        assert log.signals_wait == ["run"]
        assert [len(await log.inbox("run")), log.calls[-1][0].ack] == [2, 0]
        await writer.put(SignalReceived(at=1, signal_id="one", kind="cancel"))
        await writer.put(text("b"))
        await writer.flush()
        assert [signal.signal_id for signal in await log.inbox("run")] == ["two"]
        log.hold()
        await writer.put(text("c"))
        await log.asked.wait()
        await writer.put(SignalReceived(at=1, signal_id="two", kind="cancel"))
        log.open.set()
        rest = await writer.take_rest()
        assert sum(batch.ack for call in log.calls for batch in call) + rest.ack == 2


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (text("x" * 2000), RecordTooLargeError),
        (ModelChunk(at=1, chunk={"contentBlockDelta": {"delta": {"text": object()}}}), EncodingError),
    ],
    ids=["too large", "not plain"],
)
async def test_a_record_that_cannot_be_stored_is_refused_and_leaves_no_hole(
    record: Record, error: type[Exception]
) -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run", limit=1000)
        await writer.put(text("a"))
        with pytest.raises(error):
            await writer.put(record)
        await writer.put(text("b"))
        await writer.flush()
    assert await texts(log, "run") == ["a", "b"]


@pytest.mark.parametrize("kind", [Slow, AtOnce])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 10))])
async def test_any_mixture_of_lost_calls_and_replies_leaves_dense_logs(seed: int, kind: type[Slow]) -> None:
    dice = random.Random(seed)
    log = kind()
    names = [f"run-{number}" for number in range(5)]

    async def write(writer: RunWriter) -> None:
        for number in range(60):
            await writer.put(text(f"{writer.run_id} {number}"))
            if dice.random() < 0.1:
                await writer.flush()
            if dice.random() < 0.02 and log.lose_calls + log.lose_answers < 2:
                log.lose_calls, log.lose_answers = dice.choice([(1, 0), (0, 1), (1, 1)])
        await writer.flush()

    async with committing(log) as commit:
        writers = [await owned(log, commit, name) for name in names]
        async with anyio.create_task_group() as tasks:
            for writer in writers:
                tasks.start_soon(write, writer)
    for name in names:
        assert await texts(log, name) == [f"{name} {number}" for number in range(60)]


# A failover loses what was acknowledged


class Forgetful(Slow):
    """A log that can go back to an earlier head, as when a replica that lacks the last writes takes over."""

    def __init__(self) -> None:
        super().__init__()
        self._copies: dict[int, Any] = {}

    def remember(self, head: int) -> None:
        self._copies[head] = copy.deepcopy(self.rules.runs)

    def lose_everything(self) -> None:
        self.rules.runs.clear()

    def fail_over(self, head: int) -> None:
        """The log ends at `head` again, where it was remembered."""
        self.rules.runs = copy.deepcopy(self._copies[head])


@asynccontextmanager
async def written(*groups: str) -> AsyncGenerator[tuple[Forgetful, GroupCommit, RunWriter]]:
    """A run with one stored batch for each group of letters; the log is remembered after each."""
    log = Forgetful()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.remember(writer.head)
        for group in groups:
            log.hold()
            for letter in group:
                await writer.put(text(letter))
            log.open.set()
            await writer.flush()
            log.remember(writer.head)
        yield log, commit, writer


@pytest.mark.parametrize("kept", [2, 4, 5])
async def test_what_a_failover_lost_is_sent_again_before_what_is_new(kept: int) -> None:
    async with written("ab", "c", "d") as (log, commit, writer):
        log.fail_over(kept)
        await writer.put(text("e"))
        await writer.flush()
        assert writer.head == writer.last == 7
        assert commit.records == 5
        await writer.put(text("f"))
        await writer.flush()
        assert await texts(log, "run") == list("abcdef")


async def test_one_failover_after_the_other_is_made_good_and_lost_replies_with_it() -> None:
    async with written("a", "b", "c") as (log, _, writer):
        log.fail_over(4)
        log.hold()
        await writer.put(text("d"))
        await log.asked.wait()
        log.fail_over(3)
        log.lose_calls, log.lose_answers = 1, 1
        log.open.set()
        await writer.flush()
        assert await texts(log, "run") == list("abcd")


async def test_what_a_failover_lost_goes_out_with_the_runs_end() -> None:
    async with written("a", "b") as (log, commit, writer):
        log.fail_over(3)
        end = replace(await writer.take_rest(), records=[encode_record(text("c"))])
        (reply,) = await commit.store([(writer, end)], log.append, "the end")
        assert reply.stored
        again = log.calls[-1][0]
        assert again.head == 3
        assert again.records == [encode_record(text(letter)) for letter in "bc"]


async def test_a_run_that_lost_more_than_is_kept_is_given_up_and_nothing_is_written() -> None:
    async with written("a") as (log, _, writer):
        for number in range(MAX_KEPT_RECORDS + 1):
            await writer.put(text(str(number)))
        await writer.flush()
        log.fail_over(3)
        await writer.put(text("z"))
        with pytest.raises(FencedError, match=r"append returned CONFLICT \(head 3, expected 516\)"):
            await writer.flush()
        assert await texts(log, "run") == ["a"]


@pytest.mark.parametrize("number", [MAX_KEPT_RECORDS * 3, 10])
async def test_what_is_kept_is_bounded_in_number_and_in_bytes(number: int) -> None:
    size = 1 if number > 10 else 100_000
    async with written("a") as (_, _, writer):
        for _ in range(number):
            await writer.put(text("x" * size))
            await writer.flush()
        for back in (writer.head - 1, writer.head - 2):
            kept = writer.acknowledged_after(back)
            assert kept is not None
            assert len(kept) == writer.head - back
        assert writer.acknowledged_after(2) is None


async def test_a_run_that_a_failover_lost_is_given_up_and_not_made_again() -> None:
    async with written("a") as (log, _, writer):
        log.lose_everything()
        await writer.put(text("b"))
        with pytest.raises(FencedError, match="append returned GONE"):
            await writer.flush()
        assert await log.info("run") is None


class LosesSignals(Slow):
    """A log that loses a call, and with it, as a failover may, the signals that had come; then another one comes."""

    async def append(self, batches: Sequence[Batch]) -> list[WriteResult]:
        try:
            return await super().append(batches)
        except LogUnavailableError:
            for run in self.rules.runs.values():
                run.inbox.clear()
                await self.signal(run.run_id, Signal("new", "steer", "Hello?"))
            raise


async def test_a_receipt_whose_signal_a_failover_lost_takes_no_later_signal_with_it() -> None:
    log = LosesSignals()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        await log.signal("run", Signal("lost", "steer", "Hello"))
        log.lose_calls = 1
        await writer.put(SignalReceived(at=1, signal_id="lost", kind="steer", body="Hello"))
        await writer.flush()
        assert [signal.signal_id for signal in await log.inbox("run")] == ["new"]
        assert len(await log.read("run")) == 3


async def test_receipts_sent_again_acknowledge_the_signals_that_are_still_there_and_no_others() -> None:
    async with written() as (log, _, writer):
        await log.signal("run", Signal("kept", "cancel"))
        log.remember(2)
        await log.signal("run", Signal("lost", "cancel"))
        for name in ("kept", "lost"):
            await writer.put(SignalReceived(at=1, signal_id=name, kind="cancel"))
        await writer.flush()
        assert await log.inbox("run") == []
        log.fail_over(2)
        await log.signal("run", Signal("new", "cancel"))
        await writer.put(text("a"))
        await writer.flush()
        assert [signal.signal_id for signal in await log.inbox("run")] == ["new"]
        info = await log.info("run")
        assert info is not None
        assert info.head == 5


async def test_a_persistent_call_goes_on_until_it_is_answered_and_lets_other_errors_through() -> None:
    replies = [LogUnavailableError("away"), LogUnavailableError("still away"), "here"]

    async def call() -> str:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert await retry_until_answered(call, "call") == "here"
    replies = [PlayheadError("refused")]
    with pytest.raises(PlayheadError, match="refused"):
        await retry_until_answered(call, "call")


# Written in the same turn


async def test_a_record_is_written_in_the_turn_in_which_it_is_offered_when_nothing_is_in_flight() -> None:
    log = AtOnce()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        for number in range(3):
            assert writer.offer(text(str(number)))
        assert [[len(batch.records) for batch in call] for call in log.written] == [[1]], "without any wait"
        await writer.flush()
        assert [[len(batch.records) for batch in call] for call in log.written] == [[1], [2]]
        assert log.awaited == commit.appends == 2
    assert await texts(log, "run") == ["0", "1", "2"]


async def test_what_many_replies_free_goes_out_in_one_call() -> None:
    log = AtOnce()
    async with committing(log) as commit:
        writers = [await owned(log, commit, f"run-{number}") for number in range(10)]
        await busy_senders(log, commit)
        for letter in "ab":
            for writer in writers:
                assert writer.offer(text(letter))
        log.open.set()
        for writer in writers:
            await writer.flush()
        assert len(log.written) == 3
        assert sorted(batch.run_id for batch in log.written[-1]) == sorted(writer.run_id for writer in writers)


def cancel_senders() -> None:
    """Cancel each task by itself, as an event loop does that ends."""
    senders = [task for task in asyncio.all_tasks() if task.get_name().endswith("GroupCommit._send")]
    assert len(senders) == 2
    for task in senders:
        task.cancel()


@pytest.mark.parametrize("by", ["scope", "task"])
@pytest.mark.parametrize("first", ["offer", "cancel"])
async def test_a_call_begun_in_the_turn_in_which_its_sender_is_cancelled_leaves_no_task(first: str, by: str) -> None:
    """A coroutine that is never awaited warns, and warnings are errors; and the writer then gets no error."""
    log = AtOnce()
    commit = GroupCommit(log, signals_wait=log.signals_wait.append)
    writer = await owned(log, commit, "run")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commit.run)
            await settled()
            cancel = cancel_senders if by == "task" else tasks.cancel_scope.cancel
            steps: list[Callable[[], object]] = [lambda: writer.offer(text("a")), cancel]
            for step in steps if first == "offer" else reversed(steps):
                step()
    gc.collect()
    assert len(log.written) == (1 if first == "offer" else 0)
    assert writer.offer(text("b"))


async def test_an_append_that_fails_at_once_is_sent_again_as_any_other() -> None:
    log = AtOnce()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.lose_calls, log.lose_answers = 1, 1
        assert writer.offer(text("a"))
        await writer.flush()
        assert log.written[0] == log.written[1] == log.written[2]
    assert await texts(log, "run") == ["a"]


async def test_an_offer_that_finds_no_space_does_nothing_and_there_is_space_when_the_log_replies() -> None:
    log = Slow()
    async with committing(log) as commit:
        writer = await owned(log, commit, "run")
        log.hold()
        offered = 0
        while writer.offer(text(str(offered))):
            offered += 1
        assert offered == 1 + MAX_BUFFERED_RECORDS
        last = writer.last
        assert not writer.offer(text("never"))
        assert writer.last == last
        log.open.set()
        await writer.put(text(str(offered)))
        await writer.flush()
    assert await texts(log, "run") == [str(number) for number in range(offered + 1)]


async def test_the_records_of_all_runs_together_are_bounded_and_each_run_may_have_a_few() -> None:
    log = Slow()
    async with committing(log) as commit:
        writers = [await owned(log, commit, f"run-{number}") for number in range(3)]
        log.hold()
        commit.waiting = MAX_BUFFERED_TOGETHER
        for writer in writers:
            offered = 0
            while writer.offer(text(str(offered))):
                offered += 1
            assert 8 <= offered <= 9, "a few, and the one that is on its way"
        commit.waiting -= MAX_BUFFERED_TOGETHER
        log.open.set()


def test_kept_records_are_those_that_were_added_and_the_oldest_are_dropped_first() -> None:
    kept, dice = KeptRecords(7), random.Random(1)
    added: list[bytes] = []
    least = 0
    for _ in range(400):
        batch = [dice.randbytes(dice.choice([0, 1, 30, 3000])) for _ in range(dice.randrange(1, 12))]
        kept.add(batch)
        added += batch
        head = 7 + len(added)
        least = next(back for back in range(len(added) + 1) if kept.after(head - len(added) + back) is not None)
        here = added[least:]
        assert len(here) <= MAX_KEPT_RECORDS
        assert sum(map(len, here)) <= MAX_KEPT_BYTES
        assert kept.after(7 + least) == here
        middle = dice.randrange(least, len(added) + 1)
        assert kept.after(7 + middle) == added[middle:]
        assert kept.after(6 + least) is None or least == 0
    assert least > 0


def test_a_record_larger_than_all_that_may_be_kept_is_not_kept() -> None:
    kept = KeptRecords(0)
    kept.add([b"a", b"x" * (MAX_KEPT_BYTES + 1)])
    assert kept.after(0) is None
    assert kept.after(2) == []
    kept.add([b"b"])
    assert kept.after(2) == [b"b"]
