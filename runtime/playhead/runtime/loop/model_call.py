"""Performs one model call: opens the stream, takes its chunks, and makes the records of its end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from uuid import uuid4

import anyio

from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.context import Reduction, Summarizing
from playhead.runtime.core.context_steps import NO_SUMMARY, reduced_by_summary
from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.failures import failure, transient_failure
from playhead.runtime.core.faults import asked_to_wait, is_overflow, is_transient
from playhead.runtime.core.intake import ChunkGate, model_message
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.model_input import ModelRequest, summary_request
from playhead.runtime.core.records import (
    CALL_FAILED,
    SUMMARY_FAILED,
    ContextReduced,
    MessageAdded,
    ModelRetried,
    ModelStarted,
    Record,
    now_ms,
)
from playhead.runtime.core.segments import TEXT, WHOLE, Stored, compact
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import CallModel, Reduce
from playhead.runtime.core.terms import Terms
from playhead.runtime.loop.call_endings import (
    Answered,
    Cancelled,
    Ending,
    Failed,
    Overflowed,
    Postponed,
    WouldNotContinue,
    ending,
)
from playhead.runtime.loop.control import Control, breaking_off
from playhead.runtime.loop.spec import AgentSpec
from playhead.runtime.models.calling import CallContext, open_stream
from playhead.runtime.telemetry.run_telemetry import RunTelemetry

__all__ = ["ModelCall", "answered", "reduced", "tracked"]

logger: logging.Logger = logging.getLogger(__name__)


class ModelCall:
    """Performs one `CallModel` step; `state` is the fold of the run's records, of which there are `head()`.

    Attributes:
        ending: How it ended; `Cancelled` until it has ended in another way.
    """

    def __init__(
        self,
        step: CallModel,
        *,
        spec: AgentSpec,
        state: RunState,
        head: Callable[[], int],
        control: Control,
        context: CallContext,
        partial: Sequence[Chunk],
        driver: asyncio.Task[Any] | None,
        terms: Terms,
        telemetry: RunTelemetry | None = None,
    ) -> None:
        self.ending: Ending = Cancelled()
        self._step = step
        self._spec = spec
        self._state = state
        self._announced = _announcement(step, state.told_state)
        self._head = head
        self._asked_at = head() + len(self._announced)
        self._control = control
        self._context = context
        self._driver = driver
        self._terms = terms
        self._telemetry = telemetry
        self._assembler = MessageAssembler()
        if step.partial is not None:
            for chunk in partial:
                self._assembler.feed(chunk)
            self._assembler.go_on()

    async def records(self) -> AsyncGenerator[Stored, None]:
        """The records of the call, from `model.started` to those of its end."""
        for record in self._announced:
            yield record
        control, assembler = self._control, self._assembler
        if control.cancelling:
            return
        error, said, began, first_delta, gate = None, False, time.monotonic_ns(), 0, ChunkGate()
        try:
            stream = self._open()
            async with _closing(stream), breaking_off(control, task=self._driver) as wait:
                async for chunk in stream:
                    wait.pause()
                    if control.cancelling:  # it takes precedence over the rest of a message
                        return
                    stored = compact(now_ms(), chunk)  # a malformed chunk is a failure of the provider too
                    # No half of a surrogate pair is printable: the usual delta costs one or two looks at its text.
                    whole = stored[0] != WHOLE and (stored[2].isascii() or stored[2].isprintable())
                    if gate.holds or not whole:
                        *before, (stored, chunk) = gate.take(stored, chunk)
                        for half, its_chunk in before:
                            assembler.feed(its_chunk)
                            yield half
                    if stored[0] == TEXT:
                        assembler.say(stored[2])
                    else:
                        assembler.feed(chunk)
                    if not first_delta and "contentBlockDelta" in chunk:
                        first_delta = time.monotonic_ns()
                    said = True
                    yield stored
                    if control.cancelling:
                        break
                    wait.resume()
        except Exception as raised:
            error = raised
        self.ending = self._ended(error, said=said)
        for record in self._conclusion(first_byte_ms=max(0, first_delta - began) // 1_000_000):
            yield record

    def _open(self) -> AsyncIterator[Chunk]:
        stream = open_stream(self._spec.model, self._request(), self._context)
        return stream if self._telemetry is None else self._telemetry.model(stream)

    def _request(self) -> ModelRequest:
        if (plan := self._step.summarizes) is not None:
            return summary_request(plan.messages, system_prompt=plan.system_prompt)
        specs = [tool.spec for tool in self._spec.tools.values()]
        specs, choice = self._terms.offered(specs, forced=self._state.forced)
        return self._spec.request(
            self._state.messages,
            tool_specs=specs,
            tool_choice=choice,
            system_prompt=self._spec.system_prompt,
            system_prompt_content=self._spec.system_prompt_content,
            partial=self._step.partial,
        )

    def _ended(self, error: Exception | None, *, said: bool) -> Ending:
        """How the call ended; `said` is whether it has yielded a chunk."""
        return ending(
            error,
            cancelling=self._control.cancelling,
            complete=self._assembler.complete,
            refusable=self._step.partial is not None and not said,
            delay=self._delay_after(error),
            reducible=self._is_reducible(error),
        )

    def _is_reducible(self, error: Exception | None) -> bool:
        may_reduce = self._step.summarizes is None and self._spec.context.cannot is not None
        return may_reduce and error is not None and is_overflow(error)

    def _delay_after(self, error: Exception | None) -> float | None:
        """Seconds after which to make the call again; None if it is not made again."""
        policy = self._spec.retry
        if error is None or policy is None or not getattr(policy, "is_retryable", is_transient)(error):
            return None
        return policy.delay(
            failures=self._state.failures + 1,
            waited=self._state.waited,
            asked=asked_to_wait(error, now=now_ms()),
            draw=random.random(),
        )

    def _conclusion(self, *, first_byte_ms: int) -> list[Record]:
        """The records of the call's end; none for a cancelled call, because the next decision writes them."""
        match self.ending:
            case Answered() if self._step.summarizes is not None:
                return [self._summary(self._step.summarizes)]
            case Answered():
                return [self._message(first_byte_ms)]
            case Cancelled():
                return []
            case WouldNotContinue(error):
                return [self._withdrawn(f"it was not continued: {error}")]
            case Postponed(error, delay):
                postponed = transient_failure(error, delay=delay, attempt=self._step.attempt)
                return [self._withdrawn(CALL_FAILED), postponed]
            case Overflowed(error):
                refused = transient_failure(error, attempt=self._step.attempt, overflow=True)
                return [self._withdrawn(CALL_FAILED), refused]
            case Failed() if self._step.summarizes is not None and self._step.summarizes.reason == "call":
                self.ending = Cancelled()  # the run goes on without the summary
                return [self._withdrawn(SUMMARY_FAILED), reduced(Reduce(Reduction(), "call"))]
            case Failed(error):
                # That of a summary comes after the force_stop of the call whose history was too long.
                return [failure(error, force_stop=self._step.summarizes is None)]

    def _summary(self, plan: Summarizing) -> Record:
        step = reduced_by_summary(plan, model_message(self._assembler.message()))
        if isinstance(step, Reduce):
            return reduced(step)
        self.ending = Failed(RuntimeError(NO_SUMMARY))
        return failure(self.ending.error, force_stop=False)

    def _withdrawn(self, reason: str) -> ModelRetried:
        """The record that withdraws this call, and the calls whose text it continues."""
        first = self._asked_at if self._step.partial is None else cast("int", self._state.call_open)
        return ModelRetried(at=now_ms(), supersedes=(first, self._head()), reason=reason)

    def _message(self, first_byte_ms: int) -> MessageAdded:
        assembler = self._assembler
        if first_byte_ms:
            assembler.metrics = {"timeToFirstByteMs": first_byte_ms, **assembler.metrics}
        return answered(model_message(assembler.message()), assembler.stop_reason)


def _announcement(step: CallModel, invocation_state: dict[str, Any] | None) -> list[Record]:
    at = now_ms()
    delay = step.failed.delay if step.failed is not None else None
    started = ModelStarted(
        at=at,
        attempt=step.attempt,
        continues=step.partial is not None,
        delay=delay,
        invocation_state=invocation_state,
    )
    if (plan := step.summarizes) is not None:
        differs = {"system_prompt": plan.system_prompt, "tool_specs": None}
        asked = {"summarizes": list(plan.reduction.removed), "differs": differs}
        started = started.model_copy(update=asked)
    if step.supersedes is None:
        return [started]
    return [ModelRetried(at=at, supersedes=step.supersedes, reason="its worker stopped half-way"), started]


def reduced(step: Reduce) -> ContextReduced:
    """The record of a reduction."""
    one = step.reduction
    return ContextReduced(
        at=now_ms(),
        reason=cast("Any", step.reason),
        removed=list(one.removed),
        pinned=list(one.pinned),
        cut=one.cut,
        summary=None if one.summary is None else tracked(one.summary),
        kept=one.kept,
        usage=dict(step.usage),
    )


def answered(message: Message, stop_reason: str) -> MessageAdded:
    """The record of a model's message."""
    kept = message if stop_reason == "max_tokens" else tracked(message)
    return MessageAdded(at=now_ms(), message=kept, origin="model", stop_reason=stop_reason)


def tracked(message: Message) -> Message:
    """The message with a `tracking_id`: its own or a new one."""
    return message if "tracking_id" in message else {**message, "tracking_id": str(uuid4())}


CLOSE_GRACE_S: Final = 5.0
"""The limit for closing a provider's stream: a clean-up that hangs must not delay a cancel or a worker's drain."""


@asynccontextmanager
async def _closing(stream: AsyncIterator[Chunk]) -> AsyncGenerator[None, None]:
    """Close a provider's stream after the block. Errors of the close are logged: the message is already known."""
    try:
        yield
    finally:
        if (close := getattr(stream, "aclose", None)) is not None:
            try:
                with anyio.move_on_after(CLOSE_GRACE_S, shield=True):
                    await close()
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                    raise
                logger.warning("a model's stream raised %s while it was being closed", type(error).__name__)
