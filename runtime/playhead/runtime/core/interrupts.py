"""Interrupts: a tool's question to a human, with an id that names the call. Pure.

The forms are Strands' (1.62): an interrupt is `{"id", "name", "reason", "response"}`, and a response in a prompt is
`{"interruptResponse": {"interruptId", "response"}}`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, cast

__all__ = [
    "UNKNOWN_OUTCOME",
    "Interrupt",
    "batch_interrupt_id",
    "hook_interrupt_id",
    "ids_by_name",
    "interrupt_responses",
    "is_hook_question",
    "is_outcome_question",
    "names_of",
    "outcome_question_id",
    "tool_interrupt_id",
]

UNKNOWN_OUTCOME: Final = "unknown_outcome"
"""The name of the interrupt that asks for the outcome of a call: `@tool(on_unknown_outcome="ask")`."""

_ANSWER: Final = "interruptResponse"
_HOOK_PREFIX: Final = "v1:before_tool_call:"
_OUTCOME_PREFIX: Final = f"v1:{UNKNOWN_OUTCOME}:"


class Interrupt(dict[str, Any]):
    """A question that a run waits for: plain data with the attributes of Strands' `Interrupt`."""

    @property
    def id(self) -> str:
        """The id that a response names. Do not parse it."""
        return str(self["id"])

    @property
    def name(self) -> str:
        """The name that the tool gave it."""
        return str(self.get("name", ""))

    @property
    def reason(self) -> Any:
        """The reason that the tool gave, as plain data."""
        return self.get("reason")

    @property
    def response(self) -> Any:
        """The response, or None while there is none."""
        return self.get("response")


def names_of(interrupts: Sequence[Interrupt]) -> dict[str, str]:
    """The name of each question, by its id: its own name, or its id if another question has the same name."""
    times = Counter(one.name for one in interrupts)
    return {one.id: one.name if one.name and times[one.name] == 1 else one.id for one in interrupts}


def ids_by_name(interrupts: Sequence[Interrupt]) -> dict[str, str]:
    """The id of each question, by all that names it: what `names_of` gives, and the id itself."""
    names = names_of(interrupts)
    return {**{name: key for key, name in names.items()}, **{key: key for key in names}}


def tool_interrupt_id(call: str, name: str) -> str:
    """The id of the question `name` of a call; `call` is the call's part of its effect key."""
    return f"v1:tool_call:{call}:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def hook_interrupt_id(call: str, name: str) -> str:
    """The id of the question `name` of a hook about a call; `call` as in `tool_interrupt_id`."""
    return f"{_HOOK_PREFIX}{call}:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"


def is_hook_question(interrupt_id: str) -> bool:
    """Whether the id was made by `hook_interrupt_id`."""
    return interrupt_id.startswith(_HOOK_PREFIX)


def batch_interrupt_id(cycle: int, name: str) -> str:
    """The id of the question `name` of a hook about all calls of a message.

    The calls of a later cycle have another id, because a response that comes late must not approve them.
    """
    asked = f"v1:before_tools:{uuid.uuid5(uuid.NAMESPACE_OID, name)}"
    return asked if cycle <= 1 else f"{asked}~{cycle}"


def outcome_question_id(call: str) -> str:
    """The id of the question about the outcome of a call that a former owner started."""
    return f"{_OUTCOME_PREFIX}{call}"


def is_outcome_question(interrupt_id: str) -> bool:
    """Whether the id was made by `outcome_question_id`."""
    return interrupt_id.startswith(_OUTCOME_PREFIX)


def interrupt_responses(prompt: Any) -> dict[str, Any] | None:
    """The responses by interrupt id, if `prompt` is a list of `interruptResponse` blocks; else None.

    Raises:
        ValueError: If only some of its items are such blocks, or one lacks `interruptId` or `response`.
    """
    if not isinstance(prompt, list | tuple) or not prompt:
        return None
    blocks = [cast("dict[str, Any]", item) for item in cast("list[Any]", prompt) if isinstance(item, dict)]
    found = [block[_ANSWER] for block in blocks if _ANSWER in block]
    if not found:
        return None
    if len(found) < len(cast("list[Any]", prompt)) or any(len(block) != 1 for block in blocks):
        raise ValueError("a prompt that responds to interrupts must hold interruptResponse blocks only")
    responses: dict[str, Any] = {}
    for response in found:
        if (
            not isinstance(response, dict)
            or not isinstance(response.get("interruptId"), str)
            or "response" not in response
        ):
            raise ValueError('an interruptResponse must be {"interruptId": <text>, "response": <response>}')
        responses[response["interruptId"]] = response["response"]
    return responses
