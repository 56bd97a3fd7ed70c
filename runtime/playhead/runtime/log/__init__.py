"""The log: one interface, the pure rules, a memory backend and a Redis backend."""

from __future__ import annotations

from playhead.runtime.core.ids import new_run_id

__all__ = ["new_run_id"]
