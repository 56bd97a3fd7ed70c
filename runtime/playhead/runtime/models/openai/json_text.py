"""Follows the structure of JSON that arrives in pieces, without reading its values. Pure."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["JsonText"]

_MARK: Final = re.compile(r'\\(?:.|\Z)|["{}\[\]]', re.DOTALL)


class JsonText:
    """The text of a tool call's arguments so far.

    Parsing it at each piece would take time that grows with the square of its length.

    Attributes:
        pieces: The pieces received.
        filled: Whether it holds a key or a string, so that it is not an empty object.
    """

    __slots__ = ("_depth", "_escaped", "_in_string", "_opened", "filled", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.filled: bool = False
        self._depth = 0
        self._opened = False
        self._in_string = False
        self._escaped = False

    @property
    def text(self) -> str:
        """All pieces, joined."""
        return "".join(self.pieces)

    @property
    def blank(self) -> bool:
        """Whether only white space has arrived."""
        return not any(piece.strip() for piece in self.pieces)

    @property
    def closed(self) -> bool:
        """Whether every object and list that was opened is closed, and at least one was."""
        return self._opened and not self._depth and not self._in_string

    def add(self, piece: str) -> None:
        """Process the next piece."""
        self.pieces.append(piece)
        start = 1 if self._escaped and piece else 0
        if piece:
            self._escaped = False
        for mark in _MARK.finditer(piece, start):
            found = mark[0]
            if found[0] == "\\":
                self._escaped = self._in_string and len(found) == 1
            elif found == '"':
                self._in_string = not self._in_string
                self.filled = True
            elif not self._in_string:
                self._depth += 1 if found in "{[" else -1
                self._opened = True
