"""Brings a history into an order that strict providers accept too. Pure, and never raises.

All providers refuse a tool call without its result, and most a result without its call. Strict ones also refuse two
messages of one role in a row, a user's message right after tool results, blank messages, and a history that begins with
the assistant. All of these occur: a turn fails, a steer arrives, a session was cut or preloaded. The stored history is
not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, Final, cast

from playhead.runtime.core.converse import ContentBlock, Message, Messages
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.tool_results import error_result

__all__ = ["BLANK", "INTERRUPTED_TEXT", "NO_REPLY_TEXT", "blocks_of", "in_order", "is_blank", "lacks_results"]

INTERRUPTED_TEXT: Final = "Tool was interrupted."
"""The result given to a call that has none, in Strands' words."""

BLANK: Final[ContentBlock] = {"text": "[blank text]"}
_BEGINNING: Final[ContentBlock] = {"text": "[the conversation begins]"}
NO_REPLY_TEXT: Final = "[no reply]"
"""The assistant's text where a strict provider requires a message of it and the history has none."""

_NO_REPLY: Final[ContentBlock] = {"text": NO_REPLY_TEXT}
_NOTHING: Final[Message] = {}
_NOT_SENT: Final = frozenset({"cachePoint", "reasoningContent"})
_ORPHAN: Final[ContentBlock] = {"text": "[The result of a tool call that is not in this conversation:]"}


def blocks_of(message: Message) -> list[ContentBlock]:
    """The content blocks of any message. A string becomes one block; any other value that is not a block becomes a text block."""
    content: Any = message.get("content")
    if content is None:
        return []
    given = cast("list[Any]", content) if isinstance(content, list | tuple) else [content]
    return [_block(one) for one in given]


def _block(value: Any) -> ContentBlock:
    if not isinstance(value, Mapping):
        return {"text": value if isinstance(value, str) else json_line(value, other=str)}
    block = cast("ContentBlock", value)
    for kind in ("toolUse", "toolResult"):
        if kind in block and not isinstance(block[kind], Mapping):
            return {"text": json_line({kind: block[kind]}, other=str)}
    return block


def lacks_results(messages: Sequence[Message]) -> bool:
    """Whether a tool call in `messages` lacks its result, which no provider accepts."""
    for message, after in pairwise([*messages, _NOTHING]):
        wanted = _ids(message, "toolUse") if message.get("role") == "assistant" else []
        if wanted and not set(wanted) <= set(_ids(after, "toolResult")):
            return True
    return False


def _ids(message: Message, kind: str) -> list[Any]:
    return [block[kind].get("toolUseId") for block in blocks_of(message) if kind in block]


def in_order(messages: Sequence[Message]) -> Messages:
    """Reorder the history: alternating roles, the user first, and each tool call followed by its result.

    Consecutive messages of one role are merged. A result whose call is not in the preceding message becomes a text
    block. If the assistant's message is the last, it stays the last, because the provider is to continue it.
    """
    turns: Messages = []
    open_calls: list[dict[str, Any]] = []
    for role, group in groupby(messages, key=_role):
        if role == "user":
            turns += _user_turns([block for message in group for block in blocks_of(message)], open_calls)
            open_calls = []
            continue
        for message in group:
            if open_calls:
                turns += _user_turns([], open_calls)
            _add_assistant(turns, [made for block in blocks_of(message) for made in _not_as_result(block)])
            open_calls = [block["toolUse"] for block in blocks_of(turns[-1]) if "toolUse" in block]
    return _with_replies(turns + _user_turns([], open_calls) if open_calls else turns)


def _with_replies(turns: Messages) -> Messages:
    """Give each of the assistant's messages, except the last, content that every provider accepts."""
    replies: Messages = [
        {"role": "assistant", "content": [*blocks_of(one), _NO_REPLY]} if _is_silent(one) else one for one in turns[:-1]
    ]
    return [*replies, *turns[-1:]]


def _is_silent(message: Message) -> bool:
    blocks = blocks_of(message)
    return _role(message) == "assistant" and all(is_blank(one) or not _NOT_SENT.isdisjoint(one) for one in blocks)


def _role(message: Message) -> str:
    return "assistant" if message.get("role") == "assistant" else "user"


def _add_assistant(turns: Messages, content: list[ContentBlock]) -> None:
    if not turns:
        turns.append({"role": "user", "content": [_BEGINNING]})
    if turns[-1].get("role") == "assistant":
        turns[-1] = {"role": "assistant", "content": [*blocks_of(turns[-1]), *content]}
    else:
        turns.append({"role": "assistant", "content": content})


def _user_turns(blocks: list[ContentBlock], calls: list[dict[str, Any]]) -> Messages:
    """The messages made of the user's blocks: the results of `calls` in their order, then everything else."""
    results = [block for block in blocks if "toolResult" in block]
    matched: list[ContentBlock] = []
    for call in calls:
        found = next(
            (block for block in results if block["toolResult"].get("toolUseId") == call.get("toolUseId")), None
        )
        if found is None:
            matched.append({"toolResult": error_result(str(call.get("toolUseId")), INTERRUPTED_TEXT)})
        else:
            results = [block for block in results if block is not found]
            matched.append(found)
    others = [block for block in blocks if not any(block is one for one in matched)]
    return _in_turn(matched, [made for block in others for made in _not_as_call(block)])


def _not_as_call(block: ContentBlock) -> list[ContentBlock]:
    """Turn a call within a user's message into a text block."""
    if "toolUse" in block:
        return [{"text": f"[A tool call that is not the model's: {json_line(block['toolUse'], other=str)}]"}]
    return _not_as_result(block)


def _not_as_result(block: ContentBlock) -> list[ContentBlock]:
    """Turn a result whose call is not in the preceding message into a text block and its content."""
    if "toolResult" not in block:
        return [block]
    content = blocks_of(block["toolResult"])
    return [_ORPHAN, *({"text": json_line(one["json"], other=str)} if "json" in one else one for one in content)]


def _in_turn(results: list[ContentBlock], rest: list[ContentBlock]) -> Messages:
    if results and all("cachePoint" in block for block in rest):
        return [{"role": "user", "content": [*results, *rest]}]
    said: Message = {"role": "user", "content": _without_blanks(rest)}
    if not results:
        return [said]
    return [{"role": "user", "content": results}, {"role": "assistant", "content": [_NO_REPLY]}, said]


def _without_blanks(content: list[ContentBlock]) -> list[ContentBlock]:
    """A user's content without blank texts; content that has nothing else becomes a text that says so."""
    kept = [block for block in content if not is_blank(block)]
    return kept if any(_NOT_SENT.isdisjoint(block) for block in kept) else [*kept, BLANK]


def is_blank(block: ContentBlock) -> bool:
    """Whether a block is a text block with nothing but white space."""
    text: Any = block.get("text", block)
    return text is None or (isinstance(text, str) and not text.strip())
