"""Chaos: a real fleet under load is injured at random, and every log and every client's view is held to the promises."""

from __future__ import annotations

__all__: list[str] = []
