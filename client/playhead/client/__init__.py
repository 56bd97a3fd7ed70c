"""Watches and controls runs: submit, tail, leave, rejoin, control, replay, and the `playhead` command.

from playhead.client import Client
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.client.client import Client
    from playhead.client.files import RunFile, open_log
    from playhead.client.guest_requests import GuestRequest
    from playhead.client.reader import RunReader
    from playhead.client.remote_agent import RemoteAgent
    from playhead.client.requests import RecordedRequest
    from playhead.client.run import Run
    from playhead.client.session import Conversation, Session, SessionPage
    from playhead.client.states import StateAt, States
    from playhead.client.tails.notice import Notice
    from playhead.runtime.core.fork import Fork
    from playhead.runtime.log.file.redaction import Redaction
    from playhead.runtime.log.listing import RunPage

__all__ = [
    "Client",
    "Conversation",
    "Fork",
    "GuestRequest",
    "Notice",
    "RecordedRequest",
    "Redaction",
    "RemoteAgent",
    "Run",
    "RunFile",
    "RunPage",
    "RunReader",
    "Session",
    "SessionPage",
    "StateAt",
    "States",
    "open_log",
]

# At first use. The command line's entry point is in this package, and must be running before the slow imports begin:
# otherwise Ctrl-C during them prints a traceback.
import_at_first_use(
    __name__,
    {
        "Client": "playhead.client.client",
        "GuestRequest": "playhead.client.guest_requests",
        "RemoteAgent": "playhead.client.remote_agent",
        "RecordedRequest": "playhead.client.requests",
        "Run": "playhead.client.run",
        "Conversation": "playhead.client.session",
        "Session": "playhead.client.session",
        "SessionPage": "playhead.client.session",
        "RunFile": "playhead.client.files",
        "open_log": "playhead.client.files",
        "RunReader": "playhead.client.reader",
        "StateAt": "playhead.client.states",
        "States": "playhead.client.states",
        "Notice": "playhead.client.tails.notice",
        "Fork": "playhead.runtime.core.fork",
        "Redaction": "playhead.runtime.log.file.redaction",
        "RunPage": "playhead.runtime.log.listing",
    },
)
