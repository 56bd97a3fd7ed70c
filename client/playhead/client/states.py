"""The state of a run at any of its records, and the next step there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from playhead.client.requests import session_messages
from playhead.client.tails.notice import run_not_found
from playhead.runtime.agent.conversation import recorded_manager
from playhead.runtime.core.arguments import check_whole
from playhead.runtime.core.checkpoints import SPACING, Checkpoints
from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.decide import decide
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import GapError, RecordNotFoundError, RequestNotFoundError
from playhead.runtime.core.guest_words import is_of_a_guest
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.made import MadeAgent
from playhead.runtime.core.open_calls import OpenCall, open_calls
from playhead.runtime.core.records import AgentMade, Entry, Record, RunClaimed
from playhead.runtime.core.segments import Segment, record_of
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.core.state import RunState, initial, open_chunks
from playhead.runtime.core.steps import Step
from playhead.runtime.core.terms import NO_TERMS, Terms
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import RunInfo

__all__ = ["StateAt", "States"]

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class StateAt:
    """A run as it was after one of its records.

    Attributes:
        run_id: The run.
        head: The number of the last record that the run has now.
        entry: The record.
        state: The fold of the records up to it.
        open_calls: The tool calls that have no result there.
        step: The owner's next step there, by `decide`; None if the run has ended or waits.
        definition: The definition that the owner there used; None if the log does not have it.
        history_known: Whether `state.messages` begins with the messages that the run began from. False if the log
            no longer has them; `messages` then holds only those of the run.
        guest: Whether a guest is at work there; `decide` knows nothing of its next step.
    """

    run_id: str
    head: int
    entry: Entry
    state: RunState
    open_calls: Sequence[OpenCall]
    step: Step | None
    definition: AgentDefinition | None
    history_known: bool
    guest: bool = False


@names_keywords
class States:
    """The states of one run. The log is folded once, up to the last requested record, whose neighbours are then fast.

    It keeps every 512th state, and the records around the last requested one.
    """

    def __init__(self, log: LogReader, run_id: str) -> None:
        self._log = log
        self._run_id = run_id
        self._checkpoints = Checkpoints()
        self._first: Record | None = None
        self._claims: list[tuple[int, str]] = []
        self._began: BeganFrom | None = None
        self._guest = False
        self._definitions: dict[str, AgentDefinition | None] = {}
        self._block: list[Entry] = []

    async def at(self, seq: int) -> StateAt:
        """The state after record `seq`.

        Raises:
            RecordNotFoundError: If the run does not have the record.
            ValueError, TypeError: If `seq` is not a whole number of at least 1.
            RunNotFoundError, GapError, ForeignRecordError: As their messages say.
        """
        check_whole("seq", seq, least=1)
        info = await self._log.info(self._run_id)
        if info is None:
            raise run_not_found(self._run_id)
        if seq > info.head:
            raise RecordNotFoundError(f"run {self._run_id} has {info.head} records so far, and no record {seq}")
        await self._fold_to(seq)
        block = await self._block_of(seq)
        state = self._checkpoints.state_at(seq, block)
        definition = await self._definition(seq)
        history = await self._history(info, definition)
        if history is not None:
            messages = initial([*history, *state.added]).messages
            state = replace(state, messages=messages, history=len(messages) - len(state.messages) + state.history)
        step = None if self._guest else await self._step(state, definition)
        entry = block[seq - self._checkpoints.before(seq) - 1]
        return StateAt(
            self._run_id,
            info.head,
            entry,
            state,
            open_calls(state),
            step,
            definition=definition,
            history_known=history is not None,
            guest=self._guest and state.status == "running",
        )

    async def _fold_to(self, seq: int) -> None:
        while (head := self._checkpoints.head) < seq:
            page = await self._log.read_segments(self._run_id, after=head, limit=_PAGE)
            expected = head + 1
            for one in page:
                if one.first != expected:
                    raise GapError(self._run_id, expected=expected, found=one.first)
                expected = one.last + 1
                self._note(one)
            if not page:
                raise GapError(self._run_id, expected=expected, found=None)
            self._checkpoints.extend(page)

    def _note(self, segment: Segment) -> None:
        """Note record 1, the definitions that owners name or have from a factory, and the run's first cycle."""
        if segment.first == 1:
            self._first = record_of(segment.values[0])
        for seq, value in enumerate(segment.values[:2], segment.first):  # an ownership begins with them
            if isinstance(value, RunClaimed) and value.definition:
                self._claims.append((seq, value.definition))
            elif isinstance(value, AgentMade):
                made = MadeAgent.of(value)
                self._claims.append((seq, made.digest))
                self._definitions[made.digest] = made.definition
        values = [value for value in segment.values if isinstance(value, Record)]
        self._guest = self._guest or any(is_of_a_guest(Entry(segment.first, segment.epoch, one)) for one in values)
        if self._began is None:
            told = (BeganFrom.told_by(one) for one in segment.values if type(one) is not list)
            self._began = next((one for one in told if one is not None), None)

    async def _block_of(self, seq: int) -> list[Entry]:
        """The records of the block of `seq`, at least up to it."""
        start = self._checkpoints.before(seq)
        kept = self._block
        if not (kept and kept[0].seq == start + 1 and kept[-1].seq >= seq):
            self._block = await self._read(start + 1, start + SPACING, least=seq)
        return self._block

    async def _read(self, first: int, last: int, *, least: int) -> list[Entry]:
        """Read records `first` to `last`, or fewer, but at least up to `least`."""
        found: list[Entry] = []
        while (expected := first + len(found)) <= least:
            page = await self._log.read(self._run_id, after=expected - 1, limit=last - expected + 1)
            if not page or page[0].seq != expected:
                raise GapError(self._run_id, expected=expected, found=page[0].seq if page else None)
            found += page
        return found

    async def _definition(self, seq: int) -> AgentDefinition | None:
        """The definition that the owner at `seq` uses, if the log has it."""
        digest = next((named for claim, named in reversed(self._claims) if claim <= seq), "")
        if digest and digest not in self._definitions:
            self._definitions[digest] = await self._log.definition(self._run_id, digest)
        found = self._definitions.get(digest)
        return found and self._first and found.of_run(self._first, seq=seq)

    async def _history(self, info: RunInfo, definition: AgentDefinition | None) -> list[Message] | None:
        """The messages that the run began from; None if the log does not have them."""
        if definition is None and not self._guest:
            return None
        try:
            session = await session_messages(self._log, info, self._began or BeganFrom())
        except RequestNotFoundError:
            return None
        return [*(() if definition is None else definition.messages), *session]

    async def _step(self, state: RunState, definition: AgentDefinition | None) -> Step | None:
        left: list[Chunk] = []
        if state.call_open is not None and state.call_end is not None:
            left = open_chunks(state, await self._read(state.call_open, state.call_end, least=state.call_end))
        goes_on = definition is not None and definition.on_partial == "continue"
        in_turn = definition is not None and definition.tool_executor == "sequential"
        terms = NO_TERMS if definition is None else Terms.read(definition.terms)
        context = recorded_manager(definition.conversation_manager if definition is not None else {})
        partial, answer = left if goes_on else (), whole_answer(left)
        return decide(state, in_turn=in_turn, partial=partial, answer=answer, terms=terms, context=context)
