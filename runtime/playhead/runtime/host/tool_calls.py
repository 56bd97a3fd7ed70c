"""Tool calls of a guest: the start is stored before the body begins, and a result is never computed again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import anyio

from playhead.runtime.core.converse import ToolResult, ToolUse
from playhead.runtime.core.errors import EncodingError, OutcomeUnknownError, RecordTooLargeError
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME, outcome_question_id
from playhead.runtime.core.records import ToolFinished, ToolInterrupted, ToolStarted, now_ms
from playhead.runtime.host.changes import change_again, changes_since, fields_of
from playhead.runtime.host.course import RecordedTool
from playhead.runtime.host.current import Call, calling
from playhead.runtime.host.forms import stored_form
from playhead.runtime.host.raised import made_again, recorded
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["OUTCOME_REASON", "OUTCOME_UNKNOWN", "Asks", "ToolCalls"]

Asks = tuple[Callable[[Exception], list[dict[str, Any]]], Callable[[Sequence[Mapping[str, Any]]], Exception]]
"""What an exception of a tool asks a human, as interrupts, none if the tool has failed; and the exception that asks this."""

OUTCOME_UNKNOWN: Final = (
    "the outcome of this call is unknown: the worker that ran it died before it could store the result. "
    "It may have taken effect; check before calling it again"
)
OUTCOME_REASON: Final = (
    "The worker that ran this call died before it could store the result. It may have taken effect. "
    'Respond with "retry" to run it again, "fail" to tell the agent that the outcome is unknown, or {"result": …} with '
    "what it gave."
)
_CANCELLED: Final = "the run was cancelled while this call ran"
_CUT_OFF: Final = "the agent waited no longer for this call"


class ToolCalls:
    """The tool calls of one execution of a guest. Use it on the guest's event loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def call(
        self,
        call: Mapping[str, Any],
        do: Callable[[], Awaitable[Any]],
        *,
        on_unknown_outcome: OnUnknownOutcome,
        shared: object = None,
        asks: Asks | None = None,
        text: Callable[[Any], str | None] = lambda value: None,
    ) -> Any:
        """What a tool call gives: from the log, or by `do()`, whose start is stored before it begins."""
        recorder = self._recorder
        use, index = _tool_use(call, recorder), recorder.number("tools")
        lane = recorder.lane(use["toolUseId"], fits=lambda lane: self._fits(lane, use))
        past = recorder.course.tool(lane)
        recorder.called(past, use)
        if past.finished is not None:
            recorder.course.forget(lane)
            await recorder.in_turn(past.finished.seq)
            return await _given_again(cast("ToolFinished", past.finished.record), shared)
        again = asks is not None and past.asks_itself  # it asks the same again
        if again and asks is not None and recorder.offline:
            await self._ask_again(past, asks)
        if past.starts and not again and on_unknown_outcome != "retry":
            known = await self._outcome(use, index, lane, past, policy=on_unknown_outcome)
            if known:
                return _given(self._finish(_Opened(index, use, lane), **known))
        await self._begins(_Opened(index, use, lane))
        before, opened = fields_of(shared), _Opened(index, use, lane, time.monotonic())
        made = Call(recorder.run_id, f"{recorder.run_id}{lane}", past.starts + (not again), use)
        try:
            value = await self._body(made, index, do, again=again)
        except asyncio.CancelledError:  # by a cancel of the run, or by the guest, which waits for so long only
            self._cut_off(opened)
            raise
        except Exception as error:
            questions = [] if asks is None else asks[0](error)
            if not questions:
                self._finish(opened, error=error, memory=_memory(before, shared))
            elif not again:
                recorder.put(ToolInterrupted(at=now_ms(), index=index, tool_use=use, interrupts=questions, lane=lane))
            raise
        finally:
            recorder.ends_live()
        return _given(self._finish(opened, value=value, text=text(value), memory=_memory(before, shared)))

    def _fits(self, lane: str, use: ToolUse) -> bool | None:
        """Whether the log has this call in a lane; None if it has none there."""
        if not self._recorder.course.has_tool(lane):
            return None
        logged = self._recorder.course.tool_use(lane)
        return logged is None or (logged["name"], logged["input"]) == (use["name"], use["input"])

    async def _ask_again(self, past: RecordedTool, asks: Asks) -> NoReturn:
        """Raise what the body raised to ask; without it, because offline no body runs."""
        assert past.interrupted is not None
        await self._recorder.in_turn(past.interrupted.seq)
        raise asks[1](past.interrupts)

    async def _begins(self, opened: _Opened) -> None:
        """Wait until a call may begin; one that the guest cuts off before that has ended for it, too."""
        with self._recorder.when_cut_off(lambda: self._cut_off(opened)):
            await self._recorder.goes_live(f"the tool call {opened.lane.lstrip('/')} of {opened.use['name']}")

    def _cut_off(self, opened: _Opened) -> None:
        """Write that a call was cut off: by a cancel of the run, or by the guest, which is then told the same again."""
        cancelled = self._recorder.cancelled
        error = OutcomeUnknownError(f"{opened.use['name']}: {_CANCELLED if cancelled else _CUT_OFF}")
        self._finish(opened, error=error, memory={} if cancelled else {"cut_off": True})

    async def _body(self, call: Call, index: int, do: Callable[[], Awaitable[Any]], *, again: bool) -> Any:
        """Make a call; its start is stored before."""
        recorder, use, lane = self._recorder, call.tool_use, call.effect_key.removeprefix(self._recorder.run_id)
        if not again:
            recorder.put(ToolStarted(at=now_ms(), index=index, tool_use=use, effect_key=call.effect_key, lane=lane))
            await recorder.stored()
            await recorder.check_owned()
        with calling(call, lane=lane):
            return stored_form(await do(), what=f"the result of {use['name']}")

    async def _outcome(
        self, use: ToolUse, index: int, lane: str, past: RecordedTool, *, policy: OnUnknownOutcome
    ) -> dict[str, Any]:
        """What is known of a call that a former owner began, as for `_finish`; nothing to run it again."""
        recorder = self._recorder
        failed = {"error": OutcomeUnknownError(f"{use['name']}: {OUTCOME_UNKNOWN}")}
        if policy == "fail":
            await recorder.goes_live(f"the end of the tool call {lane.lstrip('/')}")
            recorder.ends_live()
            return failed
        question = outcome_question_id(lane.lstrip("/"))
        asked = {"id": question, "name": UNKNOWN_OUTCOME, "reason": OUTCOME_REASON, "response": None}
        response: Any = None
        for _ in range(past.asked):
            response = await recorder.ask(asked)
        if past.begun:  # the last response was about a start before that
            response = None
        while True:
            match response:
                case "retry":
                    return {}
                case "fail":
                    return failed
                case {"result": result}:
                    return {"value": result}
                case _:
                    recorder.put(ToolInterrupted(at=now_ms(), index=index, tool_use=use, interrupts=[asked], lane=lane))
                    response = await recorder.ask(asked)

    def _finish(
        self,
        opened: _Opened,
        *,
        value: Any = None,
        text: str | None = None,
        error: Exception | None = None,
        memory: Mapping[str, Any] | None = None,
    ) -> ToolFinished:
        """Write the end of a call; of a value that cannot be stored an error, because the call must not be made again.

        A value that has a text is stored as it, and is itself in the memory of the call.
        """
        kept = dict(memory or {})
        content: list[Any] = [{"text": value} if isinstance(value, str) else {"json": value}]
        if text is not None:
            kept, content = {**kept, "value": value}, [{"text": text}]
        if error is not None:
            kept, content = (
                {**kept, "raised": recorded(error)},
                [{"text": f"Error: {str(error) or type(error).__name__}"}],
            )
        result: ToolResult = {
            "toolUseId": opened.use["toolUseId"],
            "status": "success" if error is None else "error",
            "content": content,
        }
        record = ToolFinished(
            at=now_ms(),
            index=opened.index,
            name=opened.use["name"],
            result=result,
            duration_ms=0 if opened.began is None else round((time.monotonic() - opened.began) * 1000),
            lane=opened.lane,
            memory=kept,
        )
        try:
            self._recorder.put(record)
        except (EncodingError, RecordTooLargeError) as refused:
            return self._finish(opened, error=refused)
        return record


@dataclass(frozen=True, slots=True)
class _Opened:
    """A call; `began` is the time of the monotonic clock, None if it did not run."""

    index: int
    use: ToolUse
    lane: str
    began: float | None = None


def _tool_use(call: Mapping[str, Any], recorder: Recorder) -> ToolUse:
    """A call in the form of the records.

    Raises:
        EncodingError: If it is not plain data.
        ValueError: If it has no name.
    """
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f'a tool call is {{"name", "input", "toolUseId"}}, and {call!r:.200} has no name')
    said = stored_form(call.get("input") or {}, what=f"the input of {name}")
    return {"toolUseId": str(call.get("toolUseId") or name), "name": name, "input": said}


def _given(record: ToolFinished) -> Any:
    if "raised" in record.memory:
        raise made_again(record.memory["raised"])
    if "value" in record.memory:
        return record.memory["value"]
    block = dict(record.result["content"][0])
    return block["text"] if "text" in block else block.get("json")


async def _given_again(record: ToolFinished, shared: object) -> Any:
    """What a recorded call gave, and what it changed. One that the guest cut off is cut off again: it does not end by itself."""
    if "shared" in record.memory:
        change_again(shared, record.memory["shared"])
    if "cut_off" in record.memory:
        await anyio.sleep_forever()
    return _given(record)


def _memory(before: Mapping[str, Any], shared: object) -> dict[str, Any]:
    changes = changes_since(before, shared)
    return {"shared": changes} if changes else {}
