"""The keys of what a guest does: names joined by slashes, from the run's top down to a call. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from itertools import count
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
        self._early: dict[str, set[int]] = {}  # numbers of a name that were given before a lower one

    def key(self, kind: str, name: str = "", *, fits: Fits | None = None) -> str:
        """A key: the scope, the kind, the name, a number."""
        first = f"{SCOPE.get()}/{kind}:{key_part(name)}"
        return self._unique(first, fits) if name else f"{first}{self.number(first) + 1}"

    def lane(self, tool_use_id: str, *, fits: Fits | None = None) -> str:
        """The lane of the next tool call with this id, which need not be unique."""
        return self._unique(f"{SCOPE.get()}/{key_part(tool_use_id)}", fits)

    def _unique(self, first: str, fits: Fits | None) -> str:
        lowest = self._counts[first]
        early = self._early.get(first, set[int]())
        number = next((one for one in self._in_the_log(first, fits, early) if one is not None), lowest)
        if number == lowest:
            lowest += 1
            while lowest in early:
                early.remove(lowest)
                lowest += 1
            self._counts[first] = lowest
        else:
            self._early.setdefault(first, set()).add(number)
        return _numbered(first, number)

    def _in_the_log(self, first: str, fits: Fits | None, early: Collection[int]) -> Iterator[int | None]:
        """The numbers under which the log has what fits; None for one that does not."""
        if fits is None:
            return
        for number in count(self._counts[first]):
            if number not in early:
                fit = fits(_numbered(first, number))
                if fit is None:
                    return
                yield number if fit else None

    def number(self, what: str) -> int:
        """How many there were of something before."""
        self._counts[what] += 1
        return self._counts[what] - 1


def _numbered(first: str, number: int) -> str:
    return f"{first}~{number + 1}" if number else first
