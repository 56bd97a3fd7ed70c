"""Group commit: while a run's append is in flight, its new records queue; the answer sends them all, many runs a call.

No timer: at light load a record goes out at once, at heavy load batches grow by themselves. The buffers are bounded, so
a slow Redis slows the reading of the model instead of eating memory. Calls are bounded too, since one call is one
script and nobody else is served while it runs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from playhead.runtime.codec import MAX_RECORD_BYTES, encode_record
from playhead.runtime.errors import FencedError, LogUnavailableError, PlayheadError
from playhead.runtime.log import Answer, Batch, Code, Log
from playhead.runtime.records import Record, SignalReceived

__all__ = ["GroupCommit", "RunWriter", "persistently"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BUFFERED_RECORDS: Final = 256
"""Records of one run that may wait; then its loop waits. Several round trips' worth at any sane token rate."""

MAX_BUFFERED_TOGETHER: Final = 8192
"""Records of all runs that may wait, beyond a few of each; then whoever has more of the next waits. A fraction of a
second's worth: it bounds how late a record is when more comes than Redis takes, and for how long models that never
pause keep the event loop from renewing leases."""

_FEW: Final = 8

MAX_BUFFERED_BYTES: Final = 4 << 20
"""The same in bytes, since a record may be a megabyte."""

_SENDERS: Final = 2
"""Calls in flight at once, each for other runs: the server works on one while the next is made here."""

_MAX_CALL_RUNS: Final = 64
_MAX_CALL_RECORDS: Final = 1024  # about 3 ms of the server's time
_MAX_CALL_BYTES: Final = 1 << 20
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class RunWriter:
    """The records of one owned run on their way to the log.

    Attributes:
        head: The `seq` of the last record known to be stored.
    """

    def __init__(self, commit: GroupCommit, *, run_id: str, token: str, head: int, limit: int) -> None:
        self.run_id = run_id
        self.token = token
        self.head = head
        self._commit = commit
        self._limit = limit
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._acks: deque[int] = deque()  # places in the sequence of signal.received records not yet stored
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
            self._acks.append(self._last)
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
        self.head = batch.head + len(batch.records)
        if self._waiting:
            self._commit.mark(self)
        self._wake()
        return answer.inbox

    def _next_batch(self, most: int) -> Batch:
        records = self._waiting[:most]
        del self._waiting[:most]
        self._waiting_bytes -= sum(map(len, records))
        self._commit.waiting -= len(records)
        ack = 0
        while self._acks and self._acks[0] <= self.head + len(records):
            self._acks.popleft()
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


class GroupCommit:
    """Sends the queued records of all runs of one worker; run it in a task of its own.

    Attributes:
        waiting: Records of all runs not yet on their way.
        appends: Calls made.
        records: Records stored.
        on_signals: Called with a run's id when an append's answer says that signals wait for it.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._dirty: dict[RunWriter, None] = {}
        self._idle: list[anyio.Event] = []  # of the senders that have nothing to send
        self.waiting = 0
        self.appends = 0
        self.records = 0
        self.on_signals: Callable[[str], None] = _ignore

    def writer(self, *, run_id: str, token: str, head: int, limit: int = MAX_RECORD_BYTES) -> RunWriter:
        """A writer for a run whose log now ends at `head`; records over `limit` bytes are refused."""
        return RunWriter(self, run_id=run_id, token=token, head=head, limit=limit)

    def mark(self, writer: RunWriter) -> None:
        """There is something to send for `writer`."""
        self._dirty[writer] = None
        if self._idle:
            self._idle.pop().set()

    def forget(self, writer: RunWriter) -> None:
        """There is nothing to send for `writer` any more."""
        self._dirty.pop(writer, None)

    async def run(self) -> None:
        """Send batches for ever; ends by cancellation."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_SENDERS):
                tasks.start_soon(self._send)

    async def _send(self) -> None:
        while True:
            if not self._dirty:
                work = anyio.Event()
                self._idle.append(work)
                await work.wait()
            if sent := self._take():
                if self._dirty and self._idle:
                    self._idle.pop().set()
                await self._append(sent)

    def _take(self) -> list[tuple[RunWriter, Batch]]:
        """One call's worth of batches, of the runs that have waited longest."""
        taken: list[tuple[RunWriter, Batch]] = []
        records = size = 0
        while self._dirty and len(taken) < _MAX_CALL_RUNS and records < _MAX_CALL_RECORDS and size < _MAX_CALL_BYTES:
            writer = next(iter(self._dirty))
            del self._dirty[writer]
            if batch := writer.begin(_MAX_CALL_RECORDS - records):
                taken.append((writer, batch))
                records += len(batch.records)
                size += sum(map(len, batch.records))
        return taken

    async def _append(self, sent: list[tuple[RunWriter, Batch]]) -> None:
        answers = await self._answers([batch for _, batch in sent])
        for (writer, batch), answer in zip(sent, answers, strict=True):
            self.records += len(batch.records) if answer.stored else 0
            if writer.settle(batch, answer):
                self.on_signals(writer.run_id)

    async def _answers(self, batches: list[Batch]) -> list[Answer]:
        """One answer each. A call that the server refuses for good is taken apart: one bad run must not end them all."""
        self.appends += 1
        try:
            return await persistently(lambda: self._log.append(batches), "append")
        except PlayheadError as error:
            if len(batches) == 1:
                logger.error("run %s is given up: %s", batches[0].run_id, error)
                return [Answer(Code.FENCED, batches[0].head)]
        return [answer for batch in batches for answer in await self._answers([batch])]


def _ignore(run_id: str) -> None:
    del run_id


async def persistently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Send the identical call until the log answers; the caller bounds it with a cancel scope (its lease).

    Only for calls that may be sent twice. The pauses double from 50 ms to 1 s.
    """
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return await call()
        except LogUnavailableError as error:
            logger.warning("%s: %s; trying again in %.2f s", what, error, pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
