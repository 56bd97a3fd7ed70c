"""Pictures of a run: its timeline in the terminal and as SVG, and a page on which a person can move through it."""

from __future__ import annotations

__all__: list[str] = []
