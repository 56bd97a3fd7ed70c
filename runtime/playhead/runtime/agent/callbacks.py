"""The callback handlers of an agent in this process: functions that are called with each event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackHandler", "CompositeCallbackHandler", "PrintingCallbackHandler"]

CallbackHandler = Callable[..., Any]
"""Called with each event as keywords."""


class PrintingCallbackHandler:
    """Prints text and reasoning as they stream, and the names of called tools, as Strands' handler of this name does.

    Each agent has one of its own unless it is given another handler. It also prints what Strands has no event for: text that is
    withdrawn, and a model call that failed and is made again.

    Args:
        verbose_tool_use: Whether to print the names of called tools.

    Attributes:
        tool_count: The number of tools that models have called so far.
    """

    def __init__(self, verbose_tool_use: bool = True) -> None:
        self.tool_count: int = 0
        self._verbose_tool_use = verbose_tool_use

    def __call__(self, **event: Any) -> None:
        if text := event.get("reasoningText") or event.get("data"):
            print(text, end="", flush=True)
        elif "retracted" in event:
            print("\n[the text of this message is withdrawn]", flush=True)
        elif "retrying" in event:
            what = f"{event['error_type']}: {event['error']}"
            print(f"[the model call failed: {what}; it is made again in {event['delay']:.1f} s]", flush=True)
        elif use := event.get("event", {}).get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            self.tool_count += 1
            if self._verbose_tool_use:
                print(f"\nTool #{self.tool_count}: {use['name']}", flush=True)


class CompositeCallbackHandler:
    """Calls several handlers with each event, one after the other.

    Args:
        handlers: The handlers.
    """

    def __init__(self, *handlers: CallbackHandler) -> None:
        self.handlers: tuple[CallbackHandler, ...] = handlers

    def __call__(self, **event: Any) -> None:
        for handler in self.handlers:
            handler(**event)
