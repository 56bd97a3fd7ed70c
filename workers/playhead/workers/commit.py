"""Group commit: while a run's append is in flight, its new records queue; the answer sends them all, many runs a call.

No timer: at light load a record goes out at once, at heavy load batches grow by themselves. The buffers are bounded, so
a slow Redis slows the reading of the model instead of eating memory. Calls are bounded too, since one call is one
script and nobody else is served while it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Final, TypeVar

import anyio

from playhead.runtime.codec import MAX_RECORD_BYTES
from playhead.runtime.errors import LogUnavailableError, PlayheadError
from playhead.runtime.log import Answer, Batch, Code, Log
from playhead.workers.checkpoints import Place, Visit
from playhead.workers.writer import RunWriter

__all__ = ["GroupCommit", "persistently"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SENDERS: Final = 2
"""Calls in flight at once, each for other runs: the server works on one while the next is made here."""

_MAX_CALL_RUNS: Final = 64
_MAX_CALL_RECORDS: Final = 1024  # about 3 ms of the server's time
_MAX_CALL_BYTES: Final = 1 << 20
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class GroupCommit:
    """Sends the queued records of all runs of one worker; run it in a task of its own.

    Attributes:
        waiting: Records of all runs not yet on their way.
        appends: Calls made.
        records: Records stored.
        on_signals: Called with a run's id when an append's answer says that signals wait for it.
    """

    def __init__(self, log: Log, *, visit: Visit | None = None) -> None:
        self._visit = visit
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
        answers = await self._answers(sent)
        for (writer, batch), answer in zip(sent, answers, strict=True):
            if answer.code is Code.CONFLICT:
                answer = await self._repeat(writer, batch, answer)
            if self._visit is not None:
                await self._visit(Place.APPENDED, writer.run_id)
            self.records += len(batch.records) if answer.stored else 0
            if writer.settle(batch, answer):
                self.on_signals(writer.run_id)

    async def _repeat(self, writer: RunWriter, batch: Batch, answer: Answer) -> Answer:
        while answer.code is Code.CONFLICT and (again := await self.rewound(writer, batch, head=answer.head)):
            (answer,) = await self._answers([(writer, again)])
        return answer

    async def rewound(self, writer: RunWriter, batch: Batch, *, head: int) -> Batch | None:
        """`batch`, and before it what was acknowledged behind `head`, where the log now ends: a failover lost that.

        None if not all of it is kept any more, or if the log does not end lower. Only for a log that answered CONFLICT:
        so the token is still ours, nobody else has written, and the records are those that readers may have seen.
        """
        records = writer.acknowledged_behind(head)
        if records is None:
            return None
        lost = f"records {head + 1} to {batch.head}"
        logger.warning("run %s: Redis lost %s, which it had acknowledged; sending them again", batch.run_id, lost)
        ack = await persistently(partial(self._known_first, writer, head), "inbox")
        return Batch(batch.run_id, batch.token, head, [*records, *batch.records], ack)

    async def _known_first(self, writer: RunWriter, head: int) -> int:
        """How many signals at the front of the inbox have their receipts behind `head`.

        By name, not by number: a failover may have lost those of that time as well, and others have come since.
        """
        signal_ids = writer.signals_behind(head)
        inbox = await self._log.inbox(writer.run_id) if signal_ids else []
        return len(list(takewhile(lambda signal: signal.signal_id in signal_ids, inbox)))

    async def send(
        self,
        sent: Sequence[tuple[RunWriter, Batch]],
        write: Callable[[list[Batch]], Awaitable[T]],
        what: str,
    ) -> T:
        """Write the batches, again and again until the log answers; raises as `persistently`.

        From the second try on, the signals that a batch acknowledges are counted anew: between the tries there may have
        been a failover, and what it lost must not take with it what has come since.
        """
        tries = 0

        async def once() -> T:
            nonlocal tries
            tries += 1
            batches = [batch for _, batch in sent]
            if tries > 1:
                acks = [await self._known_first(writer, batch.head) if batch.ack else 0 for writer, batch in sent]
                batches = [replace(batch, ack=ack) for batch, ack in zip(batches, acks, strict=True)]
            return await write(batches)

        return await persistently(once, what)

    async def _answers(self, sent: Sequence[tuple[RunWriter, Batch]]) -> list[Answer]:
        """One answer each. A call that the server refuses for good is taken apart: one bad run must not end them all."""
        self.appends += 1
        try:
            return await self.send(sent, self._log.append, "append")
        except PlayheadError as error:
            if len(sent) == 1:
                batch = sent[0][1]
                logger.error("run %s is given up: %s", batch.run_id, error)
                return [Answer(Code.FENCED, batch.head)]
        return [answer for one in sent for answer in await self._answers([one])]


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
