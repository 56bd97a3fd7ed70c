"""An agent with a tool of Strands and the tools of an MCP server, each by one of the two ways to have them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from mcp import StdioServerParameters, stdio_client
from strands import tool
from strands.tools.mcp import MCPClient

from playhead.runtime import Agent, MCPServer
from playhead.runtime.core.converse import Messages
from playhead.runtime.models import ScriptedModel, tool_call

__all__ = ["by_strands", "ours"]

PROGRAM = Path(__file__).parents[1] / "support/mcp_program.py"


@tool
def double(n: int) -> int:
    """Double."""
    return 2 * n


def _next(messages: Messages) -> Any:
    if len(messages) == 1:
        return tool_call("once", {"path": cast("Any", messages)[0]["content"][0]["text"]}, "t1")
    return tool_call("double", {"n": 4}, "t2") if len(messages) == 3 else "All done."


def _client() -> MCPClient:
    transport: Any = stdio_client  # typed otherwise than what MCPClient takes
    return MCPClient(lambda: transport(StdioServerParameters(command=sys.executable, args=[str(PROGRAM)])))


def _agent(name: str, server: object) -> Agent:
    return Agent(ScriptedModel([_next], repeat=True), name=name, tools=[double, server], callback_handler=None)


ours = _agent("ours", MCPServer([sys.executable, str(PROGRAM)]))
by_strands = _agent("by_strands", _client())
