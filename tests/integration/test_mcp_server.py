"""`MCPServer`: a real server over stdio and HTTP, its death, its bad starts, and what a call carries."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime import Agent, MCPServer
from playhead.runtime.core.events import Event
from playhead.runtime.models import ScriptedModel, tool_call
from tests.support.fleet import Fleet
from tests.support.mcp_serving import PROGRAM, http_server, results
from tests.support.spans import telemetry_set_up

__all__: list[str] = []

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_proxy")]

COMMAND = [sys.executable, str(PROGRAM)]


def agent(server: MCPServer, *calls: tuple[str, dict[str, Any]], **options: Any) -> Agent:
    said = [tool_call(name, given, f"t{number}") for number, (name, given) in enumerate(calls)]
    return Agent(ScriptedModel([*said, "Done."]), name="agent", tools=[server], callback_handler=None, **options)


async def all_events(made: Agent) -> list[Event]:
    return [event async for event in made.stream_async("go")]


async def test_a_fleet_calls_a_server_over_stdio_with_progress_and_the_effect_key(fleet: Fleet) -> None:
    made = agent(MCPServer(COMMAND, prefix="n_"), ("n_add", {"a": 1, "b": 2}), ("n_counted", {"upto": 2}))
    async with fleet.worker(made), fleet.client() as client:
        events = [event async for event in client.stream_async("agent", "go")]
    assert results(events) == [("success", "3"), ("success", f"{events[-1].run_id}/t1")]
    progress = [event["tool_stream_event"]["data"] for event in events if "tool_stream_event" in event]
    assert progress == [{"progress": 0.0, "total": 2.0}, {"progress": 1.0, "total": 2.0}]


async def test_a_call_carries_the_span_of_its_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    with telemetry_set_up(monkeypatch) as telemetry:
        events = await all_events(agent(MCPServer(COMMAND), ("traceparent", {})))
        (span,) = telemetry.named("execute_tool traceparent")
    context = span.get_span_context()
    assert context is not None
    assert results(events)[0][1].split("-")[1] == f"{context.trace_id:032x}"


async def test_errors_of_a_tool_and_results_that_are_too_large_are_error_results() -> None:
    calls = [("fail", {"why": "no"}), ("add", {"a": "x"}), ("long", {"size": 10_000})]
    events = await all_events(agent(MCPServer(COMMAND), *calls, max_record_bytes=9_000))
    failed, wrong, large = results(events)
    assert {failed[0], wrong[0], large[0]} == {"error"}
    assert "over the limit of 9,000" in large[1]


async def test_a_server_that_died_is_started_again_by_the_next_call() -> None:
    events = await all_events(agent(MCPServer(COMMAND), ("die", {}), ("add", {"a": 1, "b": 2})))
    died, after = results(events)
    assert died[0] == "error"
    assert died[1].endswith("ended during the call, so its outcome is unknown")
    assert after == ("success", "3")


@pytest.mark.parametrize(("outcome", "calls"), [("retry", 2), ("fail", 1)])
async def test_a_call_whose_server_died_is_made_once_more_only_if_it_may_be(
    outcome: Any, calls: int, tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    await all_events(agent(MCPServer(COMMAND, on_unknown_outcome=outcome), ("note_and_die", {"path": str(path)})))
    assert path.read_text() == "called " * calls


async def test_a_cancel_of_a_run_ends_a_call_that_does_not_return(fleet: Fleet) -> None:
    async with fleet.worker(agent(MCPServer(COMMAND), ("stuck", {}))), fleet.client() as client:
        run = await client.start("agent", "go")
        async for entry in run.records():
            if entry.record.type == "tool.progressed":
                await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"


async def test_a_call_has_a_time_limit() -> None:
    events = await all_events(agent(MCPServer(COMMAND, timeout=0.2), ("stuck", {})))
    assert results(events) == [("error", "Error: TimeoutError - tool 'stuck' did not finish within 0.2 s")]


async def test_a_server_over_http_serves_an_agent() -> None:
    async with http_server() as url:
        made = agent(MCPServer(url=url, headers={"X-Key": "k"}), ("add", {"a": 20, "b": 2}))
        assert results(await all_events(made)) == [("success", "22")]
        del made
        gc.collect()  # the session ends before the server


async def test_annotations_set_what_happens_to_a_call_of_unknown_outcome() -> None:
    server = MCPServer(COMMAND)
    made = agent(server)
    assert {name: made.tools[name].on_unknown_outcome for name in ("add", "drop", "fail")} == {
        "add": "retry",
        "drop": "fail",
        "fail": "retry",
    }


@pytest.mark.parametrize(
    ("command", "limit_s", "why"),
    [
        (["/no/such/server"], 30, "FileNotFoundError: .*/no/such/server"),
        (["false"], 30, "MCPError: Connection closed"),  # told when it ends, which a busy machine may make late
        # Not by Python, which on a busy machine takes longer than that to start.
        (
            ["sh", "-c", "echo garbage; cat > /dev/null"],
            1,
            "no answer in 1 s, and what it wrote to its output is not MCP",
        ),
    ],
    ids=["missing", "ends at once", "garbage"],
)
def test_a_server_that_does_not_start_is_one_clear_error(
    command: list[str], limit_s: float, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=rf"^tools: the MCP server \S+ did not start: {why}"):
        agent(MCPServer(command, start_timeout=limit_s))
    assert caplog.text == ""


def test_a_name_that_a_tool_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tool_name=<a b_add> \| invalid tool name pattern: a tool of MCPServer"):
        agent(MCPServer(COMMAND, prefix="a b_"))


@pytest.mark.parametrize("options", [{}, {"command": []}, {"command": ["x"], "url": "http://x"}])
def test_a_server_has_either_a_command_or_an_address(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs command="):
        MCPServer(**options)


def test_a_server_is_not_given_by_a_text() -> None:
    address: Any = "http://127.0.0.1:9/mcp"
    with pytest.raises(TypeError, match=r"not the text 'http:.*for a server over HTTP pass url="):
        MCPServer(address)
