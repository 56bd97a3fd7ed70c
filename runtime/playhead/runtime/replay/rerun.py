"""Runs an agent again on the prompt of a recorded run, in this process, and keeps the new log: a recording is refreshed."""

from __future__ import annotations

from typing import Any, cast

from playhead.runtime.agent.serving import Servable, Served, served_of
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import RunPaused, RunSubmitted, SignalReceived, StateChanged, now_ms
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import Batch, NewRun, RunEnd
from playhead.runtime.replay.here import OwnerHere
from playhead.runtime.replay.past import Past
from playhead.runtime.replay.recording import Recorded, recording_of

__all__ = ["rerun"]


async def rerun(run: Recorded, agent: Servable) -> tuple[MemoryLog, str]:
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
    answers: dict[str, tuple[Any, dict[str, Any] | None]] = {}
    began: dict[str, Any] | None = None
    while (spot := await past.tape.peek()) is not None:
        record = spot.stored
        if isinstance(record, RunSubmitted):
            submitted = record
        elif isinstance(record, StateChanged) and record.begins:
            began = record.values
        elif isinstance(record, SignalReceived):
            if record.kind != "respond":
                raise ValueError(f"run {recording.run_id}: a {record.kind} depends on its moment; export another run")
            given = cast("dict[str, Any]", record.body)
            answers |= {one: (response, record.invocation_state) for one, response in given.items()}
        past.advance()
    if submitted is None:
        raise ValueError(f"run {recording.run_id} does not begin with a run.submitted, so its prompt is not known")
    return await _Rerun(served_of(agent), answers).begin(submitted, StoredMessages(messages=session, agent_state=began))


class _Rerun:
    """A run of an agent in a memory log, as a client and a worker make one."""

    def __init__(self, agent: Served, answers: dict[str, tuple[Any, dict[str, Any] | None]]) -> None:
        self._name = agent.name
        self._answers = answers
        self._log = MemoryLog()
        self._owner = OwnerHere(self._log, agent)
        self._run_id = new_run_id()

    async def begin(self, submitted: RunSubmitted, before: StoredMessages) -> tuple[MemoryLog, str]:
        """Submit the run and run it to its end."""
        if before.messages or (before.agent_state is not None and submitted.session is not None):
            await self._say_before(submitted.session, before)
        record = submitted.model_copy(update={"at": now_ms(), "agent": self._name})
        await self._log.submit(NewRun(self._run_id, self._name, record, submitted.session))
        while isinstance(last := await self._owner.own(), RunPaused):
            await self._answer(last)
        return self._log, self._run_id

    async def _say_before(self, session: str | None, before: StoredMessages) -> None:
        """Give the session what the run began from, by a run that added it."""
        name = self._name
        first = NewRun(new_run_id(), name, RunSubmitted(at=now_ms(), agent=name, session=session), session)
        await self._log.submit(first)
        claim = await self._owner.claim()
        batch = Batch(claim.run_id, claim.token, claim.head, [encode_record(failure(RuntimeError("before")))])
        end = RunEnd(batch, "failed", session, before.messages, agent_state=before.agent_state)
        await self._log.finish(end)

    async def _answer(self, paused: RunPaused) -> None:
        """Respond as the recorded run was responded to.

        Raises:
            ValueError: It was not asked this.
        """
        asked = [str(one["id"]) for one in paused.interrupts]
        if unknown := [one["name"] for one in paused.interrupts if one["id"] not in self._answers]:
            raise ValueError(f"the agent asks {unknown[0]!r} now, which the recorded run was not asked")
        responses = {one: self._answers[one][0] for one in asked}
        given = [state for one, (_, state) in self._answers.items() if one in asked and state is not None]
        await self._log.signal(self._run_id, Signal(new_token(), "respond", responses, given[-1] if given else None))
