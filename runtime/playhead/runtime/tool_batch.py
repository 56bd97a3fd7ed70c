"""Running the tool calls of one answer: together or one after the other, each begun only when its start is stored."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

from playhead.runtime.agent_spec import COMMIT, AgentSpec, Item
from playhead.runtime.codec import encode_record
from playhead.runtime.control import Control
from playhead.runtime.decide import RunTools
from playhead.runtime.errors import EncodingError, RecordTooLargeError
from playhead.runtime.fanout import merge
from playhead.runtime.interrupts import UNKNOWN_OUTCOME, outcome_question_id
from playhead.runtime.records import Record, ToolFinished, ToolInterrupted, ToolProgressed, ToolStarted, now_ms
from playhead.runtime.state import RunState, effect_key
from playhead.runtime.tool_context import NotBegunError
from playhead.runtime.tool_results import error_result, exception_result, tool_result
from playhead.runtime.tools import Interruption, Outcome, Progress, Tool, ToolContext, unknown_tool_result
from playhead.runtime.types import ToolResult, ToolUse

__all__ = ["ToolBatch", "finished"]

OUTCOME_UNKNOWN: Final = (
    "The outcome of this call is unknown: the worker that ran it died before it could store the result. "
    "It may have taken effect; check before calling it again."
)
_OUTCOME_REASON: Final = (
    "The worker that ran this call died before it could store the result. It may have taken effect. "
    'Answer "retry" to run it again, "fail" to tell the model that the outcome is unknown, or {"result": …} with what '
    "it gave."
)


class ToolBatch:
    """Performs the `RunTools` steps of one ownership of a run.

    `state` gives the fold of every record yielded so far, these included.
    """

    def __init__(
        self,
        spec: AgentSpec,
        *,
        run_id: str,
        control: Control,
        invocation_state: dict[str, Any],
        state: Callable[[], RunState],
    ) -> None:
        self._spec = spec
        self._run_id = run_id
        self._control = control
        self._invocation_state = invocation_state
        self._state = state
        self._refused: NotBegunError | None = None

    async def run(self, step: RunTools) -> AsyncGenerator[Item, None]:
        """The records of the calls; ends early for a cancel, or at an interrupt of calls that run in turn.

        Raises:
            FencedError: A body was not begun, since the run may be another owner's by now (`Control.begin`).
        """
        calls: list[tuple[int, ToolUse, Tool]] = []
        for index, call in step.calls:
            tool = self._spec.tools.get(call["name"])
            settled = self._settled(index, call, tool, begun=index in step.started)
            if settled is not None:
                yield settled
            elif tool is not None:
                calls.append((index, call, tool))
        together = 1 if self._spec.tool_executor == "sequential" else max(1, len(calls))
        for start in range(0, len(calls), together):
            batch = calls[start : start + together]
            if self._must_not_begin(batch):
                return
            for index, call, _ in batch:
                key = effect_key(self._state(), index, call, run_id=self._run_id)
                yield ToolStarted(at=now_ms(), index=index, tool_use=call, effect_key=key)
            yield COMMIT
            if self._control.cancelling:  # none of them has begun: what is decided anew says so
                return
            runs = [self._run_one(index, call, tool, again=index in step.started) for index, call, tool in batch]
            async with aclosing(runs[0] if len(runs) == 1 else merge(runs)) as records:
                async for record in records:
                    yield record
            if self._refused is not None:
                raise self._refused

    def _must_not_begin(self, batch: list[tuple[int, ToolUse, Tool]]) -> bool:
        """A cancel came, or calls in turn met one that waits for a human: the rest is decided anew."""
        if self._control.cancelling:
            return True
        if self._spec.tool_executor != "sequential":
            return False
        state = self._state()
        return any(state.is_waiting(index) for index in state.interrupted if index < batch[0][0])

    def _settled(self, index: int, call: ToolUse, tool: Tool | None, *, begun: bool) -> Record | None:
        """What becomes of a call without running it, or None if it is to be run."""
        if tool is None:
            return finished(index, call, unknown_tool_result(call))
        if not begun or tool.on_unknown_outcome == "retry":
            return None
        if tool.on_unknown_outcome == "fail":
            return finished(index, call, error_result(call["toolUseId"], OUTCOME_UNKNOWN))
        return self._asked_outcome(index, call)

    def _asked_outcome(self, index: int, call: ToolUse) -> Record | None:
        state = self._state()
        key = effect_key(state, index, call, run_id=self._run_id)
        question = outcome_question_id(key.removeprefix(f"{self._run_id}/"))
        answer = state.answers.get(question)
        if answer == "retry":
            return None
        if answer == "fail":
            return finished(index, call, error_result(call["toolUseId"], OUTCOME_UNKNOWN))
        if isinstance(answer, dict) and "result" in answer:
            given = cast("dict[str, Any]", answer)["result"]
            if isinstance(given, list):  # content blocks
                given = {"status": "success", "content": given}
            result = tool_result(call["toolUseId"], given, tool_name=call["name"])
            return self._fitting(finished(index, call, result), index, call)
        asked = {"id": question, "name": UNKNOWN_OUTCOME, "reason": _OUTCOME_REASON, "response": None}
        return ToolInterrupted(at=now_ms(), index=index, tool_use=call, interrupts=[asked])

    async def _run_one(self, index: int, call: ToolUse, tool: Tool, *, again: bool) -> AsyncGenerator[Record, None]:
        state = self._state()
        context = ToolContext(
            tool_use=call,
            run_id=self._run_id,
            invocation_state=self._invocation_state,
            agent_name=self._spec.name,
            cancel_signal=self._control.cancel_signal,
            attempt=2 if again else 1,
            effect_key=effect_key(state, index, call, run_id=self._run_id),
            answers=state.answers,
            may_begin=self._control.begin,
        )
        began = time.monotonic_ns()
        async with aclosing(_surviving(tool.stream(call, context), call)) as items:
            with self._control.stopping(context.stop):
                try:
                    async for item in items:
                        took = (time.monotonic_ns() - began) // 1_000_000
                        yield self._fitting(_record(item, index, call, took), index, call)
                except NotBegunError as refused:  # kept, since calls that run together must not fail
                    self._refused = refused

    def _fitting(self, record: Record, index: int, call: ToolUse) -> Record:
        """The record, or where it cannot be stored an honest one in its place: the model learns what was wrong."""
        try:
            encode_record(record, limit=self._spec.max_record_bytes)
        except (RecordTooLargeError, EncodingError) as error:
            if isinstance(record, ToolProgressed):
                return ToolProgressed(at=now_ms(), index=index, tool_use=call, data=f"(not stored: {error})")
            took = record.duration_ms if isinstance(record, ToolFinished) else 0
            return finished(index, call, error_result(call["toolUseId"], f"Error: {error}"), duration_ms=took)
        return record


def _record(item: Progress | Outcome | Interruption, index: int, call: ToolUse, took: int) -> Record:
    match item:
        case Progress():
            return ToolProgressed(at=now_ms(), index=index, tool_use=call, data=item.value)
        case Interruption():
            return ToolInterrupted(at=now_ms(), index=index, tool_use=call, interrupts=item.interrupts)
        case Outcome():
            return finished(index, call, item.result, duration_ms=took)


async def _surviving(
    items: AsyncGenerator[Progress | Outcome | Interruption, None], call: ToolUse
) -> AsyncGenerator[Progress | Outcome | Interruption, None]:
    """The items of a call, also of one that exits the program: `argparse` does, and a worker holds many other runs."""
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except SystemExit as error:
            yield Outcome(exception_result(call["toolUseId"], error))


def finished(index: int, call: ToolUse, result: ToolResult, *, duration_ms: int = 0) -> ToolFinished:
    """The record of a call's result."""
    return ToolFinished(at=now_ms(), index=index, name=call["name"], result=result, duration_ms=duration_ms)
