"""The result of a Strands agent as that of a run."""

from __future__ import annotations

from typing import Any

from strands.agent import AgentResult

from playhead.runtime.guests.strands.forms import wire

__all__ = ["result_of"]


def result_of(result: AgentResult, *, resumed: bool) -> dict[str, Any]:
    """The result in the form of the records. `resumed`: it is of an invocation after a pause."""
    metrics = result.metrics
    counted: dict[str, Any] = {
        "cycles": metrics.cycle_count,
        "usage": dict(metrics.accumulated_usage),
        "latency_ms": metrics.accumulated_metrics["latencyMs"],
    }
    if resumed:
        last = metrics.agent_invocations[-1]
        counted["resumed"] = {"cycles": len(last.cycles), "usage": dict(last.usage)}
    given = {
        "stop_reason": result.stop_reason,
        "message": wire(result.message),
        "state": wire(result.state),
        "metrics": counted,
    }
    if result.interrupts:
        given["interrupts"] = [wire(one.to_dict()) for one in result.interrupts]
    if result.structured_output is not None:
        given["structured_output"] = result.structured_output.model_dump(mode="json")
    return given
