"""Graphs of LangGraph for tests of their host: what a model says follows from what it is told, so that any owner's goes on."""

from __future__ import annotations

import asyncio
import json
import operator
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt

__all__ = ["GRAPHS", "WORLD", "Joke", "State", "Streams", "World", "agent", "in_turn", "joke", "slow"]


class World:
    """What is outside of the log."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.asked = 0
        self.refused = 0
        WORLD[:] = [self]


WORLD: list[World] = []

Said = Sequence[str | tuple[str, str, dict[str, Any]]]
"""A message of a model: pieces of text, and calls `(name, id, input)`."""


class Says(BaseChatModel):
    """Says its messages as a whole, by how many of its own it is shown."""

    said: list[Any]
    busy: int = 0

    @property
    def _llm_type(self) -> str:
        return "says"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """The tools are known."""
        return self

    def pieces(self, messages: list[BaseMessage]) -> list[Any]:
        """What it says next; it refuses the first times."""
        world = WORLD[-1]
        if world.refused < self.busy:
            world.refused += 1
            raise ConnectionError("busy")
        world.asked += 1
        return self.said[sum(isinstance(one, AIMessage) for one in messages)]

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        pieces = self.pieces(messages)
        calls = [{"name": one[0], "id": one[1], "args": one[2]} for one in pieces if not isinstance(one, str)]
        text = "".join(one for one in pieces if isinstance(one, str))
        message = AIMessage(
            text, tool_calls=calls, usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        )
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output={"model_name": "says"})


class Streams(Says):
    """One that streams."""

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages):
            await asyncio.sleep(0)
            yield chunk

    def _stream(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        yield from self._chunks(messages)

    def _chunks(self, messages: list[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        for index, one in enumerate(self.pieces(messages)):
            if isinstance(one, str):
                yield ChatGenerationChunk(message=AIMessageChunk(content=one))
                continue
            given = json.dumps(one[2])
            for name, call, part in ((one[0], one[1], given[:3]), (None, None, given[3:])):
                piece: Any = {"name": name, "id": call, "args": part, "index": index, "type": "tool_call_chunk"}
                yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
        usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=usage), generation_info={"finish_reason": "stop"}
        )


@tool
async def slow(n: int) -> str:
    """Wait."""
    await asyncio.sleep(0.001 * (3 - n))
    WORLD[-1].effects["slow"] += 1
    return f"slow {n}"


@tool
def plain(n: int) -> dict[str, int]:
    """In a thread."""
    WORLD[-1].effects["plain"] += 1
    return {"n": n}


@tool
def fails() -> str:
    """Fail."""
    WORLD[-1].effects["fails"] += 1
    raise ToolException("it is closed")


@tool
async def asks(euros: int) -> str:
    """Ask twice."""
    first = interrupt({"pay": euros})
    second = interrupt({"really": first})
    WORLD[-1].effects["asks"] += 1
    return f"paid {euros}: {first}, {second}"


@tool
def moves(call: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Change the state of the graph."""
    WORLD[-1].effects["moves"] += 1
    return Command(update={"notes": ["moved"], "messages": [ToolMessage("moved", tool_call_id=call)]})


TOOLS = [slow, plain, fails, asks, moves]


class State(MessagesState):
    """With notes."""

    notes: Annotated[list[str], operator.add]


def in_turn(**nodes: Any) -> Any:
    """A graph of these nodes, one after the other."""
    graph: Any = StateGraph(MessagesState)
    for name, before in zip(nodes, [START, *nodes], strict=False):
        graph.add_node(name, nodes[name])
        graph.add_edge(before, name)
    return graph.compile()


def agent(*said: Said, kind: type[Says] = Streams, tools: Sequence[Any] = TOOLS, **options: Any) -> Any:
    """The usual loop of a model and its tools."""
    model = kind(said=[list(one) for one in said], **options)

    async def ask(state: State) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(State)
    graph.add_node(
        "model", ask, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)
    )
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


def threads() -> Any:
    """Nodes that are not async, side by side, each with a model."""
    models = {name: Streams(said=[[name, "!"]]) for name in "ab"}

    def node(name: str) -> Callable[[State], dict[str, Any]]:
        def run(state: State) -> dict[str, Any]:
            chunks = [chunk.text for chunk in models[name].stream("go")]
            return {"notes": [f"{name} {models[name].invoke('go').text} {len(chunks)}"]}

        return run

    def end(state: State) -> dict[str, Any]:
        return {"messages": [AIMessage(", ".join(state["notes"]))]}

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, cast("Any", node(name)))
        graph.add_edge(START, name)
    graph.add_node("end", end, defer=True)
    graph.add_edge(["a", "b"], "end")
    return graph.compile()


@dataclass
class User:
    """The context of a graph."""

    user: str


def sends() -> Any:
    """A node that runs for each of several tasks, and one that blocks its loop for a model's call."""

    def plan(state: State) -> list[Send]:
        return [Send("work", {"n": n}) for n in range(3)]

    def work(state: dict[str, Any]) -> dict[str, Any]:
        return {"notes": [Streams(said=[[f"{state['n']}", "!"]]).invoke("go").text]}

    async def end(state: State, runtime: Runtime[User]) -> dict[str, Any]:
        told = Says(said=[["told"]]).invoke("go").text
        return {"messages": [AIMessage(f"{sorted(state['notes'])} {told} {runtime.context.user}")]}

    graph: Any = StateGraph(State, context_schema=User)
    graph.add_node("work", work)
    graph.add_node("end", end)
    graph.add_conditional_edges(START, plan, ["work"])
    graph.add_edge("work", "end")
    return graph.compile()


class Joke(TypedDict):
    """A state without messages."""

    topic: str
    joke: str


def joke() -> Any:
    """A graph without messages."""

    def tell(state: Joke) -> dict[str, Any]:
        return {"joke": f"About {state['topic']}."}

    graph = StateGraph(Joke)
    graph.add_node("tell", tell)
    graph.add_edge(START, "tell")
    return graph.compile()


def nodes_that_ask() -> Any:
    """Two nodes side by side that ask, within another graph."""

    async def ask(state: State) -> dict[str, Any]:
        return {"notes": [f"{interrupt('why')}"]}

    def say(state: State) -> dict[str, Any]:
        return {"messages": [AIMessage(" ".join(state["notes"]))]}

    inner = StateGraph(State)
    inner.add_node("one", ask)
    inner.add_node("two", ask)
    inner.add_edge(START, "one")
    inner.add_edge(START, "two")
    outer = StateGraph(State)
    outer.add_node("within", inner.compile())
    outer.add_node("say", say)
    outer.add_edge(START, "within")
    outer.add_edge("within", "say")
    outer.add_edge("say", END)
    return outer.compile()


GRAPHS: dict[str, Callable[[], Any]] = {
    "parallel": lambda: agent(
        ["Let me", " see.", ("slow", "a", {"n": 1}), ("slow", "b", {"n": 2}), ("plain", "c", {"n": 3})],
        ["It", " is so."],
    ),
    "whole": lambda: agent([("plain", "c", {"n": 3})], ["It is so."], kind=Says),
    "errors": lambda: agent([("fails", "a", {}), ("slow", "b", {"n": "many"}), ("none", "c", {})], ["So it is."]),
    "moves": lambda: agent([("moves", "a", {}), ("slow", "b", {"n": 1})], ["It moved."]),
    "asks": lambda: agent([("asks", "a", {"euros": 3}), ("slow", "b", {"n": 1})], ["done"]),
    "busy": lambda: agent(["at last"], busy=2),
    "failing": lambda: agent(["never"], busy=1_000_000),
    "threads": threads,
    "sends": sends,
    "nodes_that_ask": nodes_that_ask,
}
"""Each makes its graph for one owner of a run."""
