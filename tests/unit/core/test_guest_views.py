"""What people are shown of guests' runs: the timeline, the transcript, and what two runs are compared by."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from playhead.runtime.core.guest_words import FRAMEWORK_STEP, spoken_within, who_said
from playhead.runtime.core.records import Entry, EventEmitted, StepFinished
from playhead.runtime.core.run_acts import acts
from playhead.runtime.core.run_diff import run_diff
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import content_text, transcript
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from tests.support.guest_owners import Owners
from tests.support.strands_agents import AGENTS, MANY, WORLD, World

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """A model that does not say the result."""

    async def words() -> AsyncGenerator[Any]:
        yield "You owe "
        yield {"choices": [{"delta": {"content": "17 euros."}}]}

    async def pay() -> str:
        return "paid"

    text = "".join([str(word) async for word in ctx.model([prompt], words)])
    yield {"said": text}
    answer = await ctx.ask("pay", {"euros": 17})
    ctx.result = f"{await ctx.tool({'name': 'pay', 'input': {'euros': 17}, 'toolUseId': 't'}, pay)}: {answer}"


async def log_of(guest: Guest) -> list[Entry]:
    run = Owners(guest)
    await run.to_the_end()
    return run.log


async def scenario(name: str) -> list[Entry]:
    World()
    return await log_of(StrandsGuest(lambda: {**AGENTS, **MANY}[name](WORLD[-1]), name="agent"))


def shown(log: list[Entry]) -> list[tuple[str, str, str]]:
    return [(item.kind, item.title, item.text) for item in transcript(log)]


async def test_the_log_tells_whether_a_framework_runs_the_run() -> None:
    def frameworks(log: list[Entry]) -> list[str]:
        found = [one.record for one in log if isinstance(one.record, StepFinished)]
        return [str(one.value).split(" ")[0] for one in found if one.key == FRAMEWORK_STEP]

    assert frameworks(await scenario("simple")) == ["strands-agents"]
    assert frameworks(await log_of(FunctionGuest(clerk, name="clerk"))) == []


async def test_the_call_of_a_functions_model_ends_with_its_answer() -> None:
    log = await log_of(FunctionGuest(clerk, name="clerk"))
    (end,) = [one.seq for one in log if isinstance(one.record, StepFinished)]
    (model,) = [bar for bar in timeline(log).bars if bar.kind == "model"]
    assert (model.last, model.outcome) == (end, "ok")
    assert shown(log)[1:3] == [("text", "", "You owe 17 euros."), ("question", "pay", '{"euros": 17}')]
    assert ("text", "", "paid: yes") in shown(log), "its result is another text than its model's"
    told = [(one.kind, one.name, dict(one.content)) for one in acts(log)]
    assert ("model", "", {"text": "You owe 17 euros."}) in told
    assert ("question", "pay", {"asked": [{"name": "pay", "reason": {"euros": 17}}]}) in told
    (call,) = [content for kind, _, content in told if kind == "tool"]
    assert (call["input"], call["content"]) == ({"euros": 17}, [{"text": "paid"}])


@pytest.mark.parametrize("name", ["sub_agents", "graph"])
async def test_calls_side_by_side_and_within_others_have_bars_of_their_own(name: str) -> None:
    log = await scenario(name)
    tools = [bar for bar in timeline(log).bars if bar.kind == "tool"]
    started = sum(one.record.type == "tool.started" for one in log)
    assert len(tools) == started
    assert all(bar.outcome == "ok" for bar in tools)


async def test_of_an_agent_that_is_a_tool_the_words_are_shown_and_not_its_events() -> None:
    lines = [(kind, title, text) for kind, title, text in shown(await scenario("sub_agents")) if kind == "progress"]
    words = [(title, text) for _, title, text in lines if title in ("one", "two")]
    assert sorted(words) == [
        ("one", "Sub thinks."),
        ("one", "one says so."),
        ("two", "Sub thinks."),
        ("two", "two says so."),
    ]
    assert {title for _, title, _ in lines} == {"one", "two", "counting"}, "a tool's own progress is shown"


async def test_of_a_graph_the_words_of_each_node_are_shown() -> None:
    log = await scenario("graph")
    words = [(title, text) for kind, title, text in shown(log) if kind == "progress" and title != "counting"]
    assert words[0] == ("root", "Root speaks.")
    assert words[-1] == ("join", "All joined.")
    assert (
        sorted(words[1:-1])
        == [("left", ""), ("left", "Left is done."), ("right", ""), ("right", "Right is done.")][1::2]
    )
    models = [(one.name, one.content["text"]) for one in acts(log) if one.kind == "model"]
    assert ("left", "Left is done.") in models


async def test_who_goes_on_in_place_of_whom_is_shown() -> None:
    notes = [text for kind, text, _ in shown(await scenario("graph")) if kind == "note"]
    assert notes == ["root hands over to left, right", "left, right hand over to join"]


def test_the_words_of_an_agent_within_are_told_as_they_come_and_its_name_without_the_keys_of_the_log() -> None:
    event = {"type": "multiagent_node_stream", "node_id": "left", "event": {"data": "Left "}}
    assert spoken_within(EventEmitted(at=0, event=event)) == ("left", "Left ")
    assert spoken_within(EventEmitted(at=0, event={"type": "multiagent_node_start", "node_id": "left"})) is None
    within = "/within:billing_agent#call_1/within:Billing Agent~2/model:1"
    assert who_said(within, {}) == "billing_agent / Billing Agent"
    named = [("generate joke 2 (1, False)~2", "generate joke"), ("judge", "judge"), ("3", "model")]
    assert [who_said(f"/model:{name}", {}) for name, _ in named] == [who for _, who in named]


def test_of_an_object_of_langgraph_people_read_what_it_is() -> None:
    stored: Any = [{"json": {"is": "Command to bob", "langgraph_value": ["msgpack", b"..."]}}]
    assert content_text(stored) == "Command to bob"
    assert content_text([{"json": "text"}, {"text": "more"}]) == "text more"


async def test_a_guests_tokens_are_those_of_its_result() -> None:
    async def counts(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        ctx.result, ctx.usage = "done", {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
        yield {"said": "done"}

    log = await log_of(FunctionGuest(counts, name="counts"))
    assert run_diff(log, log).left.usage == {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}


async def test_two_runs_that_did_the_same_have_the_same_acts() -> None:
    first, second = [acts(await scenario("remembering")) for _ in range(2)]
    assert [(one.place, one.content) for one in first] == [(one.place, one.content) for one in second]
    assert [one.calls for one in first if one.kind == "model"] == [1, 1, 1]
