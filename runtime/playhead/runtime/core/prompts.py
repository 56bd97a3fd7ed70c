"""A caller's prompt as messages. Pure."""

from __future__ import annotations

from typing import Any, Final, cast

from playhead.runtime.core.converse import Message

__all__ = ["prompt_messages"]

_BLOCK_KEYS: Final = frozenset(
    [
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "reasoningContent",
        "guardContent",
        "cachePoint",
        "citationsContent",
    ]
)


def prompt_messages(prompt: Any) -> list[Message] | None:
    """A caller's prompt as messages; None means "continue from the history".

    Raises:
        ValueError: If it is not text, a list of content blocks, a list of messages or None.
    """
    if prompt is None:
        return None
    if isinstance(prompt, str):
        return [{"role": "user", "content": [{"text": prompt}]}]
    if isinstance(prompt, list | tuple) and all(isinstance(item, dict) for item in cast("list[Any]", prompt)):
        items = cast("list[dict[str, Any]]", list(prompt))
        if all("role" in item and "content" in item for item in items):
            return cast("list[Message]", items)
        if all(_BLOCK_KEYS & item.keys() for item in items):
            return [{"role": "user", "content": items}]
    raise ValueError("a prompt must be text, a list of content blocks, a list of messages, or None")
