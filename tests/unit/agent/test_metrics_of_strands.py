"""The metrics of a result, and the result as a dict, are those of Strands for the same messages of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import strands
from pydantic import BaseModel
from strands.agent.agent_result import AgentResult as TheirResult

from playhead.runtime import Agent, AgentResult, ToolContext, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CACHED = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 15, "cacheReadInputTokens": 10}


class City(BaseModel):
    name: str


def counted(call: list[Chunk], *, tokens: int = 10, **usage: int) -> list[Chunk]:
    """The chunks of a call with this usage."""
    given = {"inputTokens": tokens, "outputTokens": 5, "totalTokens": tokens + 5, **usage}
    metadata: Chunk = {"metadata": {"usage": given, "metrics": {"latencyMs": 7}}}
    return [chunk for chunk in call if "metadata" not in chunk] + [metadata]


def look(at: str) -> str:
    """Look.

    Args:
        at: Where.
    """
    if at == "nothing":
        raise LookupError("nothing there")
    return at


SCRIPTS: dict[str, list[list[Chunk]]] = {
    "text": [counted(text_call("Fine."))],
    "without usage": [[c.message_start(), *text_call("Fine.")[1:4], c.message_stop("end_turn")]],
    "cached tokens beside the others": [counted(text_call("Fine."), **CACHED)],
    "two calls and an error": [
        counted(tool_call("look", {"at": "x"}, "t1")),
        counted(tool_call("look", {"at": "nothing"}, "t2"), tokens=20),
        counted(text_call("Fine."), tokens=30),
    ],
    "unknown tool": [counted(tool_call("listen", {}, "t1")), counted(text_call("Fine."))],
    "structured output": [counted(tool_call("City", {"name": "Bonn"}, "t1"))],
}


def both(name: str) -> tuple[AgentResult, TheirResult]:
    asked: Any = {"structured_output_model": City} if name == "structured output" else {}
    here = Agent(ScriptedModel(SCRIPTS[name]), tools=[tool(look)], callback_handler=None)
    model: Any = ScriptedModel(SCRIPTS[name])
    model.stateful = False
    there = strands.Agent(model, tools=[strands.tool(look)], callback_handler=None)
    return here("Go", **asked), there("Go", **asked)


def without_times(value: Any) -> Any:
    """A summary without times and traces, the ids of cycles, and the inputs of calls, which are in the log only."""
    left_out = {"total_duration", "average_cycle_time", "total_time", "average_time", "traces", "event_loop_cycle_id"}
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in left_out | {"input_params"}}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SCRIPTS)
def test_metrics_are_those_of_strands(name: str) -> None:
    here, there = both(name)
    ours, theirs = here.metrics, there.metrics
    assert without_times(ours.get_summary()) == without_times(theirs.get_summary())
    assert ours.get_summary().keys() == theirs.get_summary().keys()
    assert (here.context_size, here.projected_context_size) == (there.context_size, there.projected_context_size)
    assert ours.cycle_count == theirs.cycle_count == len(ours.cycle_durations)
    assert ours.accumulated_usage == theirs.accumulated_usage
    assert ours.accumulated_metrics == theirs.accumulated_metrics
    assert ours.tool_metrics.keys() == theirs.tool_metrics.keys()
    for tool_name, one in ours.tool_metrics.items():
        other = theirs.tool_metrics[tool_name]
        assert (one.call_count, one.success_count, one.error_count) == (
            other.call_count,
            other.success_count,
            other.error_count,
        )
        assert one.tool["toolUseId"] == other.tool["toolUseId"]
    latest = theirs.latest_agent_invocation
    assert latest is not None
    assert [one.usage for one in ours.latest_agent_invocation.cycles] == [one.usage for one in latest.cycles]
    assert str(here) == str(there)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_result_as_a_dict_is_read_by_both(name: str) -> None:
    here, there = both(name)
    told = json.loads(json.dumps(here.to_dict()))
    assert {key: told[key] for key in ("type", "stop_reason", "checkpoint")} == {
        key: value for key, value in there.to_dict().items() if key != "message"
    }
    assert TheirResult.from_dict(told).message == here.message
    assert AgentResult.from_dict(told) == here
    assert AgentResult.from_dict(there.to_dict()).stop_reason == there.stop_reason
    with pytest.raises(TypeError, match="takes a dict with the type 'agent_result', not None"):
        AgentResult.from_dict({})


def test_bytes_of_a_message_come_back_from_its_dict() -> None:
    redacted: Any = {"role": "assistant", "content": [{"reasoningContent": {"redactedContent": b"\x00\xff"}}]}
    result = AgentResult({"stop_reason": "end_turn", "message": redacted, "metrics": {}, "state": {}})
    told = json.loads(json.dumps(result.to_dict()))
    assert AgentResult.from_dict(told).message == redacted
    assert TheirResult.from_dict(told).message == redacted


async def test_a_run_that_has_resumed_has_two_invocations() -> None:
    @tool
    def pay(context: ToolContext) -> str:
        """Pay."""
        return str(context.interrupt("sure"))

    calls = [counted(text_call("Fine."), tokens=20), counted(tool_call("pay", {}, "t1"))]
    agent = Agent(ScriptedModel([calls[1], calls[0]]), tools=[pay], callback_handler=None)
    asked = await agent.invoke_async("Pay")
    assert [len(one.cycles) for one in asked.metrics.agent_invocations] == [1]
    assert asked.interrupts is not None
    answer: Any = {"interruptResponse": {"interruptId": asked.interrupts[0].id, "response": "yes"}}
    metrics = (await agent.invoke_async([answer])).metrics
    before, since = metrics.agent_invocations
    assert [one.usage["inputTokens"] for one in before.cycles] == [10]
    assert [one.usage["inputTokens"] for one in since.cycles] == [0, 20], "as Strands counts a cycle that resumes"
    assert (before.usage["inputTokens"], since.usage["inputTokens"]) == (10, 20)
    assert metrics.latest_context_size == 20


def test_times_are_those_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[int] = iter(range(1000, 10**6, 250))

    @tool
    def wait() -> str:
        """Wait."""
        return "done"

    for module in ("loop.loop", "loop.model_call", "loop.tool_batch"):
        monkeypatch.setattr(f"playhead.runtime.{module}.now_ms", lambda: next(clock))
    model = ScriptedModel([counted(tool_call("wait", {}, "t1")), counted(text_call("Fine."))])
    metrics = Agent(model, tools=[wait], callback_handler=None)("Go").metrics
    assert all(duration > 0 and duration % 0.25 == 0 for duration in metrics.cycle_durations)
    summary = metrics.get_summary()
    assert summary["total_duration"] == sum(metrics.cycle_durations)
    assert summary["average_cycle_time"] == summary["total_duration"] / 2
    assert metrics.tool_metrics["wait"].total_time >= 0


def test_a_result_of_version_0_1_has_what_it_has() -> None:
    metrics = {"cycles": 2, "usage": {"inputTokens": 4}, "latency_ms": 5, "tools": {"add": {"calls": 1, "ok": 1}}}
    result = AgentResult({"stop_reason": "end_turn", "message": {}, "metrics": metrics, "state": {}})
    assert (result.context_size, result.metrics.cycle_durations, result.checkpoint) == (None, [], None)
    summary = result.metrics.get_summary()
    assert (summary["total_cycles"], summary["total_duration"]) == (2, 0)
    assert summary["tool_usage"]["add"]["execution_stats"]["call_count"] == 1
    assert summary["tool_usage"]["add"]["tool_info"]["tool_use_id"] == "N/A"
