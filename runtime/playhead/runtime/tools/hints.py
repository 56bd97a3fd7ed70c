"""What MCP's annotations of a tool say about a call of unknown outcome. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["outcome_by_hints"]


def outcome_by_hints(annotations: object) -> OnUnknownOutcome:
    """What to do after a takeover with a started call of a tool with these `ToolAnnotations`, as a dict with MCP's names.

    `retry` if the tool says that it only reads or is idempotent, and if it says nothing; `fail` if it says that it is
    destructive or not idempotent.
    """
    hints = cast("Mapping[str, Any]", annotations) if isinstance(annotations, Mapping) else {}
    if hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True:
        return "retry"
    return "fail" if hints.get("destructiveHint") is True or hints.get("idempotentHint") is False else "retry"
