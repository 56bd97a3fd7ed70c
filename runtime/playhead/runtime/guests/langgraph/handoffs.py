"""Tools that hand the state of a graph over to another node, as multi-agent graphs have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langgraph.types import Command, Send

from playhead.runtime.guests.langgraph.forms import calls_of

__all__ = ["as_of_now"]


def as_of_now(value: Any, given: Any) -> Any:
    """What a tool gave, with the messages of the state that it was called with as they are in this execution.

    Nodes and reducers make up the ids of messages. A handoff gives the whole state to another node, so messages that have the
    ids of a former execution would be added to those of this one.
    """
    now = _messages_given(given)
    if isinstance(value, Command):
        command = cast("Command[Any]", value)
        goes = command.goto if isinstance(command.goto, str) else [_sent_now(one, now) for one in _listed(command.goto)]
        return replace(command, update=_state_now(command.update, now), goto=cast("Any", goes))
    return [as_of_now(item, given) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def _messages_given(given: Any) -> list[Any]:
    """The messages of the state that a framework adds to what a tool is called with."""
    for one in cast("dict[str, Any]", given).values() if isinstance(given, dict) else []:
        state = getattr(one, "state", one)  # of a ToolRuntime
        found = (
            cast("dict[str, Any]", state).get("messages")
            if isinstance(state, dict)
            else getattr(state, "messages", None)
        )
        if isinstance(found, list):
            return cast("list[Any]", found)
    return []


def _listed(goes: Any) -> list[Any]:
    return list(goes) if isinstance(goes, list | tuple) else [goes]


def _sent_now(one: Any, now: list[Any]) -> Any:
    return Send(one.node, _state_now(one.arg, now)) if isinstance(one, Send) else one


def _state_now(state: Any, now: list[Any]) -> Any:
    if not isinstance(state, dict):
        return state
    fields = cast("dict[str, Any]", state)
    messages: Any = fields.get("messages")
    if not isinstance(messages, list):
        return fields
    said = cast("list[Any]", messages)
    mine = [one if _alike(before, one) else before for before, one in zip(said, now, strict=False)]
    return {**fields, "messages": [*mine, *said[len(mine) :]]}


def _alike(before: Any, now: Any) -> bool:
    """Whether two messages say the same, whatever their ids."""
    said = [(one.type, one.content, calls_of(one)) if isinstance(one, BaseMessage) else None for one in (before, now)]
    return said[0] is not None and said[0] == said[1]
