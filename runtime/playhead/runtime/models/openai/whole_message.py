"""Finds the part of a `message` in a stream that the deltas have not said. Pure.

By the API a stream holds only deltas. Servers also send `message`: as a piece in the place of each delta, as the message
so far beside each delta, or as the whole message at the end. A repeated part must not be taken twice, and an added part
must not be lost. A message that contradicts the deltas is an error, because nothing shows which of the two is right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from playhead.runtime.core.errors import ModelResponseError
from playhead.runtime.core.plain import plain_text
from playhead.runtime.models.openai.deltas import REASONING_FIELDS, Piece, reasoning_of, text_of
from playhead.runtime.models.server_errors import not_understood

__all__ = ["Kind", "Said", "differs", "says"]

Kind = Literal["text", "reasoning", "calls"]


class Said:
    """The content of a stream so far.

    Attributes:
        text: The pieces of text.
        reasoning: The pieces of reasoning.
        calls: The number of deltas with tool calls.
        detailed: Whether `reasoning_details` arrived.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: int = 0
        self.detailed: bool = False
        self._in_messages: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)

    def repeated(self, *, whole: bool) -> frozenset[Kind]:
        """The kinds of content that the next `message` repeats; of the other kinds it is a new piece.

        It repeats the content of deltas. Content that came in a `message` alone is repeated only by a `whole` one.
        """
        counts = self._counts().items()
        return frozenset(kind for kind, count in counts if count and (whole or count != self._in_messages[kind]))

    def took_message(self, *, repeated: Collection[Kind]) -> None:
        """Note that the last content of the kinds that are not `repeated` came in a `message`."""
        self._in_messages |= {kind: count for kind, count in self._counts().items() if kind not in repeated}

    def unsaid(
        self, message: Mapping[str, Any], *, delta: Mapping[str, Any], repeated: Collection[Kind]
    ) -> dict[str, Any]:
        """The parts of a message's text and reasoning that are new, and its other fields, as a delta.

        Args:
            message: The `message` of a choice.
            delta: The delta beside it, which is already processed; empty without one.
            repeated: The result of `repeated`.

        Raises:
            ModelResponseError: If the message contradicts the deltas.
        """
        fields, pieces = dict(message), list(text_of(message.get("content")))
        if "text" in repeated:
            fields.pop("refusal", None)
            rest = _rest(_text(message), said="".join(self.text), beside=_text(delta), message=message)
            pieces = [piece for piece in pieces if piece[0] == "reasoning"] + [("text", rest)]
        if "reasoning" in repeated:
            for name in (*REASONING_FIELDS, "reasoning_details"):
                fields.pop(name, None)
            (field, thought), (_, beside) = _reasoning(message), _reasoning(delta)
            if rest := _rest(thought, said="".join(self.reasoning), beside=beside, message=message):
                fields[field] = rest
            pieces = [piece for piece in pieces if piece[0] == "text"]
        fields["content"] = [
            {"type": "thinking" if kind == "reasoning" else "text", "text": piece} for kind, piece in pieces
        ]
        return fields

    def _counts(self) -> dict[Kind, int]:
        return {"text": len(self.text), "reasoning": len(self.reasoning), "calls": self.calls}


def says(delta: Any) -> bool:
    """Whether a delta holds more than a role and empty fields."""
    return isinstance(delta, Mapping) and any(value for key, value in delta.items() if key != "role")


def differs(message: Any) -> ModelResponseError:
    """The error for a message that contradicts the deltas."""
    return not_understood("a whole message that differs from what it had streamed", message)


def _rest(given: str, *, said: str, beside: str, message: Mapping[str, Any]) -> str:
    """The part of `given` after `said`; nothing if it says only the same as the delta `beside` it."""
    if not given or given == beside:
        return ""
    said = plain_text(said)
    if given.startswith(said):
        return given[len(said) :]
    if given.strip() == said.strip():
        return ""
    raise differs(message)


def _text(fields: Mapping[str, Any]) -> str:
    return _joined("text", [*text_of(fields.get("content")), *text_of(fields.get("refusal"))])


def _reasoning(fields: Mapping[str, Any]) -> tuple[str, str]:
    field, thought = reasoning_of(fields)
    return field or REASONING_FIELDS[0], plain_text(thought) or _joined(
        "reasoning", list(text_of(fields.get("content")))
    )


def _joined(kind: str, pieces: list[Piece]) -> str:
    return plain_text("".join(piece for of, piece in pieces if of == kind))
