"""Queues the records of one owned run for the log, and keeps those that were acknowledged last."""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from playhead.runtime.core.codec import encode_chunk, encode_record, limit_of
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import SignalReceived
from playhead.runtime.core.segments import Encoded, Stored
from playhead.runtime.log.values import Batch, WriteResult

__all__ = ["KeptRecords", "RunWriter"]

MAX_BUFFERED_RECORDS: Final = 256
"""The limit of queued records of one run, at which its loop waits. Enough for several round trips at any usual token rate."""

MAX_BUFFERED_TOGETHER: Final = 8192
"""The limit of queued records of all runs, at which a run with more than a few of them waits. It is a fraction of a
second's worth, which bounds the delay of a record when more is queued than Redis can take."""

_FEW: Final = 8

MAX_BUFFERED_BYTES: Final = 4 << 20
"""The same limit in bytes, because a record may have a megabyte."""

MAX_KEPT_RECORDS: Final = 512
"""How many acknowledged records of one run are kept, to be sent again if a failover loses them: many times a usual
replication lag. If more are lost, the run's next owner reads the log again."""

MAX_KEPT_BYTES: Final = 256 << 10
"""The same limit in bytes, because a worker may hold a thousand runs."""

_DROPPED_AHEAD: Final = 32


class Sender(Protocol):
    """The part of the group commit that a writer needs."""

    waiting: int

    def mark(self, writer: RunWriter) -> None:
        """Mark `writer` as having records to send."""
        ...

    def forget(self, writer: RunWriter) -> None:
        """Mark `writer` as having nothing to send."""
        ...


class KeptRecords:
    """The last acknowledged records of a run: at most `MAX_KEPT_RECORDS` and `MAX_KEPT_BYTES`.

    They share one buffer, because a record of a few bytes would take twice its size as an object.
    """

    def __init__(self, head: int) -> None:
        self._before = head  # the seq before the first one kept
        self._data = bytearray()
        self._sizes = array("I")

    def add(self, records: Sequence[bytes]) -> None:
        """Keep these records too, which follow the last ones, and drop the oldest if there are too many."""
        self._data += b"".join(records)
        self._sizes.extend(map(len, records))
        if len(self._sizes) > MAX_KEPT_RECORDS or len(self._data) > MAX_KEPT_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop some more than necessary, because the next batch comes soon and each drop costs as much as a batch."""
        over = len(self._sizes) - MAX_KEPT_RECORDS
        count = over + _DROPPED_AHEAD if over > 0 else 0
        size = sum(self._sizes[:count])
        while len(self._data) - size > MAX_KEPT_BYTES:
            size += self._sizes[count]
            count += 1
        del self._data[:size], self._sizes[:count]
        self._before += count

    def after(self, head: int) -> list[bytes] | None:
        """All records after `head`; None if some of them are no longer kept."""
        if head < self._before:
            return None
        records: list[bytes] = []
        skipped = head - self._before
        start = sum(self._sizes[:skipped])
        for size in self._sizes[skipped:]:
            records.append(bytes(self._data[start : start + size]))
            start += size
        return records


class RunWriter:
    """Takes a run's records one by one and passes them to the group commit in batches, one of them in flight.

    Attributes:
        ownership: Checked before anything is queued; lost when the log refuses an append.
        limit: The size limit of one record, in bytes.
        head: The `seq` of the last record known to be stored.
        last: The `seq` of the last record given to this writer.
        when_stored: Called whenever `head` has moved.
    """

    def __init__(self, commit: Sender, *, ownership: Ownership, token: str, head: int, limit: int) -> None:
        self.run_id: str = ownership.run_id
        self.ownership = ownership
        self.token = token
        self.limit = limit
        self.head: int = head
        self.last: int = head
        self.when_stored: Callable[[], None] = _nothing
        self._commit = commit
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._signals: deque[tuple[int, str]] = deque()  # seq and signal id of each signal.received not yet sent
        self._sent_signals: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT_RECORDS)
        self._kept = KeptRecords(head)
        self._in_flight = 0
        self._for_space: list[asyncio.Future[None]] = []  # waiters until a batch is sent
        self._for_result: list[asyncio.Future[None]] = []  # waiters until a batch has its result
        ownership.listen(self._drop_if_lost)

    def offer(self, record: Stored | Encoded) -> bool:
        """Queue one record without waiting. Returns False if the buffer is full, and then nothing was done.

        Raises:
            FencedError: If the run is no longer held.
            EncodingError, RecordTooLargeError: If the record cannot be stored; nothing was queued.
        """
        waiting, commit = self._waiting, self._commit
        count = len(waiting)
        if (
            count >= MAX_BUFFERED_RECORDS
            or self._waiting_bytes > MAX_BUFFERED_BYTES
            or (count >= _FEW and commit.waiting >= MAX_BUFFERED_TOGETHER)
        ):
            return False
        if self.ownership.refusal is not None:  # the clock is not read for each record, because the log fences
            self.ownership.check()
        if isinstance(record, list):
            data = encode_chunk(record, limit=self.limit)
        elif isinstance(record, Encoded):
            data = record.data
        else:
            data = encode_record(record, limit=limit_of(record, self.limit))
        waiting.append(data)
        self._waiting_bytes += len(data)
        commit.waiting += 1
        self.last += 1
        if type(record) is SignalReceived:
            self._signals.append((self.last, record.signal_id))
        if not count and not self._in_flight:  # else it is already marked, or the result marks it
            commit.mark(self)
        return True

    async def put(self, record: Stored | Encoded) -> None:
        """Like `offer`, but wait while the buffer is full."""
        while not self.offer(record):
            await _woken(self._for_space)

    async def flush(self) -> None:
        """Wait until everything queued so far is stored.

        Raises:
            FencedError: If the run is no longer held.
        """
        while self._waiting or self._in_flight:
            self.ownership.check()
            await _woken(self._for_result)
        self.ownership.check()

    async def take_rest(self) -> Batch:
        """Remove the queued records from the group commit, to write them with the run's end.

        Raises:
            FencedError: If the run is lost.
        """
        self._commit.forget(self)
        rest, self._waiting = self._waiting, []  # so that the result of the batch in flight does not send it
        try:
            while self._in_flight and not self.ownership.lost:
                await _woken(self._for_result)
        finally:
            self._waiting = rest
        self._drop_if_lost()
        self.ownership.check(closing=True)
        return self._next_batch(len(rest))

    def put_back(self, rest: Batch) -> None:
        """Queue the result of `take_rest` again, before everything else, because it could not be written."""
        self._waiting[:0] = rest.records
        self._waiting_bytes += sum(map(len, rest.records))
        self._commit.waiting += len(rest.records)
        for seq, signal_id in reversed([(s, i) for s, i in self._sent_signals if s > rest.head]):
            self._sent_signals.pop()
            self._signals.appendleft((seq, signal_id))
        if self._waiting:
            self._commit.mark(self)

    def begin(self, most: int) -> Batch | None:
        """Take up to `most` records to send, which are then in flight; None if there are none, or if some already are in flight."""
        if self._in_flight or not self._waiting:
            return None
        batch = self._next_batch(most)
        self._in_flight = len(batch.records)
        _wake(self._for_space)
        return batch

    def settle(self, batch: Batch, result: WriteResult) -> bool:
        """Process the result of `batch`, and return whether to send more. A refusal means that the run is lost."""
        self._in_flight = 0
        if result.stored:
            self._kept.add(batch.records)
            self.head = batch.head + len(batch.records)
            self.when_stored()
        else:
            self.ownership.lose(f"append returned {result.status.name} (head {result.head}, expected {batch.head})")
        _wake(self._for_result)
        return bool(self._waiting)

    def acknowledged_after(self, head: int) -> list[bytes] | None:
        """The acknowledged records after `head`; None if there are none, or if not all are kept."""
        return self._kept.after(head) if head < self.head else None

    def signals_after(self, head: int) -> set[str]:
        """The ids of the signals whose receipts were sent after `head`, including those of the current batch."""
        return {signal_id for seq, signal_id in self._sent_signals if seq > head}

    def _next_batch(self, most: int) -> Batch:
        if len(self._waiting) <= most:
            records, self._waiting, self._waiting_bytes = self._waiting, [], 0
        else:
            records = self._waiting[:most]
            del self._waiting[:most]
            self._waiting_bytes -= sum(map(len, records))
        self._commit.waiting -= len(records)
        ack = 0
        while self._signals and self._signals[0][0] <= self.head + len(records):
            self._sent_signals.append(self._signals.popleft())
            ack += 1
        return Batch(self.run_id, self.token, self.head, records, ack)

    def _drop_if_lost(self) -> None:
        if not self.ownership.lost:
            return
        self._commit.waiting -= len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._commit.forget(self)
        _wake(self._for_space)
        _wake(self._for_result)


async def _woken(waiters: list[asyncio.Future[None]]) -> None:
    """Append a waiter to `waiters` and wait for it."""
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    await waiter


def _nothing() -> None:
    pass


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
