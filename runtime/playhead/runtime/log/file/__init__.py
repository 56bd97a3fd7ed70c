"""Runs as a file: JSON lines that people can read, and playhead without Redis."""

from __future__ import annotations

__all__: list[str] = []
