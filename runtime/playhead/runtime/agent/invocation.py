"""One in-process run of an agent on a memory log. It does the work of a client and a worker of a fleet.

A record is encoded before its events are emitted, and the events are made from the decoded bytes. So a value that is
too large or is not plain data fails here with the same error as on a fleet, and the events are those of a fleet's
reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, Final, cast
from uuid import uuid4

import anyio

from playhead.runtime.agent.as_tool import AgentTool
from playhead.runtime.core.children import PARENT, parent_option
from playhead.runtime.core.codec import decode_stored, encode_chunk, encode_record, limit_of, read_back
from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import (
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunStateName,
    SignalReceived,
    now_ms,
)
from playhead.runtime.core.segments import Encoded, Segment, Stored
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import RunState, initial
from playhead.runtime.core.storable import storable
from playhead.runtime.core.submission import Submission, submission
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import DEFAULT_LEASE_MS, Batch, NewRun, RunEnd, WriteResult
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import AgentSpec, Flush
from playhead.runtime.loop.traced_agent import traced_agent
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.children import ChildCall

__all__ = ["InProcessChildren", "Invocation"]

_WORKER: Final = "this process"


class Invocation:
    """A run from its submission to its end, including its pauses. Its log, which its children share, exists only here.

    Attributes:
        run_id: The run.
        control: Where cancels are delivered.
        state: The fold of the stored records.
        projection: Makes the events of what `records` yields.
        head: The `seq` of the record yielded last.
        epoch: The epoch of that record.
        invocation_state: Passed to tools.
        paused: Whether it waits for responses.
        error: The exception that ended it: the model's own, or one for a record that cannot be stored. None if a
            rule of the loop ended it.
    """

    def __init__(
        self,
        spec: AgentSpec,
        submitted: Submission,
        *,
        history: Iterable[Message],
        invocation_state: dict[str, Any],
        store: AgentState,
        children: InProcessChildren | None = None,
        child: ChildCall | None = None,
    ) -> None:
        """Prepare the run.

        Args:
            spec: The agent.
            submitted: Record 1, encoded.
            history: The messages that it starts from.
            invocation_state: Passed to tools unchanged; its storable part is in `submitted`.
            store: The agent's state, which the run changes.
            children: Runs the children of this run and has its log; None for a run that is not a child.
            child: The call whose child it is; None for a run that is not a child.
        """
        self.run_id: str = new_run_id() if child is None else child.run_id
        self._parent = None if child is None else child.parent
        self._children = children or InProcessChildren(MemoryLog())
        self.control: Control = Control()
        self.paused: bool = False
        self.error: Exception | None = None
        self.invocation_state: dict[str, Any] = invocation_state
        self._agent_state = store
        self._spec = spec
        self._submitted = submitted
        self._history = list(history)
        self.state: RunState = initial(self._history)
        self.projection: Projection = Projection(self.run_id, output_class=spec.terms.output_class)
        self._log = self._children.log
        self._telemetry = RunTelemetry(self.run_id, agent=spec.name, epoch=0)  # of the current owner
        self.head: int = 0
        self.epoch: int = 0
        self._token = ""  # of the current owner
        self._in_inbox: set[str] = set()  # ids of signals in the inbox: their receipts acknowledge them
        self._waiting: list[bytes] = []  # chunks already yielded, stored by the next append

    async def submit(self) -> None:
        """Queue the run."""
        first, data = self._submitted
        await self._log.submit(NewRun(self.run_id, first.agent, first, data=data, parent=self._parent))

    async def respond(self, responses: Mapping[str, Any], *, invocation_state: dict[str, Any] | None = None) -> None:
        """Queue the paused run again, with responses by interrupt id.

        Args:
            invocation_state: Passed to tools from now on, unchanged; None for what they get already.

        Raises:
            InterruptNotOpenError: If a response names an interrupt that is not open; nothing is changed.
        """
        stored = None if invocation_state is None else storable(invocation_state)
        await self._log.signal(self.run_id, Signal(uuid4().hex, "respond", dict(responses), stored))
        if invocation_state is not None:
            self.invocation_state = invocation_state
        self.paused = False

    async def records(self) -> AsyncGenerator[Stored, None]:
        """Run to the end or the next pause, and yield the further records, decoded from their bytes.

        Chunks are appended together, with the next record of another type or when the loop yields `FLUSH`. No reader
        can notice this, because the log belongs to this object.
        """
        for segment in await self._claim():
            self.epoch = segment.epoch
            for stored in segment.values:
                self.head += 1
                yield stored
        loop = await self._loop()
        limit = self._spec.max_record_bytes
        try:
            async with aclosing(loop.records()) as items:
                async for item in items:
                    if isinstance(item, list):
                        data = encode_chunk(item, limit=limit)
                        self._waiting.append(data)
                        self.head += 1
                        stored = read_back(item, data)
                    elif isinstance(item, Flush):
                        await self._append()
                        continue
                    else:
                        stored = await self._store(self._telemetry.take(item, loop.state))
                    self.state = loop.state
                    yield stored
        except Exception as error:  # from the loop, or for a record that cannot be stored: the run fails
            self.error = error
            yield await self._store(self._telemetry.take(failure(error), self.state))
        else:
            self.error = loop.error
        finally:
            self._telemetry.end(raised=self.error)

    async def _claim(self) -> list[Segment]:
        """Claim the run. Returns the records up to the claim that were not yielded yet."""
        claimed = {self._submitted.record.agent: encode_record(RunClaimed(at=now_ms(), worker=_WORKER))}
        claim = await self._log.claim(
            claimed, worker=_WORKER, token=new_token(), lease_ms=DEFAULT_LEASE_MS, run_id=self.run_id
        )
        assert claim is not None, "no other owner has this log, and the run is queued"
        self._token = claim.token
        return await self._log.read_segments(self.run_id, after=self.head)

    async def _loop(self) -> Loop:
        """The loop that continues after the stored records, with the signals of the inbox."""
        entries = await self._log.read(self.run_id, limit=self.head)
        self.state = fold(entries, history=self._history)
        self._telemetry = RunTelemetry(self.run_id, agent=self._spec.name, epoch=self.epoch)
        self._telemetry.begin(entries, here=True)
        self._telemetry.describe(partial(traced_agent, self._spec))
        signals = await self._log.inbox(self.run_id)
        self._in_inbox = {signal.signal_id for signal in signals}
        self.control.deliver(signals)
        return Loop(
            self._spec,
            run_id=self.run_id,
            state=self.state,
            head=self.head,
            epoch=self.epoch,
            control=self.control,
            invocation_state=self.invocation_state,
            telemetry=self._telemetry,
            children=self._children,
            store=self._agent_state,
        )

    def _keep(self, record: Record | Encoded, *, last: bool = False) -> Stored:
        """Encode the next record, if necessary, for the next append. Returns the record as decoded from its bytes.

        Raises:
            EncodingError, RecordTooLargeError: If the record cannot be stored; it is discarded.
        """
        limit = self._spec.max_record_bytes
        if isinstance(record, Encoded):
            data = record.data
        else:
            data = encode_record(record, limit=limit_of(record, 2 * limit if last else limit))
        self._waiting.append(data)
        self.head += 1
        return decode_stored(data)

    async def _store(self, record: Record | Encoded) -> Stored:
        """Store the next record and the chunks before it. Returns the decoded record; raises as `_keep`."""
        match record:
            case RunPaused():
                stored = self._keep(record, last=True)
                asked = [interrupt["id"] for interrupt in record.interrupts]
                self._stored(await self._log.pause(self._batch(), interrupts=asked))
                self.paused = True
            case RunCompleted() | RunCancelled() | RunFailed():
                stored = self._keep(record, last=True)
                state = cast("RunStateName", record.type.removeprefix("run."))
                self._stored(await self._log.finish(RunEnd(self._batch(), state)))
            case SignalReceived(signal_id=signal_id):
                stored = self._keep(record)
                await self._append(ack=int(signal_id in self._in_inbox))
            case _:
                stored = self._keep(record)
                await self._append()
        return stored

    async def _append(self, *, ack: int = 0) -> None:
        (result,) = await self._log.append([self._batch(ack=ack)])
        self._stored(result)

    def _batch(self, *, ack: int = 0) -> Batch:
        return Batch(self.run_id, self._token, self.head - len(self._waiting), self._waiting, ack)

    def _stored(self, result: WriteResult) -> None:
        assert result.stored, "the run has one owner, which makes one call at a time"
        self._waiting = []


class InProcessChildren:
    """Runs the children of one run, and theirs, over the log of that run: each is an `Invocation` of its own.

    Attributes:
        log: The log of all of them.
    """

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self._runs: dict[str, Invocation] = {}
        self._asking: dict[AgentTool, str] = {}  # the paused child of an agent that preserves its context
        self._in_turn: dict[tuple[asyncio.AbstractEventLoop, AgentTool], anyio.Semaphore] = {}

    async def records(self, call: ChildCall) -> AsyncGenerator[Segment, None]:
        """See `ChildRuns.records`. Calls of an agent that preserves its context wait for each other."""
        tool = cast("AgentTool", call.made_by)
        async with self._turn(tool) if tool.preserves else nullcontext():
            if tool.preserves and self._asking.get(tool, call.run_id) != call.run_id:
                raise call.asks_elsewhere()
            run = self._runs.get(call.run_id)
            if run is None:
                run = self._runs[call.run_id] = self._new(call, tool)
                await run.submit()
            child = run
            call.when_cancelled(lambda: child.control.deliver([Signal(uuid4().hex, "cancel")]))
            try:
                while not run.paused or await _answered(run, call):
                    async with aclosing(self._shown(run, tool)) as segments:
                        async for segment in segments:
                            yield segment
                    if not run.paused:
                        return
            finally:
                if tool.preserves:
                    tool.agent.messages[:] = run.state.messages
                    self._asking.pop(tool, None)
                    if run.paused:
                        self._asking[tool] = call.run_id

    async def _shown(self, run: Invocation, tool: AgentTool) -> AsyncGenerator[Segment, None]:
        """The records of a child; the agent's callback handler gets their events."""
        async with aclosing(run.records()) as records:
            async for stored in records:
                if (show := tool.agent.callback_handler) is not None:
                    for event in run.projection.events_at(run.head, run.epoch, (stored,)):
                        show(**event)
                yield Segment(run.head, run.epoch, [stored])

    def _turn(self, tool: AgentTool) -> anyio.Semaphore:
        # Not a lock: the consumer of a stream may take each item in another task. One of another event loop may be in use
        # there, because a run that was paused can go on in this one.
        return self._in_turn.setdefault((asyncio.get_running_loop(), tool), anyio.Semaphore(1))

    def _new(self, call: ChildCall, tool: AgentTool) -> Invocation:
        agent = tool.agent_of_call()
        submitted = submission(
            call.agent,
            call.prompt,
            invocation_state={},
            options=parent_option(call.parent, call.key),
            metadata={PARENT: call.parent},
            limit=agent.max_record_bytes,
        )
        store = tool.agent.state if tool.preserves else agent.state
        given: dict[str, Any] = {"history": agent.messages, "invocation_state": {}, "store": store}
        return Invocation(agent.spec, submitted, **given, children=self, child=call)


async def _answered(run: Invocation, call: ChildCall) -> bool:
    """Give a paused child the responses to its questions. Returns whether there are any."""
    given = {key: call.responses[key] for key in run.state.interrupts if key in call.responses}
    if given:
        await run.respond(given)
    return bool(given)
