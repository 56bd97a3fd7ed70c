"""Who watches runs: submit, tail, leave, rejoin, control, replay, and the `playhead` command.

from playhead.client import Client
"""

from __future__ import annotations

from playhead.client.client import Client
from playhead.client.remote import RemoteAgent
from playhead.client.run import Run
from playhead.client.tail import Notice

__all__ = ["Client", "Notice", "RemoteAgent", "Run"]
