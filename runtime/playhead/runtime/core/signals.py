"""Signals, which are requests to a run from outside: cancel, respond, steer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Signal"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A request to a run. A signal that is sent twice with the same `signal_id` counts once.

    `kind` is `cancel` (no body), `respond` (`{interrupt id: response}`) or `steer` (a prompt).
    """

    signal_id: str
    kind: str
    body: Any = None

    @property
    def responds_to(self) -> list[str]:
        """The ids of the interrupts that it responds to."""
        return list(self.body) if self.kind == "respond" else []
