"""Drives a scenario's turns, here or through a fleet, and records them as `expected/` does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.context import in_context
from playhead.runtime.core.errors import AgentBusyError
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.records import ModelStarted
from tests.conformance.conformance_agents import Request, build_agent, request_as_noted
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
from tests.conformance.conformance_serving import serving
from tests.support.fleet import Fleet

__all__ = ["drive_fleet", "drive_here"]

_DEAD_WORKER_S: Final = 1.0


@dataclass(frozen=True)
class _Turn:
    """One turn of a scenario, and the means to play it."""

    number: int
    step: dict[str, Any]
    events: AsyncGenerator[dict[str, Any], None]
    cancel: Callable[[], Awaitable[object]]
    ask_twice: Callable[[], Awaitable[object]]

    async def play(self, recording: Recording) -> None:
        """Take its events, note each at the moment it comes, and do what the scenario's consumer does."""
        counts: dict[str, int] = {}
        try:
            async with aclosing(self.events) as events:
                async for event in events:
                    if not OURS.isdisjoint(event):
                        continue
                    recording.note(self.number, **event_line(event, self.step))
                    for key in event:
                        counts[key] = counts.get(key, 0) + 1
                    due = due_actions(self.step, event, counts)
                    for action in due:
                        recording.note(self.number, client=action)
                    if "cancel_after" in due:
                        await self.cancel()
                    if "second_prompt_after" in due:
                        await self.ask_twice()
                    if "close_after" in due:
                        return
        except Exception as error:
            recording.note_raised(self.number, error)
        else:
            recording.note(self.number, end="ok")


async def drive_here(scenario: Scenario) -> Recording:
    """The scenario with an `Agent` in this process.

    Raises:
        NotImplementedError: It needs what playhead does not have.
    """
    check_turns(scenario)
    recording = Recording()
    agent = build_agent(scenario, note=recording.requests.append)
    for number, step in enumerate(scenario["turns"]):
        prompt = prompt_of(step, recording)
        state = decode(step.get("invocation_state", {}))
        try:
            events = agent.stream_async(prompt, invocation_state=state, **terms_of_turn(step))
        except TypeError as error:  # refused before its iterator is used
            recording.note_raised(number, error)
            recording.histories.append(encode(agent.messages))
            continue
        turn = _Turn(
            number,
            step,
            events=events,
            cancel=lambda: _cancel(agent),
            ask_twice=lambda: _ask_twice(agent),
        )
        await turn.play(recording)
        recording.histories.append(encode(agent.messages))
    return recording


async def _cancel(agent: Agent) -> None:
    agent.cancel()


async def _ask_twice(agent: Agent) -> None:
    try:
        await agent.invoke_async("again, while it runs")
    except AgentBusyError:
        return
    raise AssertionError("a second call of a running agent was not refused")


async def drive_fleet(scenario: Scenario, fleet: Fleet, *, served: Callable[..., Any] = serving) -> Recording:
    """The scenario through a worker that serves its agent, in a session of its own. `served` is `serving` or one like it.

    Raises:
        NotImplementedError: It needs what playhead does not have.
    """
    check_turns(scenario)
    recording = Recording()
    preloaded = scenario.get("agent", {}).get("messages", [])
    turns: list[dict[str, Any]] = []  # those that have begun
    async with served(
        scenario, fleet, note=recording.requests.append, cancels=lambda: turns[-1].get("cancel_after")
    ) as client:
        remote = _Remote(client, scenario["id"], f"conformance-{uuid4().hex}", recording)
        for number, step in enumerate(scenario["turns"]):
            turns.append(step)
            await remote.play(number, step)
            if step.get("close_after"):
                recording.left_in = number
                break
            history: list[Any] = in_context([*preloaded, *encode(await remote.messages())])
            recording.histories.append(None if remote.is_paused else history)
        if served is serving:  # guests record a digest
            recording.recorded_requests += await remote.recorded_requests()
    return recording


class _Remote:
    """Plays turns through a worker; a turn that answers goes on with the run of the turn before."""

    def __init__(self, client: Client, agent: str, session: str, recording: Recording) -> None:
        self._client = client
        self._remote = client.agent(agent, session_id=session)
        self._recording = recording

    @property
    def is_paused(self) -> bool:
        """The last turn ended at a question: the session has nothing of its run yet."""
        result = self._recording.last_event.get("result", {})
        return result.get("stop_reason") == "interrupt"

    async def messages(self) -> list[Any]:
        """The session's messages."""
        return await self._client.log.messages(self._remote.session_id)

    async def recorded_requests(self) -> list[Request]:
        """What the model was asked in all turns, by their records."""
        infos = await self._client.runs(limit=1000)
        runs = [info for info in infos if info.session == self._remote.session_id]
        found: list[Request] = []
        for info in sorted(runs, key=lambda info: info.created):
            for entry in await self._client.log.read(info.run_id, limit=info.head):
                if isinstance(entry.record, ModelStarted):
                    recorded = await self._client.run(info.run_id).request(entry.seq)
                    found.append(request_as_noted(recorded.request, call=len(found)))
        return found

    async def play(self, number: int, step: dict[str, Any]) -> None:
        """One turn."""
        prompt = prompt_of(step, self._recording)
        state = decode(step.get("invocation_state", {}))
        events = self._remote.stream_async(prompt, invocation_state=state)
        cancel = self._remote.cancel
        if interrupt_responses(prompt) is None and not self.is_paused:
            try:
                run = await self._client.start(
                    self._remote.name,
                    prompt,
                    session_id=self._remote.session_id,
                    invocation_state=state,
                    **terms_of_turn(step),
                )
            except Exception as error:  # refused here already: no run, and no history
                self._recording.note_raised(number, error)
                return
            events, cancel = run.stream_async(wait_for_worker=_DEAD_WORKER_S), run.cancel
        await _Turn(number, step, events, cancel=cancel, ask_twice=_wait_queued).play(self._recording)


async def _wait_queued() -> None:
    """A fleet does not refuse a second prompt of a session: its run waits for the first to end. Nothing to refuse."""
