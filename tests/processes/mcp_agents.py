"""Agents with the tools of an MCP server: two of playhead with a tool of Strands, and one of the OpenAI Agents SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import agents
from agents.mcp import MCPServerStdio
from agents.testing import assistant_message, function_call
from mcp import StdioServerParameters, stdio_client
from openai_agents_killed import Says
from strands import tool
from strands.tools.mcp import MCPClient

from playhead.runtime import Agent, MCPServer
from playhead.runtime.core.converse import Messages
from playhead.runtime.models import ScriptedModel, tool_call

__all__ = ["by_openai", "by_strands", "ours"]

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


def by_openai() -> agents.Agent[Any]:
    """An agent that makes the same call, of a file in the current directory."""
    program: Any = {"command": sys.executable, "args": [str(PROGRAM)]}
    server = MCPServerStdio(params=program, client_session_timeout_seconds=600)
    model = Says(function_call("once", {"path": "by_openai"}, call_id="t1"), assistant_message("All done."))
    return agents.Agent[Any](name="by_openai", model=model, mcp_servers=[server])
