"""What the parts of a run tell of work that is made again. Pure.

A model call within a part is recorded at its end only, and so is what a tool gives. What the part tells meanwhile, piece by piece, is in
the log before. If such work was cut off, it is done again after a takeover, and may be told in other words. So what a part tells
from there on stands for what the log has as long as it is the same; from then on all of it is told, from the beginning of that work.
"""

from __future__ import annotations

from playhead.runtime.core.records import Record

__all__ = ["Retelling"]


class Retelling:
    """What each part has told since work in it began again. The name of a part is the scope of what it does."""

    def __init__(self) -> None:
        self._since: dict[str, list[Record]] = {}

    def begins(self, scope: str) -> None:
        """Work begins that the log does not have: in the part with this scope, and so in those around it."""
        while scope:
            self._since[scope] = []
            scope = scope.rpartition("/")[0]

    def same(self, part: str, record: Record) -> None:
        """The part tells what the log has."""
        if part in self._since:
            self._since[part].append(record)

    def other(self, part: str) -> list[Record] | None:
        """The part tells something else: what is to be told once more before that; None if nothing in it began again."""
        return self._since.pop(part, None)
