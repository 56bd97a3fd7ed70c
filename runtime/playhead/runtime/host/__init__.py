"""The host of guests: agents that other frameworks run, made durable by running them again over what the log has."""

from __future__ import annotations

__all__: list[str] = []
