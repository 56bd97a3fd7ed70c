"""What the conversation manager of a Strands agent has left out of its history, for the session of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from strands import Agent

from playhead.runtime.core.context import Reduction, ranges_of
from playhead.runtime.core.records import ContextReduced, now_ms
from playhead.runtime.core.result_cuts import with_short_results
from playhead.runtime.guests.strands.forms import wire

__all__ = ["Reductions"]

logger: logging.Logger = logging.getLogger(__name__)


class Reductions:
    """The messages that an agent would have if it left none out, compared with those that it has."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._known: list[tuple[Any, Any]] = [(message, message["content"]) for message in agent.messages]

    def added(self, message: Any) -> None:
        """A message of the agent is in the log."""
        self._known.append((message, message["content"]))

    def records(self) -> Iterator[ContextReduced]:
        """What the log does not have. Nothing for what a session has no form for: several messages in place of others."""
        count, places, new = len(self._known), list[int](), list[tuple[int, Any]]()
        for message in self._agent.messages:
            place = self._place_of(message, places[-1] + 1 if places else 0)
            if place is None:
                new.append((len(places), message))
            else:
                places.append(place)
        if len(new) > 1:
            logger.info("the history has %d messages that are not of the run: its session keeps all messages", len(new))
            return
        for place in places:
            if self._is_short(place):
                yield _record(Reduction(cut=place - count))
        removed = ranges_of(sorted({*range(count)} - {*places}), count)
        summary, kept = (wire(new[0][1]), len(places) - new[0][0]) if new else (None, 0)
        if removed or summary is not None:
            yield _record(Reduction(removed=removed, summary=summary, kept=kept))

    def _place_of(self, message: Any, first: int) -> int | None:
        known = enumerate(self._known[first:], first)
        return next((place for place, (one, _) in known if one is message or one == message), None)

    def _is_short(self, place: int) -> bool:
        """Whether the results in a message were shortened since it was known."""
        message, content = self._known[place]
        if message["content"] is content:
            return False
        short = with_short_results({"role": message["role"], "content": content}).get("content")
        return short != content and short == message["content"]


def _record(reduction: Reduction) -> ContextReduced:
    return ContextReduced(
        at=now_ms(),
        reason="end",
        removed=list(reduction.removed),
        cut=reduction.cut,
        summary=reduction.summary,
        kept=reduction.kept,
    )
