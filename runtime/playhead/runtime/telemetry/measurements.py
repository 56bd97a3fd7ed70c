"""Maps the records of one ownership of a run to measurements. Pure: times are those of the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from playhead.runtime.core.records import (
    CALL_FAILED,
    FAILED_ASKED_AGAIN,
    ContextReduced,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunFailed,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.telemetry.operations import Attribute, Attributes

__all__ = ["COUNTERS", "HELD", "HISTOGRAMS", "OBSERVED", "Measurement", "RunMeasurements"]

COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    "playhead.run.submitted": ("{run}", "Runs that a client submitted."),
    "playhead.run.begun": ("{run}", "Ownerships of runs that began."),
    "playhead.run.ended": ("{run}", "Ownerships of runs that ended, by their outcome."),
    "playhead.model.calls": ("{call}", "Calls of a model, by their outcome."),
    "playhead.model.retries": ("{call}", "Calls of a model that repeat one that failed."),
    "playhead.tool.calls": ("{call}", "Calls of a tool that ran, by their status."),
}
"""The counters, each with its unit and what it counts."""

HISTOGRAMS: Final[Mapping[str, tuple[str, str]]] = {
    "playhead.run.duration": ("s", "The time of one ownership of a run."),
    "gen_ai.client.operation.duration": ("s", "The time of a call of a model."),
    "gen_ai.client.token.usage": ("{token}", "The tokens of a call of a model, by their type."),
    "playhead.model.time_to_first_token": ("s", "The time from a call of a model to its first piece."),
    "playhead.tool.duration": ("s", "The time of a call of a tool."),
    "playhead.worker.append.duration": ("s", "The time of a call that appends records of a worker's runs."),
}
"""The histograms, likewise."""

OBSERVED: Final[Mapping[str, tuple[str, str]]] = {
    "playhead.worker.claims": ("{run}", "Runs that a worker claimed."),
    "playhead.worker.appends": ("{call}", "Calls that appended records."),
    "playhead.worker.records": ("{record}", "Records that a worker appended."),
    "playhead.worker.renewals": ("{call}", "Successful renewals, each of all leases that a worker holds on a shard."),
    "playhead.worker.reaped": ("{run}", "Runs of dead workers that a worker queued again."),
}
"""Counters of a worker that are read when measurements are collected, likewise."""

HELD: Final = "playhead.worker.runs"
"""The gauge of the runs that a worker holds."""

_ENDS_LATER: Final = (CALL_FAILED, FAILED_ASKED_AGAIN)


class Measurement(NamedTuple):
    """One value for an instrument of `COUNTERS` or `HISTOGRAMS`."""

    name: str
    value: float
    attributes: Attributes


class RunMeasurements:
    """The measurements of one ownership of a run."""

    def __init__(self, *, agent: str, model_id: str) -> None:
        self._about: dict[str, Attribute] = {"gen_ai.agent.name": agent}
        self._model: dict[str, Attribute] = {**self._about, "gen_ai.operation.name": "chat"}
        if model_id:
            self._model["gen_ai.request.model"] = model_id
        self._called: int | None = None  # when the model call began that is open, in unix milliseconds
        self._tools: dict[int, str] = {}  # the names of the calls that run, by their index

    def of(self, record: Record) -> list[Measurement]:
        """The measurements of one more record."""
        match record:
            case ModelStarted():
                self._called = record.at
                return [Measurement("playhead.model.retries", 1, self._model)] if record.delay is not None else []
            case MessageAdded(origin="model"):
                return [*self._ended(record, _outcome_of(record)), *self._costs(record.message.get("metadata") or {})]
            case ModelFailed():
                return list(self._ended(record, "failed", error=record.error_type))
            case RunFailed():
                return list(self._ended(record, "failed", error=record.error_type))
            case ModelRetried() if record.reason not in _ENDS_LATER:
                return [*self._ended(record, "withdrawn"), *self._costs({"usage": record.usage})]
            case ContextReduced():
                return [*self._ended(record, "answered"), *self._costs({"usage": record.usage})]
            case ToolStarted():
                self._tools[record.index] = str(record.tool_use["name"])
            case ToolFinished() if record.index in self._tools:
                return list(self._tool(record))
            case _:
                pass
        return []

    def _ended(self, record: Record, outcome: str, *, error: str = "") -> Iterator[Measurement]:
        if self._called is None:  # of an owner before, or none at all
            return
        took, self._called = max(0, record.at - self._called) / 1000, None
        failed: dict[str, Attribute] = {"error.type": error} if error else {}
        yield Measurement("playhead.model.calls", 1, {**self._model, **failed, "playhead.outcome": outcome})
        yield Measurement("gen_ai.client.operation.duration", took, {**self._model, **failed})

    def _costs(self, metadata: Mapping[str, Any]) -> Iterator[Measurement]:
        usage: Mapping[str, int] = metadata.get("usage") or {}
        for kind, name in (("input", "inputTokens"), ("output", "outputTokens")):
            if usage.get(name):
                told = {**self._model, "gen_ai.token.type": kind}
                yield Measurement("gen_ai.client.token.usage", usage[name], told)
        if first := (metadata.get("metrics") or {}).get("timeToFirstByteMs"):
            yield Measurement("playhead.model.time_to_first_token", first / 1000, self._model)

    def _tool(self, record: ToolFinished) -> Iterator[Measurement]:
        told = {**self._about, "gen_ai.tool.name": self._tools.pop(record.index)}
        yield Measurement("playhead.tool.calls", 1, {**told, "gen_ai.tool.status": record.result["status"]})
        yield Measurement("playhead.tool.duration", record.duration_ms / 1000, told)


def _outcome_of(record: MessageAdded) -> str:
    return "cancelled" if record.stop_reason == "cancelled" else "answered"
