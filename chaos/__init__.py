"""Chaos: injures a real fleet under load at random, and checks every log and every view against the promises."""

from __future__ import annotations

__all__: list[str] = []
