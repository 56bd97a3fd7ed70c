"""What becomes of a tool call that a worker began and did not finish because it died, by the frameworks' bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import agents
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.graph import MessagesState
from langgraph.prebuilt import ToolNode
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import Tool as PydanticTool
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

from playhead.runtime.core.records import RunPaused, ToolStarted
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from tests.support import openai_agents
from tests.support.guest_owners import Owners
from tests.support.langgraph_agents import in_turn

__all__: list[str] = []

pytestmark = pytest.mark.anyio

UNKNOWN = "pay: the outcome of this call is unknown"


class Till:
    """What a tool pays into, and what MCP's annotations say of the tool."""

    def __init__(self, hints: dict[str, Any] | None = None) -> None:
        self.paid = 0
        self.hints = hints

    async def pay(self) -> str:
        """Pay."""
        self.paid += 1
        return f"paid {self.paid}"


def pydantic_ai(till: Till, **options: Any) -> MadeGuest:
    async def stream(told: list[Any], info: Any) -> AsyncIterator[Any]:
        last = told[-1]
        assert isinstance(last, ModelRequest)
        if len(told) == 1:
            yield {0: DeltaToolCall(name="pay", json_args="{}", tool_call_id="t")}
        else:
            yield str(getattr(last.parts[0], "content", ""))

    tool = PydanticTool(till.pay, name="pay", metadata={"annotations": till.hints})
    return PydanticAIGuest(
        lambda: PydanticAgent(FunctionModel(stream_function=stream), tools=[tool]), name="agent", **options
    )


def langgraph(till: Till, **options: Any) -> MadeGuest:
    def calls(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("", tool_calls=[{"name": "pay", "args": {}, "id": "t"}])]}

    def tells(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(state["messages"][-1].text)]}

    tool = StructuredTool.from_function(coroutine=till.pay, name="pay", description="Pay.", metadata=till.hints)
    return LangGraphGuest(in_turn(calls=calls, tools=ToolNode([tool]), tells=tells), name="agent", **options)


class Tells(openai_agents.Script):
    """Calls the tool, then says what it gave."""

    def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """An answer as a stream."""
        self._answers = ([openai_agents.called("pay", "t")], [openai_agents.said(str(input[-1].get("output")))])
        return super().stream_response(system_instructions, input, *given, **more)


def openai(till: Till, **options: Any) -> MadeGuest:
    agents.set_tracing_disabled(True)

    def make() -> agents.Agent[Any]:
        openai_agents.World()
        return agents.Agent(name="agent", model=Tells("agent"), tools=[agents.function_tool(till.pay)])

    return OpenAIAgentsGuest(make, **options)


MADE: dict[str, Callable[..., MadeGuest]] = {
    "langgraph": langgraph,
    "openai-agents": openai,
    "pydantic-ai": pydantic_ai,
}


async def told(guest: MadeGuest, till: Till, *, answer: Any = None) -> str:
    """What the model is told of a call after the death of the worker that began it, and of the next one's."""
    whole = Owners(guest, answer=answer)
    await whole.to_the_end()
    assert (till.paid, "paid 1" in text(whole)) == (1, True)
    started = next(entry.seq for entry in whole.log if isinstance(entry.record, ToolStarted))
    again = Owners(guest, whole.log[:started], answer=answer)
    await again.to_the_end()
    paid = till.paid
    third = Owners(guest, again.log[:-1], answer=answer)
    await third.to_the_end()
    assert (text(third), till.paid) == (text(again), paid), "a second takeover changes nothing of it"
    paused = [entry.record for entry in again.log if isinstance(entry.record, RunPaused)]
    assert len(paused) == (answer is not None)
    return text(again)


def text(run: Owners) -> str:
    assert run.end.type == "run.completed", run.end
    return run.end.result["message"]["content"][0]["text"]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(
    ("outcome", "answer", "says", "paid"),
    [
        (None, None, "paid 2", 2),
        ("retry", None, "paid 2", 2),
        ("fail", None, UNKNOWN, 1),
        ("ask", "retry", "paid 2", 2),
        ("ask", "fail", UNKNOWN, 1),
        ("ask", {"result": "paid, as the bank says"}, "paid, as the bank says", 1),
    ],
)
async def test_what_is_said_of_a_tool_holds_and_the_model_is_told(
    kind: str, outcome: Any, answer: Any, says: str, paid: int
) -> None:
    till = Till()
    guest = MADE[kind](till, on_unknown_outcome={"pay": outcome} if outcome else None)
    assert says in await told(guest, till, answer=answer)
    assert till.paid == paid


@pytest.mark.parametrize("kind", ["langgraph", "pydantic-ai"])
async def test_mcp_annotations_of_a_tool_hold_unless_something_else_is_said_of_it(kind: str) -> None:
    till = Till({"destructiveHint": True})
    assert UNKNOWN in await told(MADE[kind](till), till)
    assert till.paid == 1
    till = Till({"destructiveHint": True})
    assert "paid 2" in await told(MADE[kind](till, on_unknown_outcome={"pay": "retry"}), till)


@pytest.mark.parametrize("kind", MADE)
def test_another_word_is_refused_with_the_tool_that_it_is_said_of(kind: str) -> None:
    with pytest.raises(ValueError, match="on_unknown_outcome of pay must be 'retry' or 'fail' or 'ask', not 'again'"):
        MADE[kind](Till(), on_unknown_outcome={"pay": "again"})
