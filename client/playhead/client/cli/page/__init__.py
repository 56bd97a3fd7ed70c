"""Pictures of a run: its timeline in the terminal and as SVG, and a page in which a person moves through it."""

from __future__ import annotations

__all__: list[str] = []
