"""The recorded past of a run up to a position on its tape: the fold of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.left_call import joined
from playhead.runtime.core.records import Entry, ModelFailed, ModelStarted, RunSubmitted
from playhead.runtime.core.segments import changes_state, expanded, record_of
from playhead.runtime.core.session import BeganFrom, StoredMessages
from playhead.runtime.core.state import RunState, initial
from playhead.runtime.replay.recording import Recording
from playhead.runtime.replay.tape import Tape

__all__ = ["Past"]


class Past:
    """The fold of the records before the place, in memory that does not grow with their number.

    Attributes:
        tape: The records; `advance` takes them.
        state: Their fold. A wait before a model call counts as over, so that it is not waited again.
        records: How many were taken.
        began_from: The messages of its session that the run began from.
        missing: How many of these messages are gone.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.tape: Tape = Tape(recording)
        self.state: RunState = initial()
        self.records: int = 0
        self.began_from: BeganFrom = BeganFrom()
        self.missing: int = 0
        self._calls: list[list[list[Any]]] = []  # the open call, and those that continue it

    @property
    def run_id(self) -> str:
        """The run."""
        return self._recording.run_id

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of where the run began from."""
        return (f"{self.missing} messages of the session that the run began from are gone",) if self.missing else ()

    @property
    def open_chunks(self) -> list[Chunk]:
        """The chunks of the model call that is open, as `state.open_chunks` gives them."""
        if self.state.call_open is None:
            return []
        return joined([[expanded(stored) for stored in call] for call in self._calls])

    async def begin(self, messages: Sequence[Message], *, told: bool = False) -> None:
        """Begin before record 1, with an agent's own messages and those of the run's session.

        A run that never began a cycle has all of these; `told`: it has none.
        """
        self.state = initial([*messages, *await self._session(told=told)])

    async def whole(self) -> tuple[StoredMessages, list[Entry]]:
        """All records of a run of a guest, and the messages of its session that it began from; then the place is at the end."""
        await self.begin([], told=True)
        said, entries = StoredMessages(self.began_from.cut, self.state.messages), list[Entry]()
        while (spot := await self.tape.peek()) is not None:
            entries.append(Entry(spot.seq, spot.epoch, spot.record))
            self.advance()
        return said, entries

    def advance(self) -> None:
        """Take the next record, which `tape.peek` has returned."""
        spot = self.tape.take()
        self.records += 1
        stored = spot.stored
        if type(stored) is list and self._calls:
            self._calls[-1].append(stored)
        if not changes_state(stored):
            return
        record = record_of(stored)
        if isinstance(record, ModelStarted):
            self._calls = [*(self._calls if record.continues else ()), []]
        if isinstance(record, ModelFailed):
            record = record.model_copy(update={"at": 0})
        self.state = evolve(self.state, Entry(spot.seq, spot.epoch, record))
        if self.state.call_open is None:
            self._calls = []

    async def _session(self, *, told: bool) -> Sequence[Message]:
        """The messages of the session that the run began from."""
        first = await self.tape.peek()
        submitted = first.stored if first is not None else None
        if not isinstance(submitted, RunSubmitted) or submitted.session is None:
            return []
        ahead = 1
        began: BeganFrom | None = None
        while began is None and (spot := await self.tape.peek(ahead)) is not None:
            began, ahead = BeganFrom.told_by(spot.stored), ahead + 1
        self.began_from = began or BeganFrom()
        if not self.began_from.count and (told or began is not None):
            return []
        if began is None:
            return await self._recording.messages(submitted.session)
        messages = await self._recording.history(self.began_from)
        self.missing = max(0, self.began_from.count - len(messages))
        return messages
