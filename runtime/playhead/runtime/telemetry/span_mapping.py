"""Maps the records of one ownership of a run to operations on spans. Pure: no clock, no I/O.

    invoke_agent <name> > execute_event_loop_cycle > chat, execute_tool <tool>

Names, nesting, attributes and events are Strands'. The record that ends the ownership is not an operation before it is
stored: until then signals may let the run go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from playhead.runtime.core.converse import Message, ToolResult, ToolSpec, ToolUse
from playhead.runtime.core.records import (
    CALL_FAILED,
    FAILED_ASKED_AGAIN,
    ContextReduced,
    CycleStarted,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    SignalReceived,
    ToolDecided,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.state import tool_uses
from playhead.runtime.telemetry.conventions import Conventions, serialized, usage_attributes
from playhead.runtime.telemetry.operations import (
    AGENT,
    NOTHING,
    Attribute,
    Attributes,
    Content,
    End,
    Failure,
    Operation,
    SpanEvent,
    Start,
    Tell,
)

__all__ = ["CYCLE", "MODEL", "SpanMapping", "TracedAgent", "tool_key"]

CYCLE: Final = "cycle"
MODEL: Final = "model"

_ENDS_LATER: Final = (CALL_FAILED, FAILED_ASKED_AGAIN)  # by the `model.failed` that follows at once


def tool_key(index: int) -> str:
    """The key of the span of the call at `index` of its batch."""
    return f"tool {index}"


@dataclass(frozen=True, slots=True)
class TracedAgent:
    """What spans tell of an agent.

    Attributes:
        model_id: The id of its model; empty if the model does not say.
        tool_specs: The tools that its model is offered.
        system_prompt: Its system prompt, or None.
        attributes: Those of the user, for every span of its runs.
    """

    model_id: str = ""
    tool_specs: Sequence[ToolSpec] = ()
    system_prompt: str | None = None
    attributes: Attributes = field(default_factory=dict[str, Attribute])


class SpanMapping:
    """The spans of one ownership of a run: `begin`, then `describe`, then `operations` for each record, then `end`."""

    def __init__(self, run_id: str, *, agent: str, epoch: int, session: str | None, conventions: Conventions) -> None:
        self._run_id = run_id
        self._name = agent
        self._about: dict[str, Attribute] = {"playhead.run.id": run_id, "playhead.run.epoch": epoch}
        if session is not None:
            self._about["gen_ai.conversation.id"] = session
        self._told = conventions
        self._agent = TracedAgent()
        self._open: dict[str, None] = {}  # the keys of the spans that have begun and not ended, in order
        self._said: Sequence[Any] = ()  # by the model, in this cycle

    def begin(self) -> Start:
        """Begin the span of the agent. What the agent is may not be known yet: a factory may still have to make it."""
        attributes = {**self._told.common("invoke_agent"), "gen_ai.agent.name": self._name, **self._about}
        return self._started(AGENT, f"invoke_agent {self._name}", None, Content(attributes))

    def describe(self, agent: TracedAgent, prompt: Sequence[Message]) -> Tell:
        """Tell of the agent, and of the messages with which the run begins."""
        self._agent = agent
        attributes: dict[str, Attribute] = {}
        if agent.model_id:
            attributes["gen_ai.request.model"] = agent.model_id
        if agent.tool_specs:
            attributes["gen_ai.agent.tools"] = serialized([spec["name"] for spec in agent.tool_specs])
        if self._told.tool_definitions and agent.tool_specs:
            attributes["gen_ai.tool.definitions"] = serialized(list(map(_definition, agent.tool_specs)))
        told = Content({**attributes, **agent.attributes})
        told += self._told.system_prompt(agent.system_prompt, of_agent=True) + self._told.messages(prompt)
        return Tell(AGENT, told)

    def operations(
        self, record: Record, messages: Sequence[Message], *, cycle: int, raised: Failure | None = None
    ) -> list[Operation]:
        """The operations for one more record.

        Args:
            record: The record. One that ends the ownership gives none.
            messages: The history after it.
            cycle: The number of the cycle that it belongs to.
            raised: What the body of the tool raised whose result the record is; None if it raised nothing.
        """
        match record:
            case CycleStarted():
                return [*self._ended(CYCLE), self._cycle(record.cycle, messages)]
            case ModelStarted() | MessageAdded() | ModelFailed() | ModelRetried() | ContextReduced():
                return list(self._of_model(record, messages, cycle))
            case ToolStarted() | ToolFinished() | ToolInterrupted() | ToolDecided():
                return list(self._of_tool(record, messages, cycle, raised))
            case SignalReceived():
                return [Tell(AGENT, self._signal(record))]
            case _:
                return []

    def _of_model(
        self,
        record: ModelStarted | MessageAdded | ModelFailed | ModelRetried | ContextReduced,
        messages: Sequence[Message],
        cycle: int,
    ) -> Iterator[Operation]:
        match record:
            case ModelStarted():
                if not record.summarizes:  # a summary may come between two cycles
                    yield from self._within_cycle(cycle, messages)
                yield from self._ended(MODEL, status="unset")
                yield self._call(record, messages)
            case MessageAdded(origin="model"):
                self._said = record.message.get("content", [])
                yield from self._ended(MODEL, self._answer(record))
            case MessageAdded(origin="tools"):
                yield from self._ended(CYCLE, self._told.results(self._said, record.message))
            case ModelRetried(usage=usage) if usage:  # the message was whole, and a hook asked for another
                yield from self._ended(MODEL, Content(usage_attributes(usage, latest=self._told.latest)))
            case ModelRetried(reason=reason) if reason not in _ENDS_LATER:
                yield from self._ended(MODEL, status="error", failure=Failure(reason))
            case ModelFailed():
                failure = Failure(record.message, record.error_type)
                yield from self._ended(MODEL, status="error", failure=failure)
                if record.overflow:
                    yield from self._ended(CYCLE, status="error", failure=failure)
            case ContextReduced() if record.usage:
                yield from self._ended(MODEL, Content(usage_attributes(record.usage, latest=self._told.latest)))
            case _:
                return

    def _of_tool(
        self,
        record: ToolStarted | ToolFinished | ToolInterrupted | ToolDecided,
        messages: Sequence[Message],
        cycle: int,
        raised: Failure | None,
    ) -> Iterator[Operation]:
        key = tool_key(record.index)
        match record:
            case ToolStarted():
                yield from self._within_cycle(cycle, messages)
                yield from self._ended(key, status="unset")
                yield self._tool(key, record.tool_use)
            case ToolFinished():
                if key not in self._open and (use := self._bodiless(record, messages)) is not None:
                    yield from self._within_cycle(cycle, messages)
                    yield self._tool(key, use)
                yield from self._result(key, record.result if record.returned is None else record.returned, raised)
            case ToolDecided(verdict="retry", result=result) if result is not None:
                yield from self._result(key, result, raised)
            case ToolInterrupted():
                yield from self._ended(key)
            case _:
                return

    def end(self, record: Record | None, outcome: str, *, stacktrace: str = "") -> list[Operation]:
        """End every span that is open.

        Args:
            record: The record that ends the ownership, which is stored; None if there is none.
            outcome: How the ownership ended, in one word.
            stacktrace: That of the exception that a `run.failed` stands for, if it is known.
        """
        told = Content({"playhead.outcome": outcome})
        calls = [key for key in self._open if key not in (AGENT, CYCLE)][::-1]
        if isinstance(record, RunFailed):
            failure = Failure(record.message, record.error_type, stacktrace)
            within = [one for key in (*calls, CYCLE) for one in self._ended(key, status="error", failure=failure)]
            return [*within, *self._ended(AGENT, told, status="error", failure=failure)]
        left = [one for key in calls for one in self._ended(key, status="unset")]
        if isinstance(record, RunCompleted | RunCancelled | RunPaused):
            return [*left, *self._ended(CYCLE), *self._ended(AGENT, told + self._given(AgentResult(record.result)))]
        return [*left, *self._ended(CYCLE, status="unset"), *self._ended(AGENT, told, status="unset")]

    # Spans that begin

    def _started(self, key: str, name: str, parent: str | None, content: Content) -> Start:
        self._open[key] = None
        return Start(key, name, parent, content)

    def _within_cycle(self, cycle: int, messages: Sequence[Message]) -> Iterator[Operation]:
        """Begin the span of the cycle unless it has begun: an owner may go on in the middle of a cycle."""
        if CYCLE not in self._open:
            yield self._cycle(cycle, messages)

    def _cycle(self, cycle: int, messages: Sequence[Message]) -> Start:
        self._said = ()
        attributes = {**self._common("execute_event_loop_cycle"), "event_loop.cycle_id": f"{self._run_id}/{cycle}"}
        if cycle > 1:
            attributes["event_loop.parent_cycle_id"] = f"{self._run_id}/{cycle - 1}"
        told = Content(attributes) + self._told.messages(messages)
        return self._started(CYCLE, "execute_event_loop_cycle", AGENT, told)

    def _call(self, record: ModelStarted, messages: Sequence[Message]) -> Start:
        attributes = self._common("chat")
        if self._agent.model_id:
            attributes["gen_ai.request.model"] = self._agent.model_id
        if record.attempt > 1:
            attributes["playhead.attempt"] = record.attempt
        if record.summarizes:
            attributes["playhead.summary"] = True
        told = self._told.system_prompt(self._agent.system_prompt, of_agent=False) + self._told.messages(messages)
        parent = CYCLE if CYCLE in self._open else AGENT
        return self._started(MODEL, "chat", parent, Content(attributes) + told)

    def _tool(self, key: str, use: ToolUse) -> Start:
        name = str(use["name"])
        attributes = self._common("execute_tool")
        attributes |= {"gen_ai.tool.name": name, "gen_ai.tool.call.id": str(use["toolUseId"])}
        for spec in self._agent.tool_specs:
            if spec["name"] == name:
                attributes["gen_ai.tool.description"] = spec["description"]
                if (schema := cast("Mapping[str, Any]", spec["inputSchema"]).get("json")) is not None:
                    attributes["gen_ai.tool.json_schema"] = serialized(schema)
        return self._started(key, f"execute_tool {name}", CYCLE, Content(attributes) + self._told.call(use))

    def _common(self, operation: str) -> dict[str, Attribute]:
        return {**self._told.common(operation), **self._agent.attributes}

    # Spans that end

    def _ended(self, key: str, content: Content = NOTHING, **how: Any) -> Iterator[End]:
        """End the span, if it is open."""
        if key in self._open:
            del self._open[key]
            yield End(key, content, **how)

    def _answer(self, record: MessageAdded) -> Content:
        metadata = record.message.get("metadata", {})
        attributes = usage_attributes(metadata.get("usage") or {}, latest=self._told.latest)
        metrics = metadata.get("metrics") or {}
        if first := metrics.get("timeToFirstByteMs", 0):
            attributes["gen_ai.server.time_to_first_token"] = first
        if took := metrics.get("latencyMs", 0):
            attributes["gen_ai.server.request.duration"] = took
        return Content(attributes) + self._told.answer(record.message, str(record.stop_reason))

    def _bodiless(self, record: ToolFinished, messages: Sequence[Message]) -> ToolUse | None:
        """The call whose result this is, if nothing runs for it: of an unknown tool, or of the one for structured output."""
        if any(spec["name"] == record.name for spec in self._agent.tool_specs):
            return None
        uses = tool_uses(messages[-1]) if messages else []
        return next((use for use in uses if use["toolUseId"] == record.result["toolUseId"]), None)

    def _result(self, key: str, result: ToolResult, raised: Failure | None) -> Iterator[End]:
        told, failed = self._told.outcome(result), result["status"] == "error"
        if not failed:
            yield from self._ended(key, told)
            return
        said = next((block["text"] for block in result["content"] if "text" in block), "tool returned error status")
        yield from self._ended(key, told, status="error", failure=raised or Failure(said))

    def _given(self, result: AgentResult) -> Content:
        metrics = result.metrics
        usage = metrics.invocation_usage if self._told.since_resumed else metrics.accumulated_usage
        attributes = usage_attributes(usage, latest=self._told.latest, cache=True)
        if self._told.langfuse:
            attributes["langfuse.observation.type"] = "span"
        return Content(attributes) + self._told.result(str(result), result.stop_reason)

    def _signal(self, record: SignalReceived) -> Content:
        if record.kind != "respond" or not isinstance(record.body, Mapping):
            return Content(events=(SpanEvent("playhead.signal", {"kind": record.kind}),))
        answers = cast("Mapping[str, Any]", record.body).items()
        blocks = [{"interruptResponse": {"interruptId": key, "response": value}} for key, value in answers]
        return self._told.messages([{"role": "user", "content": blocks}])


def _definition(spec: ToolSpec) -> dict[str, Any]:
    return {name: spec.get(name) for name in ("name", "description", "inputSchema", "outputSchema")}
