"""A scenario whose worker is killed after one of its records: the third way.

It has the parts of a fleet in this process: the agent's loop, a log by the rules of the Redis log, and a reader. A worker stores each
record as soon as it is made. One that is killed takes and stores nothing more; the log queues its run again, and the
next worker claims it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final, NamedTuple, cast
from uuid import uuid4

from pydantic import BaseModel

from playhead.runtime.core.codec import MAX_RECORD_BYTES, decode_record, encode_chunk, encode_record
from playhead.runtime.core.context import in_context
from playhead.runtime.core.errors import AgentPausedError, InterruptNotOpenError
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    ContextReduced,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelStarted,
    Record,
    RunClaimed,
    RunFailed,
    RunPaused,
    RunStateName,
    SignalReceived,
    ToolProgressed,
    ToolStarted,
    now_ms,
)
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.submission import submission
from playhead.runtime.core.terms import terms_of
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import DEFAULT_LEASE_MS, Batch, Claim, NewRun, RunEnd
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from tests.conformance.conformance_agents import PlayedModel, Request, build_agent
from tests.conformance.conformance_recording import (
    OURS,
    Recording,
    check_turns,
    due_actions,
    event_line,
    prompt_of,
    terms_of_turn,
)
from tests.conformance.conformance_scenarios import Scenario, decode, encode

__all__ = ["Kill", "Played", "Reader", "Seen", "Stage"]

_SESSION: Final = "conformance"


class Kill(NamedTuple):
    """Where the worker is killed: after record `seq` of the scenario's run number `run`, counted from 0."""

    run: int
    seq: int


@dataclass
class Played:
    """What one play of a scenario gave.

    Attributes:
        recording: What its reader has at the end of each turn: without what the kill made it withdraw, and with one request for a
            model call that was made again because of the kill.
        withdrawn: The texts of the retractions that belong to no kill: those of calls that failed.
        ended_by_log: Whether a cancel had been sent, but not received by the worker that was killed: the log then ends the
            run itself, and the play.
        kills: Where a worker may be killed: after every record but the first of a run, which no worker wrote, and the
            last one before a pause or the end.
    """

    recording: Recording = field(default_factory=Recording)
    withdrawn: list[str] = field(default_factory=list[str])
    ended_by_log: bool = False
    kills: list[Kill] = field(default_factory=list[Kill])


class Stage:
    """A scenario with its agent, which plays it any number of times.

    Raises:
        NotImplementedError: It needs what playhead does not have.
        TypeError: It asks for checkpoints.
    """

    def __init__(self, scenario: Scenario) -> None:
        check_turns(scenario)
        self.scenario = scenario
        self.requests: list[Request] = []
        self.agent = build_agent(scenario, note=self.requests.append)

    @property
    def model(self) -> PlayedModel:
        """The agent's model."""
        return cast("PlayedModel", self.agent.model)

    async def play(self, kill: Kill | None = None) -> Played:
        """Play all turns; with `kill`, the worker that stores that record is killed after it."""
        self.requests.clear()
        self.model.made = 0
        play = _Play(self, kill)
        for number, step in enumerate(self.scenario["turns"]):
            if not await play.turn(number, step):
                break
        requests = {request["call"]: request for request in self.requests}
        again = [request for request in self.requests if request != requests[request["call"]]]
        assert not again, f"a call that is made again asks the same as before: {again}"
        play.played.recording.requests += requests.values()
        return play.played


class Seen(NamedTuple):
    """An event that holds, the record that it was derived from, and the turn in which it came."""

    turn: int
    entry: Entry
    event: dict[str, Any]


class Reader:
    """Reads one run as a client does, over its pauses, and withdraws what belongs to a call in which its worker was killed.

    Attributes:
        head: The number of the last record that it has read.
        seen: The events that hold.
        withdrawn: The texts of the other retractions, whose events stay, as Strands has them twice.
        unfinished: The number of the `model.started` of the call in which the worker was killed, if there is one.
        cut_off: The tool calls in which it was killed, each with the number of its `tool.started`: their progress comes
            again from its beginning.
    """

    def __init__(self, run_id: str, output_class: type[BaseModel] | None) -> None:
        self.head = 0
        self.seen: list[Seen] = []
        self.withdrawn: list[str] = []
        self.unfinished: int | None = None
        self.cut_off: dict[int, int] = {}
        self._retractions: list[dict[str, Any]] = []
        self._projection = Projection(run_id, output_class=output_class)

    @property
    def error(self) -> Exception | None:
        """The exception with which the run failed."""
        return self._projection.error

    def read(self, entry: Entry, turn: int) -> Sequence[dict[str, Any]]:
        """Read the next record; returns its events."""
        record, self.head = entry.record, entry.seq
        if isinstance(record, ToolStarted) and record.index in self.cut_off:
            index, began = record.index, self.cut_off.pop(record.index)
            self.seen = [one for one in self.seen if not (one.entry.seq > began and _is_progress(one.entry, index))]
        events = list(self._projection.feed(entry))
        for event in events:
            if "retracted" in event:
                self._retractions.append(event)
                self._withdraw()
        seen = [event for event in events if OURS.isdisjoint(event)]
        self.seen += [Seen(turn, entry, event) for event in seen]
        return seen

    def killed(self, entries: Sequence[Entry]) -> None:
        """The run's worker was killed after the last of these records."""
        state = fold(entries)
        started = {one.record.index: one.seq for one in entries if isinstance(one.record, ToolStarted)}
        self.cut_off = {index: started[index] for index in state.started - state.results.keys()}
        self.unfinished = _unfinished(entries)
        self._withdraw()

    def _withdraw(self) -> None:
        """Withdraw what the retraction of the unfinished call names; the failure of a call may have withdrawn it before the kill."""
        kept = [event for event in self._retractions if event["from_seq"] != self.unfinished]
        for event in self._retractions:
            if event not in kept:
                self.seen = [one for one in self.seen if not _is_within(event, one.entry)]
        self.withdrawn = [event["text"] for event in kept]


def _is_within(retraction: dict[str, Any], entry: Entry) -> bool:
    chunk = isinstance(entry.record, ModelChunk)
    return chunk and retraction["from_seq"] <= entry.seq <= retraction["to_seq"]


def _is_progress(entry: Entry, index: int) -> bool:
    return isinstance(entry.record, ToolProgressed) and entry.record.index == index


class _Play:
    """One play: the log, the worker, the consumer and its reader."""

    def __init__(self, stage: Stage, kill: Kill | None) -> None:
        self.played = Played()
        self._stage = stage
        self._agent = stage.agent
        self._kill = kill
        self._log = MemoryLog()
        self._runs: list[str] = []
        self._workers = 0
        self._paused = False
        self._turn = 0
        self._step: dict[str, Any] = {}
        self._reader = Reader("", None)
        self._acted: set[str] = set()

    @property
    def _run(self) -> str:
        return self._runs[-1]

    async def turn(self, number: int, step: dict[str, Any]) -> bool:
        """Play a turn. False if nothing can be compared after it."""
        self._turn, self._step, self._acted = number, step, set()
        recording = self.played.recording
        try:
            await self._submit(prompt_of(step, recording))
        except Exception as error:  # refused: no run, and no history
            recording.note_raised(number, error)
        else:
            await self._work()
            self._note_turn()
            self.played.withdrawn += [] if self._paused else self._reader.withdrawn
            if "close_after" in self._acted:
                recording.left_in = number
            if "close_after" in self._acted or self.played.ended_by_log:
                return False
        recording.histories.append(None if self._paused else await self._history())
        return True

    async def _submit(self, prompt: Any) -> None:
        """Start the turn's run, or respond to the one that is paused."""
        responses = interrupt_responses(prompt)
        state = decode(self._step.get("invocation_state", {}))
        if self._paused:
            if responses is None:
                raise AgentPausedError(self._agent.name, [])
            await self._log.signal(self._run, Signal(uuid4().hex, "respond", responses, state))
            self._paused = False
            return
        if responses is not None:
            raise InterruptNotOpenError("", list(responses))
        terms = terms_of(terms_of_turn(self._step))
        name, limit = self._agent.name, MAX_RECORD_BYTES
        made = submission(name, prompt, session=_SESSION, invocation_state=state, options=terms.options, limit=limit)
        run_id = new_run_id()
        await self._log.submit(NewRun(run_id, name, made.record, _SESSION, data=made.data))
        self._runs.append(run_id)
        self._reader = Reader(run_id, terms.output_class)

    async def _work(self) -> None:
        """One worker after the other, until the run has ended or is paused."""
        while await self._own():
            await self._die()
            found = await self._log.info(self._run)
            if found is not None and found.ended:
                self.played.ended_by_log = True
                for entry in await self._log.read(self._run, after=self._reader.head):
                    await self._read(entry)
                return

    async def _own(self) -> bool:
        """Claim the run and run it. True if the worker was killed."""
        self._workers += 1
        claimed = {self._agent.name: encode_record(RunClaimed(at=now_ms(), worker=self._worker))}
        claim = await self._log.claim(claimed, worker=self._worker, token=new_token(), lease_ms=DEFAULT_LEASE_MS)
        assert claim is not None, "the run is queued, and nothing else claims it"
        entries = await self._log.read(self._run, limit=claim.head)
        said = await self._log.stored_messages(_SESSION)
        state = fold(entries, history=[*self._agent.messages, *said.messages])
        for entry in entries[self._reader.head :]:
            await self._read(entry)
        if self._is_killed(claim.head):
            return True
        control = Control()
        loop = Loop(
            self._agent.spec,
            run_id=self._run,
            state=state,
            head=claim.head,
            epoch=claim.epoch,
            control=control,
            partial=open_chunks(state, entries),
            began_from=said.began_from,
        )
        return await self._follow(loop, claim)

    async def _follow(self, loop: Loop, claim: Claim) -> bool:
        head = claim.head
        try:
            async with aclosing(loop.records()) as items:
                loop.control.deliver(await self._log.inbox(self._run))
                async for item in items:
                    if isinstance(item, Flush):
                        continue
                    await self._store(item, loop, claim, head)
                    head += 1
                    if self._is_killed(head):
                        return True
                    loop.control.deliver(await self._log.inbox(self._run))
        except AssertionError:  # of this driver
            raise
        except Exception as error:  # what a worker would store
            await self._store(failure(error), loop, claim, head)
        return False

    async def _store(self, item: Any, loop: Loop, claim: Claim, head: int) -> None:
        data = (
            encode_chunk(item)
            if isinstance(item, list)
            else item.data
            if isinstance(item, Encoded)
            else encode_record(item)
        )
        record: Record = decode_record(data)
        received = isinstance(record, SignalReceived)
        batch = Batch(self._run, claim.token, head, [data], int(received and bool(await self._log.inbox(self._run))))
        if isinstance(record, RunPaused):
            result = await self._log.pause(batch, interrupts=[str(one["id"]) for one in record.interrupts])
            self._paused = True
        elif record.type in TERMINAL_TYPES:
            ended = cast("RunStateName", record.type.removeprefix("run."))
            result = await self._log.finish(RunEnd(batch, ended, _SESSION, loop.state.added))
        else:
            (result,) = await self._log.append([batch])
        assert result.stored, result
        await self._read(Entry(head + 1, claim.epoch, record))

    async def _read(self, entry: Entry) -> None:
        """Let the consumer read a record, and do what it does at its events."""
        record = entry.record
        if entry.seq > 1 and record.type not in TERMINAL_TYPES and not isinstance(record, RunPaused):
            self.played.kills.append(Kill(len(self._runs) - 1, entry.seq))
        if "close_after" in self._acted:
            return
        events = self._reader.read(entry, self._turn)
        for event in events if self._consumer_acts else ():
            counts = Counter(key for one in self._reader.seen if one.turn == self._turn for key in one.event)
            due = set(due_actions(self._step, event, counts)) - self._acted
            self._acted |= due
            if "cancel_after" in due:
                await self._log.signal(self._run, Signal(uuid4().hex, "cancel"))

    @property
    def _consumer_acts(self) -> bool:
        return any(name.endswith("_after") for name in self._step)

    def _is_killed(self, head: int) -> bool:
        return self._kill == Kill(len(self._runs) - 1, head) and self.played.kills[-1] == self._kill

    async def _die(self) -> None:
        """The worker is gone: the log queues the run again, and the model goes on with the call that comes next."""
        entries = await self._log.read(self._run, limit=1000)
        self._reader.killed(entries)
        asked_to_end = fold(entries).cancelled or any(one.kind == "cancel" for one in await self._log.inbox(self._run))
        was_asked = self._reader.unfinished not in (None, entries[-1].seq)  # the model is asked after its model.started
        if was_asked and not asked_to_end:
            self._stage.model.made -= 1
        await self._log.bury(self._worker, ended="it was killed")

    @property
    def _worker(self) -> str:
        return f"worker-{self._workers}"

    def _note_turn(self) -> None:
        """Note what the reader holds of this turn."""
        recording, error = self.played.recording, self._reader.error
        seen = [one for one in self._reader.seen if one.turn == self._turn]
        for one in seen:
            recording.note(self._turn, **event_line(one.event, self._step))
        if error is not None and not self._paused:
            recording.note_raised(self._turn, error)
        else:
            recording.note(self._turn, end="ok")

    async def _history(self) -> list[dict[str, Any]]:
        preloaded = self._stage.scenario.get("agent", {}).get("messages", [])
        return cast("Any", in_context([*preloaded, *encode(await self._log.messages(_SESSION))]))


def _unfinished(entries: Sequence[Entry]) -> int | None:
    """The number of the last `model.started`, if neither the message of its call nor its failure is in the log."""
    ends = (MessageAdded, ModelFailed, RunFailed, ContextReduced)
    after = list(takewhile(lambda entry: not isinstance(entry.record, ends), reversed(entries)))
    started = [entry.seq for entry in after if isinstance(entry.record, ModelStarted)]
    if not started or whole_answer(one.record.chunk for one in after[::-1] if isinstance(one.record, ModelChunk)):
        return None
    return started[0]
