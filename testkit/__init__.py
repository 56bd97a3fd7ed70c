"""What the tests, the bench and chaos share: a proxy for bad networks, and processes that start in a moment."""

from __future__ import annotations

__all__: list[str] = []
