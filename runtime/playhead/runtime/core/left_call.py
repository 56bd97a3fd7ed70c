"""A model call whose owner left before its message was stored: its chunks as those of one call, and the message if it is whole.

Pure. A provider's last chunk is `metadata`, after `messageStop`: with it the answer is whole, because only its
`message.added` is missing, and the next owner adds that. `messageStop` alone is not enough: the tokens follow it, and so
does the chunk by which a guardrail withdraws the answer. Nothing tells the answer of a provider that sends no
`metadata` from one whose last chunks are missing, so such an answer is whole only with its `message.added`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.intake import model_message
from playhead.runtime.core.message_assembler import MessageAssembler, starts_text
from playhead.runtime.core.steps import AddAnswer

__all__ = ["joined", "whole_answer"]


def joined(calls: Iterable[Sequence[Chunk]]) -> list[Chunk]:
    """The chunks of calls each of which continues the text of the one before, as the chunks of one call."""
    found: list[Chunk] = []
    for number, chunks in enumerate(calls):
        found += _continuing(chunks) if number else chunks
    return found


def _continuing(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks without the starts that `MessageAssembler.go_on` ignores; a block of another kind ends the text first."""
    kept: list[Chunk] = []
    for place, chunk in enumerate(chunks):
        if "contentBlockStop" in chunk:
            return [*kept, *chunks[place:]]
        if "contentBlockStart" in chunk:
            end: list[Chunk] = [] if starts_text(chunk) else [{"contentBlockStop": {}}, chunk]
            return [*kept, *end, *chunks[place + 1 :]]
        if "messageStart" not in chunk:
            kept.append(chunk)
    return kept


def whole_answer(chunks: Iterable[Chunk]) -> AddAnswer | None:
    """The message of a call that broke off, if all its chunks are there; else None. Chunks after `metadata` count too."""
    assembler, stopped, whole = MessageAssembler(), False, False
    for chunk in chunks:
        assembler.feed(chunk)
        stopped = stopped or "messageStop" in chunk
        whole = whole or (stopped and "metadata" in chunk)
    return AddAnswer(model_message(assembler.message()), assembler.stop_reason) if whole else None
