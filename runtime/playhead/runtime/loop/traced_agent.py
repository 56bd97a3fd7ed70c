"""What spans tell of an agent, made of what the loop takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from playhead.runtime.loop.spec import AgentSpec
from playhead.runtime.models.description import describe
from playhead.runtime.telemetry.span_mapping import TracedAgent

__all__ = ["traced_agent"]


def traced_agent(spec: AgentSpec) -> TracedAgent:
    """What spans tell of the agent."""
    config = cast("Mapping[str, Any]", describe(spec.model).get("config") or {})
    model_id = config.get("model_id", config.get("model"))
    return TracedAgent(
        model_id=model_id if isinstance(model_id, str) else "",
        tool_specs=[tool.spec for tool in spec.tools.values()],
        system_prompt=spec.system_prompt,
        attributes=spec.trace_attributes,
    )
