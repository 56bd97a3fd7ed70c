"""A graph of LangGraph whose workers die: in a tool, and in the middle of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from effects import dies_before, look, pay
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

__all__ = ["make_agent"]


class Says(BaseChatModel):
    """Calls two tools and then says a text, in which it dies once."""

    @property
    def _llm_type(self) -> str:
        return "says"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        step = sum(isinstance(one, AIMessage) for one in messages)
        if step < 2:
            call: Any = {"name": ("look", "pays")[step], "args": "{}", "id": f"t{step}", "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
            return
        for piece in ("All", " done", "!"):
            asyncio.run(dies_before(piece))
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


@tool
async def pays() -> str:
    """Pay, and die the first time."""
    return pay()


def make_agent() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The usual loop of a model and its tools, whose node is not async."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [Says().invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", ask)
    graph.add_node("tools", ToolNode([tool(look), pays]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()
