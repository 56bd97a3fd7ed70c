"""`FunctionGuest`: `async def run(ctx, prompt)` as a TARGET, an async generator of events."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, ClassVar, Literal, cast

from playhead.runtime.core.arguments import check_callable
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.converse import Message
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import EventEmitted, MessageAdded, Record, RunCompleted, now_ms
from playhead.runtime.host.context import CONTEXT, ITEMS, GuestContext
from playhead.runtime.host.forms import VARIES, steady, stored_form
from playhead.runtime.host.guest import Guest, Visit
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["FunctionGuest", "GeneratorGuest", "Run", "add_message", "is_guest_function", "takes_context"]

Run = Callable[[GuestContext, Any], AsyncGenerator[Any, None]]
"""A function that runs a run: it yields its events, which are dicts of plain data."""


class GeneratorGuest(Guest):
    """Runs each run by an async generator of events, which `opened` gives.

    Attributes:
        varies: Keys of events whose values are made up each time: they need not be the same when the guest runs again.
        outcomes: `GuestContext.outcomes` of its runs.
        observed: Whether events of one lane come in any order, and need not be the same when the guest runs again: nothing
            that the guest does depends on them.
    """

    varies: ClassVar[frozenset[str]] = VARIES
    observed: ClassVar[bool] = False
    outcomes: Mapping[str, OnUnknownOutcome] = {}

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[Run]:
        """What runs it from its top, for the block: yields the run's events, which are dicts of plain data, and sets `ctx.result`."""

    def steady(self, value: Any) -> Any:
        """Plain data without what varies."""
        return steady(value, self.varies)

    async def drive(self, visit: Visit) -> Record:
        """Run the generator to its end, and again for each prompt that was sent to the running run and that it did not take."""
        recorder, ctx = visit.recorder, GuestContext(visit)
        ctx.outcomes = self.outcomes
        CONTEXT.set(ctx)  # for the task of this execution, which ends with it
        prompt = visit.submitted.prompt
        said = await _add_prompt(recorder, prompt, "prompt")
        async with self.opened() as run:
            while True:
                await self._invoke(recorder, run(ctx, prompt))
                end, answer = await _end(recorder, ctx)
                if (prompt := recorder.next_prompt()) is None:
                    return end
                ctx.invoked_again([*said, *answer])
                said = await _add_prompt(recorder, prompt, "steer")

    async def _invoke(self, recorder: Recorder, run: AsyncGenerator[Any, None]) -> None:
        async with aclosing(run) as events:
            recorder.code = events
            async for event in events:
                recorder.check_cancelled()
                await self._emit(recorder, event)
        recorder.apply_signals()
        recorder.check_cancelled()

    def lane_of(self, event: dict[str, Any]) -> str:
        """A name for the events that come in the same order each time. Those of tools that run side by side have lanes of their
        own, if their framework tells of them in any order; all others have the empty one.
        """
        del event
        return ""

    async def _emit(self, recorder: Recorder, event: object) -> None:
        said = stored_form(event, what="an event of the agent")
        if not isinstance(said, dict):
            raise TypeError(f"an event is a dict, and the agent yielded {event!r:.200} of type {type(event).__name__}")
        fields = steady(said, self.varies)
        record = EventEmitted(at=now_ms(), event=cast("dict[str, Any]", said), lane=self.lane_of(said))
        await recorder.emit(
            record,
            same=lambda logged: steady(logged.event, self.varies) == fields,
            beside=_any_order if self.observed else None,
            stands=self.observed,
        )


class FunctionGuest(GeneratorGuest):
    """Runs each run by a function of one's own.

        async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
            ...

    A worker calls it after each claim of a run, in a thread of its own. What it yields are the run's events, and
    `ctx.result` its result.

    Args:
        run: The function, an async generator.
        name: The name that clients use; None for the function's name.
        max_record_bytes: The size limit of one record.
        own_loop: Give each run a thread and an event loop of its own. Without, its runs share one loop in the process with those of
            other guests: no thread is made for a run, and one that blocks its loop stalls the others.

    Raises:
        TypeError: If `run` is not an async generator function of two arguments.
        ValueError: If the name is invalid.
    """

    def __init__(
        self,
        run: Run,
        *,
        name: str | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
        own_loop: bool = True,
    ) -> None:
        check_callable("run", run)
        if not is_guest_function(run):
            raise TypeError(f"a guest is `async def run(ctx, prompt)` that yields its events, which {run!r:.80} is not")
        own = getattr(run, "__name__", "run")
        super().__init__(name or own, max_record_bytes=max_record_bytes, shares_loop=not own_loop)
        self._run = run

    def __repr__(self) -> str:
        return f"FunctionGuest(name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionGuest) and (self.name, self._run) == (other.name, other._run)

    def __hash__(self) -> int:
        return hash((self.name, self._run))

    def makes_by(self, function: object) -> bool:
        """Whether it calls this function."""
        return self._run is function

    def opened(self) -> AbstractAsyncContextManager[Run]:
        """The function."""
        return nullcontext(self._run)

    @property
    def sources(self) -> dict[str, object]:
        """The function."""
        return {"": self._run}


def _any_order(logged: Record) -> bool:
    return isinstance(logged, EventEmitted)


def is_guest_function(value: object) -> bool:
    """Whether this is an async generator function that can be called with a context and a prompt."""
    if not inspect.isasyncgenfunction(value):
        return False
    try:
        inspect.signature(value).bind(None, None)
    except TypeError:
        return False
    return True


def takes_context(function: object) -> bool:
    """Whether the first parameter of a function is annotated as a `GuestContext`."""
    hint = next(iter(getattr(function, "__annotations__", {}).values()), None)
    return hint is GuestContext or (isinstance(hint, str) and hint.rpartition(".")[2] == GuestContext.__name__)


async def add_message(recorder: Recorder, message: Message, origin: Literal["prompt", "steer", "model"]) -> Message:
    """A message for the session of the run, as the log has it; one of a model ends its turn."""
    reason = "end_turn" if origin == "model" else None
    record = MessageAdded(at=now_ms(), message=message, origin=origin, stop_reason=reason)
    content = message.get("content")
    logged: MessageAdded = await recorder.emit(record, same=lambda logged: logged.message.get("content") == content)
    return logged.message


async def _add_prompt(recorder: Recorder, prompt: Any, origin: Literal["prompt", "steer"]) -> list[Message]:
    return [await add_message(recorder, one, origin) for one in prompt_messages(prompt) or []]


async def _end(recorder: Recorder, ctx: GuestContext) -> tuple[RunCompleted, list[Message]]:
    """The end of the run after this invocation, and the message of its answer, if it has one."""
    given = stored_form(ctx.result, what="ctx.result")
    text = given if isinstance(given, str) else "" if given is None else json_line(given)
    message: Message = {"role": "assistant", "content": [{"text": text}] if text else []}
    if ctx.items:
        message["metadata"] = {"custom": {ITEMS: stored_form(ctx.items, what="ctx.items")}}
    answer = [await add_message(recorder, message, "model")] if text or ctx.items else []
    output = {} if given is None or isinstance(given, str) else {"structured_output": given}
    metrics = {"metrics": {"usage": dict(ctx.usage)}} if ctx.usage else {}
    said: Message = {
        "role": "assistant",
        "content": message["content"],
    }  # the items are in the session, not twice in the log
    result = {"stop_reason": "end_turn", "message": said, "state": {}, **metrics, **output}
    return RunCompleted(at=now_ms(), result=result), answer
