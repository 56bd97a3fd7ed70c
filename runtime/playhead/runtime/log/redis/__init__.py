"""The Redis log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.runtime.log.redis.connection import connect
    from playhead.runtime.log.redis.log import RedisLog

__all__ = ["RedisLog", "connect"]

# At first use, so that a module of this folder loads only what it imports itself.
import_at_first_use(
    __name__,
    {
        "connect": "playhead.runtime.log.redis.connection",
        "RedisLog": "playhead.runtime.log.redis.log",
    },
)
