"""What a run has said so far: its finished messages, and the place from which the rest is to be read. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.runtime.core.converse import Message
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.intake import mended
from playhead.runtime.core.records import Entry, MessageAdded, ModelStarted, RunPaused
from playhead.runtime.core.segments import Segment, changes_state, record_of
from playhead.runtime.core.session import said_in
from playhead.runtime.core.state import RunState, initial
from playhead.runtime.core.steps import AddMessage

__all__ = ["SoFar"]


class SoFar:
    """Folds a run's records, from record 1 on, into what a page shows before it goes on with the events.

    Attributes:
        state: The fold of the records.
        last: The cursor of the last record.
    """

    def __init__(self, history: Sequence[Message]) -> None:
        self._history = [mended(message) for message in said_in(history)]
        self.state: RunState = initial(history)
        self.last: str = "0"
        self._before = "0"  # the last record before the model call or the pause that came last

    def add(self, segment: Segment) -> None:
        """Take the next records."""
        for seq, stored in enumerate(segment.values, segment.first):
            if changes_state(stored):
                record = record_of(stored)
                if isinstance(record, RunPaused) or (isinstance(record, ModelStarted) and not record.continues):
                    self._before = self.last
                self.state = evolve(self.state, Entry(seq, segment.epoch, record))
            self.last = f"{seq}-{segment.epoch}"

    @property
    def messages(self) -> list[Message]:
        """The history, and what the run has added: its prompt, also if it has not begun, and each finished message.

        Those that a reduction left out are among them. The text of a message that is not finished is not, because it may
        still be retracted.
        """
        state = self.state
        while state.phase == "opening" and isinstance(step := decide(state), AddMessage) and step.origin != "steer":
            added = MessageAdded(at=0, message=step.message, origin="repair" if step.origin == "repair" else "prompt")
            state = evolve(state, Entry(0, 0, added))
        return [*self._history, *said_in(state.added)]

    @property
    def cursor(self) -> str:
        """Where the events go on after `messages`: the text of an open model call comes again, and the questions of a pause."""
        return self._before if self.state.call_open is not None or self.state.paused else self.last
