"""Hooks of an agent in this process: which events there are, what a hook may change, and what is refused when it is added."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from playhead.runtime import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    Agent,
    AgentInitializedEvent,
    AgentResult,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    HookOrder,
    HookRegistry,
    MessageAddedEvent,
    ModelThrottledException,
    tool,
)
from playhead.runtime.core.errors import EncodingError, InvalidMessageError
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.tools.body import MAX_TOOL_THREADS

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


@tool
async def vague(city: str) -> str:
    """Tell some weather; the agent does not have this tool."""
    return f"weather in {city}"


ONE_CALL = (tool_call("weather", {"city": "Bonn"}, "t1"), "Fine.")


def agent(*hooks: object, said: tuple[Any, ...] = ONE_CALL, **options: Any) -> Agent:
    return Agent(ScriptedModel(said), tools=[weather], hooks=hooks, callback_handler=None, **options)


async def events(made: Agent, prompt: Any = "go") -> list[dict[str, Any]]:
    """What the agent emits, without the pieces of its model's messages."""
    found = [event async for event in made.stream_async(prompt)]
    return [event for event in found if not event.keys() & {"event", "delta"}]


def result_of(made: Agent) -> Any:
    """The result of the only tool call, as the model got it."""
    [result] = [
        block["toolResult"]
        for message in made.messages
        for block in message.get("content", [])
        if "toolResult" in block
    ]
    return result


async def test_each_event_comes_at_its_place_and_the_ends_in_reverse_order() -> None:
    came: list[str] = []

    def everything(event: Any) -> None:
        came.append(type(event).__name__.removesuffix("Event"))

    registered = [AgentInitializedEvent, BeforeInvocationEvent, AfterInvocationEvent, BeforeModelCallEvent]
    registered += [AfterModelCallEvent, BeforeToolsEvent, AfterToolsEvent, BeforeToolCallEvent, AfterToolCallEvent]

    class Provider:
        def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
            registry.add_callback([*registered, MessageAddedEvent], everything)
            registry.add_callback(AfterToolCallEvent, lambda event: came.append("added last, called first"))

    await events(agent(Provider()))
    model = ["BeforeModelCall", "AfterModelCall", "MessageAdded"]
    tools = ["BeforeTools", "BeforeToolCall", "added last, called first", "AfterToolCall", "AfterTools", "MessageAdded"]
    assert came == [
        "AgentInitialized",
        "BeforeInvocation",
        "MessageAdded",
        *model,
        *tools,
        *model,
        "AfterInvocation",
    ]


async def test_a_sync_hook_runs_in_a_thread_and_an_async_one_on_the_event_loop() -> None:
    threads: dict[str, int] = {}

    def sync(event: BeforeModelCallEvent) -> None:
        threads["sync"] = threading.get_ident()

    async def on_loop(event: BeforeModelCallEvent) -> None:
        threads["async"] = threading.get_ident()

    await events(agent(sync, on_loop, said=("Fine.",)))
    assert threads["async"] == threading.get_ident() != threads["sync"]


async def test_a_hook_does_not_wait_for_a_thread_while_all_those_of_tools_are_taken() -> None:
    go, begun = threading.Event(), threading.Semaphore(0)

    @tool
    def hold() -> str:
        begun.release()
        go.wait(10)
        return "held"

    def look(event: BeforeModelCallEvent) -> None: ...

    uses = [chunk for n in range(MAX_TOOL_THREADS) for chunk in tool_call("hold", {}, f"t{n}")[1:-2]]
    calls = [*tool_call("hold", {})[:1], *uses, *tool_call("hold", {})[-2:]]
    busy = Agent(ScriptedModel([calls, "Done."]), tools=[hold], callback_handler=None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(busy.invoke_async, "go")
        await anyio.to_thread.run_sync(lambda: [begun.acquire() for _ in range(MAX_TOOL_THREADS)])
        try:
            with anyio.fail_after(5):
                await agent(look, said=("Fine.",)).invoke_async("go")
        finally:
            go.set()


async def test_lower_orders_are_called_first() -> None:
    came: list[int] = []
    made = agent(said=("Fine.",))
    made.add_hook(lambda event: came.append(2), BeforeModelCallEvent, order=HookOrder.SDK_LAST)
    made.add_hook(lambda event: came.append(1), BeforeModelCallEvent)
    made.hooks.add_callback(BeforeModelCallEvent, lambda event: came.append(0), order=-1.5)
    await events(made)
    assert came == [0, 1, 2]


async def test_a_hook_sees_the_run_and_the_agent_and_can_change_neither() -> None:
    seen: list[Any] = []

    def look(event: BeforeToolCallEvent) -> None:
        view = event.agent
        seen.extend([view.name, [message["role"] for message in view.messages], view.run_id, view.session_id])
        view.messages.clear()
        with pytest.raises(AttributeError, match="cannot set 'name'"):
            view.name = "other"
        with pytest.raises(AttributeError, match="attributes that it may set: selected_tool, tool_use, cancel_tool"):
            event.result = 1  # pyright: ignore[reportAttributeAccessIssue]
        event.invocation_state["noted"] = True

    made, state = agent(look), {"user": "ada"}
    assert (await made.invoke_async("go", invocation_state=state)).stop_reason == "end_turn"
    assert seen[:2] == ["agent", ["user", "assistant"]]
    assert seen[2]
    assert seen[3] is None
    assert len(made.messages) == 4
    assert state == {"user": "ada", "noted": True}


# Powers


async def test_a_call_can_be_cancelled() -> None:
    def forbid(event: BeforeToolCallEvent) -> None:
        event.cancel_tool = "not today"

    told: list[Any] = []

    def after(event: AfterToolCallEvent) -> None:
        told.append((event.selected_tool, event.cancel_message, event.duration))

    made = agent(forbid, after)
    emitted = await events(made)
    use = {"toolUseId": "t1", "name": "weather", "input": {"city": "Bonn"}}
    assert {"tool_cancel_event": {"tool_use": use, "message": "not today"}} in emitted
    assert result_of(made) == {"toolUseId": "t1", "status": "error", "content": [{"text": "not today"}]}
    assert told == [(None, "not today", None)]


@pytest.mark.parametrize("in_place", [True, False])
async def test_the_input_of_a_call_can_be_changed_and_the_history_keeps_what_the_model_asked(*, in_place: bool) -> None:
    def change(event: BeforeToolCallEvent) -> None:
        if in_place:
            event.tool_use["input"]["city"] = "Rome"
        else:
            event.tool_use = {**event.tool_use, "input": {"city": "Rome"}}

    made = agent(change)
    await events(made)
    assert result_of(made)["content"] == [{"text": "sun in Rome"}]
    assert made.messages[1].get("content", [])[0]["toolUse"]["input"] == {"city": "Bonn"}


async def test_a_call_can_be_given_to_another_tool_that_the_agent_does_not_have() -> None:
    def replace(event: BeforeToolCallEvent) -> None:
        assert event.selected_tool is weather
        event.selected_tool = vague

    selected: list[Any] = []

    def after(event: AfterToolCallEvent) -> None:
        selected.append(event.selected_tool)

    made = agent(replace, after)
    await events(made)
    assert result_of(made)["content"] == [{"text": "weather in Bonn"}]
    assert selected == [vague]


async def test_a_call_of_an_unknown_tool_and_one_with_unreadable_input_can_be_saved() -> None:
    def save(event: BeforeToolCallEvent) -> None:
        event.tool_use = {**event.tool_use, "name": "weather", "input": {"city": "Ulm"}}

    broken = list(tool_call("weather", {"city": "Bonn"}, "t1"))
    for chunk in broken:
        if "toolUse" in chunk.get("contentBlockDelta", {}).get("delta", {}):
            chunk["contentBlockDelta"]["delta"]["toolUse"]["input"] = "{not JSON"
    for said in (tool_call("forecast", {}, "t1"), broken):
        made = agent(save, said=(said, "Fine."))
        await events(made)
        assert result_of(made)["content"] == [{"text": "sun in Ulm"}]


async def test_a_result_can_be_changed() -> None:
    def hide(event: AfterToolCallEvent) -> None:
        assert event.duration is not None
        event.result = {"toolUseId": "t1", "status": "success", "content": [{"text": "***"}]}

    made = agent(hide)
    await events(made)
    assert result_of(made)["content"] == [{"text": "***"}]


async def test_a_call_can_be_made_again() -> None:
    tries: list[str] = []

    @tool
    def flaky() -> str:
        tries.append("again")
        if len(tries) == 1:
            raise ConnectionError("reset")
        return "well"

    def again(event: AfterToolCallEvent) -> None:
        event.retry = isinstance(event.exception, ConnectionError)

    made = Agent(
        ScriptedModel([tool_call("flaky", {}, "t1"), "Fine."]), tools=[flaky], hooks=[again], callback_handler=None
    )
    await events(made)
    assert result_of(made)["content"] == [{"text": "well"}]
    assert len(tries) == 2


async def test_a_hook_can_ask_a_human_and_is_asked_again_with_the_response() -> None:
    def approve(event: BeforeToolCallEvent) -> None:
        if event.interrupt("approve", {"city": event.tool_use["input"]["city"]}) != "yes":
            event.cancel_tool = True

    for response, text in (("yes", "sun in Bonn"), ("no", "tool cancelled by user")):
        made = agent(approve)
        paused = await made.invoke_async("go")
        assert paused.interrupts is not None
        [question] = paused.interrupts
        assert (question.name, question.reason) == ("approve", {"city": "Bonn"})
        await made.invoke_async([{"interruptResponse": {"interruptId": question.id, "response": response}}])
        assert result_of(made)["content"] == [{"text": text}]


async def test_all_calls_of_a_message_can_be_asked_about_and_cancelled() -> None:
    def ask(event: BeforeToolsEvent) -> None:
        if event.interrupt("all of them?") != "yes":
            event.cancel = "none of them"

    made = agent(ask)
    emitted = await events(made)
    assert not any("tool_interrupt_event" in event for event in emitted)
    [question] = emitted[-1]["result"].interrupts
    result = await made.invoke_async([{"interruptResponse": {"interruptId": question.id, "response": "no"}}])
    assert result.stop_reason == "end_turn"
    assert result_of(made)["content"] == [{"text": "none of them"}]


async def test_the_turn_can_be_ended_after_the_results() -> None:
    def enough(event: AfterToolsEvent) -> None:
        event.end_turn = True

    made = agent(enough)
    emitted = await events(made)
    assert [next(iter(event)) for event in emitted[-2:]] == ["message", "result"], "the last message has no event"
    assert str(emitted[-1]["result"]) == "Turn ended early by hook after tool execution\n"
    assert [message.get("role") for message in made.messages] == ["user", "assistant", "user", "assistant"]


async def test_the_messages_of_a_prompt_can_be_changed() -> None:
    def polite(event: BeforeInvocationEvent) -> None:
        assert event.messages is not None
        event.messages[0].get("content", []).append({"text": "please"})

    made = agent(polite, said=("Fine.",))
    await events(made)
    assert made.messages[0].get("content", []) == [{"text": "go"}, {"text": "please"}]


async def test_an_invocation_can_be_refused() -> None:
    def refuse(event: BeforeInvocationEvent) -> None:
        event.cancel = "closed today"

    made = agent(refuse)
    [only] = await events(made)
    assert (only["result"].stop_reason, str(only["result"])) == ("end_turn", "closed today\n")
    assert [message.get("content") for message in made.messages] == [[{"text": "closed today"}]]


async def test_a_model_call_can_be_refused() -> None:
    ends: list[Any] = []

    def refuse(event: BeforeModelCallEvent) -> None:
        event.cancel = True

    def after(event: AfterModelCallEvent) -> None:
        assert event.stop_response is not None
        ends.append(event.stop_response.stop_reason)

    made = agent(refuse, after)
    emitted = await events(made)
    assert [next(iter(event)) for event in emitted[-2:]] == ["message", "result"]
    assert str(emitted[-1]["result"]) == "model call denied by hook\n"
    assert ends == ["end_turn"]


async def test_a_model_call_can_be_made_again_after_a_message_or_an_error() -> None:
    def again(event: AfterModelCallEvent) -> None:
        said = event.stop_response and event.stop_response.message.get("content", [])
        event.retry = said == [{"text": "Hm."}] or isinstance(event.exception, KeyError)

    broken = ScriptedCall(text_call("Let me")[:3], error=KeyError("bug"))
    made = agent(again, said=("Hm.", broken, "Fine."))
    emitted = await events(made)
    assert [event["text"] for event in emitted if "retracted" in event] == ["Hm.", "Let"]
    assert [event["delay"] for event in emitted if "retrying" in event] == [0.0]
    result: AgentResult = emitted[-1]["result"]
    assert str(result) == "Fine.\n"
    assert result.usage["outputTokens"] == 2, "the message that was not taken was paid for"


async def test_a_transient_error_is_retried_by_the_policy_unless_a_hook_does_it_first() -> None:
    failures: list[Any] = []

    def note(event: AfterModelCallEvent) -> None:
        failures.append(event.exception)

    busy = ScriptedCall(error=ModelThrottledException("busy"))
    made = agent(note, said=(busy, "Fine."), retry=None)
    with pytest.raises(ModelThrottledException):
        await events(made)
    assert [type(one) for one in failures] == [ModelThrottledException]


async def test_a_run_can_go_on_in_place_of_its_end() -> None:
    prompts = iter(["And then?", None])

    def more(event: AfterInvocationEvent) -> None:
        assert event.result is not None
        event.resume = next(prompts)

    made = agent(more, said=("One.", "Two."))
    emitted = await events(made)
    begins = [next(iter(event)) for event in emitted if "message" not in event]
    assert begins == ["init_event_loop", "start", "start_event_loop"] * 2 + ["result"]
    assert [message.get("content", [])[0]["text"] for message in made.messages] == ["go", "One.", "And then?", "Two."]


async def test_the_end_of_a_failed_run_is_told_and_cannot_be_put_off() -> None:
    results: list[Any] = []

    def ended(event: AfterInvocationEvent) -> None:
        results.append(event.result)
        event.resume = "again"

    made = agent(ended, said=(ScriptedCall(error=KeyError("bug")),))
    with pytest.raises(KeyError):
        await events(made)
    assert results == [None]


# What goes wrong in a hook


@pytest.mark.parametrize("executor", ["concurrent", "sequential"])
@pytest.mark.parametrize("event", [BeforeInvocationEvent, BeforeToolCallEvent, AfterToolCallEvent, MessageAddedEvent])
async def test_a_hook_that_raises_ends_the_run_with_its_exception(event: Any, executor: Any) -> None:
    class HookBugError(Exception):
        pass

    def bug(event: Any) -> None:
        raise HookBugError("no such rule")

    made = agent(tool_executor=executor)
    made.add_hook(bug, event)
    emitted: list[dict[str, Any]] = []
    made.callback_handler = lambda **event: emitted.append(event)
    with pytest.raises(HookBugError, match="no such rule"):
        await made.invoke_async("go")
    assert emitted[-1] == {"force_stop": True, "force_stop_reason": "no such rule"}


@pytest.mark.parametrize("on_loop", [True, False])
async def test_a_hook_that_exits_fails_its_run_alone(*, on_loop: bool) -> None:
    def leave(event: BeforeModelCallEvent) -> None:
        raise SystemExit(3)

    async def leave_on_loop(event: BeforeModelCallEvent) -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match=r"leave.* raised SystemExit: 3"):
        await agent(leave_on_loop if on_loop else leave).invoke_async("go")


WRONG: dict[str, tuple[Any, str, Any, type[Exception], str]] = {
    "cancel_tool": (BeforeToolCallEvent, "cancel_tool", 1, TypeError, "True, False or a text, not 1"),
    "selected_tool": (BeforeToolCallEvent, "selected_tool", None, TypeError, "set event.cancel_tool to run none"),
    "no tool": (BeforeToolCallEvent, "selected_tool", "weather", TypeError, "is not a tool"),
    "tool_use": (BeforeToolCallEvent, "tool_use", {"name": "x"}, TypeError, "toolUseId, input is not in"),
    "id": (
        BeforeToolCallEvent,
        "tool_use",
        {"toolUseId": "t9", "name": "weather", "input": {}},
        ValueError,
        "changed the toolUseId 't1' to 't9'",
    ),
    "input": (
        BeforeToolCallEvent,
        "tool_use",
        {"toolUseId": "t1", "name": "weather", "input": {"city": object()}},
        EncodingError,
        r"\['input'\]\['city'\] is object",
    ),
    "name": (
        BeforeToolCallEvent,
        "selected_tool",
        tool(name="weather")(lambda city: city),
        ValueError,
        "has another tool of that name",
    ),
    "result": (AfterToolCallEvent, "result", "fine", TypeError, "must be a dict with status, content"),
    "retry": (AfterModelCallEvent, "retry", "yes", TypeError, "True or False, not 'yes'"),
    "end_turn": (AfterToolsEvent, "end_turn", [], TypeError, "a text or a list of content blocks"),
    "messages": (BeforeInvocationEvent, "messages", [{"role": "system", "content": []}], InvalidMessageError, "role"),
    "resume": (AfterInvocationEvent, "resume", 5, ValueError, "event.resume must be text"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_value_ends_the_run_with_an_error_that_names_it(case: str) -> None:
    event_type, name, value, error, text = WRONG[case]

    def wrong(event: Any) -> None:
        setattr(event, name, value)

    made = agent()
    made.add_hook(wrong, event_type)
    with pytest.raises(error, match=text):
        await events(made)


async def test_two_hooks_that_ask_by_one_name_are_an_error() -> None:
    def ask(event: BeforeToolCallEvent) -> None:
        event.interrupt("approve")

    with pytest.raises(ValueError, match="two hooks ask a question named 'approve'"):
        await events(agent(ask, lambda_like(ask)))


def lambda_like(hook: Callable[[Any], None]) -> Callable[[BeforeToolCallEvent], None]:
    def same(event: BeforeToolCallEvent) -> None:
        hook(event)

    return same
