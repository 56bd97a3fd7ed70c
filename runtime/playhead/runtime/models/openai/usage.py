"""Reads the token counts that servers report, in any known place and under any known name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import chunks as c

__all__ = ["metadata", "usage_of"]


def usage_of(place: Any) -> Mapping[str, Any] | None:
    """The usage that an event, a choice or a delta reports, if any of its counts is not 0."""
    usage: Any = cast("Mapping[str, Any]", place).get("usage") if isinstance(place, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    counts = cast("Mapping[str, Any]", usage)
    return counts if any(_is_count(count) and count for count in counts.values()) else None


def metadata(usage: Mapping[str, Any], *, latency_ms: int) -> Chunk:
    """The last chunk of a message; token counts are 0 if the server reported none."""
    more: dict[str, int] = {}
    details: Any = usage.get("prompt_tokens_details")
    cached: Any = cast("Mapping[str, Any]", details).get("cached_tokens") if isinstance(details, Mapping) else None
    cached = usage.get("prompt_cache_hit_tokens") if cached is None else cached  # DeepSeek's name
    if _is_count(cached):
        more["cacheReadInputTokens"] = cached
    if total := _count(usage, "total_tokens"):
        more["totalTokens"] = total
    return c.metadata(
        input_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        output_tokens=_count(usage, "completion_tokens", "output_tokens"),
        latency_ms=latency_ms,
        **more,
    )


def _count(usage: Mapping[str, Any], *names: str) -> int:
    return next((usage[name] for name in names if _is_count(usage.get(name))), 0)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
