"""The callback handler that an agent calls with each event, and the default one, which prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackHandler", "print_text"]

CallbackHandler = Callable[..., None]
"""Called with each event as keywords."""


def print_text(**event: Any) -> None:
    """Print text as it streams, and the names of called tools. This is the default callback handler.

    It also reports text that is withdrawn and a model call that failed and is made again.
    """
    if "data" in event:
        print(event["data"], end="", flush=True)
    elif "retracted" in event:
        print("\n[the text of this message is withdrawn]", flush=True)
    elif "retrying" in event:
        what = f"{event['error_type']}: {event['error']}"
        print(f"[the model call failed: {what}; it is made again in {event['delay']:.1f} s]", flush=True)
    elif event.get("event", {}).get("contentBlockStart", {}).get("start", {}).get("toolUse"):
        print(f"\nTool: {event['event']['contentBlockStart']['start']['toolUse']['name']}", flush=True)
    elif "result" in event:
        print(flush=True)
