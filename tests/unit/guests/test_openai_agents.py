"""An agent of the OpenAI Agents SDK as a TARGET: what readers see, what a session keeps, what is refused, what is traced."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import agents
import anyio
import pytest
from agents import Agent, LocalShellTool, Model, ModelResponse, RunContextWrapper, Runner, Usage, function_tool
from agents.testing import ScriptedModel
from agents.tracing import TracingProcessor, set_trace_processors
from openai.types.responses import ResponseAudioDeltaEvent, ResponseCompletedEvent, ResponseOutputMessage

from playhead.runtime.agent.serving import served_of
from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.core.records import MessageAdded, RunPaused, StepFinished, ToolFinished, ToolStarted
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.openai_agents import OpenAIAgentsGuest
from playhead.runtime.host import host
from playhead.runtime.targets import load_served
from tests.support.guest_owners import RUN, Owners
from tests.support.openai_agents import AGENTS, World, called, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[3] / "examples"

FILE = """
from __future__ import annotations
import agents
from tests.support.openai_agents import AGENTS

triage = AGENTS["handoffs"]()
front_desk = AGENTS["side by side"]()

def make_agent() -> agents.Agent[dict]:
    return AGENTS["approval"]()

def plain():
    return AGENTS["approval"]()
"""


@pytest.fixture(autouse=True)
def tracing() -> Iterator[None]:
    """Off, and as it was before at the end."""
    agents.set_tracing_disabled(True)
    yield
    set_trace_processors([])
    agents.set_tracing_disabled(True)


def owners(name: str, **options: Any) -> Owners:
    World()
    return Owners(OpenAIAgentsGuest(AGENTS[name], name="agent"), **options)


def scripted(*answers: Any, **options: Any) -> Agent[Any]:
    return Agent(name="agent", model=ScriptedModel(list(answers)), **options)


async def test_a_module_has_its_agents_and_the_functions_that_make_them(tmp_path: Path) -> None:
    World()
    path = tmp_path / "of_openai.py"
    path.write_text(FILE)
    served = load_served([str(path)])
    assert list(served) == ["Triage", "front_desk", "make_agent"]
    assert all(isinstance(one, OpenAIAgentsGuest) for one in served.values())
    assert list(load_served([f"{path}:plain"])) == ["plain"]


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("playhead.runtime.guests.openai_agents")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agents", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'playhead-runtime\[openai-agents\]'"):
        importlib.import_module("playhead.runtime.guests.openai_agents")


async def test_readers_get_chunks_text_and_the_events_of_the_sdk() -> None:
    run = owners("side by side")
    await run.to_the_end()
    events = run.events()
    assert "".join(event["data"] for event in events if "data" in event) == "All is done. "
    assert "response.completed" in [event["event"].get("type") for event in events if "event" in event]
    named = [event for event in events if event.get("type") == "run_item_stream_event"]
    assert [event["name"] for event in named][:4] == ["tool_called", "tool_called", "tool_output", "tool_output"]
    assert named[2]["item"]["output"] == "slow 1"
    assert named[0]["item"]["agent"] == {"name": "side by side"}
    assert {"type": "agent_updated_stream_event", "new_agent": {"name": "side by side"}} in events


COUNTS = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
MESSAGE: Any = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}


class OfAnotherServer(Model):
    """Answers as the SDK's client reads a server that leaves fields out, and that sends what this version does not know."""

    async def get_response(self, *given: Any, **more: Any) -> ModelResponse:
        """A whole answer: its message has no status."""
        output: list[Any] = [ResponseOutputMessage.model_construct(**MESSAGE)]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    async def stream_response(self, *given: Any, **more: Any) -> AsyncIterator[Any]:
        """An answer as a stream: its counts have no details."""
        response: dict[str, Any] = {
            "id": "r",
            "output": [MESSAGE],
            "usage": {**COUNTS, "input_tokens_details": {}},
        }
        yield ResponseAudioDeltaEvent.model_construct(type="response.of_tomorrow", told=1)  # as the SDK's client has it
        yield ResponseCompletedEvent.model_construct(type="response.completed", sequence_number=1, response=response)


async def test_a_server_may_leave_fields_out_and_send_what_the_sdk_does_not_know() -> None:
    @agents.input_guardrail
    async def judge(context: Any, agent: Any, given: Any) -> agents.GuardrailFunctionOutput:
        judged = await Runner.run(Agent(name="Judge", model=OfAnotherServer()), "fit?")
        return agents.GuardrailFunctionOutput(judged.final_output, tripwire_triggered=judged.final_output != "Hi.")

    guest = OpenAIAgentsGuest(Agent(name="agent", model=OfAnotherServer(), input_guardrails=[judge]))
    run = Owners(guest)
    await run.to_the_end()
    again = Owners(guest, run.log[:-1])  # all answers come from the log
    await again.to_the_end()
    for one in (run, again):
        assert one.end.result["message"]["content"] == [{"text": "Hi."}]
        assert {"type": "response.of_tomorrow", "told": 1} in [event.get("event") for event in one.events()]


def test_an_agent_of_a_class_of_contexts_needs_one() -> None:
    class Passenger:
        pass

    agent = Agent[Passenger](name="agent", model=ScriptedModel([]))
    with pytest.raises(ValueError, match=r"agent needs a context \(Passenger\): serve OpenAIAgentsGuest\(…, context="):
        OpenAIAgentsGuest(agent)
    OpenAIAgentsGuest(agent, context=lambda ctx: Passenger())
    for kind in (dict[str, Any], dict, None, Any):
        OpenAIAgentsGuest(Agent[kind](name="agent", model=ScriptedModel([])))  # pyright: ignore[reportInvalidTypeForm]


async def test_the_tool_sees_what_a_former_tool_changed_and_tells_it_in_the_words_of_the_sdk() -> None:
    run = owners("side by side")
    await run.to_the_end()
    booked = next(one for one in run.of(ToolFinished) if one.name == "booked")
    assert booked.result["content"] == [{"text": "('7A', 1)"}]
    assert next(one for one in run.of(ToolFinished) if one.name == "book").memory["shared"]["values"] == {"seat": "7A"}


async def test_the_next_run_of_a_session_is_told_what_was_said_and_called() -> None:
    model = ScriptedModel([[said("Again.")]])
    first = owners("side by side")
    await first.to_the_end()
    messages = [one.message for one in first.of(MessageAdded)]
    other: Any = {"role": "assistant", "content": [{"text": "of another agent"}]}
    again = Owners(
        OpenAIAgentsGuest(lambda: Agent[Any](name="agent", model=model), name="agent"),
        said=StoredMessages(messages=[*messages, other]),
        prompt="once more",
    )
    await again.to_the_end()
    told = model.calls[0].input
    assert [one.get("type") or one["role"] for one in told if one.get("type") != "message"] == [
        *["user", "function_call", "function_call", "function_call_output", "function_call_output"],
        *["function_call", "function_call_output", "function_call", "function_call_output", "assistant", "user"],
    ]
    assert (told[0]["content"], told[-2]["content"], told[-1]["content"]) == ("go", "of another agent", "once more")


@pytest.mark.parametrize(
    ("answer", "paid", "told"),
    [("yes", 1, "17 euros paid"), ("no", 0, "was not approved"), ("17 is too much", 0, "17 is too much")],
)
async def test_a_human_lets_a_tool_run_or_says_why_not(answer: Any, paid: int, told: str) -> None:
    run, world = owners("approval", answer=answer), World()
    await run.own()
    (paused,) = run.of(RunPaused)
    (question,) = paused.interrupts
    assert question["name"] == "approve pay"
    assert question["reason"] == {"tool": "pay", "input": {"euros": 17}, "agent": "Payer"}
    await run.to_the_end()
    assert world.effects["pay"] == paid
    outputs = [event["item"]["output"] for event in run.events() if event.get("name") == "tool_output"]
    assert any(told in output for output in outputs)


async def test_a_tool_that_the_agent_s_class_adds_is_recorded() -> None:
    @function_tool
    async def added() -> str:
        """Added."""
        return "added"

    class Extended(Agent[Any]):
        async def get_all_tools(self, run_context: Any) -> list[Any]:
            return [*await super().get_all_tools(run_context), added]

    model = ScriptedModel([[called("added", "a1")], [said("Done.")]])
    run = Owners(OpenAIAgentsGuest(Extended(name="agent", model=model)))
    await run.to_the_end()
    assert [one.name for one in run.of(ToolFinished)] == ["added"]


async def test_an_error_of_a_tool_is_told_to_the_model_as_without_a_host() -> None:
    run = owners("failing tools")
    await run.to_the_end()
    outputs = [event["item"]["output"] for event in run.events() if event.get("name") == "tool_output"]
    assert outputs[0] == "An error occurred while running the tool. Please try again."
    assert "timed out" in outputs[1]


async def test_what_the_agent_raises_is_the_end_of_the_run() -> None:
    @function_tool
    async def again() -> str:
        """Again."""
        return "again"

    answers = [[called("again", f"c{n}")] for n in range(3)]
    run = Owners(OpenAIAgentsGuest(lambda: scripted(*answers, tools=[again]), name="agent", options={"max_turns": 2}))
    await run.to_the_end()
    assert (run.end.error_type, run.end.message) == ("MaxTurnsExceeded", "Max turns (2) exceeded")


async def test_a_context_of_ones_own_is_made_for_each_owner() -> None:
    @function_tool
    async def tell(context: RunContextWrapper[Any]) -> str:
        """Tell."""
        return f"{context.context}"

    agent = scripted([called("tell", "t1")], [said("Told.")], tools=[tell])
    run = Owners(OpenAIAgentsGuest(agent, context=lambda ctx: f"{ctx.run_id} of {ctx.invocation_state['user']}"))
    await run.to_the_end()
    (told,) = run.of(ToolFinished)
    assert told.result["content"] == [{"text": f"{RUN} of ada"}]


@pytest.mark.parametrize("name", ["session", "conversation_id", "previous_response_id"])
def test_what_keeps_the_conversation_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} keeps the conversation beside the log: .*session_id="):
        OpenAIAgentsGuest(scripted(), options={name: object()})


def test_an_unknown_option_and_another_value_are_refused() -> None:
    with pytest.raises(TypeError, match="and not 'max_turn'"):
        OpenAIAgentsGuest(scripted(), options={"max_turn": 3})
    with pytest.raises(TypeError, match="returned 3 of type int, not an"):
        OpenAIAgentsGuest(lambda: 3, name="agent")  # pyright: ignore[reportArgumentType, reportReturnType]
    with pytest.raises(ValueError, match=r"'Front desk'.*name="):
        OpenAIAgentsGuest(Agent(name="Front desk"))
    assert served_of(Agent(name="Front desk"), name="desk").name == "desk"


def test_a_tool_whose_effects_are_not_recorded_is_refused_at_the_start(tmp_path: Path) -> None:
    tool = LocalShellTool(executor=lambda request: "done")
    with pytest.raises(ValueError, match="tool local_shell does is not recorded: make it a function_tool"):
        OpenAIAgentsGuest(scripted(tools=[tool]))
    path = tmp_path / "of_shell.py"
    path.write_text(
        "from agents import Agent, LocalShellTool\na = Agent(name='a', tools=[LocalShellTool(executor=lambda r: '')])\n"
    )
    with pytest.raises(BadTargetError, match="make it a function_tool"):
        load_served([f"{path}:a"])


async def test_a_prompt_may_have_images_and_no_documents() -> None:
    model = ScriptedModel([[said("Nice.")]])
    image = {"image": {"format": "png", "source": {"bytes": b"png"}}}
    run = Owners(OpenAIAgentsGuest(Agent[Any](name="agent", model=model)), prompt=[{"text": "What is it?"}, image])
    await run.to_the_end()
    (asked,) = model.calls[0].input
    assert [part["type"] for part in asked["content"]] == ["input_text", "input_image"]
    document = {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"pdf"}}}
    refused = Owners(OpenAIAgentsGuest(Agent[Any](name="agent", model=model)), prompt=[document])
    await refused.to_the_end()
    assert "texts and images, and this one has 'document'" in refused.end.message


class Spans(TracingProcessor):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    def on_trace_start(self, trace: Any) -> None: ...
    def on_trace_end(self, trace: Any) -> None: ...
    def on_span_start(self, span: Any) -> None: ...
    def shutdown(self) -> None: ...
    def force_flush(self) -> None: ...

    def on_span_end(self, span: Any) -> None:
        self.ended.append(span)


async def test_spans_are_silent_while_the_log_answers_and_all_owners_have_one_trace() -> None:
    spans = Spans()
    set_trace_processors([spans])
    agents.set_tracing_disabled(False)
    whole = owners("side by side")
    await whole.to_the_end()
    first = [(one.span_data.type, getattr(one.span_data, "name", "")) for one in spans.ended]
    assert [name for kind, name in first if kind == "function"] == ["slow", "slow", "book", "booked"]
    traces = {one.trace_id for one in spans.ended}
    spans.ended.clear()
    place = [entry.seq for entry in whole.log if isinstance(entry.record, ToolStarted)][-1]
    again = owners("side by side", log=whole.log[:place])
    await again.to_the_end()
    assert [one.span_data.name for one in spans.ended if one.span_data.type == "function"] == ["booked"]
    assert {one.trace_id for one in spans.ended} == traces


async def test_outside_of_a_host_the_agent_works_as_before() -> None:
    World()
    agent = AGENTS["agents as tools"]()
    served_of(agent, name="manager")
    result = await Runner.run(agent, "go")
    assert result.final_output == "Both are done."
    streamed = Runner.run_streamed(agent, "go")
    assert [event.type async for event in streamed.stream_events()]
    assert streamed.final_output == "Both are done."


async def test_a_guardrail_that_asks_a_model_is_recorded_apart_from_the_answer() -> None:
    run = owners("guarded")
    await run.to_the_end()
    assert "/within:Judge/model:1" in {one.key for one in run.of(StepFinished)}


async def test_the_example_asks_whether_its_tool_may_run_and_books() -> None:
    (guest,) = load_served([str(EXAMPLES / "airline" / "desk.py")]).values()
    run = Owners(cast("OpenAIAgentsGuest", guest), prompt="I want seat 7A")
    await run.own()
    assert [one["name"] for one in run.end.interrupts] == ["approve update_seat"]
    await run.to_the_end()
    assert run.end.result["message"]["content"] == [{"text": "You have seat 7A on LH 400."}]
    (booked,) = run.of(ToolFinished)
    assert booked.result["content"] == [{"text": "Seat 7A is booked on LH 400."}]


async def test_a_factory_that_makes_another_agent_each_time_fails_its_run_with_advice() -> None:
    made: list[Agent[Any]] = []

    def make() -> Agent[Any]:
        made.append(Agent(name=f"agent {len(made)}", model=ScriptedModel([[said("Hi.")]])))
        return made[-1]

    guest = OpenAIAgentsGuest(make, name="agent")
    whole = Owners(guest)
    await whole.to_the_end()
    again = Owners(guest, whole.log[:-1])
    await again.to_the_end()
    assert again.end.error_type == "DivergedError"
    assert "'agent 2'" in again.end.message
    assert "'agent 1'" in again.end.message
    assert "The code of the agent has changed, or it decides by what is not in the log" in again.end.message


async def test_a_factory_that_raises_later_fails_its_run() -> None:
    broken = False

    def make() -> Agent[Any]:
        if broken:
            raise KeyError("no key")
        return scripted([said("Hi.")])

    guest, broken = OpenAIAgentsGuest(make, name="agent"), True
    run = Owners(guest)
    await run.to_the_end()
    assert (run.end.error_type, run.end.message) == ("AgentFactoryError", "make raised KeyError: 'no key'")


async def test_one_that_swallows_a_cancel_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.1)
    monkeypatch.setattr(host, "CLOSE_GRACE_S", 0.1)
    home, works = asyncio.get_running_loop(), anyio.Event()
    over = threading.Event()

    @function_tool
    async def stubborn() -> str:
        """Goes on."""
        home.call_soon_threadsafe(works.set)
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return "done"

    run = Owners(OpenAIAgentsGuest(lambda: scripted([called("stubborn", "s1")], tools=[stubborn]), name="agent"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.own)
        await works.wait()
        run.control.deliver([Signal("c", "cancel")])
    over.set()
    assert run.end.type == "run.cancelled"
