"""A prompt that is sent while the model of a guest gives its last answer is that of its next invocation, in every framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import agents
import pydantic_ai
import pytest
import strands
from agents.testing import ScriptedModel, assistant_message
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph
from pydantic_ai.models.function import FunctionModel
from strands.multiagent import GraphBuilder, Swarm

from playhead.runtime.core.records import MessageAdded, RunSubmitted, SignalReceived
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.guest import Guest
from playhead.runtime.replay import EntriesRecording, verify
from tests.support.guest_owners import RUN, Owners, cuts
from tests.support.langgraph_agents import Says
from tests.support.openai_agents import Script
from tests.support.strands_agents import Script as StrandsScript
from tests.support.strands_agents import World
from tests.support.strands_agents import said as strands_answer

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HOME: list[asyncio.AbstractEventLoop] = []
NOW: list[Owners] = []


async def heard(texts: list[str]) -> str:
    """What a model answers: all that it hears. While it answers the first prompt, the run is sent another one."""
    if texts[-1] == "go" or "User Request: go\n" in texts[-1]:  # a swarm's words
        while "s" not in [one.signal_id for one in NOW[-1].of(SignalReceived)]:
            HOME[-1].call_soon_threadsafe(NOW[-1].control.deliver, [Signal("s", "steer", "and then?")])
            await asyncio.sleep(0.001)
    return " | ".join(texts)


def texts_of(content: Any) -> list[str]:
    """The texts of the content of a message, in the forms of all of them."""
    blocks: list[Any] = content if isinstance(content, list) else [content]
    return [block if isinstance(block, str) else block["text"] for block in blocks if "text" in block or block]


class OfOpenAI(Script):
    """Says what it hears."""

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """One message."""
        text = await heard([text for item in input for text in texts_of(item["content"])])
        script = ScriptedModel([[assistant_message(text)]])
        async for event in script.stream_response(system_instructions, input, *given, **more):
            yield event


class OfLangChain(Says):
    """Says what it hears."""

    async def _astream(self, messages: Any, *given: Any, **more: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=await heard([one.text for one in messages])))


class OfStrands(StrandsScript):
    """Says what it hears."""

    async def stream(self, messages: Any, *given: Any, **more: Any) -> AsyncGenerator[Any]:
        """One message."""
        for chunk in strands_answer(await heard([text for one in messages for text in texts_of(one["content"])])):
            yield chunk


def of_langgraph() -> Any:
    async def answer(state: MessagesState) -> Any:
        return {"messages": [await OfLangChain(said=[]).ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile(name="graph")


def of_pydantic_ai() -> Any:
    async def answer(messages: list[Any], info: object) -> AsyncIterator[str]:
        yield await heard([part.content for one in messages for part in one.parts])

    return pydantic_ai.Agent(FunctionModel(stream_function=answer))


def of_strands() -> Any:
    return strands.Agent(model=OfStrands(World(), []), name="one", callback_handler=None)


def graph() -> Any:
    builder = GraphBuilder()
    builder.add_node(of_strands(), "one")
    return builder.set_max_node_executions(5).build()


GUESTS: dict[str, Callable[[], Guest]] = {
    "openai-agents": lambda: OpenAIAgentsGuest(agents.Agent("agent", model=OfOpenAI("agent"))),
    "langgraph": lambda: LangGraphGuest(of_langgraph, name="agent"),
    "pydantic-ai": lambda: PydanticAIGuest(of_pydantic_ai, name="agent"),
    "strands": lambda: StrandsGuest(of_strands, name="agent"),
    "strands object": lambda: StrandsGuest(of_strands(), name="agent"),
    "graph": lambda: StrandsGuest(graph, name="agent"),
    "swarm": lambda: StrandsGuest(lambda: Swarm([of_strands()]), name="agent"),
}


@pytest.fixture(autouse=True)
def home() -> Iterator[None]:
    """The event loop of the test, and no tracing."""
    agents.set_tracing_disabled(True)
    yield
    HOME.clear()
    NOW.clear()


def owned(guest: Guest, log: list[Any] | None = None, *, session: str | None = "s") -> Owners:
    run = Owners(guest, list(log or []))
    if log is None:
        run.log.clear()
        run.append(RunSubmitted(at=0, agent="agent", prompt="go", session=session))
    NOW.append(run)
    return run


@pytest.mark.parametrize("name", GUESTS)
async def test_a_prompt_sent_in_the_last_answer_invokes_the_guest_again_in_the_same_conversation(name: str) -> None:
    HOME.append(asyncio.get_running_loop())
    guest = GUESTS[name]()
    whole = owned(guest)
    await whole.to_the_end()
    answer = str(whole.end.result["message"]["content"][0]["text"])
    assert "and then?" in answer.split(" | ")[-1]
    assert answer.strip() == "go | go | and then?" or name in ("graph", "swarm"), answer
    texts = [str(one.message["content"][0]["text"]) for one in whole.of(MessageAdded)]
    assert [texts[0], texts[2]] == ["go", "and then?"]
    assert len(texts) == 4
    if isinstance(guest, StrandsGuest):  # the others tell no tokens here
        assert whole.end.result["metrics"]["usage"]["totalTokens"] == 2 * 3
    for run, where in cuts(whole, lambda log: owned(guest, log)):
        await run.to_the_end()
        assert run.end.result["message"]["content"] == whole.end.result["message"]["content"], where
        assert len(run.of(MessageAdded)) == len(whole.of(MessageAdded)), where
    assert (await verify(EntriesRecording(whole.log, run_id=RUN), guest)).same
    after = Owners(guest, said=StoredMessages(messages=whole.hosts[-1].state.added), run_id="0-after")
    after.log.clear()
    after.append(RunSubmitted(at=0, agent="agent", prompt="at last", session="s"))
    await after.to_the_end()
    told = str(after.end.result["message"]["content"][0]["text"]).split(" | ")
    assert "at last" in told[-1]
    assert "and then?" in [one.strip() for one in told]


@pytest.mark.parametrize("name", ["graph", "swarm"])
async def test_without_a_session_the_next_invocation_has_the_conversation_too(name: str) -> None:
    HOME.append(asyncio.get_running_loop())
    run = owned(GUESTS[name](), session=None)
    await run.to_the_end()
    answer = str(run.end.result["message"]["content"][0]["text"])
    assert "and then?" in answer.split(" | ")[-1]
    assert answer.split(" | ")[0].endswith("go"), answer
