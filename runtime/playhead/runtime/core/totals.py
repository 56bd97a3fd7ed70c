"""What a run adds up: tokens, time and tool calls, in all and by cycle. Pure; times are those of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import CycleStarted, MessageAdded, ToolFinished

__all__ = [
    "NO_TOTALS",
    "CycleTotals",
    "Totals",
    "begin_cycle",
    "count_message",
    "count_tool",
    "count_usage",
    "end_cycle",
    "run_metrics",
]


def _no_tokens() -> dict[str, int]:
    return {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}


@dataclass(frozen=True, slots=True)
class CycleTotals:
    """The totals of one cycle.

    Attributes:
        began: When it began, in unix milliseconds.
        ms: The milliseconds from there to its last message.
        usage: Its tokens.
    """

    began: int
    ms: int = 0
    usage: Mapping[str, int] = field(default_factory=_no_tokens)


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a run: tokens and model latency summed over its finished calls, tool calls by name.

    Attributes:
        usage: Tokens.
        latency_ms: Milliseconds that models took, as they say.
        tools: The calls, successes and errors of each tool.
        tool_ms: The milliseconds that the calls of each tool took together.
        last_use: The id of the last call of each tool.
        cycles: The cycles so far.
    """

    usage: Mapping[str, int] = field(default_factory=_no_tokens)
    latency_ms: int = 0
    tools: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    tool_ms: Mapping[str, int] = field(default_factory=dict[str, int])
    last_use: Mapping[str, str] = field(default_factory=dict[str, str])
    cycles: tuple[CycleTotals, ...] = ()


NO_TOTALS: Final = Totals()


def begin_cycle(totals: Totals, record: CycleStarted) -> Totals:
    """The totals with one more cycle."""
    return replace(totals, cycles=(*totals.cycles, CycleTotals(record.at)))


def end_cycle(totals: Totals, record: MessageAdded) -> Totals:
    """The totals in which the cycle lasts until this message; a later message of the cycle makes it longer."""
    if not totals.cycles:
        return totals
    *before, last = totals.cycles
    return replace(totals, cycles=(*before, replace(last, ms=max(0, record.at - last.began))))


def count_usage(totals: Totals, tokens: Mapping[str, Any]) -> Totals:
    """The totals with the tokens of one more model call; what is not a whole number does not count."""
    cycles = totals.cycles
    if cycles:
        cycles = (*cycles[:-1], replace(cycles[-1], usage=_sum(cycles[-1].usage, tokens)))
    return replace(totals, usage=_sum(totals.usage, tokens), cycles=cycles)


def _sum(usage: Mapping[str, int], tokens: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: count for name, count in tokens.items() if isinstance(count, int)}
    return {**usage, **{name: usage.get(name, 0) + count for name, count in counts.items()}}


def count_message(totals: Totals, message: Message) -> Totals:
    """The totals with a message of the model."""
    metadata = message.get("metadata") or {}
    latency = (metadata.get("metrics") or {}).get("latencyMs", 0)
    return replace(count_usage(totals, metadata.get("usage") or {}), latency_ms=totals.latency_ms + latency)


def count_tool(totals: Totals, record: ToolFinished) -> Totals:
    """The totals with one more tool call."""
    name = record.name
    counts = dict(totals.tools.get(name) or {"calls": 0, "ok": 0, "errors": 0})
    counts["calls"] += 1
    counts["ok" if record.result["status"] == "success" else "errors"] += 1
    return replace(
        totals,
        tools={**totals.tools, name: counts},
        tool_ms={**totals.tool_ms, name: totals.tool_ms.get(name, 0) + record.duration_ms},
        last_use={**totals.last_use, name: record.result["toolUseId"]},
    )


def run_metrics(totals: Totals, *, cycle: int, resumed: tuple[Totals, int] | None) -> dict[str, Any]:
    """The metrics of a run's result.

    Args:
        totals: The totals.
        cycle: The number of the last cycle.
        resumed: The totals when the run last resumed after a pause, and the cycle it paused in.
    """
    metrics: dict[str, Any] = {
        "cycles": cycle,
        "usage": dict(totals.usage),
        "latency_ms": totals.latency_ms,
        "tools": {name: dict(counts) for name, counts in totals.tools.items()},
        "per_cycle": [{"usage": dict(one.usage), "ms": one.ms} for one in totals.cycles],
        "per_tool": {name: {"ms": ms, "last": totals.last_use[name]} for name, ms in totals.tool_ms.items()},
    }
    if resumed is not None:
        before, paused_in = resumed
        usage = {name: count - before.usage.get(name, 0) for name, count in totals.usage.items()}
        metrics["resumed"] = {"cycles": cycle - paused_in + 1, "usage": usage}
    return metrics
