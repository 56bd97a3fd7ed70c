"""Tools that the code of a LangGraph node calls: again after an interrupt, again in one call, and side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy, interrupt

from playhead.runtime.core.records import StepFinished, ToolFinished, ToolStarted
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.host.context import current_context
from tests.support.guest_owners import Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def one_node(node: Any, **options: Any) -> LangGraphGuest:
    def make() -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("node", node, **options)
        builder.add_edge(START, "node")
        return builder.compile(name="agent")

    return LangGraphGuest(make, name="agent")


def answer(run: Owners) -> str:
    assert run.end.type == "run.completed", run.end
    return run.end.result["message"]["content"][0]["text"]


async def test_a_tool_that_a_node_calls_before_it_asks_is_not_called_again_when_there_is_a_response() -> None:
    @tool
    def charge(amount: int) -> str:
        """Charge."""
        return f"charged {amount}"

    async def pay(state: MessagesState) -> Any:
        paid = [await charge.ainvoke({"amount": amount}) for amount in (7, 7, 8)]
        return {"messages": [AIMessage(f"{paid} {interrupt('receipt?')}")]}

    run = Owners(one_node(pay))
    await run.to_the_end()
    assert answer(run) == "['charged 7', 'charged 7', 'charged 8'] yes"
    assert [one.tool_use["input"]["amount"] for one in run.of(ToolStarted)] == [7, 7, 8]


async def test_a_tool_that_gave_its_result_is_not_called_again_when_its_node_is_tried_again() -> None:
    tries: list[int] = []

    @tool
    def look(place: str) -> str:
        """Look."""
        return f"seen {place}"

    async def node(state: MessagesState) -> Any:
        said = await look.ainvoke({"place": "here"})
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the first time")
        return {"messages": [AIMessage(said)]}

    run = Owners(one_node(node, retry_policy=RetryPolicy(initial_interval=0.001, max_attempts=2)))
    await run.to_the_end()
    assert answer(run) == "seen here"
    assert len(run.of(ToolStarted)) == 1


async def test_a_tool_that_the_wrapper_of_a_call_executes_again_is_called_again() -> None:
    given = iter(["pending", "pending", "ready"])

    @tool
    def poll(job: str) -> str:
        """Look how a job stands."""
        return next(given)

    def until_ready(request: Any, execute: Callable[[Any], Any]) -> Any:
        for _ in range(5):
            if (result := execute(request)).content == "ready":
                return result
        raise AssertionError("it got an old result")

    def chat(state: MessagesState) -> Any:
        last = state["messages"][-1]
        if isinstance(last, ToolMessage):
            return {"messages": [AIMessage(f"it is {last.text}")]}
        return {"messages": [AIMessage("", tool_calls=[{"name": "poll", "args": {"job": "j"}, "id": "c1"}])]}

    def make() -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("chat", chat)
        builder.add_node("tools", ToolNode([poll], wrap_tool_call=until_ready))
        builder.add_edge(START, "chat")
        builder.add_conditional_edges("chat", tools_condition)
        builder.add_edge("tools", "chat")
        return builder.compile(name="agent")

    run = Owners(LangGraphGuest(make, name="agent"))
    await run.to_the_end()
    assert answer(run) == "it is ready"
    assert len(run.of(ToolStarted)) == 3


async def test_tools_that_a_node_calls_side_by_side_get_their_own_results_after_a_takeover() -> None:
    order = ["a", "b"]

    @tool
    async def balance(account: str) -> str:
        """The balance."""
        return f"of {account}"

    async def node(state: MessagesState) -> Any:
        turn = asyncio.Event()

        async def one(account: str) -> str:
            if account == order[1]:
                await turn.wait()
            call = asyncio.ensure_future(balance.ainvoke({"account": account}))
            await asyncio.sleep(0)
            turn.set()
            return f"{account}: {await call}"

        tasks = [asyncio.ensure_future(one(account)) for account in ("a", "b")]
        said = [await task for task in tasks]
        context = current_context()
        assert context is not None
        await context.step("last", lambda: asyncio.sleep(0, 1))
        return {"messages": [AIMessage("; ".join(said))]}

    whole = Owners(one_node(node))
    await whole.own()
    assert answer(whole) == "a: of a; b: of b"
    last = [entry.seq for entry in whole.log if isinstance(entry.record, ToolFinished | StepFinished)][-1]
    order.reverse()
    again = Owners(whole.guest, whole.log[:last])
    await again.own()
    assert answer(again) == "a: of a; b: of b"
