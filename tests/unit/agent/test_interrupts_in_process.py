"""Tools that ask a human, in this process: the run pauses, and the next call responds and goes on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from playhead.runtime import Agent, AgentResult, ToolContext, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import AgentPausedError, InterruptNotOpenError
from playhead.runtime.models import ScriptedModel
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def calls(*names: str, ids: list[str] | None = None) -> list[Chunk]:
    """A message that calls these tools."""
    middle = [
        chunk
        for number, name in enumerate(names)
        for chunk in (c.tool_start(ids[number] if ids else f"t{number}", name), c.tool_delta("{}"), c.block_stop())
    ]
    return [c.message_start(), *middle, c.message_stop("tool_use")]


def responses(result: AgentResult, *given: Any) -> list[dict[str, Any]]:
    """A prompt that answers the result's first interrupts."""
    asked = result.interrupts or []
    return [
        {"interruptResponse": {"interruptId": interrupt.id, "response": response}}
        for interrupt, response in zip(asked, given, strict=False)
    ]


class Desk:
    """Tools that ask, and what they did."""

    def __init__(self, *script: Any, **options: Any) -> None:
        self.ran: list[str] = []
        self.agent = Agent(
            ScriptedModel(list(script)),
            tools=[self.look, self.pay, self.pay_twice, self.ask_in_a_thread],
            callback_handler=None,
            **options,
        )

    @tool
    async def look(self) -> str:
        """Asks nothing."""
        self.ran.append("look")
        return "seen"

    @tool
    async def pay(self, context: ToolContext) -> str:
        """Asks once."""
        self.ran.append("pay asks")
        response = context.interrupt("approve", {"euros": 5})
        self.ran.append(f"paid: {response} {context.effect_key.rpartition('/')[2]} {context.attempt}")
        return f"paid: {response}"

    @tool
    async def pay_twice(self, context: ToolContext) -> str:
        """Asks two things, the second only when the first is answered."""
        first = context.interrupt("first")
        second = context.interrupt("second")
        return f"{first} and {second}"

    @tool
    def ask_in_a_thread(self, context: ToolContext) -> str:
        """Asks from a thread, and would swallow any error."""
        try:
            return f"told: {context.interrupt('thread')}"
        except Exception:
            return "swallowed"


def texts(agent: Agent) -> list[str]:
    """The tool results in the history."""
    blocks = [block for message in agent.messages for block in message.get("content", [])]
    return [block["toolResult"]["content"][0]["text"] for block in blocks if "toolResult" in block]


async def test_a_paused_agent_is_resumed_by_a_response_and_finished_calls_are_not_run_again() -> None:
    desk = Desk(calls("look", "pay"), "Done.")
    paused = await desk.agent.invoke_async("go")
    assert paused.stop_reason == "interrupt"
    assert [(i.name, i.reason, i.response) for i in paused.interrupts or []] == [("approve", {"euros": 5}, None)]
    assert str(paused) == str(paused["interrupts"])
    assert desk.ran == ["look", "pay asks"]
    result = await desk.agent.invoke_async(responses(paused, "yes"))
    assert (str(result), result.interrupts) == ("Done.\n", None)
    assert desk.ran == ["look", "pay asks", "pay asks", "paid: yes t1 1"]
    assert texts(desk.agent) == ["seen", "paid: yes"]


async def test_part_of_the_responses_pauses_again_without_running_anything() -> None:
    desk = Desk(calls("pay", "ask_in_a_thread"), "Done.")
    paused = await desk.agent.invoke_async("go")
    assert [i.name for i in paused.interrupts or []] == ["approve", "thread"]
    again = await desk.agent.invoke_async(responses(paused, "yes"))
    assert (again.stop_reason, [i.name for i in again.interrupts or []]) == ("interrupt", ["thread"])
    assert desk.ran == ["pay asks"]
    result = await desk.agent.invoke_async(responses(again, "no"))
    assert result.stop_reason == "end_turn"
    assert texts(desk.agent) == ["paid: yes", "told: no"]


async def test_a_tool_that_asks_a_second_thing_pauses_a_second_time() -> None:
    desk = Desk(calls("pay_twice"), "Done.")
    first = await desk.agent.invoke_async("go")
    second = await desk.agent.invoke_async(responses(first, 1))
    assert [i.name for i in second.interrupts or []] == ["second"]
    await desk.agent.invoke_async(responses(second, 2))
    assert texts(desk.agent) == ["1 and 2"]


async def test_a_response_of_none_asks_again() -> None:
    desk = Desk(calls("pay"), "Done.")
    first = await desk.agent.invoke_async("go")
    again = await desk.agent.invoke_async(responses(first, None))
    assert again.interrupts == first.interrupts
    assert desk.ran == ["pay asks"]


async def test_sequential_calls_wait_for_one_that_asks() -> None:
    desk = Desk(calls("pay", "look"), "Done.", tool_executor="sequential")
    paused = await desk.agent.invoke_async("go")
    assert desk.ran == ["pay asks"]
    await desk.agent.invoke_async(responses(paused, "yes"))
    assert desk.ran == ["pay asks", "pay asks", "paid: yes t0 1", "look"]


async def test_a_response_to_what_is_not_asked_is_refused_and_changes_nothing() -> None:
    desk = Desk(calls("pay"), "Done.")
    with pytest.raises(InterruptNotOpenError, match="v1:nothing"):
        await desk.agent.invoke_async([{"interruptResponse": {"interruptId": "v1:nothing", "response": 1}}])
    assert desk.agent.messages == []
    paused = await desk.agent.invoke_async("go")
    before = list(desk.agent.messages)
    wrong = [*responses(paused, "yes"), {"interruptResponse": {"interruptId": "v1:other", "response": 1}}]
    with pytest.raises(ValueError, match="v1:other") as raised:
        await desk.agent.invoke_async(wrong)
    assert isinstance(raised.value, InterruptNotOpenError)
    assert (raised.value.ids, desk.agent.messages) == (["v1:other"], before)
    result = await desk.agent.invoke_async(responses(paused, "yes"))
    assert result.stop_reason == "end_turn"
    with pytest.raises(InterruptNotOpenError, match="already answered"):
        await desk.agent.invoke_async(responses(paused, "yes"))


@pytest.mark.parametrize("prompt", ["hello", None, [{"text": "hello"}]])
async def test_another_prompt_is_refused_until_the_paused_invocation_is_given_up(prompt: Any) -> None:
    desk = Desk(calls("pay"), "Hello.")
    paused = await desk.agent.invoke_async("go")
    with pytest.raises(AgentPausedError, match=r"cancel\(\)") as raised:
        await desk.agent.invoke_async(prompt)
    assert raised.value.interrupt_ids == [i.id for i in paused.interrupts or []]
    desk.agent.cancel()
    assert str(await desk.agent.invoke_async("hello")) == "Hello.\n"
    assert texts(desk.agent) == ["Tool was interrupted."]


@pytest.mark.parametrize(
    "prompt",
    [
        [{"interruptResponse": {"interruptId": "x", "response": 1}}, {"text": "and"}],
        [{"interruptResponse": {"interruptId": "x"}}],
        [{"interruptResponse": {"response": 1}}],
        [{"interruptResponse": "x"}],
        [{"interruptResponse": {"interruptId": "x", "response": 1}, "text": "and"}],
    ],
)
async def test_a_malformed_response_is_refused(prompt: Any) -> None:
    desk = Desk(calls("pay"))
    await desk.agent.invoke_async("go")
    with pytest.raises(ValueError, match="interruptResponse"):
        await desk.agent.invoke_async(prompt)
    assert desk.ran == ["pay asks"]


async def test_calls_whose_ids_repeat_ask_and_act_under_names_of_their_own() -> None:
    desk = Desk(calls("pay", "pay", ids=["same", "same"]), calls("pay", ids=["same"]), "Done.")
    paused = await desk.agent.invoke_async("go")
    assert len({i.id for i in paused.interrupts or []}) == 2
    later = await desk.agent.invoke_async(responses(paused, "one", "two"))
    assert later.stop_reason == "interrupt"
    assert {i.id for i in later.interrupts or []}.isdisjoint({i.id for i in paused.interrupts or []})
    await desk.agent.invoke_async(responses(later, "three"))
    paid = [entry for entry in desk.ran if entry.startswith("paid")]
    assert paid == ["paid: one same 1", "paid: two same~2 1", "paid: three same~3 1"]


async def test_two_questions_of_one_bodys_task_group_are_asked_together() -> None:
    @tool
    async def both(context: ToolContext) -> str:
        """Asks in two tasks."""
        given: dict[str, Any] = {}

        async def ask(name: str) -> None:
            given[name] = context.interrupt(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "left")
            tasks.start_soon(ask, "right")
        return str(given)

    agent = Agent(ScriptedModel([calls("both"), "Done."]), tools=[both], callback_handler=None)
    paused = await agent.invoke_async("go")
    assert [i.name for i in paused.interrupts or []] == ["left", "right"]
    await agent.invoke_async(responses(paused, 1, 2))
    assert texts(agent) == ["{'left': 1, 'right': 2}"]


async def test_the_metrics_tell_the_whole_run_from_the_part_since_it_went_on() -> None:
    desk = Desk([*calls("pay"), c.metadata(input_tokens=7, output_tokens=1, latency_ms=0)], "Done.")
    paused = await desk.agent.invoke_async("go")
    assert paused.metrics.invocation_usage == paused.usage
    result = await desk.agent.invoke_async(responses(paused, "yes"))
    assert (result.usage["inputTokens"], result.metrics.invocation_usage["inputTokens"]) == (17, 10)
    assert (result.metrics.cycle_count, result.metrics.invocation_cycles) == (2, 2)


# Leaving


async def test_leaving_a_resumed_call_closes_its_tools_and_leaves_the_agent_usable() -> None:
    asked, running, closed = anyio.Event(), anyio.Event(), anyio.Event()

    @tool
    async def pay(context: ToolContext) -> None:
        """Asks, and then never ends."""
        asked.set()
        context.interrupt("approve")
        running.set()
        try:
            await anyio.sleep_forever()
        finally:
            closed.set()

    agent = Agent(ScriptedModel([calls("pay"), "Hello."]), tools=[pay], callback_handler=None)
    paused = await agent.invoke_async("go")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: agent.invoke_async(responses(paused, "yes")))
        await running.wait()
        tasks.cancel_scope.cancel()
    assert closed.is_set()
    assert str(await agent.invoke_async("hello")) == "Hello.\n"
    assert texts(agent) == ["Tool was interrupted."]


async def test_leaving_at_the_question_leaves_it_open() -> None:
    desk = Desk(calls("pay"), "Done.")
    events = desk.agent.stream_async("go")
    while "result" not in (event := await anext(events)):
        if "tool_interrupt_event" in event:
            assert event["tool_interrupt_event"]["interrupts"][0].name == "approve"
    await events.aclose()
    result = await desk.agent.invoke_async(responses(event["result"], "yes"))
    assert result.stop_reason == "end_turn"


async def test_a_cancel_of_a_resumed_call_stops_its_tools() -> None:
    running = anyio.Event()

    @tool
    async def pay(context: ToolContext) -> None:
        """Asks, and then never ends."""
        context.interrupt("approve")
        running.set()
        await anyio.sleep_forever()

    agent = Agent(ScriptedModel([calls("pay")]), tools=[pay], callback_handler=None)
    paused = await agent.invoke_async("go")
    results: list[AgentResult] = []

    async def resume() -> None:
        results.append(await agent.invoke_async(responses(paused, "yes")))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(resume)
            await running.wait()
            agent.cancel()
    assert results[0].stop_reason == "cancelled"
    assert texts(agent) == ["Tool execution cancelled while it ran"]
