"""A cancel of an agent in this process, with its message, from any thread, and by a signal of the caller's, as in Strands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import strands

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.codec import decode_record
from playhead.runtime.core.records import RunCancelled, SignalReceived
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.endings import cancel_ending
from playhead.runtime.models import ScriptedModel, text_call, tool_call

if TYPE_CHECKING:
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CALLS = [tool_call("work", {}, "t1"), text_call("All is done.")]
FIRST_WORD = "data"
CALL = "message"


class Both:
    """The same agent of playhead and of Strands, with a tool that calls `during`."""

    def __init__(self, calls: list[Any], during: Callable[[Any], None] | None = None) -> None:
        self.agents: list[Any] = []

        def body(number: int) -> Any:
            def work() -> str:
                """Work."""
                if during is not None:
                    during(self.agents[number])
                return "worked"

            return work

        model: Any = ScriptedModel(calls)
        model.stateful = False
        self.agents.append(Agent(ScriptedModel(calls), tools=[tool(body(0))], callback_handler=None))
        self.agents.append(strands.Agent(model, tools=[strands.tool(body(1))], callback_handler=None))

    async def ended(self, key: str = "", cancel: Callable[[Any], None] | None = None) -> list[tuple[Any, ...]]:
        """How both ended: `cancel` is called at the first event with `key`. The stop reason, the text, the messages."""
        found: list[tuple[Any, ...]] = []
        for agent in self.agents:
            called, result = False, None
            async for event in agent.stream_async("Go"):
                if not called and cancel is not None and key in event:
                    cancel(agent)
                    called = True
                result = event.get("result", result)
            assert result is not None
            messages = [(message["role"], message["content"]) for message in agent.messages]
            found.append((result.stop_reason, str(result), messages))
        return found


async def test_the_message_is_the_models_while_it_streams() -> None:
    ours, theirs = await Both([text_call("A long answer.")]).ended(
        FIRST_WORD, lambda one: one.cancel(message="Enough.")
    )
    assert ours == theirs
    assert ours[:2] == ("cancelled", "Enough.\n")


async def test_before_tools_the_message_comes_after_their_results() -> None:
    ours, theirs = await Both(CALLS).ended(CALL, lambda one: one.cancel(message="Enough."))
    assert ours == theirs
    assert [role for role, _ in ours[2]] == ["user", "assistant", "user", "assistant"]
    assert ours[2][2][1][0]["toolResult"]["content"] == [{"text": "Tool execution cancelled"}]
    assert ours[1] == "Enough.\n"


async def test_without_a_message_it_is_as_it_was() -> None:
    ours, theirs = await Both(CALLS).ended(CALL, lambda one: one.cancel())
    assert ours == theirs
    assert [role for role, _ in ours[2]] == ["user", "assistant", "user"]
    assert (await Both([text_call("A long answer.")]).ended(FIRST_WORD, lambda one: one.cancel()))[0][1] == (
        "Cancelled by user\n"
    )


@pytest.mark.parametrize("message", [None, "Enough."])
async def test_after_the_current_tools_they_keep_their_results(message: str | None) -> None:
    def during(one: Any) -> None:
        one.cancel(message=message, after_current_tools=True)

    ours, theirs = await Both(CALLS, during).ended()
    assert ours == theirs
    assert ours[0] == "cancelled"
    assert ours[2][2][1][0]["toolResult"]["content"] == [{"text": "worked"}]
    assert len(ours[2]) == (3 if message is None else 4)


async def test_after_the_current_tools_means_nothing_to_an_answer_without_calls() -> None:
    ours, theirs = await Both([text_call("A long answer.")]).ended(
        FIRST_WORD, lambda one: one.cancel(message="Enough.", after_current_tools=True)
    )
    assert ours == theirs
    assert ours[:2] == ("end_turn", "A long answer.\n")


async def test_the_agent_may_be_called_again_and_the_message_is_not_said_twice() -> None:
    agent = Agent(ScriptedModel([text_call("A long answer."), "Fine."]), callback_handler=None)
    async for event in agent.stream_async("Go"):
        if "data" in event:
            agent.cancel(message="Enough.")
    assert str(await agent.invoke_async("Again")) == "Fine.\n"
    assert [message.get("content") for message in agent.messages][1] == [{"text": "Enough."}]


@pytest.mark.parametrize("by_signal", [True, False], ids=["cancel_signal", "cancel()"])
async def test_another_thread_stops_a_model_that_hangs(held_model: Callable[..., HeldModel], by_signal: bool) -> None:
    model, signal = held_model(), threading.Event()
    agent = Agent(model, callback_handler=None)
    results: list[Any] = []

    async def call() -> None:
        results.append(await agent.invoke_async("Hi", cancel_signal=signal if by_signal else None))

    thread = threading.Thread(target=signal.set if by_signal else agent.cancel)
    observed = agent.cancel_signal
    assert not observed.is_set()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await model.held.wait()
            observed = agent.cancel_signal
            thread.start()
    thread.join()
    assert [one.stop_reason for one in results] == ["cancelled"]
    assert observed.is_set()
    assert not agent.cancel_signal.is_set(), "that of the next call"


@pytest.mark.parametrize("call", ["stream_async", "invoke_async", "__call__"])
async def test_a_signal_that_is_set_before_the_call_cancels_it(call: str) -> None:
    signal = threading.Event()
    signal.set()
    model = ScriptedModel(["Fine."], repeat=True)
    agent = Agent(model, callback_handler=None)
    given = getattr(agent, call)("Hi", cancel_signal=signal)
    if call == "stream_async":
        result = [event async for event in given][-1]["result"]
    else:
        result = await given if call == "invoke_async" else given
    assert (result.stop_reason, model.requests) == ("cancelled", [])
    signal.clear()
    assert str(await agent.invoke_async("Hi", cancel_signal=signal)) == "Fine.\n"


def test_what_is_not_an_event_or_a_text_is_refused_at_once() -> None:
    agent: Any = Agent(ScriptedModel(["Fine."]), callback_handler=None)
    with pytest.raises(TypeError, match=r"cancel_signal must be a threading\.Event or None, not True of type bool"):
        agent.stream_async("Hi", cancel_signal=True)
    with pytest.raises(TypeError, match="message must be a text or None, not 5"):
        agent.cancel(message=5)
    with pytest.raises(TypeError, match="after_current_tools must be True or False, not 'yes'"):
        agent.cancel(after_current_tools="yes")


async def test_of_a_tools_message_and_a_cancels_the_later_counts() -> None:
    @tool
    def work(context: ToolContext) -> str:
        """Work."""
        context.stop_run("By the tool.")
        agent.cancel(message="By the caller.", after_current_tools=True)
        return "worked"

    agent = Agent(ScriptedModel(CALLS), tools=[work], callback_handler=None)
    assert str(await agent.invoke_async("Go")) == "By the caller.\n"


@pytest.mark.parametrize(
    ("body", "cancel"),
    [
        (None, Cancel()),
        ("odd", Cancel()),
        ({"message": 5, "after_current_tools": "yes"}, Cancel()),
        ({"message": "Enough."}, Cancel("Enough.")),
        ({"after_current_tools": True}, Cancel(None, after_current_tools=True)),
    ],
)
def test_the_body_of_a_cancel_is_read_whatever_it_is(body: Any, cancel: Cancel) -> None:
    assert Cancel.read(body) == cancel
    assert Cancel.read(cancel.body) == cancel
    assert Signal("s", "cancel", body).breaks_off is not cancel.after_current_tools


def test_a_run_without_an_owner_ends_with_the_message() -> None:
    received, ended = map(decode_record, cancel_ending(Signal("s", "cancel", {"message": "Enough."})))
    assert isinstance(received, SignalReceived)
    assert isinstance(ended, RunCancelled)
    assert received.body == {"message": "Enough."}
    assert ended.result["message"]["content"] == [{"text": "Enough."}]
