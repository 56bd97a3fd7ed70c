"""A graph of LangGraph whose workers die: in a tool, and in the middle of an answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from playhead.runtime import current_call

__all__ = ["make_agent"]


def _note(what: str) -> int:
    """Note an effect; how often it was there before."""
    file = Path("effects.txt")
    before = file.read_text().splitlines() if file.exists() else []
    with file.open("a") as out:
        out.write(f"{what}\n")
    return before.count(what)


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
            call: Any = {"name": ("look", "pay")[step], "args": "{}", "id": f"t{step}", "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
            return
        for piece in ("All", " done", "!"):
            if piece == "!" and _note("asked") == 0:
                time.sleep(0.3)  # the pieces before are in the log by now
                os.kill(os.getpid(), signal.SIGKILL)
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


@tool
def look() -> str:
    """Look."""
    _note("look")
    return "seen"


@tool
async def pay() -> str:
    """Pay, and die the first time."""
    call = current_call()
    assert call is not None
    if _note(f"pay {call.effect_key.removeprefix(call.run_id)}") == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"paid in attempt {call.attempt}"


def make_agent() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The usual loop of a model and its tools, whose node is not async."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [Says().invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", ask)
    graph.add_node("tools", ToolNode([look, pay]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()
