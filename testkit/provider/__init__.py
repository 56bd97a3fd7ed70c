"""A model provider that fails and distorts its answers as known servers do, over real HTTP."""

from __future__ import annotations

__all__: list[str] = []
