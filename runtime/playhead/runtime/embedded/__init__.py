"""A Redis server that is started and stopped with the program that uses it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playhead.runtime.embedded.server import EmbeddedServer
    from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels

__all__ = ["EmbeddedCluster", "EmbeddedSentinels", "EmbeddedServer"]

_HOMES: Final = {
    "EmbeddedServer": "playhead.runtime.embedded.server",
    "EmbeddedCluster": "playhead.runtime.embedded.topology",
    "EmbeddedSentinels": "playhead.runtime.embedded.topology",
}


def __getattr__(name: str) -> Any:
    """At first use, so that one server loads no topology."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
