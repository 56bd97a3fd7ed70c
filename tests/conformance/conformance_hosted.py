"""A scenario whose agent is Strands' own, hosted: the agent with which it was recorded, run by the host of guests.

The log is a list of records, and the session what the host adds to it. An owner stores each record as soon as it has it. One that
is killed after a record leaves the log up to there: the next owner makes a new agent and runs it again over that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from pydantic import BaseModel

from playhead.runtime.core.codec import MAX_RECORD_BYTES, decode_record, encode_record
from playhead.runtime.core.context import in_context
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import AgentPausedError, InterruptNotOpenError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    ModelStarted,
    Record,
    RunClaimed,
    RunPaused,
    SignalReceived,
    StepFinished,
    ToolStarted,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.submission import submission
from playhead.runtime.core.terms import terms_of
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.course import Course
from playhead.runtime.host.host import GuestTarget
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening
from playhead.runtime.loop.spec import Flush
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
from tests.conformance.record_strands import strands_agent

__all__ = ["Cut", "HostedPlay", "HostedStage"]

_LIMIT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an owner is killed: after record `seq` of the scenario's run number `run`, counted from 0."""

    run: int
    seq: int


@dataclass
class _Run:
    """A run: its log, the turn in which it began, and what its session had then."""

    began: int
    said: tuple[Message, ...]
    log: list[Entry] = field(default_factory=list[Entry])
    sent: list[Signal] = field(default_factory=list[Signal])
    output_class: type[BaseModel] | None = None
    error: Exception | None = None

    def append(self, record: Record) -> None:
        """Store it, as bytes do."""
        epoch = sum(isinstance(one.record, RunClaimed) for one in self.log)
        self.log.append(Entry(len(self.log) + 1, epoch, decode_record(encode_record(record))))

    @property
    def stands(self) -> bool:
        """Whether no owner has anything to do."""
        last = self.log[-1].record
        return last.type in TERMINAL_TYPES or (isinstance(last, RunPaused) and not list(self.inbox()))

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.log[-1].record.type in TERMINAL_TYPES

    @property
    def asked(self) -> list[str]:
        """The ids of the questions that it is paused for."""
        last = self.log[-1].record
        return [one["id"] for one in last.interrupts] if isinstance(last, RunPaused) else []

    def inbox(self) -> Iterator[Signal]:
        """What was sent and not received."""
        received = {one.record.signal_id for one in self.log if isinstance(one.record, SignalReceived)}
        return (one for one in self.sent if one.signal_id not in received)

    def upto(self, seq: int) -> _Run:
        """A copy whose owner was killed after that record; what was sent by then is in it."""
        pauses = _pauses(self.log[:seq])
        sent = [
            one for one in self.sent if one.kind != "respond" or int(one.signal_id.removeprefix("answer ")) <= pauses
        ]
        return _Run(self.began, self.said, self.log[:seq], sent, self.output_class)


class HostedStage:
    """A scenario with what makes its agent.

    Raises:
        NotImplementedError: It needs what a hosted agent does not have.
    """

    def __init__(self, scenario: Scenario) -> None:
        check_turns(scenario)
        self.scenario = scenario
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.guest = StrandsGuest(lambda: strands_agent(scenario, self.requests), name=scenario["id"])

    async def play(self) -> HostedPlay:
        """Play all turns."""
        self.requests.clear()
        play = HostedPlay(self)
        await play.go_on()
        return play


class HostedPlay:
    """One play of a scenario.

    Attributes:
        runs: The runs, one for each turn that was not refused and does not answer.
        recording: What a reader has that takes back what is retracted; after `go_on`.
        ended_by_log: Whether a cancel had been sent, and not received by the owner that was killed: the log then ends the run.
        turn: The index of the turn that is played.
        refused: What refused a turn, by the index of the turn.
        histories: The messages of the session after each turn; None after one that was refused.
        said: The messages of the session before the turn.
    """

    def __init__(self, stage: HostedStage) -> None:
        self.runs: list[_Run] = []
        self.recording = Recording()
        self.ended_by_log = False
        self._stage = stage
        self.turn = 0
        self.refused: dict[int, Exception] = {}
        self.histories: list[list[dict[str, Any]] | None] = []
        self.said: tuple[Message, ...] = ()
        self._asked: dict[str, list[dict[str, Any]]] = {}

    @property
    def cuts(self) -> list[Cut]:
        """Where an owner may be killed: after each record but the first, which no owner wrote, pauses and ends."""
        return [
            Cut(number, one.seq)
            for number, run in enumerate(self.runs)
            for one in run.log[1:]
            if one.record.type not in TERMINAL_TYPES and not isinstance(one.record, RunPaused)
        ]

    def upto(self, cut: Cut) -> HostedPlay:
        """The play as it stands when the owner is killed there."""
        play = HostedPlay(self._stage)
        run = self.runs[cut.run].upto(cut.seq)
        play.runs = [*self.runs[: cut.run], run]
        play.turn = self._turn_of(run, _pauses(run.log))
        play.refused = {turn: error for turn, error in self.refused.items() if turn < play.turn}
        play.histories = self.histories[: play.turn]
        play.ended_by_log = any(one.kind == "cancel" for one in run.inbox())
        play.said = run.said
        for name, asked in self._asked.items():  # the models go on with the call that comes next by the log
            made = sum(_made(one.log, name) for one in play.runs)
            self._stage.requests[name][:] = asked[:made]
        return play

    async def go_on(self) -> None:
        """Play to the end of the last turn."""
        turns = self._stage.scenario["turns"]
        if self.runs and not self.runs[-1].stands:
            await self._work()
        while self.turn < len(turns) and not self._left:
            step = turns[self.turn]
            try:
                self._submit(step)
            except Exception as error:  # refused: no run, and no history
                self.refused[self.turn] = error
            else:
                await self._work()
                continue
            self._end_turn()
        self.recording = self._recorded()
        self._asked = {name: list(asked) for name, asked in self._stage.requests.items()}

    @property
    def _left(self) -> bool:
        return any("close_after" in step for step in self._stage.scenario["turns"][: self.turn])

    def _end_turn(self) -> None:
        paused = bool(self.runs and self.runs[-1].asked)
        preloaded = self._stage.scenario.get("agent", {}).get("messages", [])
        self.turn += 1
        if not self._left:
            history: list[Any] = in_context([*preloaded, *encode(list(self.said))])
            self.histories.append(None if paused else history)

    def _submit(self, step: dict[str, Any]) -> None:
        """Start the turn's run, or respond to the one that is paused."""
        prompt = prompt_of(step, self._recorded())
        responses, open_ = interrupt_responses(prompt), self.runs[-1].asked if self.runs else []
        name = self._stage.guest.name
        if open_ and responses is None:
            raise AgentPausedError(name, open_)
        if responses is not None:
            if unknown := [one for one in responses if one not in open_]:
                raise InterruptNotOpenError("", unknown)
            state = decode(step.get("invocation_state", {}))
            self.runs[-1].sent.append(Signal(f"answer {_pauses(self.runs[-1].log)}", "respond", responses, state))
            return
        terms, state = terms_of(terms_of_turn(step)), decode(step.get("invocation_state", {}))
        made = submission(
            name, prompt, session="s", invocation_state=state, options=terms.options, limit=MAX_RECORD_BYTES
        )
        self._stage.guest.check_options(made.record)
        run = _Run(self.turn, self.said, output_class=terms.output_class)
        run.append(made.record)
        self.runs.append(run)

    async def _work(self) -> None:
        """One owner after the other, until the run has ended or is paused; that is the end of the turn."""
        run = self.runs[-1]
        for _ in range(4):
            if run.stands:
                break
            await self._own(run)
        else:
            raise AssertionError("the run goes round in circles")
        self._end_turn()

    async def _own(self, run: _Run) -> None:
        run.append(RunClaimed(at=0, worker="w"))
        control = Control()
        opening = Opening(
            run_id="0-run",
            epoch=run.log[-1].epoch,
            entries=list(run.log),
            head=len(run.log),
            said=StoredMessages(messages=run.said),
            control=control,
            ownership=Ownership("0-run"),
            longest_wait=60.0,
        )
        host = GuestTarget(self._stage.guest).open(opening)
        control.deliver(run.inbox())
        with anyio.fail_after(_LIMIT_S):
            async with aclosing(host.records()) as items:
                async for item in items:
                    if not isinstance(item, Flush):
                        run.append(record_of(item))
                        self._act(run)
                        control.deliver(run.inbox())
        run.error = host.error
        if run.ended:
            self.said = (*run.said, *host.state.added)

    def _act(self, run: _Run) -> None:
        """Let the consumer do what is due at the events so far."""
        step = self._stage.scenario["turns"][self.turn]
        if "cancel_after" not in step or any(one.kind == "cancel" for one in run.sent):
            return
        counts: Counter[str] = Counter()
        for _, event in _seen(run):
            counts.update(event.keys())
            if "cancel_after" in due_actions(step, event, counts):
                run.sent.append(Signal("cancel", "cancel"))
                return

    def _recorded(self) -> Recording:
        """What the reader has of all turns so far."""
        recording, steps = Recording(), self._stage.scenario["turns"]
        runs = {run.began: run for run in self.runs}
        for turn in range(len(steps)):
            if turn in self.refused:
                recording.note_raised(turn, self.refused[turn])
            elif turn in runs:
                self._note(recording, runs[turn])
        recording.lines.sort(key=lambda line: line["turn"])
        recording.histories += self.histories
        recording.requests += self._stage.requests[""]
        return recording

    def _turn_of(self, run: _Run, pauses: int) -> int:
        """The turn of a run after so many pauses."""
        turn = run.began
        for _ in range(pauses):
            turn += 1
            while turn in self.refused:
                turn += 1
        return turn

    def _note(self, recording: Recording, run: _Run) -> None:
        steps = self._stage.scenario["turns"]
        counts: Counter[tuple[int, str]] = Counter()
        turn = run.began
        for pauses, event in _seen(run):
            turn = self._turn_of(run, pauses)
            recording.note(turn, **event_line(dict(event), steps[turn]))
            counts.update((turn, key) for key in event)
            if "close_after" in due_actions(steps[turn], event, {key: counts[turn, key] for key in event}):
                recording.left_in = turn
                return
            if "interrupts" in event.get("result", {}) and event["result"].stop_reason == "interrupt":
                recording.note(turn, end="ok")
        if not run.ended:
            return
        if run.log[-1].record.type == "run.failed":
            error = _error_of(run)
            recording.note_raised(turn, error)
        else:
            recording.note(turn, end="ok")


def _pauses(log: Sequence[Entry]) -> int:
    return sum(isinstance(one.record, RunPaused) for one in log)


def _error_of(run: _Run) -> Exception:
    projection = Projection("0-run")
    for entry in run.log:
        projection.feed(entry)
    assert projection.error is not None
    return projection.error


def _seen(run: _Run) -> Sequence[tuple[int, Event]]:
    """The events of a run that hold, each with how many pauses were before it."""
    projection, pauses = Projection("0-run", output_class=run.output_class), 0
    seen: list[tuple[int, Event]] = []
    for entry in run.log:
        for event in projection.feed(entry):
            if "retracted" in event:
                seen = [one for one in seen if not event["from_seq"] <= one[1].seq <= event["to_seq"]]
            elif OURS.isdisjoint(event):
                seen.append((pauses, event))
        pauses += isinstance(entry.record, RunPaused)
    return seen


def _made(log: Sequence[Entry], name: str) -> int:
    """How many calls the agent of that name within the agent, or the agent itself, need not make again."""
    if name:
        names = {one.record.lane: one.record.tool_use["name"] for one in log if isinstance(one.record, ToolStarted)}
        keys = [one.record.key for one in log if isinstance(one.record, StepFinished)]
        return sum(names.get(key.rpartition("/")[0]) == name and "/model:" in key for key in keys)
    course = Course(log)
    cancels = [one.seq for one in log if isinstance(one.record, SignalReceived) and one.record.kind == "cancel"]
    until = min(cancels, default=len(log) + 1)
    lanes = [one.record.lane for one in log if isinstance(one.record, ModelStarted) and one.seq < until]
    calls = [course.call(lane) for lane in dict.fromkeys(lanes)]
    return sum(call is not None and (call.whole or bool(cancels)) for call in calls)
