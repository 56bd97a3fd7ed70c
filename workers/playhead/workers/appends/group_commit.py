"""Group commit: while a run's append is in flight, its new records queue, and the next call sends those of many runs.

There is no timer: at light load a record is sent in the turn of the event loop in which it is queued; at heavy load the
batches grow. The buffers are bounded, so a slow Redis slows the reading of the model instead of filling memory. Calls
are bounded too, because one call is one script, and the server does nothing else while it runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Final, TypeAlias

import anyio

from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, WriteResult, WriteStatus
from playhead.workers.appends.run_writer import RunWriter
from playhead.workers.checkpoints import Checkpoint, Visit
from playhead.workers.resend import retry_until_answered

__all__ = ["GroupCommit"]

logger: logging.Logger = logging.getLogger(__name__)

_SENDERS: Final = 2
"""How many calls are in flight at once, each for different runs: the server processes one while the next is prepared here."""

_MAX_CALL_RUNS: Final = 64
_MAX_CALL_RECORDS: Final = 1024  # about 3 ms of the server's time
_MAX_CALL_BYTES: Final = 1 << 20

Sent: TypeAlias = list[tuple[RunWriter, Batch]]
"""One call: a batch of each of several runs."""

Write: TypeAlias = Callable[[list[Batch]], Awaitable[Sequence[WriteResult]]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of `append` that has begun: a log that can write at once has already written."""

    sent: Sent
    results: Awaitable[Sequence[WriteResult]]
    began: float = 0.0  # by the clock of `time.monotonic`, if appends are timed


class GroupCommit:
    """Sends the queued records of all runs of one worker; run it in its own task.

    Attributes:
        waiting: The number of records, of all runs, that are not sent yet.
        appends: The number of calls.
        records: The number of stored records.
    """

    def __init__(
        self,
        log: Log,
        *,
        signals_wait: Callable[[str], None],
        visit: Visit | None = None,
        timed: Callable[[float], None] | None = None,
    ) -> None:
        """Make a group commit that sends nothing yet.

        Args:
            log: The log to write to.
            signals_wait: Called with a run's id when the reply to an append says that signals wait for it.
            visit: For tests: see `checkpoints`.
            timed: Called with the seconds from the beginning of each append to its answer; None to measure nothing.
        """
        self._visit = visit
        self._timed = timed
        self._log = log
        self._signals_wait = signals_wait
        self._dirty: OrderedDict[RunWriter, None] = OrderedDict()  # finding the first key of a dict takes long
        self._idle: list[asyncio.Future[_Call]] = []  # one for each sender without a call
        self.waiting = 0
        self.appends: int = 0
        self.records: int = 0

    def writer(self, *, ownership: Ownership, token: str, head: int, limit: int = MAX_RECORD_BYTES) -> RunWriter:
        """Make a writer for a run whose log now ends at `head`; records over `limit` bytes are refused."""
        return RunWriter(self, ownership=ownership, token=token, head=head, limit=limit)

    def mark(self, writer: RunWriter) -> None:
        """Mark `writer` as having records to send; if a sender is idle, the call begins before this returns."""
        self._dirty[writer] = None
        if self._idle:
            self._use_idle_senders()

    def forget(self, writer: RunWriter) -> None:
        """Mark `writer` as having nothing to send."""
        self._dirty.pop(writer, None)

    async def run(self) -> None:
        """Send batches until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_SENDERS):
                tasks.start_soon(self._send)

    async def _send(self) -> None:
        while True:
            call = self._begin_call() or await self._given_call()
            self._use_idle_senders()
            await self._append(call)

    async def _given_call(self) -> _Call:
        """Wait for a call that `mark` has begun."""
        given: asyncio.Future[_Call] = asyncio.get_running_loop().create_future()
        self._idle.append(given)
        try:
            return await given
        except asyncio.CancelledError:
            if given in self._idle:
                self._idle.remove(given)
            elif not given.cancelled() and isinstance(results := given.result().results, Coroutine):
                results.close()  # begun in the same turn: nothing will await it
            raise

    def _use_idle_senders(self) -> None:
        while self._idle:
            if self._idle[-1].cancelled():  # its sender is being cancelled, and would drop the call
                self._idle.pop()
            elif (call := self._begin_call()) is not None:
                self._idle.pop().set_result(call)
            else:
                return

    def _begin_call(self) -> _Call | None:
        """Begin a call with the batches of the runs that have waited longest; None if there is nothing to send."""
        sent: Sent = []
        records = size = 0
        while self._dirty and len(sent) < _MAX_CALL_RUNS and records < _MAX_CALL_RECORDS and size < _MAX_CALL_BYTES:
            writer, _ = self._dirty.popitem(last=False)
            if batch := writer.begin(_MAX_CALL_RECORDS - records):
                sent.append((writer, batch))
                records += len(batch.records)
                size += sum(map(len, batch.records))
        if not sent:
            return None
        began = 0.0 if self._timed is None else time.monotonic()
        return _Call(sent, self._log.append([batch for _, batch in sent]), began)

    async def _append(self, call: _Call) -> None:
        results = await self._results(call)
        if self._timed is not None:
            self._timed(time.monotonic() - call.began)
        for (writer, batch), result in zip(call.sent, results, strict=True):
            if self._visit is not None:
                await self._visit(Checkpoint.APPENDED, writer.run_id)
            if result.stored:
                self.records += len(batch.records)
                if result.inbox:
                    self._signals_wait(writer.run_id)
            if writer.settle(batch, result):
                self._dirty[writer] = None  # not `mark`: one call must send everything that these results release

    async def _results(self, call: _Call) -> Sequence[WriteResult]:
        """Wait for one result per batch. A call that the server rejects is split, so that one bad run ends alone."""
        self.appends += 1
        try:
            return await self.store(call.sent, self._log.append, "append", begun=call.results)
        except PlayheadError as error:
            if len(call.sent) == 1:
                batch = call.sent[0][1]
                logger.error("run %s is given up: %s", batch.run_id, error)
                return [WriteResult(WriteStatus.FENCED, batch.head)]
        results: list[WriteResult] = []
        for writer, batch in call.sent:
            results += await self._results(_Call([(writer, batch)], self._log.append([batch])))
        return results

    async def store(
        self, sent: Sent, write: Write, what: str, *, begun: Awaitable[Sequence[WriteResult]] | None = None
    ) -> Sequence[WriteResult]:
        """Write the batches until the log has returned a result for each. Every repeat of a write is made here.

        A call without a reply is sent again unchanged. If a failover lost records that the log had acknowledged before
        a batch, the log refuses the batch, and it is sent again after those records, if they are still kept.

        Args:
            sent: The batches.
            write: Sends them.
            what: The operation in one word, for log lines.
            begun: The first call of `write`, if it was already made.

        Raises:
            PlayheadError: If the log rejects the call for good.
        """
        first = write([batch for _, batch in sent]) if begun is None else begun
        results = list(await retry_until_answered(partial(self._write_again, sent, write), what, begun=first))
        for at, (writer, batch) in enumerate(sent):
            while results[at].status is WriteStatus.CONFLICT and (
                again := await self._rewound(writer, batch, results[at].head)
            ):
                alone = [(writer, again)]
                (results[at],) = await retry_until_answered(
                    partial(self._write_again, alone, write), what, begun=write([again])
                )
        return results

    async def _write_again(self, sent: Sent, write: Write) -> Sequence[WriteResult]:
        """Write again, after recounting the signals that a batch acknowledges: a failover since the last attempt may
        have lost some, and new signals must not be removed in their place."""
        batches = [
            replace(batch, ack=await self._known_first(writer, batch.head)) if batch.ack else batch
            for writer, batch in sent
        ]
        return await write(batches)

    async def _rewound(self, writer: RunWriter, batch: Batch, head: int) -> Batch | None:
        """`batch` preceded by the acknowledged records after `head`, the new end of the log: a failover lost them.

        None if some of them are no longer kept, or if the log does not end lower. Only for a log that returned
        CONFLICT: then the token is still ours, no other owner has written, and readers may have seen those records.
        """
        records = writer.acknowledged_after(head)
        if records is None:
            return None
        lost = f"records {head + 1} to {batch.head}"
        logger.warning("run %s: Redis lost %s, which it had acknowledged; sending them again", batch.run_id, lost)
        ack = await retry_until_answered(partial(self._known_first, writer, head), "inbox")
        return Batch(batch.run_id, batch.token, head, [*records, *batch.records], ack)

    async def _known_first(self, writer: RunWriter, head: int) -> int:
        """The number of signals at the front of the inbox whose receipts come after `head`.

        They are matched by id, not counted: a failover may also have lost signals, and new ones may have arrived.
        """
        signal_ids = writer.signals_after(head)
        inbox = await self._log.inbox(writer.run_id) if signal_ids else []
        return len(list(takewhile(lambda signal: signal.signal_id in signal_ids, inbox)))
