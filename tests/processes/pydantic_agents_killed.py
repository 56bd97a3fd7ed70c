"""An agent of pydantic-ai whose workers die: in a tool, and in the middle of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from effects import dies_before, look, pay
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

__all__ = ["make_agent"]


async def _says(messages: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
    step = sum(isinstance(one, ModelResponse) for one in messages)
    if step < 2:
        yield {0: DeltaToolCall(name=("look", "pay")[step], json_args="{}", tool_call_id=f"t{step}")}
        return
    for piece in ("All", " done", "!"):
        await dies_before(piece)
        yield piece


def make_agent() -> Agent:
    """An agent with two tools."""
    return Agent(FunctionModel(stream_function=_says), tools=[look, pay])
