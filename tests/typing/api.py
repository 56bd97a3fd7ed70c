"""What type checkers make of the public names. Never run: pyright reads it with the rest of the tests.

A line that ignores an error says that there must be one: an ignore that is not needed is an error itself.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from playhead.client import Client, Notice, RemoteAgent, Run, RunPage, Session
from playhead.runtime import Agent, AgentFactory, AgentResult, Event, Interrupt, PlayheadError, Tool, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Message, Messages, Prompt, ToolSpec, ToolUse
from playhead.runtime.core.errors import GapError, NoWorkerError, RunFailedError, RunNotFoundError
from playhead.runtime.core.records import Entry, ModelChunk, Record, RunStateName
from playhead.runtime.core.run_metrics import RunMetrics, ToolMetrics
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import RunInfo, SessionInfo, WorkerInfo
from playhead.runtime.models import (
    AnthropicModel,
    BedrockModel,
    DemoModel,
    LocalModel,
    ModelRequest,
    OpenAIModel,
    ScriptedCall,
    ScriptedModel,
    text_call,
    tool_call,
)
from playhead.runtime.models.model import Model
from playhead.runtime.toolbox import calculator, http_request, make_http_request
from playhead.workers import Worker, WorkerOptions, WorkerStatistics, load_agents

__all__: list[str] = []

RunState = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]


# Tools keep the signature of their function.


@tool
def count(text: str, *, words: bool = True) -> int:
    """Count."""
    return len(text.split()) if words else len(text)


@tool(name="pay", timeout=20, on_unknown_outcome="ask")
async def pay(euros: float, context: ToolContext) -> dict[str, str]:
    """Pay."""
    assert_type(context.effect_key, str)
    assert_type(context.cancel_requested, bool)
    assert_type(context.invocation_state, dict[str, Any])
    assert_type(context.tool_use, ToolUse)
    assert_type(context.interrupt("approve", {"euros": euros}), Any)
    return {}


class Shop:
    @tool
    def order(self, item: str) -> int:
        """Order."""
        return len(item)


async def tools(context: ToolContext) -> None:
    assert_type(count("a", words=False), int)
    assert_type(await pay(1.0, context), dict[str, str])
    assert_type(Shop().order("tea"), int)
    assert_type(count.name, str)
    assert_type(count.spec, ToolSpec)
    assert_type(count.timeout, float | None)
    any_tool: Tool = count
    any_tool = http_request
    any_tool = make_http_request(allow_networks=["10.0.0.0/8"])
    assert_type(calculator(expression="1"), str)
    count(1)  # pyright: ignore[reportArgumentType]
    count("a", letters=True)  # pyright: ignore[reportCallIssue]
    Shop().order()  # pyright: ignore[reportCallIssue]
    tool(on_unknown_outcome="guess")  # pyright: ignore[reportArgumentType]
    del any_tool


# Agents in this process.


class Person(BaseModel):
    """A structured output."""

    name: str


async def agents(prompt: Prompt, messages: Messages) -> None:
    agent = Agent(name="a", model="openai/gpt-5-mini", tools=[count, [calculator]], messages=messages)
    agent = Agent(DemoModel(), callback_handler=None, tool_executor="sequential")
    stream = agent.stream_async(prompt, invocation_state={"user": "ada"})
    assert_type(stream, AsyncGenerator[Event, None])
    async for event in stream:
        assert_type(event, Event)
        assert_type(event.run_id, str)
        assert_type(event.seq, int)
        assert_type(event.at, int)
        assert_type(event.cursor, str)
        assert_type(event.to_json(), str)
        plain: dict[str, Any] = event
        del plain
    assert_type(agent("hi"), AgentResult)
    assert_type(await agent.invoke_async([{"text": "hi"}]), AgentResult)
    assert_type(agent.messages, Messages)
    assert_type(agent.model, Model)
    assert_type(agent.cancel(), None)
    Agent(tool_executor="parallel")  # pyright: ignore[reportArgumentType]
    agent(1)  # pyright: ignore[reportArgumentType]
    agent("hi", limits=1)  # pyright: ignore[reportArgumentType]
    Agent(structured_output_model=Person, structured_output_prompt="Fill it in.")
    agent("hi", structured_output_model=Person)
    agent("hi", limits={"turns": 3, "total_tokens": 1000, "output_tokens": 10})
    agent("hi", limits={"cycles": 3})  # pyright: ignore[reportArgumentType]
    await agent.invoke_async("hi", structured_output_model={"type": "object"})
    assert_type(await agent.structured_output_async(Person, "hi"), Person)
    assert_type(agent.structured_output(Person), Person)
    agent("hi", structured_output_model=1)  # pyright: ignore[reportArgumentType]
    agent("hi", cancel_signal=1)  # pyright: ignore[reportArgumentType]
    agent.stream_async("hi", mood="fine")  # pyright: ignore[reportCallIssue]
    await agent.invoke_async("hi", mood="fine")  # pyright: ignore[reportCallIssue]


def results(result: AgentResult) -> None:
    assert_type(result.stop_reason, str)
    assert_type(result.message, Message)
    assert_type(result.metrics, RunMetrics)
    assert_type(result.usage, dict[str, int])
    assert_type(result.interrupts, list[Interrupt] | None)
    assert_type(result.metrics.tool_metrics, dict[str, ToolMetrics])
    assert_type(result.metrics.get_summary(), dict[str, Any])
    assert_type(result.context_size, int | None)
    plain: dict[str, Any] = result
    del plain


# Models: ours, and whatever has their shape.


class Parrot:
    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        yield {"messageStart": {"role": "assistant"}}


class Mute:
    def answer(self) -> str:
        return ""


def models() -> list[Model]:
    scripted = ScriptedModel(["text", tool_call("count", {"text": "a"}), ScriptedCall(text_call("a"), ValueError())])
    assert_type(scripted.requests, list[ModelRequest])
    scripted = ScriptedModel([lambda messages: str(len(messages))], delay=0.1, repeat=True)
    Agent(model=Mute())  # pyright: ignore[reportArgumentType]
    vendors: list[Model] = [
        OpenAIModel("gpt-5-mini", params={"temperature": 0}),
        AnthropicModel("claude-sonnet-4-5", cache="1h"),
        BedrockModel("amazon.nova-lite-v1:0", region="eu-west-1"),
    ]
    return [scripted, DemoModel(), *vendors, LocalModel("m.gguf"), Parrot()]


def stream_of(model: Model) -> AsyncIterable[Chunk]:
    return model.stream([])


# The client.


async def client() -> None:
    notices: list[Notice] = []
    async with Client("redis://localhost", prefix="ph", on_notice=notices.append) as opened:
        assert_type(opened, Client)
        run = await opened.start("assistant", "hi", session_id="ada", invocation_state={}, run_id=None)
        assert_type(run, Run)
        assert_type(run.id, str)
        assert_type(opened.run(run.id), Run)
        assert_type(opened.stream_async("assistant", wait_for_worker=1), AsyncGenerator[Event, None])
        assert_type(run.stream_async(on_notice=notices.append), AsyncGenerator[Event, None])
        assert_type(await opened.invoke_async("assistant", "hi"), AgentResult)
        page = await opened.runs(limit=1, state="failed", tag=["customer=ada"], since=datetime.now(), cursor=None)
        assert_type(page, RunPage)
        assert_type(page[0], RunInfo)
        assert_type(page.cursor, str | None)
        assert_type(await opened.find_run("0-1m8"), Run)
        assert_type(await run.delete(), RunStateName)
        await opened.start("assistant", metadata={"customer": "ada", "attempt": 2, "nightly": True})
        assert_type(await opened.workers(), list[WorkerInfo])
        remote = opened.agent("assistant", session_id="ada")
        assert_type(remote, RemoteAgent)
        assert_type(remote.stream_async("hi"), AsyncGenerator[Event, None])
        assert_type(await remote.invoke_async("hi"), AgentResult)
        assert_type(remote("hi"), AgentResult)
        assert_type(await remote.cancel(), None)
        assert_type(await remote.messages(), list[Message])
        assert_type(await opened.run_of_session("ada"), Run | None)
        session = opened.session("ada")
        assert_type(session, Session)
        assert_type(await session.info(), SessionInfo)
        assert_type((await session.conversation()).run, Run | None)
        assert_type(await session.trim(keep_last=20), int)
        assert_type(await session.fork("bob", at=2), Session)
        assert_type(await session.delete(), bool)
        assert_type((await opened.sessions(limit=1)).cursor, str | None)
        await opened.start("assistant", deadline=60)
        await opened.start(prompt="hi")  # pyright: ignore[reportCallIssue]
    assert_type(
        notices[0].kind, Literal["no_worker", "queued", "paused", "silent", "unreachable", "refused", "rewound"]
    )
    assert_type(notices[0].since, int | None)
    assert_type(notices[0].until, int | None)
    assert_type(notices[0].interrupts, tuple[Interrupt, ...])


async def run_of_a_fleet(run: Run) -> None:
    assert_type(run.stream_async(after="41.0", wait_for_worker=2.5), AsyncGenerator[Event, None])
    assert_type(run.stream_async(after=41), AsyncGenerator[Event, None])
    assert_type(run.replay(speed=None), AsyncGenerator[Event, None])
    assert_type(run.replay(after="4-1.0", until=9, max_gap=0.5), AsyncGenerator[Event, None])
    assert_type(run.replay_records(speed=2, until=9), AsyncGenerator[Entry, None])
    assert_type(run.records(after=1), AsyncGenerator[Entry, None])
    assert_type(run.records(after="41-2"), AsyncGenerator[Entry, None])
    async for entry in run.records():
        assert_type(entry, Entry)
        seq, epoch, record = entry
        assert_type(seq, int)
        assert_type(entry.cursor, str)
        assert_type(epoch, int)
        assert_type(record, Record)
        assert_type(record.at, int)
        if isinstance(record, ModelChunk):
            assert_type(record.chunk, Chunk)
    assert_type(await run.result(), AgentResult)
    info = await run.info()
    assert_type(info, RunInfo)
    assert_type(info.state, RunState)
    assert_type(info.ended, bool)
    assert_type(await run.cancel(signal_id="s"), RunState)
    assert_type(await run.respond({"id": "yes"}, signal_id="s"), RunState)
    assert_type(await run.steer("hurry"), RunState)
    assert_type(await run.steer([{"text": "hurry"}], signal_id="s"), RunState)
    assert_type(await run.received("s", after="41-2"), Entry)
    assert_type(await run.result(on_pause="wait"), AgentResult)
    if pause := await run.pause():
        assert_type(pause.cursor, str)
        assert_type(pause.interrupts[0], Interrupt)
    run.stream_async(on_pause="stop")  # pyright: ignore[reportArgumentType]
    run.stream_async(after=1.5)  # pyright: ignore[reportArgumentType]


# The same program in this process and with a fleet.


async def either(agent: Agent | RemoteAgent) -> AgentResult:
    async for event in agent.stream_async("hi", invocation_state={"user": "ada"}):
        assert_type(event, Event)
    return await agent.invoke_async("hi")


# Workers.


async def workers(agents: Sequence[Agent]) -> None:
    options = WorkerOptions(concurrency=1, lease_ms=2000, grace_s=0, crash_limit=0, retention_ms=1)
    async with EmbeddedServer.running(durable=False, port=0) as server:
        assert_type(server, EmbeddedServer)
        assert_type(server.url, str)
        worker = Worker(agents, log=RedisLog(connect(server.url), prefix="ph"), options=options, name="w")
        assert_type(await worker.run(), None)
        assert_type(worker.drain(), None)
        assert_type(worker.statistics(), WorkerStatistics)
        assert_type(worker.statistics().ended, Mapping[str, int])
    assert_type(load_agents(["agents.py"]), dict[str, Agent | AgentFactory])
    WorkerOptions(1)  # pyright: ignore[reportCallIssue]


def server() -> AbstractAsyncContextManager[EmbeddedServer]:
    return EmbeddedServer.running()


# Errors.


def errors(error: RunFailedError, gap: GapError) -> list[type[PlayheadError]]:
    assert_type(error.run_id, str)
    assert_type(error.error_type, str)
    assert_type(error.exit_code, int)
    assert_type(gap.found, int | None)
    return [RunFailedError, GapError, NoWorkerError, RunNotFoundError]
