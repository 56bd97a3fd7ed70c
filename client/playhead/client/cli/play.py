"""`playhead replay`: plays a recorded run on its recorded clock, shows a part of it, or steps through it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from playhead.client.cli.place import message_lines
from playhead.client.cli.reach import file_of, opened
from playhead.client.cli.render import seconds
from playhead.client.cli.run_view import RunView
from playhead.client.cli.stepping import keys_of_stdin, step_through
from playhead.client.cli.watch import (
    Json,
    Last,
    Place,
    Prefix,
    RunOrLast,
    Url,
    print_events,
    print_run,
    run_or_last,
    watching,
)
from playhead.client.reader import RunReader
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import RecordNotFoundError
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    ContextReduced,
    Entry,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StructuredOutputProduced,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)

__all__ = ["Only", "PlayedView", "is_part", "replay"]


class Only(StrEnum):
    """The part of a run that is shown."""

    TOOLS = "tools"
    MODEL = "model"
    MESSAGES = "messages"
    TEXT = "text"


_ENDS: Final = (RunCompleted, RunCancelled, RunFailed)
_RECORDS: Final[dict[Only, tuple[type[Record], ...]]] = {
    Only.TOOLS: (
        ToolDecided,
        ToolStarted,
        ToolProgressed,
        ChildStarted,
        ChildRecorded,
        ToolInterrupted,
        ToolFinished,
    ),
    Only.MODEL: (ModelStarted, ModelRetried, ModelFailed, ContextReduced),
    Only.MESSAGES: (MessageAdded, StructuredOutputProduced),
    Only.TEXT: (),
}
_EVENTS: Final[dict[Only, frozenset[str]]] = {
    Only.TOOLS: frozenset({"tool_stream_event", "tool_interrupt_event", "tool_cancel_event"}),
    Only.MODEL: frozenset({"event", "delta", "retracted", "retrying"}),
    Only.MESSAGES: frozenset({"message", "structured_output"}),
    Only.TEXT: frozenset({"data", "retracted"}),
}
"""An event with one of these keys belongs to the part. For tools, the messages with their results do too."""


def is_part(only: Only | None, event: Event) -> bool:
    """Whether an event belongs to the part of the run; the end of the run belongs to every part."""
    if only is None or "result" in event or "force_stop" in event:
        return True
    blocks: list[dict[str, Any]] = event.get("message", {}).get("content", [])
    return not _EVENTS[only].isdisjoint(event) or (only == Only.TOOLS and any("toolResult" in one for one in blocks))


class PlayedView(RunView):
    """Prints a recorded run or a part of it; on a terminal, also how far it is.

    Args:
        after: Records up to this one are not shown.
        only: The part that is shown; None for all.
        head: The number of the last record that the run has now.
        ends_at: When that record was made, in unix milliseconds.
        speed: How fast it is played; None for as fast as possible.
    """

    def __init__(
        self, run_id: str, *, after: int, only: Only | None, head: int, ends_at: int, speed: float | None
    ) -> None:
        super().__init__(run_id, after=after)
        self._only = only
        self._head = head
        self._ends_at = ends_at
        self._pace = "" if speed is None else f" · {speed:g} x"
        self._last: Entry | None = None
        self._muted = False

    def feed(self, entry: Entry) -> bool:
        """Like `RunView.feed`."""
        self._last = entry
        return super().feed(entry)

    def _status(self) -> str | None:
        """The position, the time and what the run does."""
        if self._last is None or self._waits_for is None or self._began_at is None:
            return None
        head = max(self._head, self._last.seq)
        passed = seconds(self._last.record.at - self._began_at)
        whole = seconds(max(self._ends_at, self._last.record.at) - self._began_at)
        return f"▶ record {self._last.seq} of {head} · {passed} of {whole}{self._pace} · {self._waits_for}"

    def _show(self, event: Event) -> None:
        if self._only is None or (self._only in (Only.MODEL, Only.TEXT) and is_part(self._only, event)):
            super()._show(event)

    def _finish(self, message: Message) -> None:
        if self._only in (None, Only.MODEL, Only.TEXT):
            super()._finish(message)

    def _progress(self, record: ToolProgressed) -> None:
        if not self._muted:
            super()._progress(record)

    def note(self, text: str, *, style: str = "dim") -> None:
        """Like `RunView.note`, but print nothing about a record that is not shown."""
        if not self._muted:
            super().note(text, style=style)

    def _remark(self, entry: Entry, *, change: str) -> None:
        record = entry.record
        self._muted = self._only is not None and not isinstance(record, (*_RECORDS[self._only], *_ENDS))
        super()._remark(entry, change=change)
        if self._only == Only.MODEL and isinstance(record, ModelStarted):
            self.note(f"model call {record.attempt}, record {entry.seq}")
        elif self._only == Only.MESSAGES and isinstance(record, MessageAdded):
            for line in message_lines(record.message):
                self.note(line, style="")
        self._muted = False
        if self._only == Only.TEXT and isinstance(record, MessageAdded):
            self._begin(None)  # the next message has its own line


@dataclass(frozen=True, slots=True)
class _Asked:
    """The values of the options; with `speed` None nothing waits."""

    speed: float | None
    first: int
    until: int | None
    max_gap: float | None
    only: Only | None


def replay(
    run_id: RunOrLast = None,
    last: Last = False,
    speed: Annotated[float, typer.Option("--speed", metavar="FACTOR", help="2 is twice as fast as it ran.")] = 1.0,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait at all.")] = False,
    first: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="The first record to play.")] = 1,
    until: Annotated[int | None, typer.Option("--until", metavar="SEQ", min=1, help="The last record to play.")] = None,
    max_gap: Annotated[
        float | None,
        typer.Option("--max-gap", metavar="SECONDS", min=0, help="Cut longer silences, by the recorded clock."),
    ] = None,
    only: Annotated[Only | None, typer.Option("--only", help="Show only this part of the run.")] = None,
    step: Annotated[bool, typer.Option("--step", help="One record or step for each key, forward and back.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Play a past run again on its recorded clock. Nothing is executed again: this only reads the log."""
    if not speed > 0:  # nan is not
        raise ValueError(f"--speed must be above 0, not {speed:g}; --fast does not wait at all")
    if until is not None and until < first:
        raise ValueError(f"--until {until} is before --from {first}")
    if step and (as_json or only is not None or until is not None):
        raise ValueError("--step shows each record to a person; leave out --json, --only and --until")
    named = run_or_last(run_id, last)
    asked = _Asked(None if fast else speed, first, until, max_gap, only)

    async def follow(place: Place) -> int:
        async with opened(named, url, prefix, on_notice=place.tell) as run:
            place.run_id = run.id if file_of(named) is None else named
            head, ends_at = await _end(run, asked)
            if step:
                with keys_of_stdin() as key:
                    return await step_through(run, first=first, key=key)
            if as_json:
                return await print_events(_events(run, asked), place)
            view = PlayedView(run.id, after=first - 1, only=only, head=head, ends_at=ends_at, speed=asked.speed)
            return await print_run(_records(run, asked), place, view)

    watching(follow, hint=lambda place: f"\nleft; continue with: playhead tail {place.run_id} --after {place.cursor}")


async def _end(run: RunReader, asked: _Asked) -> tuple[int, int]:
    """The number and the time of the last record that exists now.

    Raises:
        RecordNotFoundError: If the run has ended without a record that is to be played.
    """
    info = await run.info()
    wanted = max(asked.first, asked.until or 1)
    if info.ended and wanted > info.head:
        raise RecordNotFoundError(f"run {run.id} has ended with {info.head} records, and has no record {wanted}")
    found = await run.log.read_back(run.id, before=info.head + 1, limit=1)
    return info.head, found[0].record.at if found else info.updated


async def _events(run: RunReader, asked: _Asked) -> AsyncGenerator[Event, None]:
    """Yield the events of the part that is played."""
    played = run.replay(speed=asked.speed, after=asked.first - 1, until=asked.until, max_gap=asked.max_gap)
    async with aclosing(played) as events:
        async for event in events:
            if is_part(asked.only, event):
                yield event


async def _records(run: RunReader, asked: _Asked) -> AsyncGenerator[Entry, None]:
    """Yield the records to play, preceded at once by the earlier ones, on which the output depends."""
    before = asked.first - 1
    if before:
        async with aclosing(run.replay_records(speed=None, until=before)) as entries:
            async for entry in entries:
                yield entry
    played = run.replay_records(speed=asked.speed, after=before, until=asked.until, max_gap=asked.max_gap)
    async with aclosing(played) as entries:
        async for entry in entries:
            yield entry
