"""A tool ends its run: after its batch, in each of the forms that there are, and in spite of takeovers."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.records import ToolFinished
from playhead.runtime.core.stopping import Stop
from playhead.runtime.models import ScriptedModel, tool_call
from tests.support.recorded_runs import Call, Plan, played

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def polite(context: ToolContext) -> str:
    """Stop with a text."""
    context.stop_run("Goodbye.")
    return "stopping"


@tool
def silent(context: ToolContext) -> str:
    """Stop without a text."""
    context.stop_run()
    return "stopping"


@tool
def failing(context: ToolContext) -> str:
    """Stop, then fail."""
    context.stop_run("I failed.")
    raise ValueError("no")


@tool
async def of_strands(context: ToolContext) -> str:
    """Stop as the tool of Strands does."""
    assert context.agent.name == "agent"
    context.agent.cancel(message="As you wish.", after_current_tools=True)
    return "stopping"


@tool
async def by_flag(context: ToolContext) -> str:
    """Stop as older tools of Strands do."""
    context.invocation_state["request_state"]["stop_event_loop"] = True
    return "stopping"


@tool
def wrong(context: ToolContext) -> str:
    """Give what is not a text."""
    context.stop_run(5)  # pyright: ignore[reportArgumentType]
    return "never"


def agent(*names: str) -> Agent:
    """An agent whose model calls these tools in one message, and has nothing more to say."""
    calls = [chunk for number, name in enumerate(names) for chunk in tool_call(name, {}, f"t{number}")[1:-2]]
    whole = tool_call("polite", {})
    tools = [polite, silent, failing, of_strands, by_flag, wrong]
    return Agent(ScriptedModel([[whole[0], *calls, *whole[-2:]], "Go on."]), tools=tools, callback_handler=None)


@pytest.mark.parametrize(
    ("names", "reason", "text"),
    [
        (("polite",), "cancelled", "Goodbye.\n"),
        (("silent",), "cancelled", ""),
        (("failing",), "cancelled", "I failed.\n"),
        (("of_strands",), "cancelled", "As you wish.\n"),
        (("by_flag",), "tool_use", ""),
        (("by_flag", "silent"), "cancelled", ""),
        (("polite", "by_flag"), "cancelled", "Goodbye.\n"),
        (("wrong",), "end_turn", "Go on.\n"),
    ],
    ids="+".join,
)
async def test_the_run_ends_after_the_batch(names: tuple[str, ...], reason: str, text: str) -> None:
    stopped = agent(*names)
    result = await stopped.invoke_async("go")
    assert (result.stop_reason, str(result)) == (reason, text)
    results = [block for message in stopped.messages for block in message.get("content", []) if "toolResult" in block]
    assert len(results) == len(names), "each call has its result"


async def test_the_callers_values_are_left_as_they_were() -> None:
    mine: dict[str, Any] = {"user": "ada"}
    await agent("by_flag").invoke_async("go", invocation_state=mine)
    assert mine == {"user": "ada"}
    theirs: dict[str, Any] = {"request_state": {"kept": 1}}
    result = await agent("by_flag").invoke_async("go", invocation_state=theirs)
    assert (result.stop_reason, theirs) == ("tool_use", {"request_state": {"kept": 1}}), "the next call is not stopped"
    assert (await agent("polite").invoke_async("go", invocation_state={"request_state": 5})).stop_reason == "cancelled"


async def test_the_request_is_in_the_log_and_the_run_completes_after_a_takeover() -> None:
    plan = Plan(calls=(Call(tools=("stops", "look")),) * 5)
    whole = await played(plan)
    stops = [record.stop for record in whole.records if isinstance(record, ToolFinished)]
    assert stops == [{"reason": "cancelled", "text": "Enough."}, None]
    for cut in range(1, len(whole.records) - 2):
        play = await played(Plan(calls=plan.calls, owners=((cut, False),)))
        kinds = [record.type for record in play.records]
        assert kinds[-1] == "run.completed", cut
        assert dict(play.records[-1])["result"]["message"]["content"] == [{"text": "Enough."}], cut


async def test_a_steer_enters_the_history_before_the_tools_text() -> None:
    plan = Plan(calls=(Call(tools=("stops",)),))
    whole = await played(plan)
    play = await played(Plan(calls=plan.calls, steers=frozenset({len(whole.records) - 2})))
    origins = [dict(record).get("origin") for record in play.records if record.type == "message.added"]
    assert origins == ["prompt", "model", "tools", "steer", "stop"]
    assert dict(play.records[-1])["result"]["stop_reason"] == "cancelled"


def test_requests_of_several_calls_are_one() -> None:
    first, second = Stop("cancelled", "First."), Stop("tool_use")
    assert second.after(first) == first.after(second) == first
    assert Stop("cancelled", "Last.").after(first).text == "Last."
    assert Stop.read(first.stored) == first
    assert Stop.read(None) is Stop.read(5) is None
    assert Stop.read({}) == Stop()
