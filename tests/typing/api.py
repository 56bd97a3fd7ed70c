"""What type checkers know of the public interface. Checked by pyright, never run: the promise is the types alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal, assert_type

from playhead.client import Client, Notice, RemoteAgent, Run
from playhead.runtime import Agent, AgentResult, Event, PlayheadError, Tool, ToolContext, tool
from playhead.runtime.errors import RunFailedError, RunNotFoundError
from playhead.runtime.log import RunInfo, WorkerInfo
from playhead.runtime.models import DemoModel, OpenAIModel, ScriptedModel, text_call
from playhead.runtime.records import Entry, Record
from playhead.runtime.result import RunMetrics
from playhead.runtime.toolbox import calculator, http_request
from playhead.runtime.types import Message, Messages, Model
from playhead.workers import Worker, WorkerOptions, WorkerStatistics, load_agents

__all__: list[str] = []


# Tools keep the type of what they decorate.


@tool
def word_count(text: str, *, minimum: int = 0) -> int:
    """Count words."""
    return max(minimum, len(text.split()))


@tool(name="other", timeout=3.5, on_unknown_outcome="fail")
async def lookup(key: str, context: ToolContext) -> dict[str, str]:
    """Look a key up."""
    return {key: context.effect_key}


assert_type(word_count("a b", minimum=1), int)
assert_type(word_count.name, str)
assert_type(word_count.timeout, float | None)
word_count(1)  # pyright: ignore[reportArgumentType]
word_count("a", maximum=1)  # pyright: ignore[reportCallIssue]
tool(on_unknown_outcome="maybe")  # pyright: ignore[reportCallIssue, reportArgumentType]


class Library:
    """A tool may be a method."""

    @tool
    def find(self, title: str) -> list[str]:
        """Find books."""
        return [title]


assert_type(Library().find("a"), list[str])
Library().find(1)  # pyright: ignore[reportArgumentType]


async def tools_are_awaited_as_their_functions(context: ToolContext) -> None:
    """An async tool's call is awaitable, with the function's result."""
    assert_type(await lookup("a", context), dict[str, str])
    assert_type(context.cancel_requested, bool)
    assert_type(context.invocation_state, dict[str, Any])


# An agent in this process.

agent = Agent(
    "openai/gpt-5-mini", name="a", tools=[word_count, lookup, calculator, http_request], callback_handler=None
)
Agent(model=DemoModel(), tools=[len], messages=[{"role": "user", "content": [{"text": "hi"}]}])
Agent(model=ScriptedModel([text_call("a")]))
Agent(model=OpenAIModel("gpt-5-mini"), callback_handler=lambda **event: print(event))
Agent(model=3)  # pyright: ignore[reportArgumentType]
Agent(tool_executor="parallel")  # pyright: ignore[reportArgumentType]
Agent("demo", [calculator])  # pyright: ignore[reportCallIssue]
assert_type(agent.messages, Messages)
assert_type(agent.model, Model)
assert_type(agent("hi"), AgentResult)


def takes_a_dict(event: dict[str, Any]) -> None:
    """An event is a plain dict to whoever wants one."""


async def an_agent_yields_events() -> None:
    """`stream_async` is an async generator of events, `invoke_async` gives the result."""
    stream = agent.stream_async("hi", invocation_state={"user": 1}, tenant="t")
    assert_type(stream, AsyncGenerator[Event, None])
    async for event in stream:
        assert_type(event, Event)
        assert_type(event.run_id, str)
        assert_type(event.seq, int)
        assert_type(event.at, int)
        assert_type(event.cursor, str)
        assert_type(event.to_json(), str)
        assert_type(event["data"], Any)
        takes_a_dict(event)
    result = await agent.invoke_async([{"text": "hi"}])
    assert_type(result, AgentResult)
    assert_type(result.stop_reason, str)
    assert_type(result.message, Message)
    assert_type(result.metrics, RunMetrics)
    assert_type(result.usage, dict[str, int])
    await agent.invoke_async(3)  # pyright: ignore[reportArgumentType]


# A fleet's client.


def on_notice(notice: Notice) -> None:
    """What a tail waits for."""
    assert_type(notice.run_id, str)
    assert_type(notice.message, str)


async def a_client_starts_watches_and_controls() -> None:
    """Entering gives the client; `start` gives a run, whose methods give events, records, results and states."""
    async with Client("redis://localhost:6379", prefix="ph", on_notice=on_notice) as client:
        assert_type(client, Client)
        run = await client.start("assistant", "hi", session_id="ada", invocation_state={"a": 1})
        assert_type(run, Run)
        assert_type(run.id, str)
        assert_type(client.run(run.id), Run)
        async for event in run.stream_async(after=41, wait_for_worker=2.0):
            assert_type(event, Event)
        async for event in run.stream_async(after="41.0"):
            assert_type(event, Event)
        async for event in run.replay(speed=None):
            assert_type(event, Event)
        async for event in client.stream_async("assistant", "hi"):
            assert_type(event, Event)
        async for entry in run.records(after=2):
            assert_type(entry, Entry)
            assert_type(entry.seq, int)
            assert_type(entry.record, Record)
        assert_type(await run.result(), AgentResult)
        assert_type(await client.invoke_async("assistant", "hi"), AgentResult)
        info = await run.info()
        assert_type(info, RunInfo)
        assert_type(info.ended, bool)
        assert_type(await run.cancel(), Literal["queued", "running", "completed", "failed", "cancelled"])
        assert_type(await client.runs(limit=5), list[RunInfo])
        assert_type(await client.workers(), list[WorkerInfo])
        await client.start("assistant", "hi", "ada")  # pyright: ignore[reportCallIssue]


async def a_remote_agent_is_used_as_an_agent(client: Client) -> None:
    """The same calls, whichever it is."""
    remote = client.agent("assistant", session_id="ada")
    assert_type(remote, RemoteAgent)
    either: Agent | RemoteAgent = agent if client.url else remote
    async for event in either.stream_async("hi"):
        assert_type(event, Event)
    assert_type(await either.invoke_async("hi"), AgentResult)
    assert_type(either("hi"), AgentResult)


async def errors_are_caught_by_class(run: Run) -> None:
    """All derive from one."""
    try:
        await run.result()
    except RunFailedError as error:
        assert_type(error.error_type, str)
        assert_type(error.run_id, str)
    except RunNotFoundError as error:
        base: PlayheadError = error
        assert_type(base.exit_code, int)


# A worker in one's own program.


async def a_worker_runs_until_drained() -> None:
    """What `playhead worker` does."""
    async with Client() as client:
        agents = load_agents(["agents.py:assistant"])
        assert_type(agents, dict[str, Agent])
        worker = Worker(list(agents.values()), log=client.log, options=WorkerOptions(concurrency=5))
        assert_type(worker.statistics(), WorkerStatistics)
        worker.drain()
        await worker.run()
        WorkerOptions(5)  # pyright: ignore[reportCallIssue]


kept: Tool[..., Any] = word_count
