"""The events of a Strands agent as records. Those that readers compute from other records leave no record of their own."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel
from strands import Agent
from strands.hooks import AfterModelCallEvent, MessageAddedEvent

from playhead.runtime.core.records import (
    CycleStarted,
    EventEmitted,
    MessageAdded,
    RunResumed,
    StructuredOutputProduced,
    ToolInterrupted,
    now_ms,
)
from playhead.runtime.guests.strands.forms import wire
from playhead.runtime.guests.strands.kept_state import KeptState
from playhead.runtime.guests.strands.reductions import Reductions
from playhead.runtime.host.keys import key_part
from playhead.runtime.host.recorder import Recorder

__all__ = ["EventRecorder"]

_MARKS = ("init_event_loop", "start", "start_event_loop")


class EventRecorder:
    """Takes the events of one agent in their order.

    Attributes:
        resumed: Whether the next cycle is the first after a pause.
        forced: The `force_stop` event that is not recorded yet: at the end of a run that fails, its end tells it.
        delegated: Whether the events are those of an agent to which the agent has delegated its turn: they are recorded
            where that one gives them.
    """

    def __init__(self, recorder: Recorder, agent: Agent | None, state: KeptState | None = None) -> None:
        self.resumed: bool = False
        self.forced: dict[str, Any] | None = None
        self.delegated: bool = False
        self._recorder = recorder
        self._reductions = None if agent is None else Reductions(agent)
        self._state = state
        self._marks: list[dict[str, Any]] = []
        self._added: list[Any] = []  # messages without an event: those of the prompt
        self._cycle = 0
        self._steer: Any = None  # the last message of `steered`
        self._stop_reason: str | None = None

    def message_added(self, event: MessageAddedEvent) -> None:
        """A message is in the history."""
        if event.message is not self._steer:
            self._added.append(event.message)

    async def steered(self, message: Any) -> None:
        """A prompt that was sent to the running run is in the history."""
        self._steer = message
        await self.flush()
        await self._message(message, "steer")

    def model_called(self, event: AfterModelCallEvent) -> None:
        """A model call has ended."""
        if event.stop_response is not None:
            self._stop_reason = event.stop_response.stop_reason

    async def take(self, event: dict[str, Any]) -> None:
        """Record what is not recorded elsewhere: chunks are where the model sends them, progress where a tool yields it."""
        if self.delegated:
            return
        if any(mark in event for mark in _MARKS):
            self._marks.append(event)
            if "start_event_loop" in event:
                await self._cycle_began()
            return
        await self.flush(announced=event.get("message"))
        if "event" in event or "delta" in event or "tool_stream_event" in event:
            return
        if "message" in event:
            await self._message(event["message"], "model" if event["message"]["role"] == "assistant" else "tools")
        elif isinstance(output := event.get("structured_output"), BaseModel):
            name, value = type(output).__name__, output.model_dump(mode="json")
            produced = StructuredOutputProduced(at=now_ms(), name=name, value=value)
            await self._recorder.emit(produced, same=lambda logged: logged.value == value)
        elif "tool_interrupt_event" in event:
            self._interrupted(event["tool_interrupt_event"])
        elif "tool_cancel_event" in event:
            call = event["tool_cancel_event"]["tool_use"]["toolUseId"]
            await self._emit(event, lane=f"cancel of {call}")  # calls that run side by side are cancelled in any order
        elif "force_stop" in event:
            self.forced = event
        else:
            await self._emit(event)

    async def _emit(self, event: dict[str, Any], *, lane: str = "") -> None:
        said = wire(event)
        record = EventEmitted(at=now_ms(), event=said, lane=lane)
        await self._recorder.emit(record, same=lambda logged: logged.event.keys() == said.keys())

    def _interrupted(self, event: dict[str, Any]) -> None:
        call = event["tool_use"]
        lane = f"/{key_part(str(call['toolUseId']))}"
        if self._recorder.course.asked(lane):
            return
        asked = [wire(one.to_dict()) for one in event["interrupts"]]
        self._recorder.put(ToolInterrupted(at=now_ms(), index=0, tool_use=wire(call), interrupts=asked, lane=lane))

    async def _cycle_began(self) -> None:
        shape = [next(mark for mark in _MARKS if mark in event) for event in self._marks]
        if shape[:1] == ["init_event_loop"] and len(shape) == 3 and (self.resumed or self._cycle == 0):
            await self.flush(marks=False)
            record = self._resumed() if self.resumed else CycleStarted(at=now_ms(), cycle=1)
            await self._recorder.emit(record, same=lambda _: True)
            self._cycle, self.resumed, self._marks = max(self._cycle, 1), False, []
        elif shape == ["start", "start", "start_event_loop"] and self._cycle:
            await self.flush(marks=False)
            self._cycle, self._marks = self._cycle + 1, []
            record = CycleStarted(at=now_ms(), cycle=self._cycle)
            await self._recorder.emit(record, same=lambda logged: logged.cycle == record.cycle)
        else:
            await self.flush()

    def _resumed(self) -> RunResumed:
        return RunResumed(at=now_ms(), invocation_state=self._recorder.restated)

    def drop_begun(self) -> bool:
        """Drop the mark of a cycle that a limit prevented, which readers compute; whether there is one."""
        begun = [list(event) for event in self._marks] == [["start"]]
        if begun:
            self._marks = []
        return begun

    async def kept(self) -> None:
        """Record what the session is to keep besides messages, once all of those are recorded."""
        if self._state is not None and (changed := self._state.changed()) is not None:
            await self._recorder.emit(changed, same=lambda _: True)
        for record in self._reductions.records() if self._reductions is not None else ():
            await self._recorder.emit(record, same=lambda logged, record=record: logged.removed == record.removed)

    async def flush(self, *, announced: Any = None, marks: bool = True) -> None:
        """Record what was held back: an end that did not come, messages without an event, and marks that begin no cycle."""
        if self.forced is not None:
            forced, self.forced = self.forced, None
            await self._emit(forced)
        added, self._added = self._added, []
        for message in added:
            if announced is None or (message is not announced and message["role"] != announced["role"]):
                await self._message(message, "prompt")
        if marks:
            held, self._marks = self._marks, []
            for event in held:
                await self._emit(event)

    async def _message(self, message: Any, origin: Literal["prompt", "steer", "model", "tools"]) -> None:
        said = wire(message)
        reason = self._stop_reason if origin == "model" else None
        record = MessageAdded(at=now_ms(), message=said, origin=origin, stop_reason=reason)
        logged = await self._recorder.emit(
            record,
            same=lambda old: (old.message.get("role"), old.message.get("content")) == (said["role"], said["content"]),
        )
        stored = cast("dict[str, Any]", logged.message)  # ids and times are made up each time: those of the log hold
        message.update({key: stored[key] for key in ("tracking_id", "metadata") if key in stored})
        if self._reductions is not None:
            self._reductions.added(message)
