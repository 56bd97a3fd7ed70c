"""The keys of what a guest does: names joined by slashes, from the run's top down to a call. Pure."""

from __future__ import annotations

__all__ = ["key_part"]


def key_part(name: str) -> str:
    """A name as one part of a key: a slash in it would begin another part."""
    return name.replace("/", "%2F")
