"""MCP servers that agents of frameworks call: each is told of which call it runs, and what is held open is closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import agents
import anyio
import pytest
from agents.mcp import MCPServerStdio
from langchain_core.tools import StructuredTool
from mcp import ClientSession, types
from mcp.server import Server
from mcp.shared.memory import create_client_server_memory_streams
from pydantic_ai import Agent as PydanticAgent
from strands import Agent as StrandsAgent
from strands.tools.mcp import MCPClient

from playhead.runtime.core.records import ToolStarted
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.guests.sources import Make
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from tests.support import langgraph_agents, openai_agents, pydantic_agents, strands_agents
from tests.support.guest_owners import RUN, Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Notes:
    """A server with one tool, `note`, in this process.

    Attributes:
        told: What each call had in its `_meta` of the run.
        open: The connections that are open.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.open = 0
        self._server: Server[Any] = Server("notes", on_list_tools=self._listed, on_call_tool=self._called)

    async def _listed(self, context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="note", input_schema={"type": "object"})])

    async def _called(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        meta = dict(params.meta or {})
        self.told.append({key: value for key, value in meta.items() if key == "own" or key.startswith("playhead/")})
        return types.CallToolResult(content=[types.TextContent(text="noted")])

    @asynccontextmanager
    async def transport(self) -> AsyncGenerator[Any]:
        """A connection."""
        async with create_client_server_memory_streams() as (client, served), anyio.create_task_group() as tasks:
            tasks.start_soon(self._server.run, *served, self._server.create_initialization_options())
            self.open += 1
            try:
                yield client
            finally:
                self.open -= 1
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def tool(self) -> AsyncGenerator[Callable[[], Any]]:
        """The tool over a connection of its own, as text."""
        async with self.transport() as streams, ClientSession(*streams) as session:
            await session.initialize()

            async def note() -> str:
                """Note it."""
                (text,) = (await session.call_tool("note", {}, meta={"own": "note"})).content
                return text.text if isinstance(text, types.TextContent) else ""

            yield note


class ByTheSDK(MCPServerStdio):
    """A server as the OpenAI Agents SDK connects one."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(
            {"command": "notes"},
            tool_meta_resolver=lambda context: {"own": context.tool_name},
        )
        self._notes = notes

    def create_streams(self) -> AbstractAsyncContextManager[Any]:
        """Connect without a process."""
        return self._notes.transport()


def function(notes: Notes) -> Guest:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        async with notes.tool() as note:
            ctx.result = await ctx.tool({"name": "note", "toolUseId": "a", "input": {}}, note)
        yield {}

    return FunctionGuest(run)


def strands(notes: Notes) -> Guest:
    @contextmanager
    def make() -> Generator[StrandsAgent]:
        with MCPClient(notes.transport, meta={"own": "note"}) as client:
            answers = strands_agents.said(calls=[("note", "a", {})]), strands_agents.said("Done.")
            yield strands_agents.World().agent(*answers, tools=list(client.list_tools_sync()))

    return StrandsGuest(make, name="agent")


def pydantic_ai(notes: Notes) -> Guest:
    @asynccontextmanager
    async def make() -> AsyncGenerator[PydanticAgent]:
        async with notes.tool() as note:
            model = pydantic_agents.World().model([("note", "a", "{}")], ["Done."])
            yield PydanticAgent(model, tools=[note])

    return PydanticAIGuest(make, name="agent")


def langgraph(notes: Notes) -> Guest:
    @asynccontextmanager
    async def make() -> AsyncGenerator[Any]:
        langgraph_agents.World()
        async with notes.tool() as note:
            tool = StructuredTool.from_function(coroutine=note, name="note", description="Note it.")
            yield langgraph_agents.agent([("note", "a", {})], ["Done."], tools=[tool])

    return LangGraphGuest(make, name="agent")


def openai(notes: Notes, *, connects: bool = False) -> Guest:
    agents.set_tracing_disabled(True)

    def made(server: ByTheSDK) -> agents.Agent[Any]:
        openai_agents.World()
        answers = [openai_agents.called("note", "a")], [openai_agents.said("Done.")]
        return agents.Agent(name="desk", model=openai_agents.Script("desk", *answers), mcp_servers=[server])

    @asynccontextmanager
    async def connected() -> AsyncGenerator[agents.Agent[Any]]:
        async with ByTheSDK(notes) as server:
            yield made(server)

    make: Make[agents.Agent[Any]] = connected if connects else lambda: made(ByTheSDK(notes))
    return OpenAIAgentsGuest(make, name="agent")


MADE: dict[str, Callable[[Notes], Guest]] = {
    "a function": function,
    "langgraph": langgraph,
    "openai-agents": openai,
    "openai-agents, connected by its function": partial(openai, connects=True),
    "pydantic-ai": pydantic_ai,
    "strands": strands,
}


@pytest.mark.parametrize("kind", MADE)
async def test_a_server_is_told_the_run_the_effect_key_and_the_attempt_beside_the_own_values(kind: str) -> None:
    notes = Notes()
    run = Owners(MADE[kind](notes))
    await run.to_the_end()
    assert run.end.type == "run.completed", run.end
    started = next(entry for entry in run.log if isinstance(entry.record, ToolStarted))
    again = Owners(run.guest, run.log[: started.seq])
    await again.to_the_end()
    assert again.end.type == "run.completed", again.end
    about = {"own": "note", "playhead/effect_key": f"{RUN}/a", "playhead/run_id": RUN}
    assert notes.told == [{**about, "playhead/attempt": attempt} for attempt in (1, 2)]
    assert notes.open == 0, "each connection is closed when its owner leaves"


async def test_outside_of_a_call_a_server_is_told_nothing_of_it() -> None:
    notes = Notes()
    await Owners(function(notes)).to_the_end()
    async with notes.tool() as note:
        await note()
    assert notes.told[-1] == {"own": "note"}
