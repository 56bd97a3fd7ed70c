"""Finds the conversation manager of an agent: of its argument, of Strands' own object, or of a stored definition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from playhead.runtime.agent.conversation.sliding_window import SlidingWindowConversationManager
from playhead.runtime.agent.conversation.summarizing import SummarizingConversationManager
from playhead.runtime.core.context import KeepAll

__all__ = [
    "ConversationManager",
    "NullConversationManager",
    "conversation_manager_of",
    "described_manager",
    "recorded_manager",
]


@dataclass(frozen=True, slots=True)
class NullConversationManager(KeepAll):
    """Keeps all messages: a run whose history a model refuses as too long fails with the model's error."""


ConversationManager = SlidingWindowConversationManager | SummarizingConversationManager | NullConversationManager

_KINDS: Final[dict[str, Any]] = {
    "SlidingWindowConversationManager": SlidingWindowConversationManager,
    "SummarizingConversationManager": SummarizingConversationManager,
    "NullConversationManager": NullConversationManager,
}
_REFUSED: Final = {
    "summarization_agent": "give summarization_system_prompt; the agent's own model writes the summary",
}


def conversation_manager_of(value: object) -> ConversationManager:
    """The manager of an agent's argument; None stands for the default, a sliding window of 40 messages.

    An object of Strands' own classes counts, by its arguments.

    Raises:
        TypeError: If it is not one of these managers; the message names it.
        ValueError: If it has an argument that is not taken here; the message says what to give instead.
    """
    if value is None:
        return SlidingWindowConversationManager()
    if isinstance(value, SlidingWindowConversationManager | SummarizingConversationManager | NullConversationManager):
        return value
    kind = _KINDS.get(type(value).__name__)  # a subclass of Strands' has rules of its own, which are not known here
    if kind is None or not hasattr(value, "apply_management"):
        raise TypeError(f"conversation_manager must be one of {', '.join(_KINDS)}, not {value!r}")
    for name, advice in _REFUSED.items():
        if getattr(value, name, None) is not None:
            raise ValueError(f"{name} of a conversation manager is not taken: {advice}")
    given = {one.name: getattr(value, one.name) for one in fields(kind) if hasattr(value, one.name)}
    if (
        threshold := getattr(value, "_compression_threshold", None)
    ) is not None and kind is not NullConversationManager:
        given["proactive_compression"] = {"compression_threshold": threshold}
    return kind(**given)


def described_manager(manager: ConversationManager) -> dict[str, Any]:
    """The manager as a definition has it: its class and its arguments."""
    given = {one.name: getattr(manager, one.name) for one in fields(manager)}
    return {"class": type(manager).__name__, **given}


def recorded_manager(described: Mapping[str, Any]) -> ConversationManager:
    """The manager of a definition; one that keeps all for a definition of version 0.1, which has none."""
    kind = _KINDS.get(str(described.get("class")), NullConversationManager)
    known = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in described.items() if name in known})
