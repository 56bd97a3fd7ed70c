"""`AgentResult`, the result of a run: a dict with the attributes of Strands' object."""

from __future__ import annotations

import json
from typing import Any, Self, cast

from pydantic import BaseModel

from playhead.runtime.core.converse import Message
from playhead.runtime.core.interrupts import Interrupt

__all__ = ["AgentResult", "RunMetrics"]


class RunMetrics(dict[str, Any]):
    """`{"cycles": int, "usage": {...}, "latency_ms": int, "tools": {name: {"calls", "ok", "errors"}}}`.

    For the whole run. A run that was paused also has `"resumed": {"cycles", "usage"}`, the part since it last resumed.
    """

    @property
    def cycle_count(self) -> int:
        """The number of cycles of the event loop in this run."""
        return int(self.get("cycles", 0))

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
    def tool_metrics(self) -> dict[str, dict[str, int]]:
        """The calls, successes and errors of each tool, by name."""
        return cast("dict[str, dict[str, int]]", self.get("tools", {}))


class AgentResult(dict[str, Any]):
    """The value of a run's last event: plain data with the attributes of Strands' `AgentResult`.

    `str(result)` is the text of the final message, each text block followed by a newline; the JSON of the structured output,
    if there is one; for a run that waits for responses its interrupts.
    """

    _instance: BaseModel | None = None

    def with_output(self, instance: Any) -> Self:
        """This result, whose attribute `structured_output` is an instance of the caller's class. The item stays plain data."""
        self._instance = instance if isinstance(instance, BaseModel) else None
        return self

    @property
    def stop_reason(self) -> str:
        """Why the run ended: `end_turn`, `cancelled`, `limit_turns`, …; or `interrupt`: it waits for responses."""
        return str(self.get("stop_reason", ""))

    @property
    def message(self) -> Message:
        """The last assistant message, `metadata` included; of a run that reached a limit the last of any role."""
        return cast("Message", self.get("message", {}))

    @property
    def metrics(self) -> RunMetrics:
        """Usage, latency, cycles and tool counts of this run."""
        return RunMetrics(self.get("metrics", {}))

    @property
    def usage(self) -> dict[str, int]:
        """Tokens summed over the run's model calls."""
        return self.metrics.accumulated_usage

    @property
    def state(self) -> dict[str, Any]:
        """Strands' `request_state`; always empty."""
        return cast("dict[str, Any]", self.get("state", {}))

    @property
    def interrupts(self) -> list[Interrupt] | None:
        """The questions that the run waits for; None when it waits for nothing."""
        interrupts = self.get("interrupts")
        return None if interrupts is None else [Interrupt(interrupt) for interrupt in interrupts]

    @property
    def structured_output(self) -> Any:
        """The structured output: an instance of the class that was asked for, a dict for a schema; None if there is none."""
        return self.get("structured_output") if self._instance is None else self._instance

    def __str__(self) -> str:
        if self.get("interrupts"):
            return str(self["interrupts"])
        if self._instance is not None:
            return self._instance.model_dump_json()
        if (output := self.structured_output) is not None:
            return json.dumps(output, ensure_ascii=False, separators=(",", ":"))
        return "".join(f"{text}\n" for block in self.message.get("content", []) for text in _texts(block))


def _texts(block: dict[str, Any]) -> list[str]:
    if "text" in block:
        return [block["text"]]
    cited = block.get("citationsContent") or {}
    return [part["text"] for part in cited.get("content", []) if "text" in part]
