"""Ownership: whether this process may still act for a run. The run's loop, tools, writer and owner share one object."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal

from playhead.runtime.core.errors import FencedError

__all__ = ["Ownership", "Standing"]

Standing = Literal["held", "refused", "stopping", "expired", "lost"]
"""The state of an ownership. `held`: this process may act for the run. `refused`: the log has refused its renewals for
so long that it may no longer own the run, but the log refuses all other writes too, so the run is kept and nothing new
begins. `stopping`: it was asked to stop, and the end of the ownership may still be written. `expired`: no renewal has
succeeded for so long that another process may soon own the run. `lost`: another process owns the run, or may own it."""


class Ownership:
    """One ownership of one run, from its claim on. Once it is not held, it is never held again.

    This class is lost only by `lose`, which is correct for an in-process run, because no other process can own it. A
    worker's `Lease` is a subclass that also expires.

    `check`, `standing` and `mark_lost` may be called on any thread, everything else on the event loop's thread.

    Attributes:
        refusal: Why nothing may begin; None while nothing is refused, or while no reason is known.
        lost: Whether it is lost.
        leaving: Whether to hand the run over at the next boundary, where no work in progress is lost.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.refusal: str | None = None
        self.lost: bool = False
        self.leaving: bool = False
        self._listeners: list[Callable[[], None]] = []
        self._when_leaving: list[Callable[[], None]] = []

    @property
    def standing(self) -> Standing:
        """The state of this ownership now."""
        if self.lost:
            return "lost"
        if self.overdue() is not None:
            return "expired"
        if self.refusal is not None:
            return "stopping"
        return "refused" if self.unsure() else "held"

    def check(self, *, closing: bool = False, beginning: bool = False) -> None:
        """Raise unless this process may act. Call it before a model call, a tool's body or a write begins.

        Args:
            closing: Whether the end of this ownership begins (the run's end or its handover), which `stopping` allows.
            beginning: Whether something with effects outside the log begins: then a `refused` ownership becomes
                lost, because another process may own the run by now.

        Raises:
            FencedError: If the ownership is not held. An expired one becomes lost, so a refusal is final.
        """
        standing = self.standing
        if standing == "held" or (closing and standing == "stopping") or (standing == "refused" and not beginning):
            return
        if standing == "refused":
            self.mark_lost("renewals have been refused for so long that another process may own it")
        if standing == "expired":
            self.mark_lost(self.overdue() or "")
        raise FencedError(f"run {self.run_id}: {self.refusal}")

    def overdue(self) -> str | None:
        """How long ago the last renewal succeeded, in words, if that is too long; else None."""
        return None

    def unsure(self) -> bool:
        """Whether renewals are refused and none has succeeded for too long."""
        return False

    def mark_lost(self, why: str) -> None:
        """Make `check` refuse everything from now on, with the first reason given. `lose` must follow, on the event loop."""
        if not self.lost:
            self.refusal, self.lost = why, True

    def lose(self, why: str) -> None:
        """Like `mark_lost`, and call all listeners."""
        self.mark_lost(why)
        self._tell()

    def leave(self) -> None:
        """Ask for the handover at the next boundary."""
        self.leaving = True
        for act in list(self._when_leaving):
            act()

    @contextmanager
    def when_leaving(self, act: Callable[[], None]) -> Generator[None, None, None]:
        """Call `act` when the handover is requested within the block, or at once if it already was."""
        self._when_leaving.append(act)
        try:
            if self.leaving:
                act()
            yield
        finally:
            self._when_leaving.remove(act)

    def stop(self) -> None:
        """Ask for the handover now; nothing may begin from here on."""
        if self.refusal is None:
            self.refusal = "its execution here is being stopped"
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever this ownership is asked to stop or is lost."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
