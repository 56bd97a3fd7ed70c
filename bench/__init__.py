"""Measures the design's targets, as ratios on one machine in one run: `python -m bench`."""

from __future__ import annotations

__all__: list[str] = []
