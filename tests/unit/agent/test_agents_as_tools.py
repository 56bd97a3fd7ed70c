"""An agent as a tool of another one, in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from playhead.runtime import AfterToolCallEvent, Agent, BeforeToolCallEvent, ToolContext, tool
from playhead.runtime.agent.as_tool import AgentTool
from playhead.runtime.core.children import Child, child_of
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.records import RunFailed, RunSubmitted
from playhead.runtime.core.segments import Segment
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.tools.children import ChildCall, ChildPlace
from playhead.runtime.tools.tool import ChildHeard, Outcome

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def quiet(*script: Any, name: str = "agent", **options: Any) -> Agent:
    return Agent(ScriptedModel(script), name=name, callback_handler=None, **options)


def asks(name: str = "inner", said: str = "go", use: str = "t1") -> list[Chunk]:
    return tool_call(name, {"input": said}, use)


def both(first: list[Chunk], second: list[Chunk]) -> list[Chunk]:
    """The calls of two messages in one."""
    return [*first[:-2], *second[1:]]


def told(agent: Agent) -> list[Any]:
    """The agent's messages."""
    return list(agent.messages)


async def results(agent: Agent) -> list[Any]:
    """The results of the agent's calls, after one invocation."""
    await agent.invoke_async("Go.")
    blocks = [block for message in told(agent) for block in message["content"] if "toolResult" in block]
    return [(block["toolResult"]["status"], block["toolResult"]["content"]) for block in blocks]


@tool
def pay(context: ToolContext) -> str:
    """Pay, if a human agrees."""
    return f"paid: {context.interrupt('approve', 5)}"


class Ended:
    """The child of a call, which failed; another worker ran it."""

    log = (RunSubmitted(at=0, agent="agent.inner"), RunFailed(at=0, error_type="OSError", message="kaput"))

    async def records(self, call: ChildCall) -> AsyncGenerator[Segment, None]:
        if call.after < len(self.log):
            yield Segment(call.after + 1, 1, list(self.log[call.after :]))


@pytest.mark.parametrize(("known", "heard"), [(0, 2), (1, 2), (2, None)])
async def test_a_call_has_the_result_of_its_child_whatever_of_the_child_its_caller_had_recorded(
    known: int, heard: int | None
) -> None:
    inner = quiet(name="inner").as_tool()
    use: Any = {"toolUseId": "t1", "name": "inner", "input": {"input": "go"}}
    run = child_of("0-p/t1", None, parent="0-p").run
    place = ChildPlace(Ended(), "agent", None, Child(run, upto=known))
    context = ToolContext(tool_use=use, run_id="0-p", children=place)
    *told_of, outcome = [item async for item in inner.stream(use, context)]
    assert [one.upto for one in told_of if isinstance(one, ChildHeard)] == ([] if heard is None else [heard])
    assert isinstance(outcome, Outcome)
    assert outcome.result["content"] == [{"text": "Agent error: kaput"}]


class Endless(ScriptedModel):
    """Sends the beginning of a message, and then nothing."""

    def __init__(self) -> None:
        super().__init__([])
        self.begun = anyio.Event()

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        yield text_call("Hm")[0]
        self.begun.set()
        await anyio.sleep_forever()


async def test_its_text_is_the_result_of_the_call():
    outer = quiet(asks(), "Done.", tools=[quiet("It is blue.", name="inner")])
    assert await results(outer) == [("success", [{"text": "It is blue.\n"}])]


async def test_its_structured_output_is_the_result_of_the_call():
    schema = {"title": "Colour", "type": "object", "properties": {"name": {"type": "string"}}}
    inner = quiet(tool_call("Colour", {"name": "blue"}), name="inner", structured_output_model=schema)
    assert await results(quiet(asks(), "Done.", tools=[inner])) == [("success", [{"json": {"name": "blue"}}])]


async def test_its_failure_is_an_error_result_and_the_caller_goes_on():
    inner = quiet(ScriptedCall(text_call("It is")[:4], error=RuntimeError("kaput")), name="inner", retry=None)
    assert await results(quiet(asks(), "Done.", tools=[inner])) == [("error", [{"text": "Agent error: kaput"}])]


async def test_each_call_begins_with_the_messages_that_the_agent_had():
    before: Any = [{"role": "user", "content": [{"text": "Be brief."}]}]
    inner = quiet("One.", "Two.", name="inner", messages=before)
    outer = quiet(asks(use="t1"), asks(use="t2"), "Done.", tools=[inner])
    await outer.invoke_async("Go.")
    model: Any = inner.model
    assert [len(request.messages) for request in model.requests] == [2, 2]
    assert inner.messages == before


async def test_with_its_context_preserved_a_call_goes_on_with_the_calls_before_it():
    inner = quiet("One.", "Two.", name="inner")
    outer = quiet(asks(use="t1"), asks(use="t2"), "Done.", tools=[inner.as_tool(preserve_context=True)])
    await outer.invoke_async("Go.")
    assert [message["role"] for message in told(inner)] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("preserve", [False, True])
async def test_the_same_agent_twice_in_one_message_works(preserve: bool):
    inner = quiet("One.", "Two.", name="inner").as_tool(preserve_context=preserve)
    outer = quiet(both(asks(use="t1"), asks(use="t2")), "Done.", tools=[inner])
    assert sorted(text for _, ((text),) in await results(outer) for text in text.values()) == ["One.\n", "Two.\n"]


async def test_a_preserved_agent_that_waits_for_a_human_refuses_another_call():
    inner = quiet(tool_call("pay", {}, "p1"), "Paid.", "More.", name="inner", tools=[pay])
    calls = both(asks(use="t1"), asks(use="t2"))
    outer = quiet(calls, asks(use="t3"), "Done.", tools=[inner.as_tool(preserve_context=True)])
    (question,) = (await outer.invoke_async("Go.")).interrupts or []
    await outer.invoke_async([{"interruptResponse": {"interruptId": question.id, "response": "yes"}}])
    texts = [
        block["toolResult"]["content"][0]["text"]
        for message in told(outer)
        for block in message["content"]
        if "toolResult" in block
    ]
    refused = "Agent error: the agent waits for a response in another call; call it again afterwards"
    assert texts == [refused, "Paid.\n", "More.\n"]  # what was finished before the pause comes first, as in Strands


async def test_a_question_two_levels_deep_reaches_the_caller_and_its_response_the_tool():
    inner = quiet(tool_call("pay", {}, "p1"), "Paid.", name="inner", tools=[pay])
    middle = quiet(asks("inner"), "Inside: paid.", name="middle", tools=[inner])
    outer = quiet(asks("middle"), "Done.", tools=[middle])
    (question,) = (await outer.invoke_async("Go.")).interrupts or []
    assert question.id.startswith("v1:agent_as_tool:t1:v1:agent_as_tool:t1:v1:tool_call:p1:")
    result = await outer.invoke_async([{"interruptResponse": {"interruptId": question.id, "response": "yes"}}])
    assert str(result) == "Done.\n"
    model: Any = inner.model
    assert model.requests[1].messages[-1]["content"][0]["toolResult"]["content"] == [{"text": "paid: yes"}]


async def test_a_cancel_cancels_the_child_too():
    model = Endless()
    outer = quiet(asks(), "Done.", tools=[Agent(model, name="inner", callback_handler=None)])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outer.invoke_async, "Go.")
        await model.begun.wait()
        outer.cancel()
    assert told(outer)[-1]["content"][0]["toolResult"]["content"] == [{"text": "Agent 'inner' cancelled"}]


async def test_a_call_that_a_hook_lets_run_again_has_another_child():
    def again(event: AfterToolCallEvent) -> None:
        event.retry = event.result["content"] == [{"text": "One.\n"}]

    outer = quiet(asks(), "Done.", tools=[quiet("One.", "Two.", name="inner")])
    outer.add_hook(again, AfterToolCallEvent)
    assert await results(outer) == [("success", [{"text": "Two.\n"}])]


async def test_a_hook_of_the_inner_agent_is_asked_about_its_calls():
    def forbid(event: BeforeToolCallEvent) -> None:
        event.cancel_tool = "not today"

    inner = quiet(tool_call("pay", {}, "p1"), "Not paid.", name="inner", tools=[pay], hooks=[forbid])
    assert await results(quiet(asks(), "Done.", tools=[inner])) == [("success", [{"text": "Not paid.\n"}])]


async def test_the_inner_agents_callback_handler_gets_its_events():
    said: list[Any] = []
    inner = quiet("It is blue.", name="inner")
    inner.callback_handler = lambda **event: said.append(event.get("data"))
    await quiet(asks(), "Done.", tools=[inner]).invoke_async("Go.")
    assert [one for one in said if one] == ["It", " is", " blue."]


async def test_tokens_of_the_child_do_not_count_for_its_caller():
    outer = quiet(asks(), "Done.", tools=[quiet("It is blue.", name="inner")])
    result = await outer.invoke_async("Go.")
    own = [message["metadata"]["usage"]["totalTokens"] for message in told(outer) if message["role"] == "assistant"]
    assert result.usage["totalTokens"] == sum(own)
    assert result.metrics.tool_metrics == {"inner": {"calls": 1, "ok": 1, "errors": 0}}


async def test_the_tool_can_be_called_as_a_function():
    assert await quiet("It is blue.").as_tool()("What colour is it?") == "It is blue.\n"


def test_name_and_description_are_the_agents_unless_others_are_given():
    agent = quiet(name="inner", description="Finds.")
    assert (agent.as_tool().name, agent.as_tool().spec["description"]) == ("inner", "Finds.")
    other = agent.as_tool(name="other", description="Seeks.")
    assert (other.name, other.spec["description"]) == ("other", "Seeks.")
    plain = quiet(name="inner").as_tool().spec
    assert plain["description"] == "Use the inner agent as a tool by providing a natural language input"
    assert plain["inputSchema"]["json"]["required"] == ["input"]


def test_agents_in_nested_lists_are_tools():
    assert isinstance(quiet(tools=[[quiet(name="inner")]]).tools["inner"], AgentTool)


def test_two_agents_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"two tools are named 'inner'; give one of them another name with .*as_tool"):
        quiet(tools=[quiet(name="inner"), quiet(name="inner")])


@pytest.mark.parametrize("name", ["a.b", "x" * 65])
def test_an_agent_whose_name_is_not_one_for_a_tool_is_refused(name: str):
    with pytest.raises(ValueError, match=r"cannot be a tool: .*Pass as_tool\(name=…\)"):
        quiet(tools=[quiet(name=name)])
    assert quiet(tools=[quiet(name=name).as_tool(name="ok")]).tools.keys() == {"ok"}


def test_a_child_whose_name_in_the_log_would_be_too_long_is_refused():
    with pytest.raises(ValueError, match="cannot name an agent"):
        quiet(name="x" * 100, tools=[quiet(name="y" * 60)])


def test_an_agent_that_is_its_own_tool_is_refused():
    outer = quiet(name="outer", tools=[inner := quiet(name="inner")])
    inner.tools["outer"] = outer.as_tool()
    with pytest.raises(ValueError, match="an agent cannot be its own tool: outer > inner > outer"):
        outer.snapshot()


async def test_with_delegation_its_answer_is_that_of_the_run_and_the_model_is_not_asked_again():
    inner = quiet("You owe six.", name="inner").as_tool(delegate=True)
    outer = quiet(asks(), tools=[inner])
    result = await outer.invoke_async("Go.")
    assert (result.stop_reason, str(result)) == ("end_turn", "You owe six.\n")
    assert inner.spec["description"].endswith("It should be the only tool called in the turn.")


async def test_a_failed_delegation_is_an_error_result_and_the_model_goes_on():
    broken = quiet(ScriptedCall(text_call("It is")[:4], error=RuntimeError("kaput")), name="inner", retry=None)
    outer = quiet(asks(), "Sorry.", tools=[broken.as_tool(delegate=True)])
    assert str(await outer.invoke_async("Go.")) == "Sorry.\n"


async def test_a_run_that_is_asked_for_a_structured_output_goes_on_after_a_delegation():
    schema = {"title": "Colour", "type": "object", "properties": {"name": {"type": "string"}}}
    inner = quiet("It is blue.", name="inner").as_tool(delegate=True)
    outer = quiet(asks(), tool_call("Colour", {"name": "blue"}), tools=[inner], structured_output_model=schema)
    assert (await outer.invoke_async("Go.")).structured_output == {"name": "blue"}


@pytest.mark.parametrize("wrong", [{"name": 3}, {"description": 3}, {"preserve_context": "yes"}, {"delegate": 1}])
def test_arguments_of_another_type_are_refused(wrong: Any):
    with pytest.raises(TypeError):
        quiet().as_tool(**wrong)
