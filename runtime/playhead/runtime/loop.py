"""The loop: performs what `decide` says, and yields the records. All I/O of a run but the log's is here.

    while step := decide(state):
        async for record in perform(step): append(record); state = evolve(state, record)

The consumer appends what it is given; between two records it may take as long as it likes. `COMMIT` between records
asks it to make sure that everything before is stored: a tool's body starts only after that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, cast
from uuid import uuid4

import anyio

from playhead.runtime.assemble import MessageAssembler
from playhead.runtime.codec import MAX_RECORD_BYTES, encode_record
from playhead.runtime.control import Control
from playhead.runtime.decide import (
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
    decide,
)
from playhead.runtime.errors import EncodingError, RecordTooLargeError
from playhead.runtime.fanout import merge
from playhead.runtime.history import for_model
from playhead.runtime.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    now_ms,
)
from playhead.runtime.state import RunState, evolve
from playhead.runtime.tool_context import effect_key
from playhead.runtime.tool_results import error_result, exception_result
from playhead.runtime.tools import Outcome, Progress, Tool, ToolContext, unknown_tool_result
from playhead.runtime.types import Chunk, Message, Model, ToolResult, ToolUse

__all__ = ["COMMIT", "AgentSpec", "Commit", "Loop"]


class Commit(Enum):
    """The type of `COMMIT`."""

    COMMIT = "commit"


COMMIT: Final = Commit.COMMIT
"""Yielded between records: store everything before this, then go on."""


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What the loop needs of an agent."""

    name: str
    model: Model
    tools: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    system_prompt: str | None = None
    tool_executor: Literal["concurrent", "sequential"] = "concurrent"
    max_record_bytes: int = MAX_RECORD_BYTES


Item = Record | Commit


class Loop:
    """One ownership of one run, from `state` (the fold of the log's `head` records) to its end.

    Attributes:
        state: The fold of all records yielded so far.
        head: The `seq` of the last record yielded.
        error: The exception behind a `run.failed` this loop yielded, for callers in this process.
    """

    def __init__(
        self,
        spec: AgentSpec,
        *,
        run_id: str,
        state: RunState,
        head: int,
        epoch: int = 1,
        control: Control | None = None,
        invocation_state: dict[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.run_id = run_id
        self.state = state
        self.head = head
        self.epoch = epoch
        self.control = control or Control()
        self.error: Exception | None = None
        self._invocation_state = dict(state.invocation_state) if invocation_state is None else invocation_state

    async def records(self) -> AsyncGenerator[Item, None]:
        """The run's further records, in order; ends after the terminal one. Close it to stop at a record boundary."""
        while True:
            for signal in self.control.take():  # before any new work, so that a cancel is in force when it is decided
                received = SignalReceived(at=now_ms(), signal_id=signal.signal_id, kind=signal.kind, body=signal.body)
                self._count(received)
                yield received
            step = decide(self.state)
            if step is None:
                return
            async with aclosing(self._perform(step)) as items:
                async for item in items:
                    if not isinstance(item, Commit):
                        self._count(item)
                    yield item

    @property
    def ending(self) -> bool:
        """The next record is the terminal one."""
        return isinstance(decide(self.state), Finish | Fail)

    def _count(self, record: Record) -> None:
        self.head += 1
        self.state = evolve(self.state, Entry(self.head, self.epoch, record))

    def _perform(self, step: Step) -> AsyncGenerator[Item, None]:
        match step:
            case CallModel():
                return self._call_model(step)
            case RunTools():
                return self._run_tools(step)
            case _:
                return self._note(step)

    async def _note(self, step: Step) -> AsyncGenerator[Item, None]:
        for record in self._at_once(step):
            yield record

    def _at_once(self, step: Step) -> Sequence[Record]:
        """The records of the steps that need no I/O."""
        at = now_ms()
        match step:
            case AddMessage():
                return [MessageAdded(at=at, message=_tracked(step.message), origin=cast("Any", step.origin))]
            case StartCycle():
                return [CycleStarted(at=at, cycle=step.cycle)]
            case SayCancelled():
                answer = MessageAssembler()
                message = _tracked({**answer.message(), "content": [{"text": step.text}]})
                return [MessageAdded(at=at, message=message, origin="model", stop_reason="cancelled")]
            case CancelTools():
                return [
                    _finished(index, call, error_result(call["toolUseId"], step.text)) for index, call in step.calls
                ]
            case Finish():
                return [(RunCancelled if step.cancelled else RunCompleted)(at=at, result=step.result)]
            case Fail():
                return [RunFailed(at=at, error_type=step.error_type, message=step.message)]
            case _:
                return []

    async def _call_model(self, step: CallModel) -> AsyncGenerator[Item, None]:
        if step.supersedes is not None:
            yield ModelRetried(at=now_ms(), supersedes=step.supersedes, reason="its worker stopped half-way")
        yield ModelStarted(at=now_ms(), attempt=step.attempt)
        answer = MessageAssembler()
        began = time.monotonic_ns()
        first_byte_ms = 0
        stream = self._open_stream()
        try:
            while True:
                try:
                    chunk = await self.control.next(stream)
                    if chunk is not None and not self.control.cancelling:
                        answer.feed(chunk)  # a malformed chunk is the provider's failure too
                except Exception as error:
                    self.error = error
                    yield RunFailed(at=now_ms(), error_type=type(error).__name__, message=str(error), force_stop=True)
                    return
                if self.control.cancelling and not (chunk is None and answer.complete):
                    return  # a cancel comes before the rest of an answer, but an answer that is all there is kept
                if chunk is None:
                    break
                if not first_byte_ms and "contentBlockDelta" in chunk:
                    first_byte_ms = (time.monotonic_ns() - began) // 1_000_000
                yield ModelChunk(at=now_ms(), chunk=chunk)
        finally:
            await _close(stream)
        if first_byte_ms:
            answer.metrics.setdefault("timeToFirstByteMs", first_byte_ms)
        message = answer.message()
        if answer.stop_reason != "max_tokens":
            message = _tracked(message)
        yield MessageAdded(at=now_ms(), message=message, origin="model", stop_reason=answer.stop_reason)

    def _open_stream(self) -> AsyncIterator[Chunk]:
        specs = [tool.spec for tool in self.spec.tools.values()]
        return aiter(self.spec.model.stream(for_model(self.state.messages), specs or None, self.spec.system_prompt))

    async def _run_tools(self, step: RunTools) -> AsyncGenerator[Item, None]:
        calls: list[tuple[int, ToolUse, Tool]] = []
        for index, call in step.calls:
            tool = self.spec.tools.get(call["name"])
            if tool is None:
                yield _finished(index, call, unknown_tool_result(call))
            elif index in step.started and tool.on_unknown_outcome == "fail":
                yield _finished(index, call, error_result(call["toolUseId"], _OUTCOME_UNKNOWN))
            else:
                calls.append((index, call, tool))
        together = 1 if self.spec.tool_executor == "sequential" else max(1, len(calls))
        for start in range(0, len(calls), together):
            if self.control.cancelling:  # a cancel between sequential calls: the rest is decided anew
                return
            batch = calls[start : start + together]
            for index, call, _ in batch:
                key = effect_key(self.run_id, call)
                yield ToolStarted(at=now_ms(), index=index, tool_use=call, effect_key=key)
            yield COMMIT
            runs = [self._run_tool(index, call, tool, again=index in step.started) for index, call, tool in batch]
            async with aclosing(runs[0] if len(runs) == 1 else merge(runs)) as records:
                async for record in records:
                    yield record

    async def _run_tool(self, index: int, call: ToolUse, tool: Tool, *, again: bool) -> AsyncGenerator[Record, None]:
        context = ToolContext(
            tool_use=call,
            run_id=self.run_id,
            invocation_state=self._invocation_state,
            agent_name=self.spec.name,
            cancel_signal=self.control.cancel_signal,
            attempt=2 if again else 1,
        )
        began = time.monotonic_ns()
        async with aclosing(_surviving(tool.stream(call, context), call)) as items:
            async for item in items:
                if isinstance(item, Outcome):
                    took = (time.monotonic_ns() - began) // 1_000_000
                    yield self._fitting(_finished(index, call, item.result, duration_ms=took), index, call)
                else:
                    progress = ToolProgressed(at=now_ms(), index=index, tool_use=call, data=item.value)
                    yield self._fitting(progress, index, call)

    def _fitting(self, record: Record, index: int, call: ToolUse) -> Record:
        """The record, or where it cannot be stored an honest one in its place: the model learns what was wrong."""
        try:
            encode_record(record, limit=self.spec.max_record_bytes)
        except (RecordTooLargeError, EncodingError) as error:
            if isinstance(record, ToolFinished):
                return _finished(
                    index, call, error_result(call["toolUseId"], f"Error: {error}"), duration_ms=record.duration_ms
                )
            return ToolProgressed(at=now_ms(), index=index, tool_use=call, data=f"(not stored: {error})")
        return record


async def _surviving(
    items: AsyncGenerator[Progress | Outcome, None], call: ToolUse
) -> AsyncGenerator[Progress | Outcome, None]:
    """The items of a call, also of one that exits the program: `argparse` does, and a worker holds many other runs."""
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except SystemExit as error:
            yield Outcome(exception_result(call["toolUseId"], error))


_OUTCOME_UNKNOWN: Final = (
    "The outcome of this call is unknown: the worker that ran it died before it could store the result. "
    "It may have taken effect; check before calling it again."
)


def _tracked(message: Message) -> Message:
    return message if "tracking_id" in message else {**message, "tracking_id": str(uuid4())}


def _finished(index: int, call: ToolUse, result: ToolResult, *, duration_ms: int = 0) -> ToolFinished:
    return ToolFinished(at=now_ms(), index=index, name=call["name"], result=result, duration_ms=duration_ms)


CLOSE_GRACE_S: Final = 5.0
"""What a provider's stream may take to close: a clean-up that hangs must not hold up a cancel, or a worker's drain."""


async def _close(stream: AsyncIterator[Chunk]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        with anyio.move_on_after(CLOSE_GRACE_S, shield=True):
            await close()
