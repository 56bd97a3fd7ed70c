"""Helpers for tests of agents: a model that plays scripts, and the text that remains of a run's events.

    from playhead.runtime.testing import ScriptedModel, folded_text, text_call, tool_call

`playhead.workers.testing` runs a whole fleet; it is in that package because the runtime does not know workers.
"""

from __future__ import annotations

from collections.abc import Iterable

from playhead.runtime.core.events import Event
from playhead.runtime.models.scripted import ScriptedCall, ScriptedModel, text_call, tool_call

__all__ = ["ScriptedCall", "ScriptedModel", "folded_text", "text_call", "tool_call"]


def folded_text(events: Iterable[Event]) -> str:
    """The text that remains for a reader of these events: all `data` except the parts that `retracted` events withdraw.

    Args:
        events: Events of one run, in order; they may start at any cursor and end before the run does.
    """
    pieces: list[tuple[int, str]] = []
    for event in events:
        if "data" in event:
            pieces.append((event.seq, event["data"]))
        elif "retracted" in event:
            first, last = event["from_seq"], event["to_seq"]
            pieces = [(seq, text) for seq, text in pieces if not first <= seq <= last]
    return "".join(text for _, text in pieces)
