"""What a scenario gave, in the form of `expected/`, and what its turns ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from playhead.runtime import AgentResult
from playhead.runtime.core.terms import TermArguments
from tests.conformance.conformance_agents import Request
from tests.conformance.conformance_scenarios import Scenario, decode, encode
from tests.conformance.conformance_tools import output_class

__all__ = ["OURS", "Recording", "check_turns", "due_actions", "event_line", "prompt_of", "terms_of_turn"]

_OF_STRANDS: Final = {"InterruptNotOpenError": "KeyError", "AgentPausedError": "TypeError"}
"""Errors that have another class here, and what Strands raises for the same: a decided difference."""

_MERGING: Final = ("init_event_loop", "delta", "event_loop_throttled_delay")

OURS: Final = frozenset({"retrying", "retracted"})
"""Keys of the events that only playhead has."""

_ACTIONS: Final = ("cancel_after", "second_prompt_after", "close_after")
"""What a turn's consumer may do, each on the n-th event that has a key."""


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
        name = type(error).__name__
        cause = {"type": _OF_STRANDS.get(name, name), "message": str(error)}
        self.note(turn, end="raise", **{"raise": cause})


def check_turns(scenario: Scenario) -> None:
    """Raise NotImplementedError if a turn needs what playhead does not have."""
    for step in scenario["turns"]:
        if "resume_checkpoint" in step:
            raise NotImplementedError("a turn that resumes from a checkpoint")


def due_actions(step: dict[str, Any], event: dict[str, Any], counts: Mapping[str, int]) -> list[str]:
    """What the turn's consumer does at this event; `counts` is how many events had each key, with this one."""
    rules = [(action, step[action]) for action in _ACTIONS if step.get(action)]
    return [action for action, rule in rules if rule["key"] in event and counts[rule["key"]] == rule["count"]]


def terms_of_turn(step: dict[str, Any]) -> TermArguments:
    """The terms of a turn; its structured output as a class, as the one that Strands was given."""
    terms: TermArguments = {}
    if (wanted := step.get("structured_output")) is not None:
        terms["structured_output_model"] = output_class(wanted["name"], wanted["schema"])
    if "limits" in step:
        terms["limits"] = step["limits"]
    return terms


def prompt_of(step: dict[str, Any], recording: Recording) -> Any:
    """The prompt of a turn; if it resumes, the responses to what the turn before asked."""
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


def event_line(event: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """An event as a line has it."""
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
