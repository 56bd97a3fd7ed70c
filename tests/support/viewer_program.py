"""A client in a process of its own: prints each event of a run with its cursor, and ends with the run.

Its configuration: `url`, `prefix`, `run` and `after` (a cursor or null). It ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import anyio

from playhead.client import Client

__all__: list[str] = []


def say(said: str, **more: Any) -> None:
    print(json.dumps({"said": said, **more}), flush=True)


def end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


async def main(config: dict[str, Any]) -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    say("ready", pid=os.getpid())
    async with Client(config["url"], prefix=config["prefix"]) as client:
        async for event in client.run(config["run"]).stream_async(after=config["after"]):
            say("event", cursor=event.cursor, event=json.loads(event.to_json()))
    say("ended")
    os._exit(0)


def run(config: dict[str, Any]) -> None:
    """Be the viewer, to the end."""
    anyio.run(main, config)
