"""The single gate for everything that enters a history: prompts, steers, responses, messages, and streamed chunks. Pure.

Everything is checked or converted once, where it enters. So a history can always be sent: a value that cannot be sent
is an error before it is stored. Tool results pass through `tool_results.tool_result`, which uses the same blocks.

A message that is already stored, perhaps by an older version, is never refused: `mended` turns it into one that can be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from playhead.runtime.core.blocks import IN_MESSAGES, UnsendableError, as_list, is_block, readable
from playhead.runtime.core.converse import Chunk, Message, Messages, Prompt
from playhead.runtime.core.errors import EncodingError, InvalidMessageError
from playhead.runtime.core.plain import NotPlainError, plain_strict, plain_text, without_half
from playhead.runtime.core.segments import WHOLE, compact, expanded

__all__ = [
    "ChunkGate",
    "are_messages",
    "checked_messages",
    "checked_prompt",
    "checked_response",
    "mended",
    "model_message",
    "whole_text",
]

_REPLACEMENT: Final = "\ufffd"
_ADVICE: Final = "Use text, numbers, bytes, lists and dicts with text keys."
_ROLES: Final = {
    "system": "pass it as the agent's system_prompt",
    "developer": "pass it as the agent's system_prompt",
    "tool": "give a user message with {'toolResult': {'toolUseId': …, 'status': …, 'content': […]}}",
    "function": "give a user message with {'toolResult': {'toolUseId': …, 'status': …, 'content': […]}}",
}


def checked_prompt(prompt: object, *, what: str = "prompt") -> Prompt:
    """Check a prompt and return it in a form that can be stored and sent: text, content blocks, messages or None.

    The result is a copy. A lone surrogate becomes U+FFFD, and blocks and messages in OpenAI's form are converted to
    Converse's.

    Raises:
        EncodingError: If something in it is not plain data.
        ValueError: If it has none of these forms.
        InvalidMessageError: If a part of it cannot be sent to a model; the message names the value and says what to pass.
    """
    if prompt is None:
        return None
    copy = _plain(f"the {what}", prompt, place=what)
    if isinstance(copy, str):
        return copy
    if isinstance(copy, list) and all(isinstance(item, dict) for item in cast("list[object]", copy)):
        items = cast("list[dict[str, Any]]", copy)
        if are_messages(items):
            return [_checked_message(item, f"{what}[{index}]") for index, item in enumerate(items)]
        if all(is_block(item) for item in items):
            return _checked_content(items, what)
    raise ValueError(f"a {what} must be text, a list of content blocks, a list of messages, or None, not {copy!r:.80}")


def are_messages(items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the dicts of a prompt are messages, and not content blocks."""
    return all("role" in item and "content" in item for item in items)


def checked_messages(messages: Iterable[object], *, what: str = "messages") -> Messages:
    """Copies of messages that can be stored and sent; raises as `checked_prompt`."""
    return [
        _checked_message(_plain(f"{what}[{index}]", message, place=f"{what}[{index}]"), f"{what}[{index}]")
        for index, message in enumerate(messages)
    ]


def checked_response(interrupt_id: str, response: object) -> Any:
    """A copy of a human's response that can be stored.

    Raises:
        EncodingError: If it is not plain data.
    """
    return _plain(f"the response to {interrupt_id!r}", response, place="response")


def _plain(what: str, value: object, *, place: str) -> Any:
    try:
        return plain_strict(value)
    except NotPlainError as error:
        where = f"{place}{error.path}" if error.path else "it"
        raise EncodingError(f"{what} cannot be stored: {where} is {error.what}. {_ADVICE}") from None


def _checked_message(message: object, what: str) -> Message:
    if not isinstance(message, dict) or "role" not in message or "content" not in message:
        raise InvalidMessageError(f"{what} is not a message; give {{'role': 'user', 'content': [{{'text': …}}]}}")
    given = cast("dict[str, Any]", message)
    role = given["role"]
    if role not in ("user", "assistant"):
        advice = _ROLES.get(role, "use 'user' or 'assistant'") if isinstance(role, str) else "use 'user' or 'assistant'"
        raise InvalidMessageError(f"{what} has the role {role!r:.40}; {advice}")
    if given.get("tool_calls"):
        advice = "give blocks {'toolUse': {'toolUseId': …, 'name': …, 'input': {…}}}"
        raise InvalidMessageError(f"{what} has tool_calls, which are OpenAI's form; {advice}")
    return cast("Message", {**given, "content": _checked_content(given["content"], f"{what}['content']")})


def _checked_content(content: object, what: str) -> list[dict[str, Any]]:
    try:
        return as_list(content, kinds=IN_MESSAGES)
    except UnsendableError as error:
        raise InvalidMessageError(f"{what}{error.path} {error}") from None


def mended(message: object) -> Message:
    """A stored message in a form that can be sent; never raises. A message that already has that form is returned unchanged.

    A block that cannot be sent becomes a text block that says so.
    """
    given = cast("dict[str, Any]", _whole(message)) if isinstance(message, dict) else {"content": _whole(message)}
    role = "assistant" if given.get("role") == "assistant" else "user"
    content = given.get("content")
    blocks: list[object] = cast("list[object]", content) if isinstance(content, list) else []
    if content is not None and not isinstance(content, list):
        blocks = [content]
    made = {**given, "role": role, "content": [part for block in blocks for part in readable(block, kinds=IN_MESSAGES)]}
    return cast("Message", message if made == message else made)


def model_message(message: Message) -> Message:
    """The message that a model streamed, with the role `assistant` and without lone surrogates."""
    return cast("Message", {**_whole(message), "role": "assistant"})


def whole_text(text: str) -> str:
    """`text` with U+FFFD in place of lone surrogates; almost every string is returned after one look at a flag."""
    return text if text.isascii() else plain_text(text)


class ChunkGate:
    """Repairs the chunks of one model call in which a surrogate pair was split.

    Some models split a character between two deltas. A first half at the end of a delta of text, reasoning or tool
    input waits for the next delta of the same block. Any other half becomes U+FFFD.

    Attributes:
        holds: Whether a half waits. While none does, a delta whose text is ASCII or printable need not pass the gate.
    """

    __slots__ = ("_held", "holds")

    def __init__(self) -> None:
        self.holds: bool = False
        self._held: list[Any] = []

    def take(self, stored: list[Any], chunk: Chunk) -> list[tuple[list[Any], Chunk]]:
        """The repaired chunk; before it, if it does not continue the waiting half, a delta with U+FFFD.

        Each comes with its array, as made by `segments.compact`.
        """
        form, at = stored[0], stored[1]
        before: list[tuple[list[Any], Chunk]] = []
        if self.holds:
            self.holds = False
            kind, half, *index = self._held
            if form == kind and stored[3:] == index:
                stored = [form, at, half + stored[2], *index]
            else:
                lost = [kind, at, _REPLACEMENT, *index]
                before.append((lost, expanded(lost)))
        if form == WHOLE:
            chunk = cast("Chunk", _whole(chunk))
            return [*before, (compact(at, chunk), chunk)]
        text, half = without_half(stored[2])
        if half:
            self.holds, self._held = True, [form, half, *stored[3:]]
        whole = [form, at, text, *stored[3:]]
        return [*before, (whole, expanded(whole))]


def _whole(value: Any) -> Any:
    """A copy in which no string has a lone surrogate. Other values are unchanged, including those that are not plain data."""
    try:
        return _whole_parts(value)
    except RecursionError:  # nested deeper than the log stores: it is refused there
        return value


def _whole_parts(value: Any) -> Any:
    if type(value) is str:
        return whole_text(value)
    if type(value) is dict:
        items = cast("dict[Any, Any]", value).items()
        return {_whole_parts(key): _whole_parts(item) for key, item in items}
    if type(value) is list:
        return [_whole_parts(item) for item in cast("list[Any]", value)]
    return value
