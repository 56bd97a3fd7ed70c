"""The keys of what a guest does: names joined by slashes, from the run's top down to a call. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeAlias

__all__ = ["SCOPE", "Fits", "Keys", "key_part"]

SCOPE: ContextVar[str] = ContextVar("playhead_scope", default="")
"""The lane of the tool call in whose body this code runs; empty outside of any. Keys of what it does begin with it."""

Fits: TypeAlias = Callable[[str], bool | None]
"""Whether what the log has under a key is what is asked for now; None if it has nothing there."""


def key_part(name: str) -> str:
    """A name as one part of a key: a slash in it would begin another part."""
    return name.replace("/", "%2F")


class Keys:
    """Gives the keys of one execution of a guest: nothing else of the run has one, and it is the same in every execution.

    What has one name gets numbers. If it is done side by side, it may come in another order when it runs again, so what the
    log has under a number may say whether it was the same.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ahead: set[str] = set()  # those given before one of their name with a lower number

    def key(self, kind: str, name: str = "", *, fits: Fits | None = None) -> str:
        """A key: the scope, the kind, the name, a number."""
        first = f"{SCOPE.get()}/{kind}:{key_part(name)}"
        return self._unique(first, fits) if name else f"{first}{self.number(first) + 1}"

    def lane(self, tool_use_id: str, *, fits: Fits | None = None) -> str:
        """The lane of the next tool call with this id, which need not be unique."""
        return self._unique(f"{SCOPE.get()}/{key_part(tool_use_id)}", fits)

    def _unique(self, first: str, fits: Fits | None) -> str:
        key = _numbered(first, self._counts[first] if fits is None else self._fitting(first, fits))
        self._ahead.add(key)
        while (lowest := _numbered(first, self._counts[first])) in self._ahead:
            self._ahead.remove(lowest)
            self._counts[first] += 1
        return key

    def _fitting(self, first: str, fits: Fits) -> int:
        """The first number not given under which the log has what fits; if there is none, the lowest that was not given."""
        number = lowest = self._counts[first]
        while True:
            key = _numbered(first, number)
            fit = False if key in self._ahead else fits(key)
            if fit is None:
                return lowest
            if fit:
                return number
            number += 1

    def number(self, what: str) -> int:
        """How many there were of something before."""
        self._counts[what] += 1
        return self._counts[what] - 1


def _numbered(first: str, number: int) -> str:
    return f"{first}~{number + 1}" if number else first
