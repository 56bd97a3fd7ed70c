"""When a history is reduced before a model call because it nearly fills the model's context, as in Strands (1.62). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, cast

from playhead.runtime.core.arguments import check_whole
from playhead.runtime.core.converse import Message
from playhead.runtime.core.token_estimate import estimated_tokens

__all__ = ["DEFAULT_CONTEXT_WINDOW_LIMIT", "ProactiveCompression", "with_limit"]

DEFAULT_CONTEXT_WINDOW_LIMIT: Final = 200_000
"""Tokens of a model's context, if neither the manager nor the model tells them."""

_DEFAULT_THRESHOLD: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class ProactiveCompression:
    """The arguments that two conversation managers share.

    Args:
        proactive_compression: Whether the history is also reduced before a model call that would fill 70 % of the model's
            context, by estimate; `{"compression_threshold": 0.8}` for another share, above 0 and at most 1.
        context_window_limit: The tokens of that context. None for those that the model tells by
            `get_config()["context_window_limit"]`, else 200,000.
        pin_first: Messages at the beginning that are never left out.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If `proactive_compression` has no known form.
    """

    proactive_compression: bool | Mapping[str, float] | None = None
    context_window_limit: int | None = None
    pin_first: int | None = None

    def __post_init__(self) -> None:
        if self.pin_first is not None:
            check_whole("pin_first", self.pin_first, least=0)
        check_whole("context_window_limit", self.context_window_limit, least=1, optional=True)
        given: Any = self.proactive_compression
        if not (given is None or isinstance(given, bool | Mapping)):
            raise TypeError(
                f"proactive_compression must be True, False or {{'compression_threshold': a share}}, not {given!r}"
            )
        if (share := self._threshold) is not None and not 0 < share <= 1:
            raise ValueError(f"compression_threshold must be above 0 and at most 1, not {share!r}")

    @property
    def _threshold(self) -> float | None:
        given = self.proactive_compression
        if isinstance(given, Mapping):
            return given.get("compression_threshold", _DEFAULT_THRESHOLD)
        return _DEFAULT_THRESHOLD if given else None

    def is_nearly_full(self, messages: Sequence[Message]) -> bool:
        """Whether a request with this history fills that share of the context."""
        share, limit = self._threshold, self.context_window_limit or DEFAULT_CONTEXT_WINDOW_LIMIT
        return share is not None and estimated_tokens(messages) / limit >= share


T = TypeVar("T")


def with_limit(manager: T, model: object) -> T:
    """The manager with the context of the agent's model, if it needs to know that."""
    if not isinstance(manager, ProactiveCompression) or not manager.proactive_compression:
        return manager
    if manager.context_window_limit is not None:
        return manager
    config: Any = cast("Any", model).get_config() if hasattr(model, "get_config") else {}
    told: object = (
        cast("Mapping[str, Any]", config).get("context_window_limit") if isinstance(config, Mapping) else None
    )
    limit = told if isinstance(told, int) and told > 0 else DEFAULT_CONTEXT_WINDOW_LIMIT
    return cast("T", replace(manager, context_window_limit=limit))
