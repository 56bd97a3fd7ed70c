"""A scenario whose worker is killed after one of its records: the third way.

It has the parts of a fleet in this process: the agent's loop, a log by the rules of the Redis log, and a reader. A worker stores each
record as soon as it is made. One that is killed takes and stores nothing more; the log queues its run again, and the
next worker claims it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast
from uuid import uuid4

import anyio

from playhead.runtime import Agent
from playhead.runtime.agent.as_tool import AgentTool, agent_within, family
from playhead.runtime.core.children import parent_option
from playhead.runtime.core.codec import MAX_RECORD_BYTES, decode_record, encode_chunk, encode_record
from playhead.runtime.core.context import in_context
from playhead.runtime.core.errors import AgentPausedError, InterruptNotOpenError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    MessageAdded,
    ModelFailed,
    Record,
    RunClaimed,
    RunPaused,
    RunStateName,
    SignalReceived,
    now_ms,
)
from playhead.runtime.core.segments import Encoded, Segment
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.submission import submission
from playhead.runtime.core.terms import terms_of
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import DEFAULT_LEASE_MS, Batch, Claim, NewRun, RunEnd
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.tools.children import ChildCall
from tests.conformance.conformance_agents import PlayedModel, Request, build_agent
from tests.conformance.conformance_reader import Reader
from tests.conformance.conformance_recording import (
    Recording,
    check_turns,
    due_actions,
    event_line,
    prompt_of,
    terms_of_turn,
)
from tests.conformance.conformance_scenarios import Scenario, decode, encode

__all__ = ["Kill", "Played", "Stage"]

_SESSION: Final = "conformance"


class Kill(NamedTuple):
    """Where the worker is killed: after record `seq` of the scenario's run number `run`, counted from 0 as they are submitted.

    The call of an agent that is a tool has a run of its own.
    """

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

    def model_of(self, name: str) -> PlayedModel:
        """The model of the agent that runs of this name are of."""
        return cast("PlayedModel", cast("Agent", agent_within(self.agent, self.agent.name, name)).model)

    async def play(self, kill: Kill | None = None) -> Played:
        """Play all turns; with `kill`, the worker that stores that record is killed after it."""
        self.requests.clear()
        for agent in (self.agent, *family(self.agent).values()):
            cast("PlayedModel", cast("Agent", agent).model).made = 0
        play = _Play(self, kill)
        for number, step in enumerate(self.scenario["turns"]):
            if not await play.turn(number, step):
                break
        requests = {request["call"]: request for request in self.requests}
        again = [request for request in self.requests if request != requests[request["call"]]]
        assert not again, f"a call that is made again asks the same as before: {again}"
        play.played.recording.requests += requests.values()
        return play.played


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
        self._run = ""  # of the turn
        self._worker_scope = anyio.CancelScope()

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
        self._run = run_id = new_run_id()
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
        claimed = {self._agent.name: encode_record(RunClaimed(at=now_ms(), worker=self.worker))}
        claim = await self._log.claim(claimed, worker=self.worker, token=new_token(), lease_ms=DEFAULT_LEASE_MS)
        assert claim is not None, "the run is queued, and nothing else claims it"
        entries = await self._log.read(self._run, limit=claim.head)
        said = await self._log.stored_messages(_SESSION)
        state = fold(entries, history=[*self._agent.messages, *said.messages])
        for entry in entries[self._reader.head :]:
            await self._read(entry)
        if self._is_killed(self._run, claim.head):
            return True
        loop = Loop(
            self._agent.spec,
            run_id=self._run,
            state=state,
            head=claim.head,
            epoch=claim.epoch,
            control=Control(),
            partial=open_chunks(state, entries),
            began_from=said.began_from,
            children=_Children(self),
        )
        with anyio.CancelScope() as self._worker_scope:
            return await self._follow(loop, claim)
        return True  # it was killed in a child

    async def own_child(self, claim: Claim, agent: Agent) -> AsyncGenerator[None, None]:
        """Run a child that is claimed; yields after each record that is stored."""
        entries = await self._log.read(claim.run_id, limit=claim.head)
        self._may_kill(claim.run_id, entries[-1])
        await self._die_in_child(claim.run_id, claim.head)
        name = str(dict(entries[0].record)["agent"])
        state = fold(entries, history=agent.messages)
        is_whole = whole_answer(open_chunks(state, entries)) is not None  # its message is added without asking
        self._stage.model_of(name).made = await self._answered(name) + is_whole
        loop = Loop(
            agent.spec,
            run_id=claim.run_id,
            state=state,
            head=claim.head,
            epoch=claim.epoch,
            control=Control(),
            partial=open_chunks(state, entries),
            children=_Children(self),
        )
        head = claim.head
        async with aclosing(loop.records()) as items:
            loop.control.deliver(await self._log.inbox(claim.run_id))
            try:
                async for item in items:
                    if isinstance(item, Flush):
                        continue
                    record = await self._write(item, loop, claim, head, session=None)
                    head += 1
                    self._may_kill(claim.run_id, Entry(head, claim.epoch, record))
                    await self._die_in_child(claim.run_id, head)
                    yield
            except Exception as error:  # what a worker would store
                await self._write(failure(error), loop, claim, head, session=None)
                yield

    async def _die_in_child(self, run_id: str, head: int) -> None:
        if self._is_killed(run_id, head):
            self._worker_scope.cancel()
            await anyio.sleep_forever()

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
                    if self._is_killed(self._run, head):
                        return True
                    loop.control.deliver(await self._log.inbox(self._run))
        except AssertionError:  # of this driver
            raise
        except Exception as error:  # what a worker would store
            await self._store(failure(error), loop, claim, head)
        return False

    async def _store(self, item: Any, loop: Loop, claim: Claim, head: int) -> None:
        record = await self._write(item, loop, claim, head, session=_SESSION)
        self._paused = isinstance(record, RunPaused)
        await self._read(Entry(head + 1, claim.epoch, record))

    async def _write(self, item: Any, loop: Loop, claim: Claim, head: int, *, session: str | None) -> Record:
        data = (
            encode_chunk(item)
            if isinstance(item, list)
            else item.data
            if isinstance(item, Encoded)
            else encode_record(item)
        )
        record: Record = decode_record(data)
        received = isinstance(record, SignalReceived)
        run_id = claim.run_id
        batch = Batch(run_id, claim.token, head, [data], int(received and bool(await self._log.inbox(run_id))))
        if isinstance(record, RunPaused):
            result = await self._log.pause(batch, interrupts=[str(one["id"]) for one in record.interrupts])
        elif record.type in TERMINAL_TYPES:
            ended = cast("RunStateName", record.type.removeprefix("run."))
            result = await self._log.finish(RunEnd(batch, ended, session, loop.state.added if session else ()))
        else:
            (result,) = await self._log.append([batch])
        assert result.stored, result
        return record

    async def _read(self, entry: Entry) -> None:
        """Let the consumer read a record, and do what it does at its events."""
        self._may_kill(self._run, entry)
        if "close_after" in self._acted:
            return
        events = self._reader.read(entry, self._turn)
        for event in events if self._consumer_acts else ():
            counts = Counter(key for one in self._reader.seen if one.turn == self._turn for key in one.event)
            due = set(due_actions(self._step, event, counts)) - self._acted
            self._acted |= due
            if "cancel_after" in due:
                await self._log.signal(self._run, Signal(uuid4().hex, "cancel"))

    def _may_kill(self, run_id: str, entry: Entry) -> None:
        record = entry.record
        if entry.seq > 1 and record.type not in TERMINAL_TYPES and not isinstance(record, RunPaused):
            self.played.kills.append(Kill(self._runs.index(run_id), entry.seq))

    @property
    def _consumer_acts(self) -> bool:
        return any(name.endswith("_after") for name in self._step)

    def _is_killed(self, run_id: str, head: int) -> bool:
        return self._kill == Kill(self._runs.index(run_id), head) and self.played.kills[-1] == self._kill

    async def _die(self) -> None:
        """The worker is gone: the log queues the run again, and the model goes on with the call that comes next."""
        entries = await self._log.read(self._run, limit=1000)
        self._reader.killed(entries)
        for run_id in self._runs:
            info = await self._log.info(run_id)
            if run_id != self._run and info is not None and info.state == "running":
                self._reader.killed_in_child(await self._log.read(run_id, limit=1000))
        asked_to_end = fold(entries).cancelled or any(one.kind == "cancel" for one in await self._log.inbox(self._run))
        was_asked = self._reader.unfinished not in (None, entries[-1].seq)  # the model is asked after its model.started
        if was_asked and not asked_to_end:
            self._stage.model_of(self._agent.name).made -= 1
        await self._log.bury(self.worker, ended="it was killed")

    async def _answered(self, agent: str) -> int:
        """How many calls of the model have ended in the runs of an agent."""
        ended = 0
        for run_id in self._runs:
            entries = await self._log.read(run_id, limit=1000)
            if dict(entries[0].record)["agent"] == agent:
                ends = [one for one in entries if isinstance(one.record, MessageAdded | ModelFailed)]
                ended += sum(getattr(one.record, "origin", "model") == "model" for one in ends)
        return ended

    @property
    def log(self) -> MemoryLog:
        """The log."""
        return self._log

    @property
    def worker(self) -> str:
        """The worker that is alive."""
        return f"worker-{self._workers}"

    def submitted(self, run_id: str) -> None:
        """A child is there."""
        if run_id not in self._runs:
            self._runs.append(run_id)

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


class _Children:
    """Runs the children of a run in its worker, as `workers.children` does."""

    def __init__(self, play: _Play) -> None:
        self._play = play

    async def records(self, call: ChildCall) -> AsyncGenerator[Segment, None]:
        """See `ChildRuns.records`."""
        log, tool, after = self._play.log, cast("AgentTool", call.made_by), call.after
        options = parent_option(call.parent, call.key)
        made = submission(call.agent, call.prompt, invocation_state={}, options=options, limit=MAX_RECORD_BYTES)
        await log.submit(NewRun(call.run_id, call.agent, made.record, data=made.data, parent=call.parent))
        self._play.submitted(call.run_id)
        while True:
            for segment in await log.read_segments(call.run_id, after=after):
                after = segment.last
                yield segment
            info = await log.info(call.run_id)
            assert info is not None
            if info.ended:
                return
            if info.state == "paused":
                [last] = await log.read_back(call.run_id, before=info.head + 1, limit=1)
                asked = [str(one["id"]) for one in cast("RunPaused", last.record).interrupts]
                given = {key: call.responses[key] for key in asked if key in call.responses}
                if not given:
                    return
                await log.signal(call.run_id, Signal(uuid4().hex, "respond", given))
            claimed = {call.agent: encode_record(RunClaimed(at=now_ms(), worker=self._play.worker))}
            place = {"worker": self._play.worker, "token": new_token(), "lease_ms": DEFAULT_LEASE_MS}
            claim = await log.claim(claimed, run_id=call.run_id, **cast("Any", place))
            assert claim is not None, "its parent waits for it, and nothing else claims it"
            async with aclosing(self._play.own_child(claim, cast("Agent", tool.agent_of_call()))) as stored:
                async for _ in stored:
                    for segment in await log.read_segments(call.run_id, after=after):
                        after = segment.last
                        yield segment
