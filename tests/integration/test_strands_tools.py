"""Tools of Strands in a fleet, and MCP servers by its `MCPClient`: over stdio and over HTTP."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from mcp import StdioServerParameters, stdio_client
from strands.tools.mcp import MCPClient
from strands.vended_tools import handoff_to_user, shell, sleep, stop

from playhead.client import Run
from playhead.runtime import Agent
from playhead.runtime.core.events import Event
from playhead.runtime.models import ScriptedModel, tool_call
from tests.support.fleet import Fleet
from tests.support.mcp_serving import PROGRAM, http_server, results

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]


def agent(tools: Sequence[object], *calls: tuple[str, dict[str, Any]]) -> Agent:
    said = [tool_call(name, given, f"t{number}") for number, (name, given) in enumerate(calls)]
    return Agent(ScriptedModel([*said, "Done."]), name="agent", tools=tools, callback_handler=None)


async def until_paused_or_ended(run: Run, **options: Any) -> list[Event]:
    return [event async for event in run.stream_async(**options)]


async def test_an_interrupt_of_a_vended_tool_pauses_a_run_of_a_fleet_and_another_stops_it(fleet: Fleet) -> None:
    calls = [
        ("handoff_to_user", {"message": "Sure?"}),
        ("shell", {"command": "echo here"}),
        ("stop", {"message": "Bye."}),
    ]
    made = agent([handoff_to_user, shell, stop], *calls)
    async with fleet.worker(made), fleet.client() as client:
        run = await client.start("agent", "go")
        first = await until_paused_or_ended(run)
        (question,) = first[-1]["result"].interrupts
        assert (question.name, question.reason) == ("strands:handoff-to-user", "Sure?")
        await run.respond({question.id: "yes"})
        rest = await until_paused_or_ended(run, after=first[-1].cursor)
    (answered, shown, stopped) = [text for _, text in results(rest)]
    assert (answered, json.loads(shown)["output"], stopped) == ("yes", "here\n", "Bye.")
    assert (rest[-1]["result"].stop_reason, str(rest[-1]["result"])) == ("cancelled", "Bye.\n")


async def test_a_cancel_ends_a_vended_tool_in_a_fleet(fleet: Fleet) -> None:
    async with fleet.worker(agent([sleep], ("sleep", {"duration": 50}))), fleet.client() as client:
        run = await client.start("agent", "go")
        async for entry in run.records():
            if entry.record.type == "tool.started":
                await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"


def client_of(parameters: StdioServerParameters) -> MCPClient:
    transport: Any = stdio_client  # typed otherwise than what MCPClient takes
    return MCPClient(lambda: transport(parameters))


def over_stdio() -> MCPClient:
    return client_of(StdioServerParameters(command=sys.executable, args=[str(PROGRAM)]))


async def test_an_mcp_server_over_stdio_serves_a_fleet_and_its_death_is_an_error_result(fleet: Fleet) -> None:
    made = agent(
        [over_stdio()], ("add", {"a": 1, "b": 2}), ("fail", {"why": "no"}), ("die", {}), ("add", {"a": 1, "b": 2})
    )
    assert (made.tools["add"].on_unknown_outcome, made.tools["drop"].on_unknown_outcome) == ("retry", "fail")
    async with fleet.worker(made), fleet.client() as client:
        events = [event async for event in client.stream_async("agent", "go")]
    (added, failed, died, after) = results(events)
    assert added == ("success", "3")
    assert {failed[0], died[0], after[0]} == {"error"}
    assert "Connection closed" in died[1]


async def test_an_mcp_server_over_http_serves_an_agent() -> None:
    async with http_server() as url:
        with MCPClient(url=url) as client:
            made = agent(client.list_tools_sync(), ("add", {"a": 20, "b": 2}))
            events = [event async for event in made.stream_async("go")]
    assert results(events) == [("success", "22")]


# When its start fails, MCPClient makes a coroutine that it never runs, or never ends.
@pytest.mark.filterwarnings("ignore:coroutine 'MCPClient.stop:RuntimeWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <coroutine object MCPClient:pytest.PytestUnraisableExceptionWarning"
)
def test_an_mcp_server_that_does_not_start_is_one_clear_error(caplog: pytest.LogCaptureFixture) -> None:
    missing = StdioServerParameters(command="/no/such/server")
    with pytest.raises(
        ValueError, match=r"^tools: the MCPClient given cannot be loaded: FileNotFoundError: .*/no/such/server"
    ):
        agent([client_of(missing)])
    assert [line for line in caplog.messages if "MCPClient.stop" not in line] == []
    gc.collect()
