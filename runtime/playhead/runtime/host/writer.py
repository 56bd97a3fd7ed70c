"""What a guest writes: its records, in their order, to the worker's event loop."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final

from playhead.runtime.core.codec import encode_record, limit_of
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.records import MessageAdded, Record, RunPaused, SignalReceived, StepFinished, now_ms
from playhead.runtime.core.segments import Encoded, compact
from playhead.runtime.host.pipe import Item, Pipe, Raised, Store
from playhead.runtime.host.raised import recorded
from playhead.runtime.host.thread import GuestThread

__all__ = ["Writer"]

_WHOLE_RECORDS: Final = (MessageAdded, RunPaused, SignalReceived)  # the worker looks at them, so they are encoded there


class Writer(ABC):
    """Writes the records of one owner's guest. Use it on the guest's event loop.

    Attributes:
        limit: The size limit of one record, in bytes.
    """

    def __init__(self, *, pipe: Pipe, thread: GuestThread, limit: int) -> None:
        self.limit: int = limit
        self._pipe = pipe
        self._thread = thread
        self._home: asyncio.AbstractEventLoop | None = None
        self._home_thread = 0
        self._noted = False  # that the loop calls `_on_idle`
        self._for_space: list[asyncio.Future[None]] = []
        self._over = False  # nothing more is written by this owner

    def put(self, record: Record) -> None:
        """Write a record.

        Raises:
            EncodingError, RecordTooLargeError: If it cannot be stored; nothing is written.
        """
        if isinstance(record, _WHOLE_RECORDS):
            self._send(record)
        else:
            self._send(Encoded(record, encode_record(record, limit=limit_of(record, self.limit))))

    def put_chunk(self, chunk: Chunk) -> None:
        """Write a chunk of a model."""
        self._send(compact(now_ms(), chunk))

    def put_step(self, record: StepFinished) -> StepFinished:
        """Write the end of a step; of a value that cannot be stored an error, because the step must not be done again."""
        try:
            self.put(record)
            return record
        except Exception as error:
            failed = StepFinished(at=record.at, key=record.key, error=recorded(error))
            self.put(failed)
            return failed

    def _send(self, item: Item) -> None:
        if not self._over:
            self._pipe.put(item)
            if self._elsewhere():  # the guest's loop may be blocked until this is stored, and would not flush it
                self._pipe.flush()
            self._note()

    @property
    def crowded(self) -> bool:
        """Whether to wait for `space`."""
        return self._pipe.full

    async def space(self) -> None:
        """Wait while too many records wait for the log."""
        while self._pipe.full and not self._over and not self._elsewhere():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._for_space.append(waiting)
            self._pipe.flush()
            if self._pipe.full:  # else it was emptied in between, and nothing would wake this
                await waiting

    @property
    def waits_for_space(self) -> bool:
        """Whether to call `make_space` when records were taken. In any thread."""
        return bool(self._for_space)

    def make_space(self) -> None:
        """Wake what waits for space."""
        waiting, self._for_space = self._for_space, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def stored(self) -> None:
        """Wait until everything written so far is stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send(Store(stored))
        await stored

    async def put_all(self, records: Iterable[Record]) -> None:
        """Write records, each when there is space."""
        for record in records:
            await self.space()
            self.put(record)

    async def fail(self, error: BaseException) -> None:
        """End the run with an error that the guest cannot catch. Does not return."""
        self._send(Raised(error))
        self._over = True
        await asyncio.get_running_loop().create_future()

    def at_home(self) -> None:
        """The guest begins on this event loop."""
        self._home = asyncio.get_running_loop()
        self._home_thread = threading.get_ident()
        self._note()

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The guest's event loop."""
        assert self._home is not None
        return self._home

    def _elsewhere(self) -> bool:
        """Whether this is another thread than that of the guest's event loop, which may be blocked until this is done."""
        return threading.get_ident() != self._home_thread

    def _note(self) -> None:
        """Let the loop call `_on_idle`, because something has changed."""
        if self._elsewhere():
            self._thread.call(self._note)  # the loop may wait, and must be woken
        elif not self._noted:
            self._noted = True
            self._thread.when_idle(self._on_idle)

    @abstractmethod
    def _on_idle(self) -> bool:
        """Called when nothing on the loop is ready to run. Returns whether something is now."""
