"""Runs as a file: JSON lines that can be read by people, and by playhead without Redis."""

from __future__ import annotations

__all__: list[str] = []
