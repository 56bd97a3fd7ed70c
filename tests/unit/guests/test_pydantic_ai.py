"""Agents of pydantic-ai, as they are: killed after each record of their runs, in sessions, and what is refused."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import ProcessEventStream
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.core.records import Entry, MessageAdded, ModelRetried, SignalReceived, ToolFinished
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.pydantic_ai import PydanticAIGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.targets import load_served
from tests.support.guest_owners import RUN, Owners, cuts
from tests.support.pydantic_agents import AGENTS, World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[3] / "examples"

OURS = frozenset({"slow", "picture", "fussy", "pay", "asks"})


def owners(name: str, log: list[Entry] | None = None) -> Owners:
    """The owners of a run of that agent."""
    World()
    return Owners(PydanticAIGuest(lambda: AGENTS[name](), name="agent"), list(log or []))


def steady(value: Any) -> Any:
    """Without times."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in ("duration", "timestamp")}
    return [steady(item) for item in value] if isinstance(value, list) else value


def shown(run: Owners) -> tuple[list[str], list[str]]:
    """What a reader sees, in order, and the results of tools, which run side by side."""
    rest: list[str] = []
    results: list[str] = []
    for event in run.events():
        event.pop("message", None)  # it has the results in their order
        apart = event.get("event_kind") == "function_tool_result"
        (results if apart else rest).append(json.dumps(steady(dict(event)), sort_keys=True, default=str))
    return rest, sorted(results)


def finished(run: Owners) -> Counter[str]:
    """The tools that have run to their end, by the log."""
    done = run.finished(but="ApprovalRequired")
    return Counter({name: times for name, times in done.items() if name in OURS})


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_runs_as_it_is(name: str) -> None:
    run, world = owners(name), World()
    await run.to_the_end()
    assert (run.end.type == "run.failed") == (name == "failing"), run.end
    assert finished(run) == world.effects
    assert run.of(ModelRetried) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", AGENTS)
async def test_cut_after_any_record_it_comes_to_the_same_end(name: str) -> None:
    whole, first = owners(name), World()
    await whole.to_the_end()
    wanted = shown(whole)
    for run, where in cuts(whole, partial(owners, name)):
        world, done, answered = World(), finished(run), run.answered()
        await run.to_the_end()
        assert (shown(run), run.end.type) == (wanted, whole.end.type), f"{where}: {run.end}"
        assert world.effects + done == first.effects, f"{where}: a finished tool ran again"
        if name not in ("fallback", "failing", "within"):
            assert world.asked + answered <= first.asked + len(run.of(ModelRetried)), f"{where}: asked again"


def talk(*prompts: str) -> Agent[None, str]:
    """An agent that says what it was told, in its own form."""
    return Agent(FunctionModel(stream_function=_tells), instructions="Tell.")


async def _tells(told: list[Any], info: object) -> AsyncIterator[str]:
    yield " | ".join(f"{part.part_kind}: {getattr(part, 'content', '')!r}" for one in told for part in one.parts)


async def test_a_session_goes_on_in_the_framework_s_own_messages() -> None:
    guest, said = PydanticAIGuest(talk, name="talk"), list[Any]([{"role": "user", "content": [{"text": "of another"}]}])
    for prompt, wanted in [
        ("one", "user-prompt: 'of another' | user-prompt: 'one'"),
        ([{"text": "two"}, {"image": {"format": "png", "source": {"bytes": b"\xff"}}}], "user-prompt: ['two', Binary"),
        ("three", "BinaryImage(data=b'\\xff'"),
    ]:
        run = Owners(guest, prompt=prompt, said=StoredMessages(messages=list(said)))
        await run.to_the_end()
        assert wanted in run.end.result["message"]["content"][0]["text"]
        added = json.dumps([one.message for one in run.of(MessageAdded) if one.origin == "model"])
        said += [{"role": "user", "content": prompt if isinstance(prompt, list) else [{"text": prompt}]}]
        said += json.loads(added.replace(RUN, f"before {prompt!r:.9}"))  # an id of a run stands in one run
    assert len(said) == 7


async def test_a_prompt_that_it_cannot_have_ends_the_run_with_its_name() -> None:
    run = Owners(PydanticAIGuest(talk), prompt=[{"video": {"format": "mp4", "source": {"bytes": b"1"}}}])
    await run.to_the_end()
    assert "this one has 'video'" in run.end.message


def with_deps() -> Agent[dict[str, Any], str]:
    """An agent that needs deps."""
    agent = Agent(TestModel(custom_output_text="hi"), deps_type=dict[str, Any])
    agent.instructions(lambda ctx: f"The user is {ctx.deps['user']}, {ctx.deps.get('seen', 0)} seen.")

    @agent.tool
    def see(ctx: RunContext[dict[str, Any]]) -> str:
        ctx.deps["seen"] = ctx.deps.get("seen", 0) + 1
        return "seen"

    return agent


async def test_deps_are_made_of_the_caller_s_values_or_refused_at_the_start() -> None:
    def deps(ctx: GuestContext) -> dict[str, Any]:
        return {"user": ctx.invocation_state["user"]}

    whole = Owners(PydanticAIGuest(with_deps, deps=deps))
    await whole.to_the_end()
    seen = next(one.seq for one in whole.log if isinstance(one.record, ToolFinished))
    again = Owners(PydanticAIGuest(with_deps, deps=deps), whole.log[:seen])
    await again.to_the_end()
    for run in (whole, again):
        (added,) = [one.message for one in run.of(MessageAdded) if one.origin == "model"]
        told = [one["instructions"] for one in added["metadata"]["custom"]["items"] if "instructions" in one]
        assert told == ["The user is ada, 0 seen.", "The user is ada, 1 seen."], "what a tool changed is changed again"
    with pytest.raises(ValueError, match=r"with_deps needs deps \(dict.*PydanticAIGuest"):
        PydanticAIGuest(with_deps)


FILE = """
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.test import TestModel
clerk = Agent(TestModel())
named = Agent(TestModel(), name="by-name")
def make_agent() -> Agent:
    return Agent(TestModel())
def plain():
    return Agent(TestModel())
def needs():
    return Agent(TestModel(), deps_type=int)
"""


def test_agents_and_annotated_functions_of_a_module_are_served(tmp_path: Path) -> None:
    file = tmp_path / "of_pydantic_ai.py"
    file.write_text(FILE)
    assert list(load_served([str(file)])) == ["clerk", "by-name", "make_agent"]
    assert list(load_served([f"{file}:plain"])) == ["plain"]
    with pytest.raises(BadTargetError, match=r"of_pydantic_ai.py:needs: needs needs deps \(int"):
        load_served([f"{file}:needs"])
    with pytest.raises(ValueError, match="the agent has no name: give PydanticAIGuest a name="):
        PydanticAIGuest(Agent(TestModel()))


async def test_an_agent_that_lacks_a_tool_of_its_log_is_told_the_record() -> None:
    whole = owners("parallel")
    await whole.to_the_end()
    first = next(one.seq for one in whole.log if isinstance(one.record, ToolFinished))
    run = Owners(PydanticAIGuest(lambda: Agent(TestModel(call_tools=[])), name="agent"), whole.log[:first])
    await run.to_the_end()
    assert run.end.error_type == "DivergedError"
    assert "but record " in run.end.message


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("playhead.runtime.guests.pydantic_ai")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'playhead-runtime\[pydantic-ai\]'"):
        importlib.import_module("playhead.runtime.guests.pydantic_ai")


@pytest.mark.exhaustive
async def test_the_example_rolls_once_though_its_worker_dies_after_the_roll() -> None:
    (guest,) = load_served([str(EXAMPLES / "dice_game.py")]).values()
    whole = Owners(cast("PydanticAIGuest", guest), prompt="My guess is 4")
    await whole.to_the_end()
    (rolled,) = [one.result["content"][0]["text"] for one in whole.of(ToolFinished) if one.name == "roll_dice"]
    said = [{"text": f"Anne, you rolled a {rolled}. "}]
    assert whole.end.result["message"]["content"] == said
    after = max(one.seq for one in whole.log if isinstance(one.record, ToolFinished))
    again = Owners(cast("PydanticAIGuest", guest), whole.log[:after])
    await again.to_the_end()
    assert again.end.result["message"]["content"] == said


async def test_a_steer_reaches_the_model_with_its_next_request() -> None:
    home, sent = asyncio.get_running_loop(), threading.Event()

    async def tells(told: list[Any], info: AgentInfo) -> AsyncIterator[Any]:
        if len(told) == 1:
            yield {0: DeltaToolCall(name="look", json_args="{}", tool_call_id="t")}
        else:
            yield " | ".join(str(getattr(part, "content", "")) for one in told for part in one.parts)

    def make() -> Agent:
        agent = Agent(FunctionModel(stream_function=tells))

        @agent.tool_plain
        def look() -> str:
            home.call_soon_threadsafe(lambda: run.control.deliver([Signal("s", "steer", "And now?")]))
            home.call_soon_threadsafe(sent.set)
            sent.wait(10)
            return "seen"

        return agent

    run = Owners(PydanticAIGuest(make))
    await run.to_the_end()
    said = "go |  | seen | And now?"
    assert run.end.result["message"]["content"] == [{"text": said}]
    steered = next(one.seq for one in run.log if isinstance(one.record, SignalReceived))
    for cut in range(steered, len(run.log)):
        again = Owners(PydanticAIGuest(make), run.log[:cut])
        await again.to_the_end()
        assert again.end.result["message"]["content"] == [{"text": said}], cut


async def test_an_event_handler_of_the_agent_gets_an_answer_when_it_is_whole_and_readers_each_chunk() -> None:
    parts: list[Any] = []

    async def handler(ctx: object, events: AsyncIterable[Any]) -> None:
        parts.extend([event async for event in events if isinstance(event, PartStartEvent | PartDeltaEvent)])

    def make() -> Agent:
        model = World().model(said("It", " is", " so."))
        return Agent(model, capabilities=[ProcessEventStream(handler)])

    run = Owners(PydanticAIGuest(make))
    await run.to_the_end()
    assert [event["data"] for event in run.events() if "data" in event] == ["It", " is", " so."]
    assert parts == [PartStartEvent(index=0, part=TextPart("It is so."))]


async def test_another_version_of_the_framework_is_told_in_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = owners("retry")
    await whole.to_the_end()
    run = Owners(whole.guest, whole.log[:12])
    World()
    installed = metadata.version("pydantic-ai-slim")
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    await run.to_the_end()
    assert f"began with pydantic-ai-slim {installed}, and this agent is run by pydantic-ai-slim 9.9" in caplog.text
    assert run.end.type == "run.completed"
