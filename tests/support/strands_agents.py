"""Strands agents for tests of their host: what a model says follows from what it is told, so that any owner's goes on."""

from __future__ import annotations

import asyncio
import copy
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import strands
from pydantic import BaseModel
from strands.agent.conversation_manager import SummarizingConversationManager
from strands.hooks import BeforeToolCallEvent
from strands.models.model import Model
from strands.multiagent import GraphBuilder, Swarm
from strands.multiagent.graph import Graph
from strands.types.exceptions import ContextWindowOverflowException, ModelThrottledException

__all__ = ["AGENTS", "MANY", "WORLD", "Script", "World", "graph", "said", "slow"]


def said(*parts: str, calls: Sequence[tuple[str, str, dict[str, Any]]] = ()) -> list[dict[str, Any]]:
    """The chunks of a message: pieces of a text, and calls `(name, toolUseId, input)`."""
    chunks: list[dict[str, Any]] = [{"messageStart": {"role": "assistant"}}]
    if parts:
        deltas = [{"contentBlockDelta": {"delta": {"text": part}}} for part in parts]
        chunks += [{"contentBlockStart": {"start": {}}}, *deltas, {"contentBlockStop": {}}]
    for name, use_id, given in calls:
        chunks += [
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": use_id, "name": name}}}},
            {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(given)}}}},
            {"contentBlockStop": {}},
        ]
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    stop = {"messageStop": {"stopReason": "tool_use" if calls else "end_turn"}}
    return [*chunks, stop, {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}]


class World:
    """What is outside of the log."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.asked = 0
        self.throttled = 0
        WORLD[:] = [self]

    def agent(self, *calls: Any, **options: Any) -> strands.Agent:
        """An agent whose model says these messages in their order."""
        given: dict[str, Any] = {
            "tools": [slow, counting, asks, fails, remember],
            "callback_handler": None,
            "name": "agent",
            **options,
        }
        return strands.Agent(model=Script(self, list(calls)), **given)


WORLD: list[World] = []
"""The world that the tools change: they are made once, because Strands takes a while to read a function."""


@strands.tool
async def slow(n: int) -> str:
    """Wait."""
    await asyncio.sleep(0.001 * (3 - n))
    WORLD[-1].effects["slow"] += 1
    return f"slow {n}"


@strands.tool
async def counting(n: int) -> AsyncGenerator[Any, None]:
    """Count."""
    for number in range(n):
        yield {"number": number}
    WORLD[-1].effects["counting"] += 1
    yield "counted"


@strands.tool(context=True)
def asks(what: str, tool_context: strands.ToolContext) -> str:
    """Ask."""
    answer = tool_context.interrupt("approve", reason={"what": what})
    WORLD[-1].effects["asks"] += 1
    return f"{what}: {answer}"


@strands.tool
def fails(n: int) -> str:
    """Fail."""
    WORLD[-1].effects["fails"] += 1
    raise RuntimeError("boom")


@strands.tool(context=True)
def remember(what: str, tool_context: strands.ToolContext) -> str:
    """Keep it in the agent's state."""
    kept = tool_context.agent.state.get("kept") or []
    tool_context.agent.state.set("kept", [*kept, what])
    WORLD[-1].effects["remember"] += 1
    return ", ".join([*kept, what])


class Script(Model):
    """Says its messages by how many of them it is shown."""

    def __init__(self, world: World, calls: list[Any]) -> None:
        self.world, self.calls = world, calls

    def update_config(self, **model_config: Any) -> None:
        """Nothing to change."""

    def get_config(self) -> Any:
        """Nothing to tell."""
        return {}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        """Not used."""
        raise NotImplementedError

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The next message."""
        self.world.asked += 1
        for chunk in self.calls[sum(one["role"] == "assistant" for one in messages)]:
            yield copy.deepcopy(chunk)


def simple(world: World) -> strands.Agent:
    """Tools side by side, one of which fails and one that is not there, and an id that is used again."""
    calls = [("slow", "a", {"n": 1}), ("slow", "b", {"n": 2}), ("counting", "c", {"n": 3}), ("fails", "d", {"n": 1})]
    first = said("Let me see.", calls=[*calls, ("nothere", "e", {})])
    return world.agent(first, said("Again.", calls=[("slow", "a", {"n": 1})]), said("It is ", "done."))


def asking(world: World) -> strands.Agent:
    """Two questions of tools, and a tool beside them."""
    calls = [("asks", "a", {"what": "x"}), ("slow", "b", {"n": 1}), ("asks", "c", {"what": "y"})]
    return world.agent(said(calls=calls), said("Done."))


def hooked(world: World) -> strands.Agent:
    """A hook that asks about one call and cancels another."""

    def approve(event: BeforeToolCallEvent) -> None:
        number = event.tool_use["input"]["n"]
        if number == 1 and event.interrupt("ok?", reason="n is 1") != "yes":
            event.cancel_tool = "denied"
        if number == 2:
            event.cancel_tool = "never 2"

    calls = [("slow", use_id, {"n": number}) for number, use_id in enumerate("abc", 1)]
    return world.agent(said(calls=calls), said("Done."), hooks=[approve])


class Answer(BaseModel):
    """A structured output."""

    total: int


def structured(world: World) -> strands.Agent:
    """A structured output that is wrong the first time."""
    wrong, right = (said(calls=[("Answer", f"s{total}", {"total": total})]) for total in ("x", 3))
    return world.agent(said("It is 3."), wrong, right, structured_output_model=Answer)


def throttled(world: World) -> strands.Agent:
    """The provider throttles two requests, the second after some text."""

    class Throttled(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            self.world.throttled += 1
            times, number = self.world.throttled, 0
            if times == 1:
                self.world.asked += 1
                raise ModelThrottledException("slow down")
            async for chunk in super().stream(messages, *args, **kwargs):
                yield chunk
                number += 1
                if times == 2 and number == 4:
                    raise ModelThrottledException("slow down again")

    waits: dict[str, Any] = {"initial_delay": 0.002, "max_delay": 1}
    strategy = strands.ModelRetryStrategy(max_attempts=4, **waits)
    agent = world.agent(retry_strategy=strategy)
    agent.model = Throttled(world, [said("Let me see.", calls=[("slow", "a", {"n": 1})]), said("Done.")])
    return agent


def summarizing(world: World) -> strands.Agent:
    """A history that is too long, and a summary, which blocks the agent's event loop for a whole model call."""

    class Overflowing(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            self.world.asked += 1
            if "summarize this" in str(messages[-1]):
                answer = said("A summary.")
            elif len(messages) > 8:
                raise ContextWindowOverflowException("too long")
            else:
                answer = said("Short ", "enough.")
            for chunk in answer:
                yield chunk

    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": [{"text": f"message {number}"}]} for number in range(14)]
    manager = SummarizingConversationManager(summary_ratio=0.6, preserve_recent_messages=2)
    agent = world.agent(messages=messages, conversation_manager=manager)
    agent.model = Overflowing(world, [])
    return agent


def _inner(world: World, name: str, *calls: Any) -> strands.Agent:
    return world.agent(*calls, name=name, description=name)


def sub_agents(world: World) -> strands.Agent:
    """Two agents as tools, side by side, each with tools."""
    first = said("Sub thinks.", calls=[("slow", "x", {"n": 1}), ("counting", "y", {"n": 2})])
    inner = [_inner(world, name, first, said(f"{name} says so.")) for name in ("one", "two")]
    calls = [(name, use_id, {"input": name}) for name, use_id in (("one", "a"), ("two", "b"))]
    return world.agent(said(calls=calls), said("Both say so."), tools=inner)


def sub_asking(world: World) -> strands.Agent:
    """An agent as a tool, whose tool asks."""
    first = said("Sub thinks.", calls=[("slow", "x", {"n": 1}), ("asks", "y", {"what": "z"})])
    inner = _inner(world, "sub", first, said("sub is done."))
    return world.agent(said(calls=[("sub", "a", {"input": "q"})]), said("Sub says so."), tools=[inner])


def remembering(world: World) -> strands.Agent:
    """Tools that change the agent's state, one after the other."""
    calls = [said(calls=[("remember", use_id, {"what": use_id})]) for use_id in "ab"]
    return world.agent(*calls, said("Done."))


def failing(world: World) -> strands.Agent:
    """A model that breaks off."""

    class Broken(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            self.world.asked += 1
            for chunk in said("Half", " an answer")[:3]:
                yield chunk
            raise RuntimeError("connection reset")

    agent = world.agent()
    agent.model = Broken(world, [])
    return agent


def graph(world: World) -> Graph:
    """Two nodes side by side between a first and a last one."""
    left = world.agent(said(calls=[("slow", "x", {"n": 1})]), said("Left is done."), name="left")
    right = world.agent(said(calls=[("counting", "x", {"n": 2})]), said("Right is done."), name="right")
    builder = GraphBuilder()
    builder.add_node(world.agent(said("Root ", "speaks."), name="root"), "root")
    builder.add_node(left, "left")
    builder.add_node(right, "right")
    builder.add_node(world.agent(said("All joined."), name="join"), "join")
    for start, end in (("root", "left"), ("root", "right"), ("left", "join"), ("right", "join")):
        builder.add_edge(start, end)
    return builder.set_max_node_executions(9).build()


def swarm(world: World) -> Swarm:
    """An agent that hands over to another one."""
    over = ("handoff_to_agent", "h", {"agent_name": "two", "message": "yours"})
    one = world.agent(
        said(calls=[("slow", "x", {"n": 1})]), said(calls=[over]), said("Handed over."), name="one", description="one"
    )
    two = world.agent(said(calls=[("slow", "x", {"n": 2})]), said("Two is done."), name="two", description="two")
    return Swarm([one, two])


MANY: dict[str, Callable[[World], Graph | Swarm]] = {"graph": graph, "swarm": swarm}

AGENTS: dict[str, Callable[[World], strands.Agent]] = {
    make.__name__: make
    for make in (
        simple,
        asking,
        hooked,
        structured,
        throttled,
        summarizing,
        sub_agents,
        sub_asking,
        remembering,
        failing,
    )
}
