"""Whether this process may still act for a run: one object, asked by its loop, its tools, its writer and its owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from playhead.runtime.core.errors import FencedError

__all__ = ["Ownership", "Standing"]

Standing = Literal["held", "stopping", "expired", "lost"]
"""Of an ownership. `held`: this process may act for the run. `stopping`: it was told to stop; what ends the ownership
may still be written. `expired`: no renewal went through for so long that others may soon own the run. `lost`: others
own it, or may."""


class Ownership:
    """One ownership of one run, from its claim on; once it is not held, it is never held again.

    This one is lost only by `lose`, which is right in process, where no other process can own the run. A worker's lease
    is one that expires too.

    `check`, `standing` and `mark_lost` may be called on any thread, the rest on the event loop's.

    Attributes:
        refusal: Why nothing may begin any more, in words; None while nothing refuses it, or nothing that is known yet.
        lost: It is lost.
        leaving: It is to be handed over at the next boundary where nothing that has begun is thrown away.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.refusal: str | None = None
        self.lost: bool = False
        self.leaving: bool = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def standing(self) -> Standing:
        """What it is now."""
        if self.lost:
            return "lost"
        if self.overdue() is not None:
            return "expired"
        return "held" if self.refusal is None else "stopping"

    def check(self, *, closing: bool = False) -> None:
        """To be called before anything begins that only the run's owner may begin: a model call, a tool's body, a write.

        Args:
            closing: What begins is the end of this ownership (the run's end, its handover): `stopping` does not refuse it.

        Raises:
            FencedError: It is not held. An expired one counts as lost from here on: what was refused stays refused.
        """
        standing = self.standing
        if standing == "held" or (closing and standing == "stopping"):
            return
        if standing == "expired":
            self.mark_lost(self.overdue() or "")
        raise FencedError(f"run {self.run_id}: {self.refusal}")

    def overdue(self) -> str | None:
        """For how long no renewal has gone through, in words, if that is too long; else None."""
        return None

    def mark_lost(self, why: str) -> None:
        """From now on `check` refuses everything; the first reason stays. `lose` must follow, on the event loop."""
        if not self.lost:
            self.refusal, self.lost = why, True

    def lose(self, why: str) -> None:
        """As `mark_lost`, and tell all listeners."""
        self.mark_lost(why)
        self._tell()

    def leave(self) -> None:
        """Ask for the handover at the next boundary."""
        self.leaving = True

    def stop(self) -> None:
        """Ask for the handover here and now: nothing may begin any more."""
        if self.refusal is None:
            self.refusal = "its execution here is being stopped"
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever this ownership is told to stop or is lost."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
