"""MCP servers of agents of the OpenAI Agents SDK: connected for each owner of a run."""

from __future__ import annotations

from typing import Any

import agents
import pytest
from agents import Agent
from agents.mcp import MCPServer
from mcp.types import CallToolResult, TextContent, Tool

from playhead.runtime.core.records import ToolFinished
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.replay import verify
from tests.support.guest_owners import Owners
from tests.support.openai_agents import Script, World, called, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

SEEN: list[str] = []
ALL = ["file", "look", "pay"]


@pytest.fixture(autouse=True)
def no_tracing() -> None:
    agents.set_tracing_disabled(True)
    World()
    SEEN.clear()


class Local(MCPServer):
    """A server in this process, which notes what is done with it."""

    def __init__(self, name: str, *, refuses: bool = False) -> None:
        super().__init__()
        self._name = name
        self._refuses = refuses

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    async def connect(self) -> None:
        """Connect, unless it refuses."""
        if self._refuses:
            raise ConnectionRefusedError("nothing listens there")
        SEEN.append(f"{self._name} connected")

    async def cleanup(self) -> None:
        """Close."""
        SEEN.append(f"{self._name} closed")

    async def list_tools(self, run_context: Any = None, agent: Any = None) -> list[Tool]:
        """One tool, of the server's name."""
        return [Tool.model_validate({"name": self._name, "inputSchema": {"type": "object", "properties": {}}})]

    async def call_tool(
        self, tool_name: str, arguments: dict[str, Any] | None, meta: dict[str, Any] | None = None
    ) -> CallToolResult:
        """Note it."""
        SEEN.append(f"{tool_name} called")
        return CallToolResult(content=[TextContent(type="text", text="done")])

    async def list_prompts(self) -> Any:
        """None."""
        raise NotImplementedError

    async def get_prompt(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """None."""
        raise NotImplementedError


def guest(*, refuses: bool = False) -> OpenAIAgentsGuest:
    """An agent with a server, which hands over to one with another."""

    def make() -> Agent[Any]:
        answers = [called("look", "t1")], [called("pay", "t2")], [said("Done.")]
        clerk = Agent[Any](name="clerk", model=Script("clerk", [said("Never.")]), mcp_servers=[Local("file")])
        servers: list[MCPServer] = [Local("look", refuses=refuses), Local("pay")]
        return Agent[Any](name="desk", model=Script("desk", *answers), mcp_servers=servers, handoffs=[clerk])

    return OpenAIAgentsGuest(make, name="agent")


async def first_call_made() -> Owners:
    """A run whose first owner died after the result of the first call."""
    run = Owners(guest())
    await run.to_the_end()
    made = next(entry.seq for entry in run.log if isinstance(entry.record, ToolFinished))
    return Owners(run.guest, run.log[:made])


def done(what: str) -> list[str]:
    """The names of the servers with which this was done."""
    return sorted(name for name, _, did in (one.partition(" ") for one in SEEN) if did == what)


async def test_each_owner_connects_them_and_closes_them_and_no_call_is_made_again() -> None:
    run = await first_call_made()
    assert (done("connected"), done("closed"), done("called")) == (ALL, ALL, ["look", "pay"])
    SEEN.clear()
    await run.to_the_end()
    assert run.end.type == "run.completed", run.end
    assert (done("connected"), done("closed"), done("called")) == (ALL, ALL, ["pay"])
    assert (await verify(run.log, run.guest)).same
    assert done("called") == ["pay"]


async def test_one_that_cannot_be_connected_fails_the_run_and_the_others_are_closed() -> None:
    run = Owners(guest(refuses=True))
    await run.to_the_end()
    assert (run.end.error_type, run.end.message) == ("ConnectionRefusedError", "nothing listens there")
    assert set(done("connected")) <= set(done("closed"))


def test_an_object_with_servers_is_refused_with_the_way_out() -> None:
    agent = Agent[Any](name="desk", mcp_servers=[Local("look")])
    with pytest.raises(ValueError, match=r"desk has MCP servers.*give a function that makes both"):
        OpenAIAgentsGuest(agent)
