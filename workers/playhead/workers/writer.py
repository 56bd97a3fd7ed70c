"""The records of one owned run on their way to the log, and the last of those that arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

from playhead.runtime.codec import encode_record
from playhead.runtime.errors import FencedError
from playhead.runtime.log import Answer, Batch
from playhead.runtime.records import Record, SignalReceived

__all__ = ["RunWriter"]

MAX_BUFFERED_RECORDS: Final = 256
"""Records of one run that may wait; then its loop waits. Several round trips' worth at any sane token rate."""

MAX_BUFFERED_TOGETHER: Final = 8192
"""Records of all runs that may wait, beyond a few of each; then whoever has more of the next waits. A fraction of a
second's worth: it bounds how late a record is when more comes than Redis takes."""

_FEW: Final = 8

MAX_BUFFERED_BYTES: Final = 4 << 20
"""The same in bytes, since a record may be a megabyte."""

MAX_KEPT_RECORDS: Final = 512
"""Acknowledged records of one run that are kept, to be sent again if a failover loses them: what replication is behind,
many times over. A run that lost more is read anew by its next owner."""

MAX_KEPT_BYTES: Final = 256 << 10
"""The same in bytes, since a worker may hold a thousand runs."""


class Sender(Protocol):
    """What a writer needs of the group commit."""

    waiting: int

    def mark(self, writer: RunWriter) -> None:
        """There is something to send for `writer`."""
        ...

    def forget(self, writer: RunWriter) -> None:
        """There is nothing to send for `writer` any more."""
        ...


@dataclass(slots=True)
class _Kept:
    """The batches acknowledged last, oldest first, dense, each as (its head, its records)."""

    batches: deque[tuple[int, Sequence[bytes]]] = field(default_factory=deque[tuple[int, Sequence[bytes]]])
    records: int = 0
    size: int = 0

    def add(self, head: int, records: Sequence[bytes]) -> None:
        self.batches.append((head, records))
        self.records += len(records)
        self.size += sum(map(len, records))
        while self.records > MAX_KEPT_RECORDS or self.size > MAX_KEPT_BYTES:
            _, dropped = self.batches.popleft()
            self.records -= len(dropped)
            self.size -= sum(map(len, dropped))

    def behind(self, head: int) -> list[bytes] | None:
        """All records behind `head`; None if they do not reach down to it."""
        if not self.batches or self.batches[0][0] > head:
            return None
        return [record for first, records in self.batches for record in records[max(0, head - first) :]]


class RunWriter:
    """Takes a run's records one by one, and gives them to the group commit in batches, one in flight.

    Attributes:
        head: The `seq` of the last record known to be stored.
    """

    def __init__(self, commit: Sender, *, run_id: str, token: str, head: int, limit: int) -> None:
        self.run_id = run_id
        self.token = token
        self.head = head
        self._commit = commit
        self._limit = limit
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._signals: deque[tuple[int, str]] = deque()  # seq and signal id of each signal.received not yet sent
        self._sent_signals: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT_RECORDS)
        self._kept = _Kept()
        self._last = head
        self._in_flight = 0
        self._changed: anyio.Event | None = None  # there only while somebody waits for it
        self._fenced: str | None = None

    @property
    def last(self) -> int:
        """The `seq` of the last record given to this writer."""
        return self._last

    async def put(self, record: Record) -> None:
        """Queue one record; waits only while the buffer is full.

        Raises:
            FencedError: The run is no longer ours.
            EncodingError, RecordTooLargeError: The record cannot be stored; nothing was queued.
        """
        data = encode_record(record, limit=self._limit)
        while self._full():
            await self._wait()
        self._refuse_if_fenced()
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._commit.waiting += 1
        self._last += 1
        if isinstance(record, SignalReceived):
            self._signals.append((self._last, record.signal_id))
        if not self._in_flight:  # else the answer marks it
            self._commit.mark(self)

    def _full(self) -> bool:
        waiting = len(self._waiting)
        return (
            waiting >= MAX_BUFFERED_RECORDS
            or self._waiting_bytes > MAX_BUFFERED_BYTES
            or (waiting >= _FEW and self._commit.waiting >= MAX_BUFFERED_TOGETHER)
        )

    async def flush(self) -> None:
        """Return when everything put so far is stored.

        Raises:
            FencedError: The run is no longer ours.
        """
        while self._waiting or self._in_flight:
            await self._wait()
        self._refuse_if_fenced()

    async def take_rest(self) -> Batch:
        """Take what is still queued out of the group commit, to be written with the run's end.

        Raises:
            FencedError: The run is no longer ours.
        """
        while self._in_flight:
            await self._wait()
        self._refuse_if_fenced()
        self._commit.forget(self)
        return self._next_batch(len(self._waiting))

    def put_back(self, rest: Batch) -> None:
        """Queue again, before anything else, what `take_rest` gave and what could not be written."""
        self._waiting[:0] = rest.records
        self._waiting_bytes += sum(map(len, rest.records))
        self._commit.waiting += len(rest.records)
        for seq, signal_id in reversed([(s, i) for s, i in self._sent_signals if s > rest.head]):
            self._sent_signals.pop()
            self._signals.appendleft((seq, signal_id))
        if self._waiting:
            self._commit.mark(self)

    def fence(self, why: str) -> None:
        """From now on refuse everything: the run is lost to this process."""
        self._fenced = self._fenced or why
        self._commit.waiting -= len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._commit.forget(self)
        self._wake()

    def begin(self, most: int) -> Batch | None:
        """Up to `most` records to send, now in flight; None if there are none, or some are in flight already."""
        if self._in_flight or not self._waiting:
            return None
        batch = self._next_batch(most)
        self._in_flight = len(batch.records)
        self._wake()  # there is room again
        return batch

    def settle(self, batch: Batch, answer: Answer) -> int:
        """Take the answer to `batch` in; returns the number of signals waiting."""
        self._in_flight = 0
        if not answer.stored:
            self.fence(f"append answered {answer.code.name} (head {answer.head}, expected {batch.head})")
            return 0
        self._kept.add(batch.head, batch.records)
        self.head = batch.head + len(batch.records)
        if self._waiting:
            self._commit.mark(self)
        self._wake()
        return answer.inbox

    def acknowledged_behind(self, head: int) -> list[bytes] | None:
        """The records stored behind `head`, once acknowledged; None if there are none, or not all are kept."""
        return self._kept.behind(head) if head < self.head else None

    def signals_behind(self, head: int) -> set[str]:
        """The ids of the signals whose receipts were sent behind `head`, the batch now in hand included."""
        return {signal_id for seq, signal_id in self._sent_signals if seq > head}

    def _next_batch(self, most: int) -> Batch:
        records = self._waiting[:most]
        del self._waiting[:most]
        self._waiting_bytes -= sum(map(len, records))
        self._commit.waiting -= len(records)
        ack = 0
        while self._signals and self._signals[0][0] <= self.head + len(records):
            self._sent_signals.append(self._signals.popleft())
            ack += 1
        return Batch(self.run_id, self.token, self.head, records, ack)

    def _refuse_if_fenced(self) -> None:
        if self._fenced is not None:
            raise FencedError(f"run {self.run_id}: {self._fenced}")

    async def _wait(self) -> None:
        self._refuse_if_fenced()
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
