"""Runs the tool calls of one message, together or one after the other, each only once its start is stored.

In three passes: settle the calls that need not run, write the starts of the others, run them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any, Final, cast

from playhead.runtime.concurrency import is_being_cancelled, merge
from playhead.runtime.core.agent_state import MAX_STATE_BYTES
from playhead.runtime.core.codec import encode_record, limit_of
from playhead.runtime.core.converse import ToolResult, ToolUse
from playhead.runtime.core.errors import EncodingError, RecordTooLargeError
from playhead.runtime.core.hook_effects import hook_of
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME, outcome_question_id
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    Record,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.segments import Encoded, record_of
from playhead.runtime.core.state import RunState, effect_key, tool_uses
from playhead.runtime.core.steps import RunTools
from playhead.runtime.core.terms import Terms
from playhead.runtime.core.tool_input import unread_input, unread_result
from playhead.runtime.core.tool_results import error_result, exception_result, tool_result, unknown_tool_result
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.output_check import checked_call
from playhead.runtime.loop.spec import FLUSH, AgentSpec, CallableTool, LoopOutput
from playhead.runtime.loop.tool_hooks import ToolCall, ToolHooks
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.children import ChildPlace, ChildRuns
from playhead.runtime.tools.context import NotBegunError, ToolContext
from playhead.runtime.tools.tool import ChildBegan, ChildHeard, Interruption, Outcome, Progress, ToolItem

__all__ = ["ToolBatch", "finished"]

OUTCOME_UNKNOWN: Final = (
    "The outcome of this call is unknown: the worker that ran it died before it could store the result. "
    "It may have taken effect; check before calling it again."
)
NOT_DELEGATED: Final = (
    "This tool call was not executed. A delegation tool must be the only tool called in a turn. Retry with a single "
    "delegation tool call or use only non-delegation tools."
)
_OUTCOME_REASON: Final = (
    "The worker that ran this call died before it could store the result. It may have taken effect. "
    'Respond with "retry" to run it again, "fail" to tell the model that the outcome is unknown, or {"result": …} with '
    "what it gave."
)


class ToolBatch:
    """Performs the `RunTools` steps of one ownership of a run.

    Calls that need not run are settled first. The others run in groups: all in one group or, for an agent that runs
    calls in turn, each in its own group. The starts of a group are stored before the first of its bodies begins.

    `run_id` returns the id with which effect keys begin, and `state` the fold of every record yielded so far, including
    those of this batch. `store` is the agent's state, and `children` runs agents that are tools. `hooks` asks the agent's
    hooks; calls that run in turn are decided and settled in turn, too.
    """

    def __init__(
        self,
        spec: AgentSpec,
        *,
        run_id: Callable[[], str],
        control: Control,
        ownership: Ownership,
        invocation_state: dict[str, Any],
        state: Callable[[], RunState],
        terms: Terms,
        store: AgentState,
        hooks: ToolHooks | None = None,
        telemetry: RunTelemetry | None = None,
        children: ChildRuns | None = None,
    ) -> None:
        self._store = store
        self._spec = spec
        self._children = children
        self._run_id = run_id
        self._control = control
        self._ownership = ownership
        self._invocation_state = invocation_state
        self._request_state: dict[str, Any] = {}
        self._state = state
        self._output = terms.output
        self._hooks = hooks
        self._telemetry = telemetry
        self._raised: dict[int, BaseException | None] = {}  # by the bodies of the calls

    async def run(self, step: RunTools) -> AsyncGenerator[LoopOutput, None]:
        """Yield the records of the calls. Ends early for a cancel, or at an interrupt if calls run in turn.

        Raises:
            FencedError: If the run was lost, which may become known when a body is to begin.
            Exception: What a hook raises.
        """
        if self._mixes_delegation():
            for index, use in step.calls:
                yield finished(index, use, error_result(use["toolUseId"], NOT_DELEGATED))
            return
        calls = self._calls(step)
        in_turn = self._hooks is not None and await self._hooks.in_turn(calls)
        for group in [[call] for call in calls] if in_turn else [calls]:
            if self._hooks is not None and self._must_not_begin(group):
                return
            async with aclosing(self._run_group(group)) as items:
                async for item in items:
                    yield item

    def _mixes_delegation(self) -> bool:
        """Whether the message has a call that delegates, and others: as in Strands none of them is run."""
        uses = tool_uses(self._state().messages[-1])
        tools = [self._spec.tools.get(use["name"]) for use in uses]
        return len(uses) > 1 and any(getattr(tool, "delegates", False) for tool in tools)

    async def _run_group(self, calls: list[ToolCall]) -> AsyncGenerator[LoopOutput, None]:
        ready: list[ToolCall] = []
        for call in calls:
            for verdict in await self._hooks.before(call) if self._hooks is not None else ():
                yield verdict
            if self._state().is_waiting(call.index):
                continue
            decided = call if self._hooks is None else self._hooks.decided(call)
            if (settled := self._settled(decided)) is None:
                ready.append(decided)
            else:
                for record in await self._ended(settled, decided):
                    yield record
        together = 1 if self._spec.tool_executor == "sequential" else max(1, len(ready))
        for start in range(0, len(ready), together):
            batch = ready[start : start + together]
            if self._must_not_begin(batch):
                return
            for call in batch:
                yield ToolStarted(at=now_ms(), index=call.index, tool_use=call.use, effect_key=call.key)
            yield FLUSH
            if self._control.cancelling:  # none of them has begun: the next decision cancels them
                return
            runs, by_index = [self._run_one(call) for call in batch], {call.index: call for call in batch}
            async with aclosing(runs[0] if len(runs) == 1 else merge(runs)) as records:
                with self._request_state_there():
                    async for record in records:
                        for item in await self._ended(record, by_index):
                            yield item
            self._ownership.check()

    @contextmanager
    def _request_state_there(self) -> Generator[None]:
        """Put Strands' `request_state` into the caller's values for the block, unless they have one."""
        if "request_state" in self._invocation_state:
            yield
            return
        self._invocation_state["request_state"] = self._request_state
        try:
            yield
        finally:
            self._invocation_state.pop("request_state", None)

    async def _ended(self, item: Record | Encoded, calls: ToolCall | dict[int, ToolCall]) -> list[Record | Encoded]:
        """The records in place of one: the same, unless it is a result and the hooks decide otherwise."""
        record = record_of(item) if self._hooks is not None else None
        if self._hooks is None or not isinstance(record, ToolFinished):
            return [item]
        call = calls if isinstance(calls, ToolCall) else calls[record.index]
        verdict = await self._hooks.after(record, call, error=self._raised.pop(call.index, None))
        return [*self._hooks.cancels(), item if verdict is None else self._fitting(verdict, call)]

    def _calls(self, step: RunTools) -> list[ToolCall]:
        state, calls = self._state(), list[ToolCall]()
        for index, use in step.calls:
            tool, key = self._spec.tools.get(use["name"]), ""
            if tool is not None or self._hooks is not None:  # a hook may give it a tool
                key = effect_key(state, index, use, run_id=self._run_id())
                state = replace(state, keys={**state.keys, index: key})  # the next key must differ
            calls.append(ToolCall(index, use, tool, key, again=index in step.started))
        return calls

    def _must_not_begin(self, batch: list[ToolCall]) -> bool:
        """Whether a cancel is delivered, or a call in turn waits for a human: the rest is left to the next decision."""
        if self._control.cancelling:
            return True
        if self._spec.tool_executor != "sequential":
            return False
        state = self._state()
        return any(state.is_waiting(index) for index in state.interrupted if index < batch[0].index)

    def _settled(self, call: ToolCall) -> Record | Encoded | None:
        """The result of a call without running it, or None if it must run."""
        if call.cancelled is not None:
            return finished(call.index, call.use, error_result(call.use["toolUseId"], call.cancelled))
        if self._output is not None and call.use["name"] == self._output.name:
            message = self._state().messages[-1]
            result = checked_call(self._output, call.use, index=call.index, message=message)
            return finished(call.index, call.use, result)
        if call.tool is None:
            return finished(call.index, call.use, unknown_tool_result(call.use))
        if not call.changed and (text := unread_input(self._state().messages[-1], call.index)) is not None:
            return finished(call.index, call.use, unread_result(call.use, text))
        if not call.again or call.tool.on_unknown_outcome == "retry":
            return None
        if call.tool.on_unknown_outcome == "fail":
            return _unknown(call)
        return self._asked_outcome(call)

    def _asked_outcome(self, call: ToolCall) -> Record | Encoded | None:
        question = outcome_question_id(call.key.removeprefix(f"{self._run_id()}/"))
        response = self._state().responses.get(question)
        if response == "retry":
            return None
        if response == "fail":
            return _unknown(call)
        if isinstance(response, dict) and "result" in response:
            given = cast("dict[str, Any]", response)["result"]
            if isinstance(given, list):  # content blocks
                given = {"status": "success", "content": given}
            result = tool_result(call.use["toolUseId"], given, tool_name=call.use["name"])
            return self._fitting(finished(call.index, call.use, result), call)
        asked = {"id": question, "name": UNKNOWN_OUTCOME, "reason": _OUTCOME_REASON, "response": None}
        return ToolInterrupted(at=now_ms(), index=call.index, tool_use=call.use, interrupts=[asked])

    async def _run_one(self, call: ToolCall) -> AsyncGenerator[Record | Encoded, None]:
        """Yield the records of a call that has a tool; none if the run was lost before its body is to begin."""
        context = ToolContext(
            tool_use=call.use,
            run_id=self._run_id(),
            invocation_state=self._invocation_state,
            agent_name=self._spec.name,
            cancel_signal=self._control.cancel_signal,
            attempt=2 if call.again else 1,
            effect_key=call.key,
            responses=self._state().responses,
            state=self._store.of_call(),
            messages=self._state().messages,
            ownership=self._ownership,
            children=self._place(call),
        )
        began = time.monotonic_ns()
        stream = cast("CallableTool", call.tool).stream(call.use, context)
        if self._telemetry is not None:
            stream = self._telemetry.tool(call.index, stream)
        async with aclosing(_surviving(stream, call.use)) as items:
            with self._control.stopping(context.stop), suppress(NotBegunError):  # `run` raises it after the batch
                async for item in items:
                    took = (time.monotonic_ns() - began) // 1_000_000
                    if self._hooks is not None and isinstance(item, Outcome):
                        self._raised[call.index] = item.error
                    yield self._fitting(_record(item, call, took, context), call)

    def _place(self, call: ToolCall) -> ChildPlace | None:
        if self._children is None:
            return None
        state = self._state()
        return ChildPlace(
            self._children, agent=state.agent, session=state.session, known=state.children.get(call.index)
        )

    def _fitting(self, record: Record, call: ToolCall) -> Record | Encoded:
        """The record or, if it cannot be stored, an error in its place that tells the model what is wrong."""
        times = 1 if hook_of(record) is None else 2  # it has the result as it was and as a hook changed it
        change = None if isinstance(record, ToolProgressed) else dict(record).get("state")
        limit = times * self._spec.max_record_bytes + (MAX_STATE_BYTES if change else 0)
        try:
            return Encoded(record, encode_record(record, limit=limit_of(record, limit)))
        except (RecordTooLargeError, EncodingError) as error:
            if isinstance(record, ToolProgressed):
                data = f"(not stored: {error})"
                return ToolProgressed(at=now_ms(), index=call.index, tool_use=call.use, data=data)
            took = record.duration_ms if isinstance(record, ToolFinished) else 0
            result = error_result(call.use["toolUseId"], f"Error: {error}")
            return finished(call.index, call.use, result, duration_ms=took, state=change)


def _unknown(call: ToolCall) -> Record:
    return finished(call.index, call.use, error_result(call.use["toolUseId"], OUTCOME_UNKNOWN))


def _record(item: ToolItem, call: ToolCall, took: int, context: ToolContext) -> Record:
    match item:
        case ChildHeard():
            return ChildRecorded(at=now_ms(), index=call.index, upto=item.upto, values=item.values)
        case ChildBegan():
            return ChildStarted(at=now_ms(), index=call.index, tool_use=call.use, **asdict(item))
        case Progress():
            return ToolProgressed(at=now_ms(), index=call.index, tool_use=call.use, data=item.value)
        case Interruption():
            change, asked = context.state.end(), item.interrupts
            return ToolInterrupted(at=now_ms(), index=call.index, tool_use=call.use, interrupts=asked, state=change)
        case Outcome():
            stop, change = context.stop_request(), context.state.end()
            return finished(call.index, call.use, item.result, duration_ms=took, stop=stop, state=change)


async def _surviving(items: AsyncGenerator[ToolItem, None], call: ToolUse) -> AsyncGenerator[ToolItem, None]:
    """Yield the items of a call. Anything that a body raises is its tool's error, even `SystemExit`, which `argparse`
    raises.

    It must not end the worker. Only the user's interrupt and a cancellation of this task are raised.
    """
    async with aclosing(items):
        try:
            async for item in items:
                yield item
        except (Exception, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:
            if is_being_cancelled() or _may_be_the_users(error):
                raise
            yield Outcome(exception_result(call["toolUseId"], error))


def _may_be_the_users(error: BaseException) -> bool:
    """Whether it may be Ctrl-C, which Python raises at any point of the main thread; a worker's process handles signals itself."""
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


def finished(
    index: int,
    call: ToolUse,
    result: ToolResult,
    *,
    duration_ms: int = 0,
    stop: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
) -> ToolFinished:
    """The record of a call's result."""
    return ToolFinished(
        at=now_ms(),
        index=index,
        name=call["name"],
        result=result,
        duration_ms=duration_ms,
        stop=stop,
        state=state,
    )
