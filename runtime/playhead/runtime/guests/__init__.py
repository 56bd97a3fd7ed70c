"""Guests of other frameworks: what makes their agents durable TARGETs."""

from __future__ import annotations

__all__: list[str] = []
