"""Signals, which are requests to a run from outside: cancel, respond, steer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.records import SignalReceived

__all__ = ["Signal"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A request to a run. A signal that is sent twice with the same `signal_id` counts once.

    `kind` is `cancel` (the body of a `Cancel`), `respond` (`{interrupt id: response}`) or `steer` (a prompt).
    `invocation_state` has the caller's values from a response on; None leaves those that the run has.
    """

    signal_id: str
    kind: str
    body: Any = None
    invocation_state: Mapping[str, Any] | None = None

    @property
    def breaks_off(self) -> bool:
        """Whether it stops what is in progress: a cancel that does not wait for the current tools."""
        return self.kind == "cancel" and not Cancel.read(self.body).after_current_tools

    @property
    def responds_to(self) -> list[str]:
        """The ids of the interrupts that it responds to."""
        return list(self.body) if self.kind == "respond" else []

    def received(self, *, at: int) -> SignalReceived:
        """The record that says that the run's owner took it, at `at` ms."""
        return SignalReceived(at=at, **asdict(self))
