"""The calls of a Strands agent's tools, in its innermost middleware."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from copy import deepcopy
from typing import Any, Final, Literal, cast

from strands import Agent
from strands.interrupt import Interrupt
from strands.middleware import ExecuteToolContext
from strands.types._events import AgentAsToolStreamEvent, ToolInterruptEvent, ToolStreamEvent
from strands.types.events import ToolResultEvent, TypedEvent

from playhead.runtime.core.errors import EncodingError, RecordTooLargeError
from playhead.runtime.core.interrupts import UNKNOWN_OUTCOME
from playhead.runtime.core.records import (
    Entry,
    EventEmitted,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
    now_ms,
)
from playhead.runtime.guests.strands.forms import of_a_tool, steady, told_alike, wire
from playhead.runtime.guests.strands.hosted import HOSTED, HostedRun
from playhead.runtime.host.current import Call, calling
from playhead.runtime.host.keys import key_part
from playhead.runtime.host.tool_calls import OUTCOME_REASON, OUTCOME_UNKNOWN
from playhead.runtime.tools.hints import outcome_by_hints

__all__ = ["recorded_tool_call"]

NextCall = Callable[[ExecuteToolContext], AsyncGenerator[TypedEvent, None]]
Mode = Literal["result", "enter", "rerun"]
"""How a call is made again: by its recorded result; by entering it, since its own calls are recorded, as those of an agent
are; or as it was, since it changes the agent only."""

_CANCELLED: Final = "Tool execution cancelled"
"""The result of a call that a cancel prevents, in Strands' words."""

_MEMORY_ONLY: Final = frozenset({"handoff_to_agent"})


async def recorded_tool_call(context: ExecuteToolContext, next_fn: NextCall) -> AsyncGenerator[TypedEvent, None]:
    """Give what a call gave before, or make it and record it."""
    run = HOSTED.get()
    events = next_fn(context) if run is None else _RecordedCall(run, context, next_fn).events()
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()


class _RecordedCall:
    """One visit of a call: Strands makes a call again after a human has responded."""

    def __init__(self, run: HostedRun, context: ExecuteToolContext, next_fn: NextCall) -> None:
        self._run = run
        self._recorder = run.recorder
        self._context = context
        self._next = next_fn
        self._use: Any = context.tool_use
        self._agent = cast("Agent", context.agent)
        self._lane = f"{run.scope_of(context.agent)}/{key_part(str(self._use['toolUseId']))}"
        self._past = self._recorder.course.visit(self._lane)
        self._began = 0  # when its body began
        self._progress: list[Entry] = list(self._past.progress)
        self._told_in = 0  # the last of the owners whose progress this call has told again
        self._same: set[int] = set()  # the numbers of the records that told the same

    @property
    def _mode(self) -> Mode:
        tool = self._context.tool
        if isinstance(getattr(tool, "agent", None), Agent):
            return "enter"
        name = self._use["name"]
        kind = getattr(tool, "tool_type", "")
        return "rerun" if kind == "structured_output" or name in _MEMORY_ONLY | self._run.rerun else "result"

    async def events(self) -> AsyncGenerator[TypedEvent, None]:
        """The events of the call, its result or its questions the last of them."""
        events = self._made()
        self._run.events.delegated |= self._delegates
        try:
            async for event in events:
                yield event
        finally:
            self._run.events.delegated &= not self._delegates
            await events.aclose()

    @property
    def _delegates(self) -> bool:
        """Whether the events of the agent that is called are those of the run."""
        return (
            self._run.top is self._agent
            and self._lane.count("/") == 1
            and getattr(self._context.tool, "delegate", False)
        )

    async def _made(self) -> AsyncGenerator[TypedEvent, None]:
        past, entered = self._past, self._mode == "enter" and self._recorder.enters_again
        self._recorder.called(past, self._use)
        if past.finished is not None and self._mode != "rerun" and not entered:
            for entry in self._told(past.finished):
                yield self._stream_event(cast("ToolProgressed", entry.record).data)
            while (entry := self._recorder.course.next_event(self._lane)) is not None:
                yield self._stream_event(cast("EventEmitted", entry.record).event)
            await self._recorder.in_turn(past.finished.seq)
            yield self._given(past.finished)
            return
        if past.interrupts and self._mode == "result":
            if any(one["name"] == UNKNOWN_OUTCOME for one in past.interrupts):
                self._run.unknown.add(self._lane)
            yield ToolInterruptEvent(self._use, [Interrupt(**one) for one in past.interrupts])
            return
        settled = self._settled() if self._mode == "result" else None
        if settled is not None:
            self._recorder.retelling.begins(self._lane)
            yield ToolResultEvent(self._finish(settled, {}))
            return
        events = self._body() if self._mode == "result" else self._again()
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    def _told(self, finished: Entry) -> Iterator[Entry]:
        """The progress of the call, without what only an attempt at it told that was cut off."""
        untold = cast("ToolFinished", finished.record).memory.get("untold", ())
        return (entry for number, entry in enumerate(self._past.progress) if number not in untold)

    def _given(self, finished: Entry) -> ToolResultEvent:
        """The recorded result, and what the call changed in the agent besides."""
        record = cast("ToolFinished", finished.record)
        self._recorder.course.forget(self._lane)
        self._run.finished[self._lane] += 1
        for key, value in record.memory.get("state", {}).items():
            self._agent.state.set(key, value)
        if (stop := record.memory.get("stop")) is not None:
            self._agent.cancel(message=stop[0], after_current_tools=True)
        return ToolResultEvent(cast("Any", deepcopy(record.result)))  # Strands changes it in place

    def _settled(self) -> Any:
        """The result of a call that was cut off and must not run again; None to run it. Asks a human by an exception."""
        if not self._past.starts and self._lane not in self._run.unknown:
            return None
        policy = self._run.policies.get(self._use["name"])
        if policy is None:
            tool = self._context.tool
            hints = cast("Any", tool.tool_spec).get("annotations") if tool is not None else None
            policy = outcome_by_hints(hints)
        answer: Any = policy
        if policy == "ask":
            self._run.unknown.add(self._lane)
            answer = self._context.interrupt(UNKNOWN_OUTCOME, reason=OUTCOME_REASON).response
        if isinstance(answer, dict) and "result" in answer:
            given = cast("Any", answer["result"])
            return self._result("success", given if isinstance(given, list) else [{"text": str(given)}])
        return None if answer == "retry" else self._result("error", [{"text": OUTCOME_UNKNOWN}])

    def _result(self, status: str, content: list[Any]) -> Any:
        return {"toolUseId": self._use["toolUseId"], "status": status, "content": content}

    async def _body(self) -> AsyncGenerator[TypedEvent, None]:
        """Run the tool: its start is stored before."""
        recorder = self._recorder
        await recorder.goes_live(f"the tool call {self._lane.lstrip('/')} of {self._use['name']}")
        try:
            recorder.retelling.begins(self._lane)
            if not recorder.cancelled:
                recorder.put(self._started())
                await recorder.stored()
                await recorder.check_owned()
            if recorder.cancelled:
                told = OUTCOME_UNKNOWN if self._past.starts else _CANCELLED
                yield ToolResultEvent(self._finish(self._result("error", [{"text": told}]), self._agent.state.get()))
                return
            async for event in self._within():
                yield event
        finally:
            recorder.ends_live()

    async def _again(self) -> AsyncGenerator[TypedEvent, None]:
        """Enter the call again: what it does is recorded by itself, or changes the agent only."""
        if self._mode == "rerun":
            self._recorder.retelling.begins(self._lane)
        if not self._past.starts:
            self._recorder.put(self._started())
        async for event in self._within():
            yield event

    def _started(self) -> ToolStarted:
        return ToolStarted(
            at=now_ms(), index=self._index, tool_use=wire(self._use), effect_key=self._effect_key, lane=self._lane
        )

    @property
    def _effect_key(self) -> str:
        again = self._run.finished[self._lane] + 1
        return f"{self._recorder.run_id}{self._lane}{f'~{again}' if again > 1 else ''}"

    @property
    def _index(self) -> int:
        """The position of the call in the message."""
        blocks: list[Any] = self._agent.messages[-1]["content"] if self._agent.messages else []
        ids = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        return ids.index(self._use["toolUseId"]) if self._use["toolUseId"] in ids else 0

    async def _within(self) -> AsyncGenerator[TypedEvent, None]:
        """The events of the tool itself, recorded; what it does is named after this call."""
        call = Call(self._recorder.run_id, self._effect_key, self._past.starts + 1, self._use)
        before, self._began = self._agent.state.get(), now_ms()
        events = self._next(self._context)
        try:
            while True:
                with calling(call, lane=self._lane):
                    event = await anext(events, None)
                if event is None:
                    return
                yield await self._recorded(event, before)
        finally:
            await events.aclose()

    async def _recorded(self, event: TypedEvent, before: dict[str, Any]) -> TypedEvent:
        if isinstance(event, ToolResultEvent):
            given = self._finish(event.tool_result, before)
            return event if given is event.tool_result else ToolResultEvent(given)
        if isinstance(event, ToolStreamEvent):
            await self._progressed(wire(cast("Any", event)["tool_stream_event"]["data"]))
        elif isinstance(event, ToolInterruptEvent) and self._lane.count("/") > 1 and not self._past.interrupts:
            asked = [
                wire(one.to_dict()) for one in event.interrupts
            ]  # of a top call it is recorded as the agent's event
            self._recorder.put(
                ToolInterrupted(
                    at=now_ms(), index=self._index, tool_use=wire(self._use), interrupts=asked, lane=self._lane
                )
            )
        return event

    async def _progressed(self, data: Any) -> None:
        """Record what the tool tells, unless the log has it; not always as the next: what runs side by side tells in any order."""
        if self._delegates:
            await self._delegated(data)
            return
        recorder, use = self._recorder, wire(self._use)
        record = ToolProgressed(at=now_ms(), index=self._index, tool_use=use, data=data, lane=self._lane)
        if alike := self._logged(data):
            logged = max(alike, key=lambda one: one.epoch)  # a later owner told it once more
            self._progress.remove(logged)
            self._same.add(logged.seq)
            self._told_in = max(self._told_in, logged.epoch)
            recorder.apply_signals(before=alike[0].seq)
            recorder.retelling.same(self._lane, record)
        elif all(one.epoch < self._told_in for one in self._progress):  # a later owner told otherwise
            await recorder.put_all([record])
        elif (again := recorder.retelling.other(self._lane)) is not None:
            self._progress.clear()
            self._same.clear()
            await recorder.put_all([*again, record])
        else:
            told = f"gave {data!r:.300} in {self._use['name']}"
            await recorder.fail(recorder.diverged(told, self._progress[0]))

    async def _delegated(self, data: Any) -> None:
        """Record an event of the agent to which this one has delegated its turn."""
        record = EventEmitted(at=now_ms(), event=data, lane=self._lane)
        same: Callable[[Any], bool] = lambda logged: told_alike(logged.event, data)  # noqa: E731
        beside = of_a_tool if of_a_tool(record) else None
        await self._recorder.emit(record, same=same, part=self._lane, beside=beside)

    def _logged(self, data: Any) -> list[Entry]:
        """The progress of the log that is the same."""
        said = steady(data)
        return [one for one in self._progress if steady(cast("ToolProgressed", one.record).data) == said]

    def _finish(self, result: Any, before: dict[str, Any]) -> Any:
        """Write the result, with what the call changed in the agent besides."""
        self._run.finished[self._lane] += 1
        if self._past.finished is not None:  # a call that is made again each time
            self._recorder.gave(self._past.finished, wire(result))
            return result
        memory: dict[str, Any] = {}
        if untold := [number for number, one in enumerate(self._past.progress) if one.seq not in self._same]:
            memory["untold"] = untold
        if changed := {key: value for key, value in self._agent.state.get().items() if before.get(key) != value}:
            memory["state"] = changed
        inside = vars(self._agent)  # Strands has no public name for what `cancel` was given
        if inside["_deferred_cancel"]:
            memory["stop"] = [inside["_cancel_message"]]
        try:
            self._recorder.put(self._finished(wire(result), memory))
        except (EncodingError, RecordTooLargeError) as error:
            result = self._result("error", [{"text": f"Error: {error}"}])
            self._recorder.put(self._finished(result, memory))
        return result

    def _finished(self, result: Any, memory: dict[str, Any]) -> ToolFinished:
        at = now_ms()
        return ToolFinished(
            at=at,
            index=self._index,
            name=self._use["name"],
            result=result,
            memory=memory,
            lane=self._lane,
            duration_ms=at - (self._began or at),
        )

    def _stream_event(self, data: Any) -> TypedEvent:
        if self._mode == "enter":
            return AgentAsToolStreamEvent(self._use, data, cast("Any", self._context.tool))
        return ToolStreamEvent(self._use, data)
