"""The events of a run as one stream: those in the log after a cursor, then the new ones as they arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from pydantic import BaseModel

from playhead.client.tails.interface import OpenTail
from playhead.client.tails.notice import OnNotice, run_not_found
from playhead.client.tails.state import OnPause
from playhead.runtime.core.cursor import Cursor, Position, parse_cursor
from playhead.runtime.core.errors import GapError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.records import Entry
from playhead.runtime.log.interface import LogReader

__all__ = ["Streamed", "prelude", "stream_events"]


class Streamed(Protocol):
    """A run whose events are streamed: `RunReader` is one."""

    @property
    def id(self) -> str:
        """The run id."""
        ...

    @property
    def open_tail(self) -> OpenTail:
        """Makes a tail of a run."""
        ...

    @property
    def output_class(self) -> type[BaseModel] | None:
        """The reader's class of the structured output; None for a dict."""
        ...

    @property
    def log(self) -> LogReader:
        """The log that has the run."""
        ...


async def stream_events(
    begin: Callable[[], Awaitable[tuple[Streamed, Cursor | None]]],
    *,
    wait_for_worker: float | None = None,
    on_pause: OnPause = "end",
    on_notice: OnNotice | None = None,
) -> AsyncGenerator[Event, None]:
    """Yield the events of the run that `begin` returns, after the cursor that it returns; see `RunReader.stream_async`.

    Every stream of events is this one generator, because a second generator around it would cost as much as the events.
    """
    run, after = await begin()
    del begin
    projection = Projection(run.id, after=after, output_class=run.output_class)
    seen: Cursor | Entry | None = 0
    for seen in await prelude(run, parse_cursor(after)):
        for event in projection.feed(seen):
            yield event
    if not projection.ended:
        async with run.open_tail(
            run.id, after=seen, wait_for_worker=wait_for_worker, on_pause=on_pause, on_notice=on_notice
        ) as tail:
            seen = event = None
            while (page := await tail.next()) is not None:
                for segment in page:
                    for event in projection.events(segment):
                        yield event
                page = segment = event = None  # a waiting tail holds no records
    if projection.error is not None:
        raise projection.error


async def prelude(run: Streamed, place: Position) -> list[Entry]:
    """Record 1, and the records from the start of the model call at `place` up to it: the projection's state."""
    if place.seq == 0:
        return []
    first = await run.log.read(run.id, limit=1)
    if not first:
        if await run.log.info(run.id) is None:
            raise run_not_found(run.id)
        raise GapError(run.id, expected=1, found=None)
    back: list[Entry] = []
    before = place.seq + 1
    while before > 1 and not (back and Projection.may_begin_at(back[-1].record)):
        page = await run.log.read_back(run.id, before=before)
        if not back and place.epoch is not None and (not page or page[0][:2] != (place.seq, place.epoch)):
            async with run.open_tail(run.id, after=f"{place.seq}-{place.epoch}") as tail:
                await tail.settle()
            continue
        if not page or page[0].seq != before - 1:
            raise GapError(run.id, expected=before - 1, found=page[0].seq if page else None)
        for entry in page:
            back.append(entry)
            if Projection.may_begin_at(entry.record):
                break
        before = back[-1].seq
    back.reverse()
    return back if back[0].seq == 1 else [*first, *back]
