"""Shared by the tests, the bench and chaos: a proxy for bad networks, processes that start fast, and a fake provider."""

from __future__ import annotations

__all__: list[str] = []
