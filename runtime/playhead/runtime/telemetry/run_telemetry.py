"""What one ownership of a run tells OpenTelemetry. The consumer of the loop gives it each record that is not a chunk."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from traceback import format_exception
from typing import TYPE_CHECKING, TypeVar

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import (
    ENDED_STATES,
    TERMINAL_TYPES,
    Entry,
    Record,
    RunPaused,
    RunSubmitted,
    ToolDecided,
    ToolFinished,
)
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.state import RunState
from playhead.runtime.core.trace import callers_trace, former_trace, may_hold_trace, with_trace
from playhead.runtime.core.tracebacks import exc_info
from playhead.runtime.telemetry.conventions import Conventions
from playhead.runtime.telemetry.measurements import Measurement, RunMeasurements
from playhead.runtime.telemetry.operations import Failure, Operation
from playhead.runtime.telemetry.presence import set_up
from playhead.runtime.telemetry.span_mapping import CYCLE, MODEL, SpanMapping, TracedAgent, tool_key

if TYPE_CHECKING:
    from playhead.runtime.telemetry.otel import SpanTree

__all__ = ["RunTelemetry"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")
Given = TypeVar("Given", bound=Record | Encoded)


class RunTelemetry:
    """The spans and the measurements of one ownership of a run; without an SDK it does nothing.

    `begin`, then `describe`, then `take` for each record, then `end`. Nothing here raises: what a sampler, a processor or an
    exporter raises is logged once.

    Args:
        run_id: The run.
        agent: The name of its agent.
        epoch: The ordinal of the ownership.
    """

    def __init__(self, run_id: str, *, agent: str, epoch: int) -> None:
        self._run_id = run_id
        self._name = agent
        self._epoch = epoch
        self._api = set_up()
        self._begun = False
        self._raised: dict[int, Failure] = {}  # by the bodies of the tools whose results are still to come
        self._failed = False
        self._mapping: SpanMapping | None = None  # None before, and without the API
        self._tree: SpanTree | None = None
        self._measures = RunMeasurements(agent=agent, model_id="")
        self._prompt: object = None
        self._unstamped = False  # whether the context of the span is still to be stored in a record
        self._last: Record | None = None  # would end the ownership, and may not be stored yet
        self._began = time.monotonic()

    def begin(self, entries: Sequence[Entry], *, here: bool = False) -> None:
        """Begin the span of the run; does nothing if it has begun.

        Args:
            entries: The records so far, from record 1 on.
            here: Whether the span is a child of the one that is current here, instead of the one in `run.submitted`.
        """
        if self._api is None or self._begun:
            return
        self._begun = True
        first = entries[0].record
        session = first.session if isinstance(first, RunSubmitted) else None
        self._prompt = first.prompt if isinstance(first, RunSubmitted) else None
        told = Conventions.of(os.environ)
        mapping = SpanMapping(self._run_id, agent=self._name, epoch=self._epoch, session=session, conventions=told)
        self._mapping = mapping
        with self._unharmed():
            sent = callers_trace(first)
            parent = self._api.current() if here else self._api.received(sent, run_id=self._run_id)
            linked = self._api.received(former_trace(entries), run_id=self._run_id)
            self._tree = self._api.spans(parent, linked=linked)
            self._perform([mapping.begin()])
            self._unstamped = self._tree.recording
            self._measure([Measurement("playhead.run.begun", 1, {"gen_ai.agent.name": self._name})])

    def describe(self, make: Callable[[], TracedAgent]) -> None:
        """Tell of the agent, once it is known; `make` is called only if that is to be told."""
        if self._mapping is None:
            return
        if not self._recording:
            return
        with self._unharmed():
            agent = make()
            self._measures = RunMeasurements(agent=self._name, model_id=agent.model_id)
            self._perform([self._mapping.describe(agent, prompt_messages(self._prompt) or [])])

    def take(self, item: Given, state: RunState) -> Given:
        """Take the next record, which is not a chunk; `state` is the fold up to it. Returns what is to be stored in its place."""
        if self._mapping is None:
            return item
        record = item.record if isinstance(item, Encoded) else item
        self._last = record if record.type in TERMINAL_TYPES or isinstance(record, RunPaused) else None
        with self._unharmed():
            self._measure(self._measures.of(record))
            if self._recording:
                raised = (
                    self._raised.pop(record.index, None) if isinstance(record, ToolFinished | ToolDecided) else None
                )
                self._perform(self._mapping.operations(record, state.messages, cycle=state.cycle, raised=raised))
                if self._unstamped and may_hold_trace(record) and not isinstance(item, Encoded):
                    self._unstamped = False
                    return with_trace(item, self._carried())
        return item

    def end(self, outcome: str = "", written: Record | None = None, *, raised: BaseException | None = None) -> None:
        """End everything that is open.

        Args:
            outcome: How the ownership ended, in one word; a run ended or paused only if its state is this word. Empty if
                the record that `take` had last is the end, or if there is none.
            written: The record of the end, if it is not the one that `take` had last.
            raised: The exception that the record of a failure stands for, if it is known.
        """
        if self._mapping is None:
            return
        outcome = outcome or ("stopped" if self._last is None else self._last.type.removeprefix("run."))
        stored = outcome in ENDED_STATES or outcome == "paused"
        record = (written or self._last) if stored else None
        with self._unharmed():
            self._perform(self._mapping.end(record, outcome, stacktrace=_stacktrace(raised)))
            about = {"gen_ai.agent.name": self._name, "playhead.outcome": outcome}
            took = time.monotonic() - self._began
            if written is not None and record is written and written is not self._last:
                self._measure(self._measures.of(written))
            ended = [Measurement("playhead.run.ended", 1, about), Measurement("playhead.run.duration", took, about)]
            self._measure(ended)
        self._tree = None

    # What runs within the spans

    def model(self, stream: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        """The stream of a model, whose request is sent within the span of the call."""
        if self._api is None or self._tree is None:
            return stream
        return self._api.request_within(stream, self._tree.context_of(MODEL))

    def tool(self, index: int, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What the tool of a call yields, whose body runs within the span of the call."""
        if self._api is None or self._tree is None:
            return stream
        return self._api.within(stream, self._tree.context_of(tool_key(index), CYCLE), seen=partial(self._seen, index))

    def _seen(self, index: int, item: object) -> None:
        """Keep what the body of a tool raised: its record has the text alone."""
        if isinstance(error := getattr(item, "error", None), BaseException):
            self._raised[index] = Failure(str(error), type(error).__qualname__, _stacktrace(error))

    @property
    def _recording(self) -> bool:
        return self._tree is not None and self._tree.recording

    def _carried(self) -> dict[str, str]:
        if self._api is None or self._tree is None:
            return {}
        return self._api.carried(self._tree.context_of())

    def _perform(self, operations: Sequence[Operation]) -> None:
        if self._tree is not None:
            for operation in operations:
                with self._unharmed():  # each, so that a span that could not be told something still ends
                    self._tree.perform(operation)

    def _measure(self, measurements: Sequence[Measurement]) -> None:
        if measurements and self._api is not None:
            self._api.record(*measurements)

    @contextmanager
    def _unharmed(self) -> Generator[None]:
        """Log the first exception of such blocks instead of raising it."""
        try:
            yield
        except Exception as error:
            if not self._failed:
                self._failed = True
                name = type(error).__name__
                logger.warning("run %s goes on, but is not traced as a whole: %s: %s", self._run_id, name, error)


def _stacktrace(raised: BaseException | None) -> str:
    shown = None if raised is None else exc_info(raised)
    return "" if shown is None else "".join(format_exception(*shown))
