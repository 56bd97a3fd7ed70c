"""How playhead's costs grow: runs, tails, readers of one run, records of one log. `python -m bench.curves`."""

from __future__ import annotations

__all__: list[str] = []
