"""`verify` asks the hooks of today, and names the record where a verdict changed and the line of the hook."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from playhead.runtime import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    Agent,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    HookRegistry,
    MessageAddedEvent,
    tool,
)
from playhead.runtime.core.records import HookDecided, ModelRetried, Record, RunCompleted, ToolDecided, ToolFinished
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.replay import EntriesRecording, verify
from playhead.runtime.replay.rerun import rerun
from tests.support.recorded_runs import Plan, Play

__all__: list[str] = []

pytestmark = pytest.mark.anyio

RAN: list[str] = []


@tool
async def weather(city: str) -> str:
    """Tell the weather."""
    RAN.append("weather")
    return f"sun in {city}"


@tool
async def cost(euros: int) -> str:
    """Tell the cost."""
    RAN.append("cost")
    raise ValueError("too dear")


@tool
async def climate(city: str) -> str:
    """Tell the climate; the agent does not have this tool."""
    RAN.append("climate")
    return f"mild in {city}"


class Rules:
    """Hooks that decide something at each event."""

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        registry.add_callback(BeforeInvocationEvent, self.begin)
        registry.add_callback(BeforeModelCallEvent, self.before_model)
        registry.add_callback(AfterModelCallEvent, self.after_model)
        registry.add_callback(BeforeToolsEvent, self.batch)
        registry.add_callback(BeforeToolCallEvent, self.call)
        registry.add_callback(AfterToolCallEvent, self.result)
        registry.add_callback(AfterToolsEvent, self.results)
        registry.add_callback(AfterInvocationEvent, self.end)
        registry.add_callback(MessageAddedEvent, self.added)

    def begin(self, event: BeforeInvocationEvent) -> None:
        assert event.messages is not None
        event.messages[0].get("content", []).append({"text": "please"})

    def before_model(self, event: BeforeModelCallEvent) -> None:
        if event.agent.messages[-1]["content"][0].get("text") == "And?":
            event.cancel = "That is all."

    def after_model(self, event: AfterModelCallEvent) -> None:
        said = event.stop_response and event.stop_response.message.get("content", [])
        event.retry = said == [{"text": "Hm."}] or isinstance(event.exception, KeyError)

    def batch(self, event: BeforeToolsEvent) -> None:
        if len(event.message.get("content", [])) == 1:
            event.cancel = "not alone"

    def call(self, event: BeforeToolCallEvent) -> None:
        match event.tool_use["toolUseId"]:
            case "t1":
                event.selected_tool = climate
            case "t2":
                event.cancel_tool = "no"
            case "t3":
                event.interrupt("may I")
            case _:
                event.tool_use["input"]["city"] = "Rome"

    def result(self, event: AfterToolCallEvent) -> None:
        if isinstance(event.exception, ValueError):
            event.result["content"] = [{"text": "it cannot be told"}]

    def results(self, event: AfterToolsEvent) -> None:
        if event.message.get("content", [])[0]["toolResult"]["status"] == "error":
            event.end_turn = "enough"

    def end(self, event: AfterInvocationEvent) -> None:
        if event.result is not None and str(event.result) == "enough\n":
            event.resume = "And?"

    def added(self, event: MessageAddedEvent) -> None:
        RAN.append("added")


def agent(rules: Any, model: Any = None) -> Agent:
    four = [
        *tool_call("weather", {"city": "Bonn"}, "t1", "Let me.")[:-2],
        *tool_call("weather", {"city": "Bonn"}, "t2")[1:-2],
        *tool_call("cost", {"euros": 5}, "t3")[1:-2],
        *tool_call("weather", {"city": "Bonn"}, "t4")[1:],
    ]
    bug = ScriptedCall(text_call("Let me")[:3], error=KeyError("bug"))
    model = model or ScriptedModel(["Hm.", bug, four, tool_call("weather", {"city": "Bonn"}, "t5")])
    hooks = [rules] if rules is not None else []
    return Agent(model, name="ruled", tools=[weather, cost], hooks=hooks, callback_handler=None)


@pytest.fixture(scope="module")
def run() -> EntriesRecording:
    """The recorded run: every hook has decided something in it."""
    play = Play(Plan(), agent=agent(Rules()))
    anyio.run(play.to_its_end)
    assert [type(record) for record in play.records].count(HookDecided) == 6, "the prompt is changed twice"
    assert isinstance(play.records[-1], RunCompleted)
    return play.recording


def quiet(self: Any, event: Any) -> None:
    """Decide nothing."""


def other_call(self: Any, event: BeforeToolCallEvent) -> None:
    Rules.call(self, event)
    if event.cancel_tool:
        event.cancel_tool = "never"


def cancel_all(self: Any, event: BeforeToolCallEvent) -> None:
    event.cancel_tool = "no"


def no_question(self: Any, event: BeforeToolCallEvent) -> None:
    if event.tool_use["toolUseId"] != "t3":
        Rules.call(self, event)


def other_result(self: Any, event: AfterToolCallEvent) -> None:
    if isinstance(event.exception, ValueError):
        event.result["content"] = [{"text": "ask again"}]


def again(self: Any, event: AfterToolCallEvent) -> None:
    event.retry = event.cancel_message is None


def of(kind: type[Record], nth: int = 1, **fields: Any) -> Any:
    """Finds the number of the nth record of a type with these fields."""

    def found(run: EntriesRecording) -> int:
        seqs = [
            entry.seq
            for entry in run.entries
            if isinstance(entry.record, kind) and fields.items() <= dict(entry.record).items()
        ]
        return seqs[nth - 1]

    return found


PLANTED: dict[str, tuple[str, Any, Any]] = {
    # what changed: (the method of the rules, what it does now, the record)
    "the messages of the prompt": ("begin", quiet, of(HookDecided, event="BeforeInvocationEvent")),
    "a message that is taken now": ("after_model", quiet, of(ModelRetried)),
    "a call that is cancelled now": ("call", cancel_all, of(ToolDecided, index=0)),
    "the text of a cancel": ("call", other_call, of(ToolDecided, index=1)),
    "a question that is not asked": ("call", no_question, of(ToolDecided, index=3)),
    "another result": ("result", other_result, of(ToolFinished, index=2)),
    "a result that stays": ("result", quiet, of(ToolFinished, index=2)),
    "a call that is made again now": ("result", again, of(ToolFinished, index=0)),
    "calls that run now": ("batch", quiet, of(HookDecided, event="BeforeToolsEvent")),
    "a turn that goes on": ("results", quiet, of(HookDecided, event="AfterToolsEvent")),
    "an end that stays": ("end", quiet, of(HookDecided, event="AfterInvocationEvent")),
    "a model that is called now": ("before_model", quiet, of(HookDecided, event="BeforeModelCallEvent")),
}


@pytest.mark.parametrize("change", PLANTED)
async def test_a_planted_change_of_a_verdict_is_found_at_its_record_with_the_hooks_line(
    run: EntriesRecording, change: str
) -> None:
    name, method, record = PLANTED[change]
    found = await verify(run, agent(type("Changed", (Rules,), {name: method})()))
    assert found.difference is not None
    seq = record(run)
    if change == "a question that is not asked":
        seq = next(entry.seq for entry in run.entries if entry.record.type == "tool.interrupted")
    assert (found.difference.kind, found.difference.seq) == ("hook", seq), found.text
    assert found.difference.changes[0].where == f"{__file__}:{method.__code__.co_firstlineno}"


async def test_an_agent_without_hooks_differs_where_the_first_one_decided(run: EntriesRecording) -> None:
    found = await verify(run, agent(None))
    assert found.difference is not None
    assert (found.difference.kind, found.difference.record) == ("hook", "hook.decided")


async def test_a_hook_that_is_new_differs_where_it_decides_first() -> None:
    play = Play(Plan(), agent=agent(None))
    await play.to_its_end()
    found = await verify(play.recording, agent(Rules()))
    assert found.difference is not None
    assert (found.difference.kind, found.difference.record) == ("hook", "message.added")


@pytest.mark.parametrize("tools", ["recorded", "live"])
async def test_nothing_differs_for_the_same_hooks_and_no_tool_of_theirs_runs(run: EntriesRecording, tools: Any) -> None:
    RAN.clear()
    found = await verify(run, agent(Rules()), tools=tools)
    assert found.same, found.text
    assert set(RAN) == ({"weather", "cost"} if tools == "live" else set())


async def test_the_recorded_verdicts_are_repeated_and_no_hook_runs(run: EntriesRecording) -> None:
    class Untouched(Rules):
        def begin(self, event: Any) -> None:
            RAN.append("hook")

        before_model = after_model = batch = call = result = results = end = begin

    RAN.clear()
    for rules in (Untouched(), None):
        found = await verify(run, agent(rules), hooks="recorded")
        assert found.same, found.text
    assert RAN == []


async def test_a_kind_of_hook_that_is_ignored_is_not_reported(run: EntriesRecording) -> None:
    changed = agent(type("Changed", (Rules,), {"result": other_result})())
    assert (await verify(run, changed, ignore=["hook"])).same


async def test_a_rerun_asks_the_hooks_and_gives_the_same_verdicts(run: EntriesRecording) -> None:
    log, run_id = await rerun(run, agent(Rules()))
    records = [entry.record for entry in await log.read(run_id, limit=1000)]

    def verdicts(these: list[Record]) -> list[Any]:
        return [getattr(one, "verdict", None) for one in these if isinstance(one, HookDecided | ToolDecided)]

    assert verdicts(records) == verdicts([entry.record for entry in run.entries])


async def test_a_script_of_a_run_says_what_its_model_said_with_what_hooks_did_not_take(run: EntriesRecording) -> None:
    play = Play(Plan(), agent=agent(Rules(), ScriptedModel.from_run(run)))
    await play.to_its_end()
    types = [record.type for record in play.records]
    assert types == [entry.record.type for entry in run.entries]
