"""Turns a caller's prompt into messages. Pure."""

from __future__ import annotations

from typing import Any, cast

from playhead.runtime.core.converse import Message
from playhead.runtime.core.intake import are_messages, checked_prompt

__all__ = ["prompt_messages"]


def prompt_messages(prompt: Any) -> list[Message] | None:
    """A caller's prompt as messages; None means "continue from the history".

    Raises:
        EncodingError, ValueError: As `checked_prompt`, which has already let a stored prompt pass.
    """
    given = checked_prompt(prompt)
    if given is None:
        return None
    if isinstance(given, str):
        return [{"role": "user", "content": [{"text": given}]}]
    if are_messages(given):
        return cast("list[Message]", given)
    return [{"role": "user", "content": cast("list[Any]", given)}]
