"""The MCP servers of agents of the OpenAI Agents SDK: connected while a run has an owner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from agents import Agent
from agents.mcp import MCPServer, MCPServerManager

__all__ = ["connected", "servers_of"]

_CONNECT_S: Final = 60.0
"""A server that is a program is started for each owner, and on a busy machine takes longer than the SDK's 10 seconds."""


def servers_of(agent: Any) -> list[MCPServer]:
    """Those of an agent, of the agents that it hands over to, and of those among its tools."""
    return list(dict.fromkeys(server for one in _agents(agent, set()) for server in one.mcp_servers))


def _agents(agent: Any, seen: set[int]) -> Iterator[Agent[Any]]:
    if not isinstance(agent, Agent) or id(agent) in seen:
        return
    seen.add(id(agent))
    yield agent
    for one in [*agent.handoffs, *(getattr(tool, "_agent_instance", None) for tool in agent.tools)]:
        yield from _agents(one, seen)


@asynccontextmanager
async def connected(agent: Any) -> AsyncGenerator[None]:
    """Connect them for the block, unless the function that made the agent did.

    Raises:
        Exception: What the first that cannot be connected raises.
    """
    servers = [one for one in servers_of(agent) if getattr(one, "session", None) is None]
    if not servers:
        yield
        return
    async with MCPServerManager(servers, strict=True, connect_in_parallel=True, connect_timeout_seconds=_CONNECT_S):
        yield
