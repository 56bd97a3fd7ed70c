"""The state of a run at any of its records: some states are kept, and the fold continues from the nearest one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from playhead.runtime.core.converse import Message
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment, changes_state, record_of
from playhead.runtime.core.state import RunState, initial

__all__ = ["SPACING", "Checkpoints"]

SPACING: Final = 512
"""Records between two kept states. Each state holds a tuple of all messages, so a smaller spacing costs memory."""


class Checkpoints:
    """Folds the records of a run once and keeps every `SPACING`th state.

    The state at any folded record is then at most `SPACING` records away.

    Args:
        history: The messages that the run began from.

    Attributes:
        head: The number of the last record that was folded.
    """

    def __init__(self, history: Iterable[Message] = ()) -> None:
        self.head: int = 0
        self._state = initial(history)
        self._kept: list[RunState] = [self._state]

    def extend(self, page: Iterable[Segment]) -> None:
        """Fold the next records, which follow `head` without a gap."""
        for first, epoch, values in page:
            for seq, value in enumerate(values, first):
                if changes_state(value):
                    self._state = evolve(self._state, Entry(seq, epoch, record_of(value)))
                if seq % SPACING == 0:
                    self._kept.append(self._state)
                self.head = seq

    @staticmethod
    def before(seq: int) -> int:
        """The record after which the block of `seq` begins: its state is kept, or it is 0."""
        return (seq - 1) // SPACING * SPACING

    def state_at(self, seq: int, block: Sequence[Entry]) -> RunState:
        """The state after record `seq`; `block` holds at least the records after `before(seq)` up to it."""
        start = self.before(seq)
        state = self._kept[start // SPACING]
        for entry in block[: seq - start]:
            state = evolve(state, entry)
        return state
