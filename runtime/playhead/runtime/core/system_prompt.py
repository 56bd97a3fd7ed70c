"""The system prompt of an agent: a text, or content blocks, which may hold cache points. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from playhead.runtime.core.arguments import check_items, check_text
from playhead.runtime.core.blocks import UnsendableError, converted
from playhead.runtime.core.converse import ContentBlock
from playhead.runtime.core.intake import whole_text
from playhead.runtime.core.plain import NotPlainError, plain_strict

__all__ = ["SystemPrompt", "SystemPromptArgument", "beside_text", "sent_blocks", "system_prompt_of"]

SystemPromptArgument = str | Sequence[ContentBlock] | None
"""A text, or blocks `{"text": …}`, `{"cachePoint": {"type": "default"}}` and `{"guardContent": …}`."""

_KINDS: Final = ("text", "cachePoint", "guardContent")


class SystemPrompt(NamedTuple):
    """A system prompt in both forms.

    Attributes:
        text: The texts of the blocks, each on a line of its own; None if there is none.
        content: The blocks; None if it was given as text.
    """

    text: str | None = None
    content: list[ContentBlock] | None = None


def system_prompt_of(given: object) -> SystemPrompt:
    """The system prompt of an agent's argument.

    Raises:
        TypeError: If it is neither a text nor a list of blocks.
        ValueError: If a block is of another kind, or is not plain data; the message names it.
    """
    if isinstance(given, str):
        return SystemPrompt(whole_text(given))
    if not isinstance(given, list | tuple):
        check_text("system_prompt", given, optional=True)
        return SystemPrompt()
    check_items("system_prompt", cast("object", given), dict, each="a block such as {'text': …}")
    content: list[ContentBlock] = []
    for index, block in enumerate(cast("list[object]", given)):
        try:
            content += converted(plain_strict(block), kinds=_KINDS)
        except (UnsendableError, NotPlainError) as error:
            where = f"system_prompt[{index}]{error.path}"
            what = f"is {error.what}" if isinstance(error, NotPlainError) else str(error)
            raise ValueError(f"{where} {what}; its blocks are {', '.join(_KINDS)}") from None
    texts = [block["text"] for block in content if "text" in block]
    return SystemPrompt("\n".join(texts) if texts else None, content)


def sent_blocks(text: str | None, content: Sequence[ContentBlock] | None) -> list[ContentBlock] | None:
    """The system prompt as blocks, as a model gets it beside the text; None if there is none."""
    if content is not None:
        return list(content)
    return [{"text": text}] if text else None


def beside_text(text: str | None, content: Sequence[ContentBlock] | None) -> list[ContentBlock] | None:
    """The blocks of a system prompt that a model got; None if they say no more than the text."""
    return None if content is None or list(content) == sent_blocks(text, None) else list(content)
