"""`AgentResult`, the result of a run: a dict with the attributes of Strands' object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Self, cast

from pydantic import BaseModel

from playhead.runtime.core.converse import Message
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.json_lines import json_ready, with_bytes
from playhead.runtime.core.run_metrics import RunMetrics

__all__ = ["AgentResult", "RunMetrics"]

_TYPE: Final = "agent_result"


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
    def context_size(self) -> int | None:
        """The tokens of the prompt of the last cycle; None if they are not known."""
        return self.metrics.latest_context_size

    @property
    def projected_context_size(self) -> int | None:
        """The tokens that the next prompt has at least; None if they are not known."""
        return self.metrics.projected_context_size

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

    @property
    def checkpoint(self) -> None:
        """None: each record of a run is a checkpoint."""
        return

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it, in Strands' form, to which the items that Strands leaves out are added."""
        return {"type": _TYPE, **json_ready(dict(self)), "checkpoint": None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The result that `to_dict` gave, also one of Strands, whose metrics and interrupts are lost.

        Raises:
            TypeError: If it is something else.
        """
        if data.get("type") != _TYPE:
            raise TypeError(f"AgentResult.from_dict takes a dict with the type {_TYPE!r}, not {data.get('type')!r}")
        kept = {key: with_bytes(value) for key, value in data.items() if key not in ("type", "checkpoint")}
        return cls({"metrics": {}, "state": {}, **kept})

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
