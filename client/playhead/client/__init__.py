"""Watches and controls runs: submit, tail, leave, rejoin, control, replay, and the `playhead` command.

from playhead.client import Client
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.client.client import Client
    from playhead.client.remote_agent import RemoteAgent
    from playhead.client.requests import RecordedRequest
    from playhead.client.run import Run
    from playhead.client.tails.notice import Notice

__all__ = ["Client", "Notice", "RecordedRequest", "RemoteAgent", "Run"]

# At first use. The command line's entry point is in this package, and must be running before the slow imports begin:
# otherwise Ctrl-C during them prints a traceback.
import_at_first_use(
    __name__,
    {
        "Client": "playhead.client.client",
        "RemoteAgent": "playhead.client.remote_agent",
        "RecordedRequest": "playhead.client.requests",
        "Run": "playhead.client.run",
        "Notice": "playhead.client.tails.notice",
    },
)
