"""The loop: performs what `decide` says, and yields the records. All I/O of a run but the log's is here.

    while step := decide(state):
        async for record in perform(step): append(record); state = evolve(state, record)

The consumer appends what it is given; between two records it may take as long as it likes. `COMMIT` between records
asks it to make sure that everything before is stored: a tool's body starts only after that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final, cast
from uuid import uuid4

import anyio

from playhead.runtime.agent_spec import COMMIT, AgentSpec, Commit, Item
from playhead.runtime.assemble import MessageAssembler
from playhead.runtime.control import Control, is_being_cancelled
from playhead.runtime.decide import (
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    Pause,
    Resume,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
    decide,
)
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
    RunPaused,
    RunResumed,
    SignalReceived,
    now_ms,
)
from playhead.runtime.state import RunState, evolve
from playhead.runtime.tool_batch import ToolBatch, finished
from playhead.runtime.tool_results import error_result
from playhead.runtime.types import Chunk, Message

__all__ = ["COMMIT", "AgentSpec", "Commit", "Loop"]

logger = logging.getLogger(__name__)


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
        partial: Sequence[Chunk] = (),
    ) -> None:
        """Take the run up.

        Args:
            spec: The agent.
            run_id: The run.
            state: The fold of its records so far.
            head: The `seq` of the last of them.
            epoch: The ordinal of this ownership.
            control: Where signals are delivered.
            invocation_state: What tools get; None for what the run was submitted with.
            partial: `state.open_chunks` of the records, for an agent that goes on from a partial answer.
        """
        self.spec = spec
        self.run_id = run_id
        self.state = state
        self.head = head
        self.epoch = epoch
        self.control = control or Control()
        self.error: Exception | None = None
        self._partial = partial if spec.on_partial == "continue" else ()
        self._tools = ToolBatch(
            spec,
            run_id=run_id,
            control=self.control,
            invocation_state=dict(state.invocation_state) if invocation_state is None else invocation_state,
            state=lambda: self.state,
        )

    async def records(self) -> AsyncGenerator[Item, None]:
        """The run's further records, in order; ends after the terminal one, or after `run.paused`.

        Close it to stop at a record boundary.
        """
        while True:
            for signal in self.control.take():  # before any new work, so that a cancel is in force when it is decided
                received = SignalReceived(at=now_ms(), signal_id=signal.signal_id, kind=signal.kind, body=signal.body)
                self._count(received)
                yield received
            step = self._next_step()
            if step is None:
                return
            async with aclosing(self._perform(step)) as items:
                async for item in items:
                    if not isinstance(item, Commit):
                        self._count(item)
                    yield item
            if isinstance(step, Pause):  # the run has no owner from here on: a signal that comes now is the next one's
                return

    @property
    def ending(self) -> bool:
        """The next record is the terminal one."""
        return isinstance(self._next_step(), Finish | Fail)

    def _next_step(self) -> Step | None:
        return decide(self.state, in_turn=self.spec.tool_executor == "sequential", partial=self._partial)

    def _count(self, record: Record) -> None:
        self.head += 1
        self.state = evolve(self.state, Entry(self.head, self.epoch, record))

    def _perform(self, step: Step) -> AsyncGenerator[Item, None]:
        match step:
            case CallModel():
                return self._call_model(step)
            case RunTools():
                return self._tools.run(step)
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
                return [finished(index, call, error_result(call["toolUseId"], step.text)) for index, call in step.calls]
            case Pause():
                return [RunPaused(at=at, interrupts=step.interrupts, result=step.result)]
            case Resume():
                return [RunResumed(at=at)]
            case Finish():
                return [(RunCancelled if step.cancelled else RunCompleted)(at=at, result=step.result)]
            case Fail():
                return [RunFailed(at=at, error_type=step.error_type, message=step.message)]
            case _:
                return []

    async def _call_model(self, step: CallModel) -> AsyncGenerator[Item, None]:
        self.control.begin()  # an answer that nobody can store must not be paid
        if step.supersedes is not None:
            yield ModelRetried(at=now_ms(), supersedes=step.supersedes, reason="its worker stopped half-way")
        yield ModelStarted(at=now_ms(), attempt=step.attempt, continues=step.behind is not None)
        answer, asked_at = self._answer(step), self.head
        began = time.monotonic_ns()
        first_byte_ms = 0
        stream = self._open_stream(step.behind)
        try:
            while True:
                try:
                    chunk = await self.control.next(stream)
                    if chunk is not None and not self.control.cancelling:
                        answer.feed(chunk)  # a malformed chunk is the provider's failure too
                except Exception as error:
                    if self.control.cancelling:  # being broken off may be an error to a provider; to the run it is none
                        return
                    if step.behind is not None and self.head == asked_at:  # a server may refuse to go on from an answer
                        first = cast("int", self.state.call_open)
                        yield ModelRetried(
                            at=now_ms(), supersedes=(first, asked_at), reason=f"it did not go on: {error}"
                        )
                        return
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

    def _answer(self, step: CallModel) -> MessageAssembler:
        answer = MessageAssembler()
        if step.behind is not None:
            for chunk in self._partial:
                answer.feed(chunk)
            answer.go_on()
        self._partial = ()
        return answer

    def _open_stream(self, behind: str | None) -> AsyncIterator[Chunk]:
        specs = [tool.spec for tool in self.spec.tools.values()]
        messages = for_model(self.state.messages)
        if behind is not None:
            messages.append({"role": "assistant", "content": [{"text": behind}]})
        return aiter(self.spec.model.stream(messages, specs or None, self.spec.system_prompt))


def _tracked(message: Message) -> Message:
    return message if "tracking_id" in message else {**message, "tracking_id": str(uuid4())}


CLOSE_GRACE_S: Final = 5.0
"""What a provider's stream may take to close: a clean-up that hangs must not hold up a cancel, or a worker's drain."""


async def _close(stream: AsyncIterator[Chunk]) -> None:
    """Close a provider's stream. What that raises is logged: what the stream said, or failed by, is known already."""
    close = getattr(stream, "aclose", None)
    if close is None:
        return
    try:
        with anyio.move_on_after(CLOSE_GRACE_S, shield=True):
            await close()
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
            raise
        logger.warning("a model's stream raised %s while it was being closed", type(error).__name__)
