"""The keys of what a guest does: names joined by slashes, from the run's top down to a call. Pure."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar

__all__ = ["SCOPE", "Keys", "key_part"]

SCOPE: ContextVar[str] = ContextVar("playhead_scope", default="")
"""The lane of the tool call in whose body this code runs; empty outside of any. Keys of what it does begin with it."""


def key_part(name: str) -> str:
    """A name as one part of a key: a slash in it would begin another part."""
    return name.replace("/", "%2F")


class Keys:
    """Gives the keys of one execution of a guest: nothing else of the run has one, and it is the same in every execution."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def key(self, kind: str, name: str = "") -> str:
        """A key: the scope, the kind, the name, a number."""
        first = f"{SCOPE.get()}/{kind}:{key_part(name)}"
        return self._unique(first) if name else f"{first}{self.number(first) + 1}"

    def lane(self, tool_use_id: str) -> str:
        """The lane of the next tool call with this id, which need not be unique."""
        return self._unique(f"{SCOPE.get()}/{key_part(tool_use_id)}")

    def _unique(self, first: str) -> str:
        before = self.number(first)
        return f"{first}~{before + 1}" if before else first

    def number(self, what: str) -> int:
        """How many there were of something before."""
        self._counts[what] += 1
        return self._counts[what] - 1
