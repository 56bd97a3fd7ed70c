"""`RunMetrics`, the metrics of a result: plain data with the attributes of Strands' `EventLoopMetrics`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

__all__ = ["AgentInvocation", "CycleMetric", "RunMetrics", "ToolMetrics"]


@dataclass(frozen=True, slots=True)
class CycleMetric:
    """One cycle.

    Attributes:
        event_loop_cycle_id: Its number in the run, from 1, as a text.
        usage: The tokens of its model calls.
    """

    event_loop_cycle_id: str
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class AgentInvocation:
    """The cycles of a run up to its last pause, or since it has resumed.

    Attributes:
        cycles: The cycles. One that was paused in is in both, and its tokens are in the first.
        usage: The tokens of their model calls.
    """

    cycles: list[CycleMetric]
    usage: dict[str, int]


class ToolMetrics(dict[str, int]):
    """`{"calls": int, "ok": int, "errors": int}` of one tool, with the attributes of Strands' `ToolMetrics`.

    Attributes:
        tool: The last call: its `toolUseId`, and the `name` of the tool. The input is in the log only.
        total_time: The seconds that the calls took together.
    """

    def __init__(self, counts: Mapping[str, int], *, name: str, last: str, ms: int) -> None:
        super().__init__(counts)
        self.tool: dict[str, Any] = {"toolUseId": last, "name": name, "input": {}}
        self.total_time: float = ms / 1000

    @property
    def call_count(self) -> int:
        """The number of calls."""
        return self.get("calls", 0)

    @property
    def success_count(self) -> int:
        """The number of calls whose result has the status `success`."""
        return self.get("ok", 0)

    @property
    def error_count(self) -> int:
        """The number of the other calls."""
        return self.get("errors", 0)


class RunMetrics(dict[str, Any]):
    """`{"cycles": int, "usage": {...}, "latency_ms": int, "tools": {name: {"calls", "ok", "errors"}}, "per_cycle": [{"usage",
    "ms"}], "per_tool": {name: {"ms", "last"}}}`, with the attributes of Strands' `EventLoopMetrics`.

    For the whole run, where Strands adds up all calls of an agent. A call that was cancelled before it began, or whose name is
    illegal, counts as an error; one that stopped to ask a human counts once it has its result. A run that was paused also has `"resumed": {"cycles",
    "usage"}`, the part since it last resumed.
    """

    @property
    def cycle_count(self) -> int:
        """The number of cycles of the event loop in this run."""
        return int(self.get("cycles", 0))

    @property
    def cycle_durations(self) -> list[float]:
        """The seconds from the begin of each cycle to its last message; empty for a run of version 0.1."""
        return [one["ms"] / 1000 for one in self._per_cycle]

    @property
    def accumulated_usage(self) -> dict[str, int]:
        """Tokens summed over the run's model calls."""
        return cast("dict[str, int]", self.get("usage", {}))

    @property
    def invocation_cycles(self) -> int:
        """Cycles since the run began or last resumed after a pause; the cycle it paused in counts again."""
        return int(self.get("resumed", self).get("cycles", 0))

    @property
    def invocation_usage(self) -> dict[str, int]:
        """The tokens of the model calls since the run began or last resumed after a pause."""
        return cast("dict[str, int]", self.get("resumed", self).get("usage", {}))

    @property
    def accumulated_metrics(self) -> dict[str, int]:
        """`{"latencyMs": int}`, summed over the run's model calls."""
        return {"latencyMs": int(self.get("latency_ms", 0))}

    @property
    def tool_metrics(self) -> dict[str, ToolMetrics]:
        """The calls, successes, errors and time of each tool, by name."""
        more = cast("dict[str, dict[str, Any]]", self.get("per_tool", {}))
        counts = cast("dict[str, dict[str, int]]", self.get("tools", {}))
        return {
            name: ToolMetrics(
                one, name=name, last=more.get(name, {}).get("last", "N/A"), ms=more.get(name, {}).get("ms", 0)
            )
            for name, one in counts.items()
        }

    @property
    def agent_invocations(self) -> list[AgentInvocation]:
        """The run: in one part, or in two, divided where it last resumed."""
        usages = [one["usage"] for one in self._per_cycle]
        cycles = [CycleMetric(str(number), usage) for number, usage in enumerate(usages, 1)]
        if "resumed" not in self:
            return [AgentInvocation(cycles, self.accumulated_usage)]
        since = self.invocation_usage
        before = {name: count - since.get(name, 0) for name, count in self.accumulated_usage.items()}
        place = max(0, len(cycles) - (self.invocation_cycles - 1))
        again = [CycleMetric(one.event_loop_cycle_id, dict.fromkeys(one.usage, 0)) for one in cycles[:place][-1:]]
        return [AgentInvocation(cycles[:place], before), AgentInvocation([*again, *cycles[place:]], since)]

    @property
    def latest_agent_invocation(self) -> AgentInvocation:
        """The last of `agent_invocations`."""
        return self.agent_invocations[-1]

    @property
    def latest_context_size(self) -> int | None:
        """The tokens of the last cycle's prompt, cached ones included; None if no cycle is known."""
        usage = self._last_usage
        return None if usage is None else _prompt_tokens(usage)

    @property
    def projected_context_size(self) -> int | None:
        """The tokens that the next prompt has at least: those of the last cycle's prompt and of its message."""
        usage = self._last_usage
        return None if usage is None else _prompt_tokens(usage) + usage.get("outputTokens", 0)

    @property
    def traces(self) -> list[Any]:
        """Empty: the log has the steps of a run, with their times."""
        return []

    def get_summary(self) -> dict[str, Any]:
        """The metrics in the form of Strands' `get_summary`: `total_cycles`, `total_duration` (seconds), `average_cycle_time`,
        `tool_usage`, `traces`, `accumulated_usage`, `accumulated_metrics` and `agent_invocations`."""
        cycles, seconds = self.cycle_count, sum(self.cycle_durations)
        return {
            "total_cycles": cycles,
            "total_duration": seconds,
            "average_cycle_time": seconds / cycles if cycles else 0,
            "tool_usage": {name: _tool_summary(one) for name, one in self.tool_metrics.items()},
            "traces": self.traces,
            "accumulated_usage": self.accumulated_usage,
            "accumulated_metrics": self.accumulated_metrics,
            "agent_invocations": [
                {
                    "usage": part.usage,
                    "cycles": [
                        {"event_loop_cycle_id": one.event_loop_cycle_id, "usage": one.usage} for one in part.cycles
                    ],
                }
                for part in self.agent_invocations
            ],
        }

    @property
    def _per_cycle(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.get("per_cycle", []))

    @property
    def _last_usage(self) -> dict[str, int] | None:
        cycles = self.latest_agent_invocation.cycles
        return cycles[-1].usage if cycles else None


def _prompt_tokens(usage: Mapping[str, int]) -> int:
    """The tokens of a prompt. Providers count cached tokens among the input tokens, or beside them."""
    prompt, output, total = (usage.get(name, 0) for name in ("inputTokens", "outputTokens", "totalTokens"))
    if prompt + output == total:
        return prompt
    return prompt + usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)


def _tool_summary(metrics: ToolMetrics) -> dict[str, Any]:
    calls, tool = metrics.call_count, metrics.tool
    return {
        "tool_info": {"tool_use_id": tool["toolUseId"], "name": tool["name"], "input_params": tool["input"]},
        "execution_stats": {
            "call_count": calls,
            "success_count": metrics.success_count,
            "error_count": metrics.error_count,
            "total_time": metrics.total_time,
            "average_time": metrics.total_time / calls if calls else 0,
            "success_rate": metrics.success_count / calls if calls else 0,
        },
    }
