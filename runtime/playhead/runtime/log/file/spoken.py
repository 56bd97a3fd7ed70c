"""Joins the text that a model streamed: a word may be in two chunks, and each chunk is a record. Pure."""

from __future__ import annotations

from typing import Any, Final, cast

from playhead.runtime.core.records import TERMINAL_TYPES
from playhead.runtime.core.segments import REASONING, TEXT

__all__ = ["Piece", "Spoken", "ends_call"]

Piece = tuple[int, str]
"""A place given by the caller, and the text of the delta there."""

_ENDS: Final = {"message.added", "context.reduced", *TERMINAL_TYPES}


def ends_call(value: Any) -> bool:
    """Whether the message of a model call cannot continue after this record, not even by another owner."""
    if type(value) is not dict:
        return False
    record = cast("dict[str, Any]", value)
    return record.get("type") in _ENDS or (record.get("type") == "model.started" and not record.get("continues"))


class Spoken:
    """The deltas of one model call: for each block, its pieces in order.

    Attributes:
        blocks: The pieces, block by block, with the form of their deltas.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[int, list[Piece]]] = []
        self._open: dict[tuple[int, Any], list[Piece]] = {}

    def take(self, place: int, value: Any) -> None:
        """Take the value of a record; a value that is not a chunk is skipped."""
        if type(value) is not list or len(items := cast("list[Any]", value)) < 3:
            return
        form, index = items[0], items[3] if len(items) > 3 else None
        if form in range(TEXT, REASONING + 1) and isinstance(items[2], str):
            if (form, index) not in self._open:
                self.blocks.append((form, pieces := []))
                self._open[form, index] = pieces
            self._open[form, index].append((place, items[2]))
        elif isinstance(items[2], dict) and "contentBlockStop" in items[2]:
            stopped: Any = items[2]["contentBlockStop"]
            index = stopped.get("contentBlockIndex") if isinstance(stopped, dict) else None
            self._open = {key: pieces for key, pieces in self._open.items() if key[1] != index}
