"""The Redis log."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playhead.runtime.log.redis.connection import connect
    from playhead.runtime.log.redis.log import RedisLog

__all__ = ["RedisLog", "connect"]

_HOMES: Final = {
    "connect": "playhead.runtime.log.redis.connection",
    "RedisLog": "playhead.runtime.log.redis.log",
}


def __getattr__(name: str) -> Any:
    """At first use, so that a module of this folder loads only what it imports itself."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
