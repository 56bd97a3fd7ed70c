"""Drives a scenario's turns, here or through a fleet, and records them as `expected/` does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from playhead.client import Client
from playhead.runtime import Agent, AgentResult
from playhead.runtime.core.context import in_context
from playhead.runtime.core.errors import AgentBusyError
from playhead.runtime.core.interrupts import interrupt_responses
from playhead.runtime.core.records import ModelStarted
from playhead.runtime.core.terms import TermArguments
from tests.conformance.conformance_agents import Request, build_agent, request_as_noted
from tests.conformance.conformance_scenarios import Scenario, decode, encode
from tests.conformance.conformance_serving import serving
from tests.conformance.conformance_tools import output_class
from tests.support.fleet import Fleet

__all__ = ["Recording", "drive_fleet", "drive_here"]

_DEAD_WORKER_S: Final = 1.0
_MERGING: Final = ("init_event_loop", "delta", "event_loop_throttled_delay")
_OURS: Final = frozenset({"retrying", "retracted"})
"""Keys of the events that only playhead has."""


@dataclass
class Recording:
    """What a scenario gave.

    Attributes:
        lines: In the form of `expected/<id>.jsonl`.
        histories: The messages after each turn; None where a fleet's run is paused, whose session gets them at its end.
        requests: What the model was asked, in order.
        recorded_requests: The same by the runs' records; of a fleet only.
        left_in: The turn after which nothing can be compared, because the consumer left a run that went on without it.
    """

    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    histories: list[list[dict[str, Any]] | None] = field(default_factory=list[list[dict[str, Any]] | None])
    requests: list[Request] = field(default_factory=list[Request])
    recorded_requests: list[Request] = field(default_factory=list[Request])
    left_in: int | None = None

    @property
    def last_event(self) -> dict[str, Any]:
        """The last event noted; empty if there is none."""
        return next((line["event"] for line in reversed(self.lines) if "event" in line), {})

    def note(self, turn: int, **what: Any) -> None:
        """Add a line."""
        self.lines.append({"seq": len(self.lines), "turn": turn, **what})

    def note_raised(self, turn: int, error: Exception) -> None:
        """Add the end of a turn that raised."""
        cause = {"type": type(error).__name__, "message": str(error)}
        self.note(turn, end="raise", **{"raise": cause})


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
                    if not _OURS.isdisjoint(event):
                        continue
                    recording.note(self.number, **_line(event, self.step))
                    for key in event:
                        counts[key] = counts.get(key, 0) + 1
                    due = [action for action in _ACTIONS if self._is_due(action, event, counts)]
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

    def _is_due(self, action: str, event: dict[str, Any], counts: dict[str, int]) -> bool:
        rule = self.step.get(action)
        return bool(rule) and rule["key"] in event and counts[rule["key"]] == rule["count"]


_ACTIONS: Final = ("cancel_after", "second_prompt_after", "close_after")


async def drive_here(scenario: Scenario) -> Recording:
    """The scenario with an `Agent` in this process.

    Raises:
        NotImplementedError: It needs what playhead does not have.
    """
    _check_turns(scenario)
    recording = Recording()
    agent = build_agent(scenario, note=recording.requests.append)
    for number, step in enumerate(scenario["turns"]):
        prompt = _prompt(step, recording)
        state = decode(step.get("invocation_state", {}))
        try:
            events = agent.stream_async(prompt, invocation_state=state, **_terms(step))
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


async def drive_fleet(scenario: Scenario, fleet: Fleet) -> Recording:
    """The scenario through a worker that serves its agent, in a session of its own.

    Raises:
        NotImplementedError: It needs what playhead does not have.
    """
    _check_turns(scenario)
    recording = Recording()
    preloaded = scenario.get("agent", {}).get("messages", [])
    async with serving(scenario, fleet, note=recording.requests.append) as client:
        remote = _Remote(client, scenario["id"], f"conformance-{uuid4().hex}", recording)
        for number, step in enumerate(scenario["turns"]):
            await remote.play(number, step)
            if step.get("close_after"):
                recording.left_in = number
                break
            history: list[Any] = in_context([*preloaded, *encode(await remote.messages())])
            recording.histories.append(None if remote.is_paused else history)
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
        prompt = _prompt(step, self._recording)
        state = decode(step.get("invocation_state", {}))
        events = self._remote.stream_async(prompt)
        cancel = self._remote.cancel
        if interrupt_responses(prompt) is None:
            try:
                run = await self._client.start(
                    self._remote.name,
                    prompt,
                    session_id=self._remote.session_id,
                    invocation_state=state,
                    **_terms(step),
                )
            except Exception as error:  # refused here already: no run, and no history
                self._recording.note_raised(number, error)
                return
            events, cancel = run.stream_async(wait_for_worker=_DEAD_WORKER_S), run.cancel
        await _Turn(number, step, events, cancel=cancel, ask_twice=_wait_queued).play(self._recording)


async def _wait_queued() -> None:
    """A fleet does not refuse a second prompt of a session: its run waits for the first to end. Nothing to refuse."""


def _check_turns(scenario: Scenario) -> None:
    """Raise NotImplementedError if a turn needs what playhead does not have."""
    for step in scenario["turns"]:
        if "resume_checkpoint" in step:
            raise NotImplementedError("a turn that resumes from a checkpoint")


def _terms(step: dict[str, Any]) -> TermArguments:
    """The terms of a turn; its structured output as a class, as the one that Strands was given."""
    terms: TermArguments = {}
    if (wanted := step.get("structured_output")) is not None:
        terms["structured_output_model"] = output_class(wanted["name"], wanted["schema"])
    if "limits" in step:
        terms["limits"] = step["limits"]
    return terms


def _prompt(step: dict[str, Any], recording: Recording) -> Any:
    if "resume" not in step:
        return decode(step.get("prompt"))
    asked = recording.last_event["result"]["interrupts"]
    return [
        {
            "interruptResponse": {
                "interruptId": asked[response["interrupt"]]["id"],
                "response": decode(response["response"]),
            }
        }
        for response in step["resume"]
    ]


def _line(event: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    body = {key: _encode_result(value) if key == "result" else encode(value) for key, value in event.items()}
    merged: list[str] = []
    if any(key in event for key in _MERGING):
        merged = sorted(key for key in step.get("invocation_state", {}) if key in event)
    return {"event": body, "merged": merged} if merged else {"event": body}


def _encode_result(result: AgentResult) -> dict[str, Any]:
    metrics = result.metrics
    return {
        "$live": "AgentResult",
        "stop_reason": result.stop_reason,
        "message": encode(result.message),
        "text": str(result),
        "state": encode(result.state),
        "interrupts": result.interrupts,
        "structured_output": encode(result.structured_output),
        "checkpoint": None,
        "metrics": {
            "$live": "EventLoopMetrics",
            "cycle_count": metrics.cycle_count,
            "invocation_cycles": metrics.invocation_cycles,
            "invocation_usage": metrics.invocation_usage,
            "accumulated_usage": metrics.accumulated_usage,
            "accumulated_latency_ms": metrics.accumulated_metrics["latencyMs"],
            "tools": metrics.tool_metrics,
        },
    }
