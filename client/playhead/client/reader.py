"""`RunReader`: reads one run, from Redis or from any other source of its log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from playhead.client.event_stream import Streamed, stream_events
from playhead.client.guest_requests import GuestRequest, guest_request
from playhead.client.replay import check_playback, played
from playhead.client.requests import RecordedRequest, recorded_request
from playhead.client.states import States
from playhead.client.tails.file_tail import file_tail
from playhead.client.tails.interface import OpenTail
from playhead.client.tails.notice import OnNotice, run_not_found
from playhead.client.tails.state import OnPause
from playhead.runtime.core.converse import Prompt
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import RewindError, RunEndedError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.records import Entry, ModelFailed, RunClaimed, RunHandedOver, RunPaused, SignalReceived
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.run_diff import Differ, RunDiff
from playhead.runtime.log.file.export import Exported, export_runs
from playhead.runtime.log.file.redaction import Redaction
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.reading import pages
from playhead.runtime.log.values import RunInfo

if TYPE_CHECKING:
    from playhead.runtime.agent.serving import Servable

__all__ = ["PausedAt", "RunReader", "side_by_side"]

_NEAR_END: Final = 16
"""How many records are searched for what a run waits for: far more than the owners that change during one wait."""


@dataclass(frozen=True, slots=True)
class PausedAt:
    """The pause of a run.

    Attributes:
        cursor: The cursor of its `run.paused` record; the records of the resumed run come after it.
        interrupts: The open questions.
    """

    cursor: str
    interrupts: tuple[Interrupt, ...]


async def side_by_side(left: RunReader, right: RunReader) -> AsyncGenerator[tuple[list[Entry], list[Entry]], None]:
    """The present records of two runs, a page of each at a time; an empty page for one that has no more."""
    async with aclosing(left.present_pages()) as mine, aclosing(right.present_pages()) as theirs:
        while True:
            pair = await anext(mine, []), await anext(theirs, [])
            if pair == ([], []):
                return
            yield pair


@names_keywords
class RunReader:
    """Reads one run: its events, records, result and state. It never changes the run.

    Attributes:
        id: The run id, which is enough to find the run again.
        open_tail: Makes a tail of a run.
        output_class: The class of which the structured output is read as an instance; None for a dict.
    """

    def __init__(
        self, run_id: str, *, log: LogReader, open_tail: OpenTail, output_class: type[BaseModel] | None = None
    ) -> None:
        self.id = run_id
        self.output_class = output_class
        self.open_tail = open_tail
        self._log = log

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @property
    def log(self) -> LogReader:
        """The log that it reads, for callers that need more than the run offers."""
        return self._log

    async def export(self, path: str | Path, *, redaction: Redaction | None = None) -> Exported:
        """Write the run to a file, with everything that is needed to play and to inspect it; `open_log` reads it.

        A run that has not ended is written up to its latest record. The file is written whole or not at all; an
        existing one is replaced.

        Args:
            path: The file.
            redaction: The values to take out.

        Raises:
            RunFileError: If the file cannot be written.
            ValueError: If a record could not be read after the redaction.
            RunNotFoundError, GapError: As their messages say.
        """
        return await export_runs(self._log, [self.id], path, redaction=redaction)

    async def records(
        self, *, after: Cursor = 0, wait_for_worker: float | None = None, on_notice: OnNotice | None = None
    ) -> AsyncGenerator[Entry, None]:
        """Yield the records after `after`, once each and in order, as they arrive; ends after the terminal one.

        If the run is paused, it keeps waiting and sends a notice.

        Args:
            after: An entry's `cursor`, or a record's number: with a number, a replaced record cannot be noticed.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
            on_notice: Called with what the run waits for, instead of the client's `on_notice`.

        Raises:
            ValueError: If `after` is not a cursor.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, NoWorkerError, RedisAuthError: As their messages
                say.
        """
        async with self.open_tail(self.id, after=after, wait_for_worker=wait_for_worker, on_notice=on_notice) as tail:
            while (page := await tail.next()) is not None:
                for segment in page:
                    for entry in segment.entries():
                        yield entry
                page = segment = entry = None  # a waiting tail holds no records

    def stream_async(
        self,
        *,
        after: Cursor | None = None,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "end",
        on_notice: OnNotice | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the run's events after a cursor, as they arrive; the same as if the reader had never left.

        If the run is paused, the last event is a `result` with stop reason `interrupt`. Respond, here or elsewhere, and
        continue after its cursor. If you respond before requesting the next event, this iterator itself continues.

        Args:
            after: An event's or an entry's `cursor`, or a record's number (the whole record was seen): with a number, a
                replaced record cannot be noticed. None for the beginning.
            wait_for_worker: Seconds to wait for a worker that serves the run's agent; None to wait for ever.
            on_pause: `end` if the run waits for responses, or `wait` and send a notice.
            on_notice: Called with what the run waits for while the iterator waits for its next event, instead of the
                client's `on_notice`.

        Raises:
            RunFailedError: If the run failed, after its last event; a subclass with the name of the worker's exception.
            StructuredOutputException: If the class refuses the run's structured output.
            ValueError: If `after` is not a cursor.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, NoWorkerError, RedisAuthError: As their messages
                say.
        """

        async def begin() -> tuple[Streamed, Cursor | None]:
            return self, after

        return stream_events(begin, wait_for_worker=wait_for_worker, on_pause=on_pause, on_notice=on_notice)

    async def result(self, *, on_pause: OnPause = "end", on_notice: OnNotice | None = None) -> AgentResult:
        """Wait for the run's end and return its result. If the run is paused, its result has stop reason `interrupt`.

        Args:
            on_pause: `end` if the run waits for responses, or `wait` and send a notice.
            on_notice: Called with what the run waits for, instead of the client's `on_notice`.

        Raises:
            RunFailedError: If the run failed; the subclass has the name of the worker's exception.
            StructuredOutputException: If the class refuses the run's structured output.
            GapError, RunNotFoundError, ForeignRecordError, RedisAuthError: As their messages say.
        """
        while True:
            try:
                result = await self._result(on_pause, on_notice)
            except RewindError:  # only the final result counts, not a lost one
                continue
            if result is not None:  # else it was paused in between, and has resumed
                return result

    async def _result(self, on_pause: OnPause, on_notice: OnNotice | None) -> AgentResult | None:
        info = await self.info()
        said = info.ended or info.state == "paused"  # by the last record, which is already stored
        projection = Projection(self.id, output_class=self.output_class)
        result: AgentResult | None = None
        place = info.head - 1 if said else f"{info.head}-{info.epoch}"
        async with self.open_tail(self.id, after=place, on_pause=on_pause, on_notice=on_notice) as tail:
            while (page := await tail.next()) is not None:
                for event in (event for segment in page for event in projection.events(segment)):
                    result = event.get("result", result)
                page = None
        if projection.error is not None:
            raise projection.error
        return result

    async def info(self) -> RunInfo:
        """The current state of the run.

        Raises:
            RunNotFoundError: If the run does not exist.
        """
        info = await self._log.info(self.id)
        if info is None:
            raise run_not_found(self.id)
        return info

    async def pause(self) -> PausedAt | None:
        """What the run waits for, if it is paused.

        Raises:
            RunNotFoundError: If the run does not exist.
        """
        info = await self.info()
        if info.state != "paused":
            return None
        for entry in await self._log.read_back(self.id, before=info.head + 1, limit=1):
            if isinstance(entry.record, RunPaused):
                return PausedAt(entry.cursor, tuple(Interrupt(one) for one in entry.record.interrupts))
        return None  # it has resumed

    async def failed_call(self) -> ModelFailed | None:
        """The failure of the last model call, if the run waits to make that call again.

        Raises:
            RunNotFoundError: If the run does not exist.
        """
        info = await self.info()
        if info.ended or info.state == "paused":
            return None
        for entry in await self._log.read_back(self.id, before=info.head + 1, limit=_NEAR_END):
            if not isinstance(entry.record, RunClaimed | RunHandedOver):  # the next owner goes on waiting
                failed = entry.record if isinstance(entry.record, ModelFailed) else None
                return None if failed is None or failed.overflow else failed
        return None

    async def request(self, seq: int) -> RecordedRequest:
        """The exact request of a model call, as the run's owner sent it to the model.

        Args:
            seq: The number of the call's `model.started` record.

        Raises:
            RequestNotFoundError: If the record is not a `model.started`, the run names no definition, or the
                session's messages were deleted. The message lists the run's `model.started`. Or if the run is of a guest.
            RunNotFoundError, GapError, ForeignRecordError: As their messages say.
        """
        return await recorded_request(self._log, await self.info(), seq)

    async def guest_request(self, seq: int, *, agent: Servable | None = None) -> GuestRequest:
        """What a guest asked a model in one call, as far as it is known.

        The log has a digest of each part, and the parts that stay the same from call to call, such as a system prompt. The
        messages are known if they were those of the conversation, or if `agent` is given.

        Args:
            seq: The number of the call's `model.started`, or of the `step.finished` of a call that readers do not see.
            agent: The guest, or what stands for it. It runs again, offline and from its top, as for `verify`, and what it
                asks there is given whole.

        Raises:
            RequestNotFoundError: If the record is not that of a model call of a guest, or the agent does not come to it.
            TypeError: If `agent` is not a guest.
            AgentStuckError: If the agent blocks, never ends, or waits for something that is not in the log.
            RunNotFoundError, GapError, ForeignRecordError: As their messages say.
        """
        return await guest_request(self._log, await self.info(), seq, agent=agent)

    def states(self) -> States:
        """The states of the run at its records, in any order: `await run.states().at(41)`."""
        return States(self._log, self.id)

    async def fork_here(
        self,
        agent: Servable,
        *,
        at: int,
        prompt: Prompt = None,
        results: Mapping[str, Any] | None = None,
        answers: Mapping[str, Any] | None = None,
        say: Prompt = None,
        accept_effects: bool = False,
    ) -> RunReader:
        """Run a fork of the run in this process, by `agent`, to its end or its next pause. No server and no worker is needed.

        It is as a fork of `Run.fork`, but its log is in memory only: `export` keeps it. The agent's `callback_handler` gets
        the events after `at`, and its `messages` stay as they are. A fork that is paused goes on by a fork of it at its
        last record, with `answers`.

        Args:
            agent: The agent: that of the run as it is today, or one with another model, system prompt or tools; or the
                factory that makes it, a function too; or the guest, or what stands for it, such as a `strands.Agent`.
            at: How many records of this run it begins with: the number of the last of them.
            prompt, results, answers, say, accept_effects: As for `Run.fork`.

        Returns:
            The fork, which reads as a run of a file does; it may have failed, which its `result` raises.

        Raises:
            ModelConfigurationError: If the agent's model cannot be used.
            Exception: As `Run.fork`.
        """
        from playhead.client.forking_here import run_here  # agents are needed here only

        change = Fork(
            at=at, prompt=prompt, results=results or {}, answers=answers or {}, say=say, accept_effects=accept_effects
        )
        run_id = new_run_id()
        log = await run_here(self.log, self.id, change, agent, run_id=run_id)
        return RunReader(run_id, log=log, open_tail=partial(file_tail, log), output_class=self.output_class)

    async def diff(self, other: RunReader) -> RunDiff:
        """Compare what this run and `other` did, up to their latest records.

        Both are read page by page; what they did is held, but not what their models streamed.

        Args:
            other: Any run: of this client, of another, or of a file.

        Raises:
            RunNotFoundError, GapError, ForeignRecordError: As their messages say.
        """
        differ = Differ()
        async for left, right in side_by_side(self, other):
            differ.add(left, right)
        return differ.value()

    async def present_pages(self) -> AsyncGenerator[list[Entry], None]:
        """The records up to the present last one, page by page.

        Raises:
            RunNotFoundError, GapError, ForeignRecordError: As their texts say.
        """
        info = await self.info()
        async for page in pages(self._log, self.id, head=info.head):
            yield page

    async def received(self, signal_id: str, *, after: Cursor = 0) -> Entry:
        """Wait until the signal takes effect, that is, for its `signal.received` after the cursor.

        Raises:
            RunEndedError: If the run ended without receiving it.
            RewindError, GapError, RunNotFoundError, ForeignRecordError, RedisAuthError: As their messages say.
        """
        async with aclosing(self.records(after=after)) as entries:
            async for entry in entries:
                if isinstance(entry.record, SignalReceived) and entry.record.signal_id == signal_id:
                    return entry
        raise RunEndedError(f"run {self.id} has ended without receiving the signal {signal_id}")

    def replay(
        self,
        *,
        speed: float | None = 1.0,
        after: Cursor | None = None,
        until: int | None = None,
        max_gap: float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the run's events again on its recorded clock. A run that has not ended is then followed live.

        Nothing is run again. A record is yielded at the time at which it was recorded, counted from the first one that
        is played. If the iterator is read too slowly, it catches up.

        Args:
            speed: 2.0 is twice as fast; None is as fast as the log can be read.
            after: A cursor, as for `stream_async`: the events after it are played. None for the beginning.
            until: The number of the last record that is played; None for the end of the run.
            max_gap: The longest silence between two records, in seconds of the recorded clock; None to cut none.

        Raises:
            ValueError: If `speed` is not above 0, `max_gap` is below 0, or `until` is not after `after`.
            TypeError: If one of them has the wrong type.
            Exception: As `stream_async`.
        """
        check_playback(speed=speed, after=after, until=until, max_gap=max_gap)
        return self._played(speed, until, max_gap).stream_async(after=after, on_pause="wait")

    def replay_records(
        self,
        *,
        speed: float | None = 1.0,
        after: Cursor = 0,
        until: int | None = None,
        max_gap: float | None = None,
    ) -> AsyncGenerator[Entry, None]:
        """Like `replay`, but yield the records."""
        check_playback(speed=speed, after=after, until=until, max_gap=max_gap)
        return self._played(speed, until, max_gap).records(after=after)

    def _played(self, speed: float | None, until: int | None, max_gap: float | None) -> RunReader:
        """A reader of this run whose tails return records when they are due."""
        return RunReader(
            self.id, log=self._log, open_tail=played(self.open_tail, speed=speed, until=until, max_gap=max_gap)
        )
