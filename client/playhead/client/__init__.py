"""Watches and controls runs: submit, tail, leave, rejoin, control, replay, and the `playhead` command.

from playhead.client import Client
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playhead.client.client import Client
    from playhead.client.remote_agent import RemoteAgent
    from playhead.client.run import Run
    from playhead.client.tails.notice import Notice

__all__ = ["Client", "Notice", "RemoteAgent", "Run"]

_HOMES: Final = {
    "Client": "playhead.client.client",
    "Notice": "playhead.client.tails.notice",
    "RemoteAgent": "playhead.client.remote_agent",
    "Run": "playhead.client.run",
}


def __getattr__(name: str) -> Any:
    """Import at first use. The command line's entry point is in this package, and must be running before the slow
    imports begin: otherwise Ctrl-C during them prints a traceback."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
