"""Runs an agent again on the prompt of a recorded run, in this process, and keeps the new log: a recording is refreshed."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Final, cast

from playhead.runtime.agent.agent import Agent
from playhead.runtime.core.codec import encode_chunk, encode_record, limit_of
from playhead.runtime.core.converse import Message
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import (
    Record,
    RunClaimed,
    RunPaused,
    RunStateName,
    RunSubmitted,
    SignalReceived,
    now_ms,
)
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.reading import read_all
from playhead.runtime.log.values import DEFAULT_LEASE_MS, Batch, Claim, NewRun, RunEnd
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.replay.past import Past
from playhead.runtime.replay.recording import Recorded, recording_of

__all__ = ["rerun"]

_WORKER: Final = "this process"


async def rerun(run: Recorded, agent: Agent) -> tuple[MemoryLog, str]:
    """Run the agent for real on what a recorded run was given: its prompt, its session's messages, its responses.

    Returns:
        A log with the new run, and the run's id.

    Raises:
        ValueError: The run was cancelled or steered, or asks what the recorded one did not ask: what depends on a
            moment cannot be run again.
    """
    recording = recording_of(run)
    past = Past(recording)
    await past.begin([])
    session = past.state.messages
    submitted: RunSubmitted | None = None
    answers: dict[str, Any] = {}
    while (spot := await past.tape.peek()) is not None:
        record = spot.stored
        if isinstance(record, RunSubmitted):
            submitted = record
        elif isinstance(record, SignalReceived):
            if record.kind != "respond":
                raise ValueError(f"run {recording.run_id}: a {record.kind} depends on its moment; export another run")
            answers |= cast("dict[str, Any]", record.body)
        past.advance()
    if submitted is None:
        raise ValueError(f"run {recording.run_id} does not begin with a run.submitted, so its prompt is not known")
    return await _Rerun(agent, answers).begin(submitted, session)


class _Rerun:
    """A run of an agent in a memory log, as a client and a worker make one."""

    def __init__(self, agent: Agent, answers: dict[str, Any]) -> None:
        self._agent = agent
        self._answers = answers
        self._definition = agent.definition.stored()
        self._log = MemoryLog()
        self._run_id = new_run_id()

    async def begin(self, submitted: RunSubmitted, session: tuple[Message, ...]) -> tuple[MemoryLog, str]:
        """Submit the run and run it to its end."""
        if session:
            await self._say_before(submitted.session, session)
        name = self._agent.name
        record = submitted.model_copy(update={"at": now_ms(), "agent": name})
        await self._log.submit(NewRun(self._run_id, name, record, submitted.session))
        while not await self._own():
            pass
        return self._log, self._run_id

    async def _say_before(self, session: str | None, messages: tuple[Message, ...]) -> None:
        """Give the session the messages that the run began from, by a run that added them."""
        name = self._agent.name
        before = NewRun(new_run_id(), name, RunSubmitted(at=now_ms(), agent=name, session=session), session)
        await self._log.submit(before)
        claim = await self._claim()
        batch = Batch(claim.run_id, claim.token, claim.head, [encode_record(failure(RuntimeError("before")))])
        await self._log.finish(RunEnd(batch, "failed", session, messages))

    async def _claim(self) -> Claim:
        name, definition = self._agent.name, self._definition
        record = encode_record(RunClaimed(at=now_ms(), worker=_WORKER, definition=definition.digest))
        claim = await self._log.claim(
            {name: record},
            worker=_WORKER,
            token=new_token(),
            lease_ms=DEFAULT_LEASE_MS,
            definitions={name: definition},
        )
        assert claim is not None, "the run is queued, and nothing else claims it"
        return claim

    async def _own(self) -> bool:
        """Own the run up to its end, or up to a pause, which is then answered; whether it has ended."""
        claim = await self._claim()
        said = await self._log.messages(claim.session) if claim.session is not None else []
        entries = await read_all(self._log, self._run_id, head=claim.head)
        control = Control()
        control.deliver(signals := await self._log.inbox(self._run_id))
        loop = Loop(
            self._agent.spec,
            run_id=self._run_id,
            state=fold(entries, history=[*self._agent.messages, *said]),
            head=claim.head,
            epoch=claim.epoch,
            control=control,
            session_messages=len(said),
        )
        kept, last = await self._records(loop)
        batch = Batch(self._run_id, claim.token, claim.head, kept, len(signals))
        if isinstance(last, RunPaused):
            await self._answer(last, batch)
            return False
        state = cast("RunStateName", last.type.removeprefix("run."))
        await self._log.finish(RunEnd(batch, state, claim.session, loop.state.added))
        return True

    async def _records(self, loop: Loop) -> tuple[list[bytes], Record]:
        """What the loop yields, encoded, and the last record of it; the failure of one that cannot be stored."""
        kept: list[bytes] = []
        limit = self._agent.max_record_bytes
        last: Record | None = None
        try:
            async with aclosing(loop.records()) as items:
                async for item in items:
                    if isinstance(item, list):
                        kept.append(encode_chunk(item, limit=limit))
                    elif isinstance(item, Encoded):
                        kept.append(item.data)
                    elif not isinstance(item, Flush):
                        last = item
                        kept.append(encode_record(item, limit=limit_of(item, limit)))
        except Exception as error:
            last = failure(error)
            kept.append(encode_record(last))
        assert last is not None, "a loop ends with the end of its run, or with a pause"
        return kept, last

    async def _answer(self, paused: RunPaused, batch: Batch) -> None:
        """Pause the run, and respond as the recorded run was responded to.

        Raises:
            ValueError: It was not asked this.
        """
        asked = [str(one["id"]) for one in paused.interrupts]
        if unknown := [one["name"] for one in paused.interrupts if one["id"] not in self._answers]:
            raise ValueError(f"the agent asks {unknown[0]!r} now, which the recorded run was not asked")
        await self._log.pause(batch, interrupts=asked)
        responses = {one: self._answers[one] for one in asked}
        await self._log.signal(self._run_id, Signal(new_token(), "respond", responses))
