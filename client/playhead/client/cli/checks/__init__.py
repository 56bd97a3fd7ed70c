"""What `playhead doctor` checks: each check is a value, made by a pure function of what was gathered."""

from __future__ import annotations

__all__: list[str] = []
