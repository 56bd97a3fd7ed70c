"""What to do with a tool call of unknown outcome: what MCP's annotations say of a tool, and what is said by its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from playhead.runtime.core.arguments import check_choice, check_mapping
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["checked_outcomes", "outcome_by_hints"]


def outcome_by_hints(annotations: object) -> OnUnknownOutcome:
    """What to do after a takeover with a started call of a tool with these `ToolAnnotations`, as a dict with MCP's names.

    `retry` if the tool says that it only reads or is idempotent, and if it says nothing; `fail` if it says that it is
    destructive or not idempotent.
    """
    hints = cast("Mapping[str, Any]", annotations) if isinstance(annotations, Mapping) else {}
    if hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True:
        return "retry"
    return "fail" if hints.get("destructiveHint") is True or hints.get("idempotentHint") is False else "retry"


def checked_outcomes(given: Mapping[str, OnUnknownOutcome] | None) -> Mapping[str, OnUnknownOutcome]:
    """What `on_unknown_outcome` says by the names of tools; nothing for None.

    Raises:
        TypeError: If it is not a dict with names.
        ValueError: If it says something else of a tool than `retry`, `fail` or `ask`.
    """
    check_mapping("on_unknown_outcome", given, optional=True)
    outcomes: dict[str, OnUnknownOutcome] = {**(given or {})}
    for name, outcome in outcomes.items():
        check_choice(f"on_unknown_outcome of {name}", outcome, get_args(OnUnknownOutcome))
    return outcomes
