"""Where a history may begin or be split without tearing a tool call from its result, by Strands' rules (1.62). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.runtime.core.converse import Message
from playhead.runtime.core.result_cuts import has_results

__all__ = ["first_beginning", "first_pair", "is_pinned", "split_after"]


def first_beginning(messages: Sequence[Message], start: int) -> int | None:
    """The first place from `start` on where a history may begin: a user's message that has no tool result."""
    return next((place for place in range(start, len(messages)) if _begins(messages, place)), None)


def _begins(messages: Sequence[Message], place: int) -> bool:
    message = messages[place]
    if message.get("role") != "user" or has_results(message):
        return False
    return not _has_calls(message) or _is_answered(messages, place)


def first_pair(messages: Sequence[Message], start: int) -> int | None:
    """The first place from `start` on with a message that calls tools and the results right after it."""
    return next(
        (
            place
            for place in range(start, len(messages) - 1)
            if _has_calls(messages[place])
            and messages[place + 1].get("role") == "user"
            and has_results(messages[place + 1])
        ),
        None,
    )


def split_after(messages: Sequence[Message], count: int) -> int | None:
    """How many messages to split off, at least `count`, so that no call is torn from its result; None if there is no place."""
    if count == len(messages):
        return count
    for place in range(count, len(messages)):
        torn = _has_calls(messages[place]) and place + 1 < len(messages) and not has_results(messages[place + 1])
        if not has_results(messages[place]) and not torn:
            return place
    return None


def is_pinned(messages: Sequence[Message], place: int) -> bool:
    """Whether a message is pinned, or the one beside it that has its tool call or its result."""
    if _is_marked(messages[place]):
        return True
    ids = _call_ids(messages[place])
    beside = (near for near in (place - 1, place + 1) if 0 <= near < len(messages))
    return bool(ids) and any(_is_marked(messages[near]) and ids & _call_ids(messages[near]) for near in beside)


def _is_marked(message: Message) -> bool:
    return ((message.get("metadata") or {}).get("custom") or {}).get("pinned") is True


def _call_ids(message: Message) -> set[object]:
    blocks = [block.get(kind) for block in message.get("content", []) for kind in ("toolUse", "toolResult")]
    return {block["toolUseId"] for block in blocks if block and block.get("toolUseId")}


def _has_calls(message: Message) -> bool:
    return any("toolUse" in block for block in message.get("content", []))


def _is_answered(messages: Sequence[Message], place: int) -> bool:
    return place + 1 < len(messages) and has_results(messages[place + 1])
