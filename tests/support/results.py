"""The results of two runs without the times in their metrics, so that they may be compared."""

from __future__ import annotations

from typing import Any

from playhead.runtime.core.records import Record

__all__ = ["timeless_result"]


def timeless_result(record: Record) -> dict[str, Any]:
    """The result in a run's last record, without the time of each cycle and tool."""
    result: dict[str, Any] = dict(record)["result"]
    metrics = result["metrics"]
    cycles = [one["usage"] for one in metrics["per_cycle"]]
    tools = {name: one["last"] for name, one in metrics["per_tool"].items()}
    return {**result, "metrics": {**metrics, "per_cycle": cycles, "per_tool": tools}}
