"""The events at which an agent's hooks are called. Names, attributes and powers are Strands' (1.62).

An attribute that a hook may set is checked when it is set, so that a wrong value is an error at the hook's own line. All
other attributes are copies, or refuse to be set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, cast

from playhead.runtime.core.converse import ContentBlock, Message, Messages, Prompt, ToolResult, ToolUse
from playhead.runtime.core.intake import checked_messages, checked_prompt
from playhead.runtime.core.plain import plain, plain_text
from playhead.runtime.core.result import AgentResult
from playhead.runtime.tools.context import BodyInterrupted
from playhead.runtime.tools.decorator import as_tool
from playhead.runtime.tools.tool import Tool

__all__ = [
    "EVENTS",
    "AfterInvocationEvent",
    "AfterModelCallEvent",
    "AfterToolCallEvent",
    "AfterToolsEvent",
    "AgentInitializedEvent",
    "BeforeInvocationEvent",
    "BeforeModelCallEvent",
    "BeforeToolCallEvent",
    "BeforeToolsEvent",
    "HookEvent",
    "Interruptible",
    "MessageAddedEvent",
]

Check = Callable[[str, Any], Any]
"""Called with the name and the new value of an attribute; returns what is kept."""


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"event.{name} must be True or False, not {value!r:.80}")
    return value


def _flag_or_text(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool | str):
        raise TypeError(f"event.{name} must be True, False or a text, not {value!r:.80}")
    return value


def _last_message(name: str, value: Any) -> bool | str | list[ContentBlock]:
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, list) or not value:
        raise TypeError(f"event.{name} must be True, False, a text or a list of content blocks, not {value!r:.80}")
    message: Message = {"role": "assistant", "content": cast("list[ContentBlock]", value)}
    return checked_messages([message], what=f"event.{name}")[0].get("content", [])


def _messages(name: str, value: Any) -> Messages:
    if not isinstance(value, list):
        raise TypeError(f"event.{name} must be a list of messages, not {value!r:.80}")
    return checked_messages(cast("list[object]", value), what=f"event.{name}")


def _prompt(name: str, value: Any) -> Prompt:
    return checked_prompt(value, what=f"event.{name}")


def _tool(name: str, value: Any) -> Tool:
    if value is None:
        raise TypeError(f"event.{name} must be a tool, not None; set event.cancel_tool to run none")
    return as_tool(value)


def _fields(name: str, value: Any, *keys: str) -> Any:
    given = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    if missing := [key for key in keys if key not in given]:
        raise TypeError(
            f"event.{name} must be a dict with {', '.join(keys)}; {', '.join(missing)} is not in {value!r:.80}"
        )
    return value


def _use(name: str, value: Any) -> ToolUse:
    return _fields(name, value, "toolUseId", "name", "input")


def _result(name: str, value: Any) -> ToolResult:
    return _fields(name, value, "status", "content")


@dataclass
class HookEvent:
    """The base class of all events.

    Attributes:
        agent: What the run is of: the attributes of the agent, and those of `agent.hooks.view.AgentInRun`.
    """

    writable: ClassVar[Mapping[str, Check]] = {}
    """The attributes that a hook may set, each with its check."""
    is_reversed: ClassVar[bool] = False
    """Whether the hook that was added last is called first, as at the end of something."""

    agent: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", True)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, "_made"):
            object.__setattr__(self, name, value)
            return
        check = self.writable.get(name)
        if check is None:
            may = ", ".join(self.writable) or "none"
            raise AttributeError(
                f"a hook cannot set {name!r} of a {type(self).__name__}; attributes that it may set: {may}"
            )
        object.__setattr__(self, name, check(name, value))


@dataclass
class Interruptible:
    """The part of an event at which a hook may ask a human."""

    def asked_by(self, interrupt_id: Callable[[str], str], responses: Mapping[str, Any]) -> None:
        """Internal: set how the ids of questions are made, and the responses by id."""
        object.__setattr__(self, "_interrupt_id", interrupt_id)
        object.__setattr__(self, "_responses", responses)

    def interrupt(self, name: str, reason: Any = None, response: Any = None) -> Any:
        """Ask a human. Returns the response if there is one; otherwise the hook ends here and the run pauses.

        Once the response is there, all hooks of the event are called again. `name` must be unique among them; `reason` is
        shown with it, as plain data. `response` is returned if there is no other.

        Raises:
            RuntimeError: If the event was not made by a run.
        """
        if not hasattr(self, "_interrupt_id"):
            raise RuntimeError("only an event that a run has made can ask a human")
        asked: str = cast("Any", self)._interrupt_id(name)
        responses: Mapping[str, Any] = cast("Any", self)._responses
        if asked in responses:
            return responses[asked]
        if response is not None:
            return response
        raise BodyInterrupted({"id": asked, "name": plain_text(name), "reason": plain(reason), "response": None})


@dataclass
class AgentInitializedEvent(HookEvent):
    """The agent object is complete. Its hooks must not be async. Not called again in a worker's copies of the agent."""


@dataclass
class BeforeInvocationEvent(HookEvent):
    """A run begins, or goes on after `AfterInvocationEvent.resume`; its prompt is not in the history yet.

    Attributes:
        invocation_state: What the tools get, too.
        messages: Those of the prompt. May be set, or changed in place.
        cancel: Set it to a text, or to True, to end the run with this text as its last message.
    """

    writable: ClassVar[Mapping[str, Check]] = {"messages": _messages, "cancel": _flag_or_text}

    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: Messages | None = None
    cancel: bool | str = False


@dataclass
class AfterInvocationEvent(HookEvent):
    """A run is about to end, not for a pause. The hook that was added last is called first.

    Attributes:
        invocation_state: What the tools get, too.
        result: The result; None if the run fails.
        resume: Set it to a prompt to go on with it in place of the end. Ignored in a run that fails or is cancelled.
    """

    writable: ClassVar[Mapping[str, Check]] = {"resume": _prompt}
    is_reversed: ClassVar[bool] = True

    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any])
    result: AgentResult | None = None
    resume: Prompt = None


@dataclass
class MessageAddedEvent(HookEvent):
    """A message has entered the history.

    Attributes:
        message: A copy of it.
    """

    message: Message


@dataclass
class BeforeModelCallEvent(HookEvent):
    """The model is about to be called; also for each call that is made again.

    Attributes:
        invocation_state: What the tools get, too.
        projected_input_tokens: Always None: playhead does not estimate tokens.
        cancel: Set it to a text, or to True, to have this text in place of the model's message.
    """

    writable: ClassVar[Mapping[str, Check]] = {"cancel": _flag_or_text}

    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any])
    projected_input_tokens: int | None = None
    cancel: bool | str = False


@dataclass
class AfterModelCallEvent(HookEvent):
    """A model call gave a message or failed. The hook that was added last is called first.

    Attributes:
        invocation_state: What the tools get, too.
        stop_response: The message and its stop reason; None if the call failed.
        exception: What the call raised; None if it gave a message.
        retry: Set it to True to withdraw what was streamed and make the call again, at once.
    """

    @dataclass
    class ModelStopResponse:
        """The outcome of a model call.

        Attributes:
            message: A copy of the message.
            stop_reason: Why it ended.
        """

        message: Message
        stop_reason: str

    writable: ClassVar[Mapping[str, Check]] = {"retry": _flag}
    is_reversed: ClassVar[bool] = True

    invocation_state: dict[str, Any] = field(default_factory=dict[str, Any])
    stop_response: ModelStopResponse | None = None
    exception: Exception | None = None
    retry: bool = False


@dataclass
class BeforeToolsEvent(HookEvent, Interruptible):
    """The tool calls of a message are about to run; once per message, and again after an interrupt here.

    Attributes:
        message: A copy of the message.
        invocation_state: What the tools get, too.
        cancel: Set it to a text, or to True, to give all calls an error result with this text.
    """

    writable: ClassVar[Mapping[str, Check]] = {"cancel": _flag_or_text}

    message: Message
    invocation_state: dict[str, Any]
    cancel: bool | str = False


@dataclass
class AfterToolsEvent(HookEvent):
    """All calls of a message have results. The hook that was added last is called first.

    Attributes:
        message: A copy of the message with the results, which enters the history next.
        invocation_state: What the tools get, too.
        end_turn: Set it to end the run after that message: a text, True or content blocks make the last message.
    """

    writable: ClassVar[Mapping[str, Check]] = {"end_turn": _last_message}
    is_reversed: ClassVar[bool] = True

    message: Message
    invocation_state: dict[str, Any]
    end_turn: bool | str | list[ContentBlock] = False


@dataclass
class BeforeToolCallEvent(HookEvent, Interruptible):
    """A tool call is about to run.

    Attributes:
        selected_tool: The tool; None if the agent does not have it. May be set.
        tool_use: A copy of the call. May be set, or changed in place; its `toolUseId` must stay.
        invocation_state: What the tool gets, too.
        cancel_tool: Set it to a text, or to True, to give the call an error result with this text.
    """

    writable: ClassVar[Mapping[str, Check]] = {"selected_tool": _tool, "tool_use": _use, "cancel_tool": _flag_or_text}

    selected_tool: Tool | None
    tool_use: ToolUse
    invocation_state: dict[str, Any]
    cancel_tool: bool | str = False


@dataclass
class AfterToolCallEvent(HookEvent):
    """A tool call has a result. The hook that was added last is called first.

    Attributes:
        selected_tool: The tool that ran; None if none did.
        tool_use: A copy of the call as it ran.
        invocation_state: What the tool gets, too.
        result: The result. May be set, or changed in place.
        exception: What the tool raised, if it did.
        cancel_message: The text with which a hook cancelled the call.
        duration: How long it ran, in seconds; None if it did not.
        retry: Set it to True to drop the result and run the call again, after the other calls of the message; in a
            run that is being cancelled it gets a result that says so instead. Ignored for a call that a hook cancelled.
    """

    writable: ClassVar[Mapping[str, Check]] = {"result": _result, "retry": _flag}
    is_reversed: ClassVar[bool] = True

    selected_tool: Tool | None
    tool_use: ToolUse
    invocation_state: dict[str, Any]
    result: ToolResult
    exception: Exception | None = None
    cancel_message: str | None = None
    duration: float | None = None
    retry: bool = False


EVENTS: Final[Mapping[str, type[HookEvent]]] = {
    one.__name__: one
    for one in (
        AgentInitializedEvent,
        BeforeInvocationEvent,
        AfterInvocationEvent,
        MessageAddedEvent,
        BeforeModelCallEvent,
        AfterModelCallEvent,
        BeforeToolsEvent,
        AfterToolsEvent,
        BeforeToolCallEvent,
        AfterToolCallEvent,
    )
}
"""All events, by name."""
