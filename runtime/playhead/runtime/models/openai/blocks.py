"""Delivers the content blocks of one streamed message whole and one after the other. Pure."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.plain import plain, plain_text, without_half
from playhead.runtime.models import chunks as c
from playhead.runtime.models.openai.json_text import JsonText

__all__ = ["BlockQueue", "CallBlock", "TextBlock"]


@dataclass(slots=True, eq=False)
class TextBlock:
    """Text or reasoning; `pending` holds the part that was received and not delivered yet.

    Attributes:
        over: Whether another block began, so that no further delta belongs to this one.
        half: The first half of a character, whose other half may come with the next delta.
        fields: What the provider must get back with it, as `providerFields`.
    """

    kind: Literal["text", "reasoning"]
    over: bool = False
    started: bool = False
    pending: list[str] = field(default_factory=list[str])
    half: str = ""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(self, piece: str) -> None:
        """Add text."""
        if self.half or not piece.isascii():
            piece, self.half = without_half(self.half + piece)
        self.pending.append(piece)

    def deliver(self) -> list[Chunk]:
        """The chunks of what is pending."""
        chunks: list[Chunk] = []
        if not self.started:
            self.started = True
            chunks.append(c.block_start())
        if self.over and self.half:
            self.pending.append(plain_text(self.half))
        delta = c.text_delta if self.kind == "text" else c.reasoning_delta
        chunks.extend(delta(piece) for piece in self.pending if piece)
        self.pending = []
        return chunks


@dataclass(slots=True, eq=False)
class CallBlock:
    """A tool call.

    Attributes:
        call_id: The first id that the server gave it; empty without one.
        name: The tool's name as far as it has arrived.
        named_again: Whether the name came again, without an id, after the arguments were whole: another call may follow.
        arguments: The received JSON; `sent` counts its pieces that were delivered.
        fields: What the provider must get back with it, as `providerFields`.
    """

    call_id: str = ""
    name: str = ""
    named_again: bool = False
    started: bool = False
    delivered: bool = False
    sent: int = 0
    half: str = ""
    arguments: JsonText = field(default_factory=JsonText)
    fields: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def over(self) -> bool:
        """Whether its object is closed; an empty object may be followed by the real one."""
        return self.arguments.closed and self.arguments.filled

    def add(self, piece: str) -> None:
        """Add a piece of the arguments."""
        if self.half or not piece.isascii():
            piece, self.half = without_half(self.half + piece)
        self.arguments.add(piece)

    def deliver(self, *, taken: set[str], at_end: bool) -> list[Chunk]:
        """The chunks of what is pending. A name may come in fragments, so nothing is delivered before the arguments."""
        chunks: list[Chunk] = []
        if not self.started:
            if not self.name or (self.arguments.blank and not at_end):
                return chunks
            self.started = True
            call_id = self.call_id
            if not call_id or call_id in taken:  # local servers may send none, or the same for every call
                call_id = f"call_{uuid.uuid4().hex}"
            taken.add(call_id)
            chunks.append(c.tool_start(call_id, self.name))
        pieces = self.arguments.pieces
        if at_end and self.half:
            pieces.append(plain_text(self.half))
        chunks.extend(c.tool_delta(piece) for piece in pieces[self.sent :] if piece)
        self.sent = len(pieces)
        return chunks


class BlockQueue:
    """The blocks that are not delivered yet.

    The first is delivered as it arrives. Servers may interleave several tool calls, so the blocks after it wait until
    its JSON object is closed.
    """

    def __init__(self) -> None:
        self._blocks: deque[TextBlock | CallBlock] = deque()
        self._ids: set[str] = set()
        self.begun: bool = False

    @property
    def last(self) -> TextBlock | CallBlock | None:
        """The block that began last, if it is not delivered."""
        return self._blocks[-1] if self._blocks else None

    def say(self, kind: Literal["text", "reasoning"], piece: str) -> TextBlock:
        """Add text to the last block, or to a new one if that is of another kind."""
        last = self.last
        if not isinstance(last, TextBlock) or last.kind != kind:
            last = TextBlock(kind)
            self.append(last)
        last.add(piece)
        return last

    def append(self, block: TextBlock | CallBlock) -> None:
        """Begin a block."""
        last = self.last
        if isinstance(last, TextBlock):
            last.over = True
        self.begun = True
        self._blocks.append(block)

    def drain(self, *, at_end: bool = False) -> list[Chunk]:
        """The chunks that can be delivered now; at the end all of them."""
        chunks: list[Chunk] = []
        while self._blocks:
            block = self._blocks[0]
            is_last = len(self._blocks) == 1
            if isinstance(block, CallBlock):
                chunks.extend(block.deliver(taken=self._ids, at_end=at_end or (block.over and not is_last)))
            else:
                block.over = block.over or at_end
                chunks.extend(block.deliver())
            if not at_end and (is_last or not block.over):
                break
            if block.started:
                stop = c.block_stop()
                if block.fields:
                    # Only now: a character of the details may have been cut in two.
                    stop["contentBlockStop"]["providerFields"] = plain(block.fields)
                chunks.append(stop)
            if isinstance(block, CallBlock):
                block.delivered = True
            self._blocks.popleft()
        return chunks
