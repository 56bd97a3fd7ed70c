"""`SlidingWindowConversationManager`: the newest messages stay in the context, as in Strands (1.62). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.runtime.agent.conversation.proactive import ProactiveCompression
from playhead.runtime.core.arguments import check_whole
from playhead.runtime.core.context import Reduction, first_of, ranges_of, with_pins
from playhead.runtime.core.converse import Message
from playhead.runtime.core.result_cuts import has_results, with_short_results
from playhead.runtime.core.trimming import first_beginning, first_pair, is_pinned

__all__ = ["SlidingWindowConversationManager"]

_FEWEST: Final = 2  # messages that an overflow removes from a history that is within the window


@dataclass(frozen=True, slots=True)
class SlidingWindowConversationManager(ProactiveCompression):
    """Keeps the newest messages. The history is reduced at the end of a run, and when a model refuses it as too long.

    A model that refuses it is called again after each reduction: first the tool results of the oldest message that has
    any are shortened, then messages are left out. A tool call and its result stay together.

    Args:
        window_size: Messages to keep; 0 leaves out all that are not pinned.
        should_truncate_results: Whether long tool results are shortened before messages are left out.
        per_turn: Whether the history is also reduced before each model call of a run; a number N for each Nth.
        proactive_compression, context_window_limit, pin_first: See `ProactiveCompression`.

    Raises:
        ValueError, TypeError: If an argument is out of its range or has the wrong type.
    """

    window_size: int = 40
    should_truncate_results: bool = True
    per_turn: bool | int = False

    def __post_init__(self) -> None:
        ProactiveCompression.__post_init__(self)
        check_whole("window_size", self.window_size, least=0)
        if not isinstance(self.per_turn, bool):
            check_whole("per_turn", self.per_turn, least=1)

    @property
    def cannot(self) -> str:
        """See `ContextPolicy`."""
        return "Unable to trim conversation context!"

    def after_overflow(self, messages: Sequence[Message]) -> Reduction | None:
        """See `ContextPolicy`."""
        pins = first_of(messages, self.pin_first)
        place = _oldest_results(with_pins(messages, pins)) if self.should_truncate_results else None
        if self.window_size and place is not None:
            return Reduction(cut=place - len(messages), pinned=pins)
        return self._trimmed(messages)

    def before_call(self, messages: Sequence[Message], *, call: int) -> Reduction | None:
        """See `ContextPolicy`."""
        if self.is_nearly_full(messages) and (reduction := self._trimmed(messages)) is not None:
            return reduction
        return self.at_end(messages) if self.per_turn and call % int(self.per_turn) == 0 else None

    def at_end(self, messages: Sequence[Message]) -> Reduction | None:
        """See `ContextPolicy`."""
        return self._trimmed(messages) if len(messages) > self.window_size else None

    def _trimmed(self, messages: Sequence[Message]) -> Reduction | None:
        """The reduction that leaves out the oldest messages; None if there is no place to begin, or all are pinned."""
        count, pins = len(messages), first_of(messages, self.pin_first)
        end: int | None = count
        if self.window_size:
            start = _FEWEST if count <= self.window_size else count - self.window_size
            end = first_beginning(messages, start)
            end = first_pair(messages, start) if end is None else end
        marked = with_pins(messages, pins)
        removed = [place for place in range(end or 0) if not is_pinned(marked, place)]
        return Reduction(removed=ranges_of(removed, count), pinned=pins) if removed else None


def _oldest_results(messages: Sequence[Message]) -> int | None:
    """The oldest message with tool results that is not pinned, if any of them is too long."""
    places = (place for place, one in enumerate(messages) if has_results(one) and not is_pinned(messages, place))
    place = next(places, None)
    return None if place is None or with_short_results(messages[place]) is messages[place] else place
