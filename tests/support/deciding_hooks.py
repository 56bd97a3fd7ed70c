"""Hooks that decide something at each event, by what the log holds alone: every owner of a run decides the same."""

from __future__ import annotations

from typing import Any

from playhead.runtime import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    HookRegistry,
    MessageAddedEvent,
    tool,
)
from playhead.runtime.core.converse import Message

__all__ = ["LONGEST", "Deciding"]

LONGEST = 14
"""The messages of a history after which no model is called."""


@tool
async def lent() -> str:
    """Do what the hook wants; the agent does not have this tool."""
    return "lent"


def texts(message: Message) -> list[str]:
    """The texts of a message, and of the results in it."""
    blocks = message.get("content", [])
    results = [part["text"] for block in blocks if "toolResult" in block for part in block["toolResult"]["content"]]
    return [*(block["text"] for block in blocks if "text" in block), *results]


class Deciding:
    """A hook provider.

    Attributes:
        asked: The name of each event, and of a call's tool, in the order in which they came.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        """Add one callback for each event."""
        registry.add_callback(BeforeInvocationEvent, self.begin)
        registry.add_callback(BeforeModelCallEvent, self.before_model)
        registry.add_callback(AfterModelCallEvent, self.after_model)
        registry.add_callback(BeforeToolsEvent, self.before_batch)
        registry.add_callback(BeforeToolCallEvent, self.before_call)
        registry.add_callback(AfterToolCallEvent, self.after_call)
        registry.add_callback(AfterToolsEvent, self.after_batch)
        registry.add_callback(AfterInvocationEvent, self.ended)
        registry.add_callback(MessageAddedEvent, self.added)

    async def begin(self, event: BeforeInvocationEvent) -> None:
        self.asked.append("begin")
        assert event.messages is not None
        if texts(event.messages[0]) == ["go"]:
            event.messages[0]["content"] = [{"text": "go, please"}]

    async def before_model(self, event: BeforeModelCallEvent) -> None:
        self.asked.append("before model")
        if len(event.agent.messages) > LONGEST:
            event.cancel = "that is too long"

    async def after_model(self, event: AfterModelCallEvent) -> None:
        self.asked.append("after model")
        if event.stop_response is None:
            event.retry = isinstance(event.exception, KeyError)
        else:
            event.retry = texts(event.stop_response.message) == ["word"]

    async def before_batch(self, event: BeforeToolsEvent) -> None:
        self.asked.append("before batch")
        names = [block["toolUse"]["name"] for block in event.message.get("content", []) if "toolUse" in block]
        if names[0] == "pay":
            event.interrupt("batch", {"names": names})
        elif len(names) == 3:
            event.cancel = True

    async def before_call(self, event: BeforeToolCallEvent) -> None:
        name = event.tool_use["name"]
        self.asked.append(f"before {name}")
        match name:
            case "look":
                event.cancel_tool = "no looking"
            case "steps":
                event.selected_tool = lent
            case "broken":
                event.tool_use["name"] = "look"
            case "once" | "asks":
                event.interrupt("once")
            case _:
                pass

    async def after_call(self, event: AfterToolCallEvent) -> None:
        self.asked.append(f"after {event.tool_use['name']}")
        given = event.result["content"]
        if given == [{"text": "flaky 1"}]:
            event.retry = True
        elif event.cancel_message is None:
            given.append({"text": "checked"})

    async def after_batch(self, event: AfterToolsEvent) -> None:
        self.asked.append("after batch")
        if "done" in texts(event.message):
            event.end_turn = [{"text": "it is done"}]

    async def ended(self, event: AfterInvocationEvent) -> None:
        self.asked.append("ended")
        said = [text for message in event.agent.messages for text in texts(message)]
        cycles = (
            event.result.metrics.cycle_count if event.result is not None else LONGEST
        )  # a window may leave "go on" out
        if "go on" not in said and len(event.agent.messages) < LONGEST and cycles < LONGEST:
            event.resume = "go on"

    async def added(self, event: MessageAddedEvent) -> None:
        self.asked.append(f"added {event.message.get('role')}")
