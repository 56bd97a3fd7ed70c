"""One call of a model: opened, taken chunk by chunk, and what its end comes to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import uuid4

import anyio

from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.core.model_input import for_model
from playhead.runtime.core.records import MessageAdded, ModelRetried, ModelStarted, Record, failure, now_ms
from playhead.runtime.core.segments import TEXT, Stored, compact
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import CallModel
from playhead.runtime.loop.control import Control, breaking_off
from playhead.runtime.loop.spec import AgentSpec

__all__ = ["Answered", "Cancelled", "Ending", "Failed", "ModelCall", "WouldNotContinue", "tracked"]

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """All of the answer is there."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancel came before the rest of the answer."""


@dataclass(frozen=True, slots=True)
class WouldNotContinue:
    """The provider refused, before its first chunk, to go on from a partial answer."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider raised, or gave a chunk that cannot be understood."""

    error: Exception


Ending = Answered | Cancelled | WouldNotContinue | Failed
"""How a call of a model ended."""


def ending(error: Exception | None, *, cancelling: bool, complete: bool, refusable: bool) -> Ending:
    """How a call ended.

    Args:
        error: What ended it; None if the stream ended, or was left for a cancel.
        cancelling: A cancel is here. Being broken off may be an error to a provider; to the run it is a cancel.
        complete: The answer's last chunk is in: such an answer is kept, in spite of a cancel.
        refusable: The call went on from a partial answer and has said nothing yet.
    """
    if cancelling and (error is not None or not complete):
        return Cancelled()
    if error is None:
        return Answered()
    return WouldNotContinue(error) if refusable else Failed(error)


class ModelCall:
    """Performs one `CallModel` step; `state` is the fold of the run's first `head` records.

    Attributes:
        ending: How it ended; `Cancelled` until it has ended in another way.
    """

    def __init__(
        self,
        step: CallModel,
        *,
        spec: AgentSpec,
        state: RunState,
        head: int,
        control: Control,
        partial: Sequence[Chunk],
        driver: asyncio.Task[Any] | None,
    ) -> None:
        self.ending: Ending = Cancelled()
        self._step = step
        self._spec = spec
        self._state = state
        self._announced = _announcement(step)
        self._asked_at = head + len(self._announced)
        self._control = control
        self._driver = driver
        self._answer = MessageAssembler()
        if step.behind is not None:
            for chunk in partial:
                self._answer.feed(chunk)
            self._answer.go_on()

    async def records(self) -> AsyncGenerator[Stored, None]:
        """The records of the call, from `model.started` to those that its ending comes to."""
        for record in self._announced:
            yield record
        control, answer = self._control, self._answer
        if control.cancelling:
            return
        error, said, began, first_delta = None, False, time.monotonic_ns(), 0
        stream = self._open()
        try:
            async with _closing(stream), breaking_off(control, task=self._driver) as wait:
                async for chunk in stream:
                    wait.pause()
                    if control.cancelling:  # it comes before the rest of an answer
                        return
                    stored = compact(now_ms(), chunk)  # a malformed chunk is the provider's failure too
                    if stored[0] == TEXT:
                        answer.say(stored[2])
                    else:
                        answer.feed(chunk)
                    if not first_delta and "contentBlockDelta" in chunk:
                        first_delta = time.monotonic_ns()
                    said = True
                    yield stored
                    if control.cancelling:
                        break
                    wait.resume()
        except Exception as raised:
            error = raised
        refusable = self._step.behind is not None and not said
        self.ending = ending(error, cancelling=control.cancelling, complete=answer.complete, refusable=refusable)
        for record in self._conclusion(first_byte_ms=max(0, first_delta - began) // 1_000_000):
            yield record

    def _open(self) -> AsyncIterator[Chunk]:
        specs = [tool.spec for tool in self._spec.tools.values()]
        messages = for_model(self._state.messages)
        if self._step.behind is not None:
            messages.append({"role": "assistant", "content": [{"text": self._step.behind}]})
        return aiter(self._spec.model.stream(messages, specs or None, self._spec.system_prompt))

    def _conclusion(self, *, first_byte_ms: int) -> list[Record]:
        """What is written of the call's ending; of a cancelled one nothing: what is decided next says it."""
        match self.ending:
            case Answered():
                return [self._message(first_byte_ms)]
            case Cancelled():
                return []
            case WouldNotContinue(error):
                superseded = (cast("int", self._state.call_open), self._asked_at)
                return [ModelRetried(at=now_ms(), supersedes=superseded, reason=f"it did not go on: {error}")]
            case Failed(error):
                return [failure(error)]

    def _message(self, first_byte_ms: int) -> MessageAdded:
        answer = self._answer
        if first_byte_ms:
            answer.metrics = {"timeToFirstByteMs": first_byte_ms, **answer.metrics}
        message = answer.message()
        if answer.stop_reason != "max_tokens":
            message = tracked(message)
        return MessageAdded(at=now_ms(), message=message, origin="model", stop_reason=answer.stop_reason)


def _announcement(step: CallModel) -> list[Record]:
    at = now_ms()
    started = ModelStarted(at=at, attempt=step.attempt, continues=step.behind is not None)
    if step.supersedes is None:
        return [started]
    return [ModelRetried(at=at, supersedes=step.supersedes, reason="its worker stopped half-way"), started]


def tracked(message: Message) -> Message:
    """The message with a `tracking_id`, its own or a new one."""
    return message if "tracking_id" in message else {**message, "tracking_id": str(uuid4())}


CLOSE_GRACE_S: Final = 5.0
"""What a provider's stream may take to close: a clean-up that hangs must not hold up a cancel, or a worker's drain."""


@asynccontextmanager
async def _closing(stream: AsyncIterator[Chunk]) -> AsyncGenerator[None, None]:
    """Close a provider's stream behind the block. What that raises is logged: what the stream said is known already."""
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
