"""Group commit: while a run's append is in flight, its new records queue; the answer sends them all, many runs a call.

No timer: at light load a record is written in the turn in which it is put, at heavy load batches grow by themselves. The
buffers are bounded, so a slow Redis slows the reading of the model instead of eating memory. Calls are bounded too,
since one call is one script, and the server does nothing else while it runs.
"""

from __future__ import annotations

import asyncio
import logging
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
"""Calls in flight at once, each for other runs: the server works on one while the next is made here."""

_MAX_CALL_RUNS: Final = 64
_MAX_CALL_RECORDS: Final = 1024  # about 3 ms of the server's time
_MAX_CALL_BYTES: Final = 1 << 20

Sent: TypeAlias = list[tuple[RunWriter, Batch]]
"""What one call writes: a batch of each of some runs."""

Write: TypeAlias = Callable[[list[Batch]], Awaitable[Sequence[WriteResult]]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of `append` that has begun: where the log could, it is written already."""

    sent: Sent
    answers: Awaitable[Sequence[WriteResult]]


class GroupCommit:
    """Sends the queued records of all runs of one worker; run it in a task of its own.

    Attributes:
        waiting: Records of all runs not yet on their way.
        appends: Calls made.
        records: Records stored.
    """

    def __init__(self, log: Log, *, signals_wait: Callable[[str], None], visit: Visit | None = None) -> None:
        """Make one that sends nothing yet.

        Args:
            log: Where to.
            signals_wait: Called with a run's id when an append's answer says that signals wait for it.
            visit: For tests: see `checkpoints`.
        """
        self._visit = visit
        self._log = log
        self._signals_wait = signals_wait
        self._dirty: OrderedDict[RunWriter, None] = OrderedDict()  # the first one of a dict takes long to find
        self._idle: list[asyncio.Future[_Call]] = []  # of the senders that have nothing to send
        self.waiting = 0
        self.appends: int = 0
        self.records: int = 0

    def writer(self, *, ownership: Ownership, token: str, head: int, limit: int = MAX_RECORD_BYTES) -> RunWriter:
        """A writer for a run whose log now ends at `head`; records over `limit` bytes are refused."""
        return RunWriter(self, ownership=ownership, token=token, head=head, limit=limit)

    def mark(self, writer: RunWriter) -> None:
        """There is something to send for `writer`; if a sender has nothing to do, the call begins before this returns."""
        self._dirty[writer] = None
        if self._idle:
            self._use_idle_senders()

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
            elif not given.cancelled() and isinstance(answers := given.result().answers, Coroutine):
                answers.close()  # given in the same turn: nothing will await it
            raise

    def _use_idle_senders(self) -> None:
        while self._idle:
            if self._idle[-1].cancelled():  # its sender is being cancelled, and would not take the call
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
        return _Call(sent, self._log.append([batch for _, batch in sent])) if sent else None

    async def _append(self, call: _Call) -> None:
        answers = await self._answers(call)
        for (writer, batch), answer in zip(call.sent, answers, strict=True):
            if self._visit is not None:
                await self._visit(Checkpoint.APPENDED, writer.run_id)
            if answer.stored:
                self.records += len(batch.records)
                if answer.inbox:
                    self._signals_wait(writer.run_id)
            if writer.settle(batch, answer):
                self._dirty[writer] = None  # not `mark`: all that these answers set free is to go out in one call

    async def _answers(self, call: _Call) -> Sequence[WriteResult]:
        """One answer each. A call that the server refuses for good is taken apart: one bad run must not end them all."""
        self.appends += 1
        try:
            return await self.store(call.sent, self._log.append, "append", begun=call.answers)
        except PlayheadError as error:
            if len(call.sent) == 1:
                batch = call.sent[0][1]
                logger.error("run %s is given up: %s", batch.run_id, error)
                return [WriteResult(WriteStatus.FENCED, batch.head)]
        answers: list[WriteResult] = []
        for writer, batch in call.sent:
            answers += await self._answers(_Call([(writer, batch)], self._log.append([batch])))
        return answers

    async def store(
        self, sent: Sent, write: Write, what: str, *, begun: Awaitable[Sequence[WriteResult]] | None = None
    ) -> Sequence[WriteResult]:
        """Write the batches until the log has answered for each; whatever is sent again is sent from here.

        A call without an answer is sent again as it was. A batch that the log refuses because a failover lost what had
        been acknowledged before it is sent again behind that, where it is still kept.

        Args:
            sent: The batches.
            write: Sends them.
            what: It in a word, for messages.
            begun: The first call of `write`, if it has been made.

        Raises:
            PlayheadError: The log refuses the call for good.
        """
        first = write([batch for _, batch in sent]) if begun is None else begun
        answers = list(await retry_until_answered(partial(self._write_again, sent, write), what, begun=first))
        for at, (writer, batch) in enumerate(sent):
            while answers[at].code is WriteStatus.CONFLICT and (
                again := await self._rewound(writer, batch, answers[at].head)
            ):
                alone = [(writer, again)]
                (answers[at],) = await retry_until_answered(
                    partial(self._write_again, alone, write), what, begun=write([again])
                )
        return answers

    async def _write_again(self, sent: Sent, write: Write) -> Sequence[WriteResult]:
        """The signals that a batch acknowledges are counted anew: since the try before there may have been a failover,
        and what it lost must not take with it what has come since."""
        batches = [
            replace(batch, ack=await self._known_first(writer, batch.head)) if batch.ack else batch
            for writer, batch in sent
        ]
        return await write(batches)

    async def _rewound(self, writer: RunWriter, batch: Batch, head: int) -> Batch | None:
        """`batch`, and before it what was acknowledged behind `head`, where the log now ends: a failover lost that.

        None if not all of it is kept any more, or if the log does not end lower. Only for a log that answered CONFLICT:
        so the token is still ours, no other owner has written, and the records are those that readers may have seen.
        """
        records = writer.acknowledged_behind(head)
        if records is None:
            return None
        lost = f"records {head + 1} to {batch.head}"
        logger.warning("run %s: Redis lost %s, which it had acknowledged; sending them again", batch.run_id, lost)
        ack = await retry_until_answered(partial(self._known_first, writer, head), "inbox")
        return Batch(batch.run_id, batch.token, head, [*records, *batch.records], ack)

    async def _known_first(self, writer: RunWriter, head: int) -> int:
        """How many signals at the front of the inbox have their receipts behind `head`.

        By name, not by number: a failover may have lost those of that time as well, and others have come since.
        """
        signal_ids = writer.signals_behind(head)
        inbox = await self._log.inbox(writer.run_id) if signal_ids else []
        return len(list(takewhile(lambda signal: signal.signal_id in signal_ids, inbox)))
