"""Agents of other frameworks that are measured: each asks a model once, which sends so many chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final, NamedTuple

from agents import Agent as OpenAIAgent
from agents import Model, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph
from openai.types.responses import ResponseTextDeltaEvent
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.function import FunctionModel

from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.host.guest import Guest

__all__ = ["FRAMEWORKS", "Framework"]

_WORD: Final = "token "


class Framework(NamedTuple):
    """A framework.

    Attributes:
        guest: Makes a guest whose model sends so many chunks.
        alone: What a user of the framework iterates over to get them without a host.
    """

    guest: Callable[[int], Guest]
    alone: Callable[[int], AsyncGenerator[Any, None]]


def _pydantic_agent(count: int) -> PydanticAgent:
    async def words(told: Any, info: Any) -> AsyncIterator[str]:
        del told, info
        for _ in range(count):
            yield _WORD

    return PydanticAgent(FunctionModel(stream_function=words))


async def _pydantic_alone(count: int) -> AsyncGenerator[Any, None]:
    async with _pydantic_agent(count).run_stream_events("go") as events:
        async for event in events:
            if event.event_kind in ("part_start", "part_delta"):
                yield event


class _Says(Model):
    def __init__(self, count: int) -> None:
        self._count = count

    async def get_response(self, *given: Any, **more: Any) -> Any:
        raise NotImplementedError

    async def stream_response(self, *given: Any, **more: Any) -> AsyncIterator[Any]:
        async for event in ScriptedModel([[assistant_message(_WORD)]]).stream_response(*given, **more):
            if isinstance(event, ResponseTextDeltaEvent):
                for _ in range(self._count):
                    yield event
            else:
                yield event


def _openai_agent(count: int) -> OpenAIAgent[Any]:
    return OpenAIAgent(name="agent", model=_Says(count))


async def _openai_alone(count: int) -> AsyncGenerator[Any, None]:
    result = Runner.run_streamed(_openai_agent(count), "go", run_config=_SILENT)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            yield event


_SILENT: Final = RunConfig(tracing_disabled=True)


class _Chat(BaseChatModel):
    count: int

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, *given: Any, **more: Any) -> Any:
        raise NotImplementedError

    async def _astream(self, *given: Any, **more: Any) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(self.count):
            yield ChatGenerationChunk(message=AIMessageChunk(content=_WORD))


def _graph(count: int) -> Any:
    model = _Chat(count=count)

    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    return graph.compile()


async def _graph_alone(count: int) -> AsyncGenerator[Any, None]:
    async for chunk, _ in _graph(count).astream({"messages": [("user", "go")]}, stream_mode="messages"):
        if chunk.content:
            yield chunk


FRAMEWORKS: Final = {
    "pydantic-ai": Framework(
        lambda count: PydanticAIGuest(lambda: _pydantic_agent(count), name="agent"),
        _pydantic_alone,
    ),
    "openai-agents": Framework(
        lambda count: OpenAIAgentsGuest(lambda: _openai_agent(count), name="agent", options={"run_config": _SILENT}),
        _openai_alone,
    ),
    "langgraph": Framework(lambda count: LangGraphGuest(lambda: _graph(count), name="agent"), _graph_alone),
}
"""By their names."""
