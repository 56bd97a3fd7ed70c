"""A fork runs in this process: of a log or of a file, without a server and without a worker."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from playhead.client import RunReader, open_log
from playhead.client.tails.file_tail import file_tail
from playhead.runtime import Agent
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import (
    ForkAfterEffectsError,
    ModelConfigurationError,
    RecordTooLargeError,
    RunFailedError,
)
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import Entry, ModelStarted, Record, RunPaused, RunSubmitted, ToolStarted
from playhead.runtime.models import ScriptedCall, ScriptedModel, tool_call
from playhead.runtime.replay import verify
from playhead.runtime.replay.rerun import rerun
from tests.support import till as support

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CALLS = 2


def script(messages: Messages) -> Any:
    """Calls the tool that the user named twice, each time by the same id, then says what it gave."""
    last = messages[-1].get("content", [])[-1]
    if "toolResult" in last and len(messages) >= 2 * CALLS + 1:
        return f"It says: {last['toolResult']['content'][0]['text']}."
    name = messages[0].get("content", [])[0].get("text", "")
    return tool_call(name, {}, "t1", text="Let me see.")


class Till(support.Till):
    """It keeps the events, too."""

    def __init__(self, **options: Any) -> None:
        self.events: list[Event] = []
        handler: dict[str, Any] = {"callback_handler": lambda **event: self.events.append(Event(event))}
        super().__init__(script, **(handler | options))


async def made(agent: Agent, prompt: str = "pay") -> RunReader:
    """A run of the agent, in memory."""
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="till", prompt=prompt))], agent)
    return RunReader(run_id, log=log, open_tail=partial(file_tail, log))


async def stored(run: RunReader) -> list[Entry]:
    return await run.log.read(run.id)


def place_of(entries: list[Entry], kind: type[Record], nth: int = 1) -> int:
    return [entry.seq for entry in entries if isinstance(entry.record, kind)][nth - 1]


async def test_a_run_of_a_file_is_forked_without_a_server_and_the_fork_becomes_a_file(tmp_path: Path) -> None:
    till = Till()
    run = await made(till.agent)
    at = place_of(await stored(run), ToolStarted, 2)
    await run.export(tmp_path / "run.jsonl")
    with open_log(tmp_path / "run.jsonl") as file:
        parent = file.run()
        with pytest.raises(ForkAfterEffectsError, match=r"has run tools: pay \(2\)"):
            await parent.fork_here(till.agent, at=at)
        till.keys.clear()
        fork = await parent.fork_here(till.agent, at=at, results={"t1": "refused"}, accept_effects=True)
        assert str(await fork.result()) == "It says: refused.\n"
        assert till.keys == [], "the call with a result did not run"
        assert (await parent.diff(fork)).common == at
        assert (await fork.request(place_of(await stored(fork), ModelStarted, 3))).request.tool_names == ["pay", "ask"]
        await fork.export(tmp_path / "fork.jsonl")
    with open_log(tmp_path / "fork.jsonl") as file:
        assert str(await file.run().result()) == "It says: refused.\n"
        assert (await verify(file.run(), till.agent)).same


async def test_the_handler_gets_the_events_after_the_place_and_the_agent_keeps_its_history() -> None:
    till = Till()
    run = await made(till.agent)
    at = place_of(await stored(run), ModelStarted, 3)
    fork = await run.fork_here(till.agent, at=at, accept_effects=True)
    events = [event async for event in fork.stream_async(after=at)]
    assert till.events == events
    assert till.events[-1]["result"].stop_reason == "end_turn"
    assert till.agent.messages == []


async def test_a_fork_has_the_agent_that_is_given_and_its_model_and_system_prompt() -> None:
    run = await made(Till().agent)
    other = Till(name="other", model=ScriptedModel(["Good evening."]), system_prompt="Be kind.").agent
    fork = await run.fork_here(other, at=1, prompt="Hello")
    assert str(await fork.result()) == "Good evening.\n"
    assert (await fork.info()).agent == "other"
    asked = await fork.request(place_of(await stored(fork), ModelStarted))
    assert asked.request.system_prompt == "Be kind."
    broken = Till(model=ScriptedModel([ScriptedCall([], error=ValueError("no"))])).agent
    with pytest.raises(RunFailedError, match="no"):
        await (await run.fork_here(broken, at=1)).result()
    with pytest.raises(ModelConfigurationError):
        await run.fork_here(Till(model="demo", on_partial="continue").agent, at=1)


async def test_a_fork_that_asks_is_answered_by_a_fork_of_it() -> None:
    till = Till()
    run = await made(till.agent)
    asks = await run.fork_here(till.agent, at=1, prompt="ask")
    assert (await asks.info()).state == "paused"
    (question,) = (await asks.result()).interrupts or []
    at = place_of(await stored(asks), RunPaused)
    again = await asks.fork_here(till.agent, at=at, answers={question.id: "no"}, accept_effects=True)
    assert [entry.seq for entry in await stored(again)] == list(range(1, (await again.info()).head + 1))
    assert (await again.info()).state == "paused", "the second call asks again"


@pytest.mark.parametrize("kept", [1, 2])
async def test_a_fork_verifies_with_the_effect_keys_of_its_parent_and_its_own(kept: int) -> None:
    """The model gives each call the same id. So its second call has `~2`, but not in a fork that made no first one."""
    till = Till()
    run = await made(till.agent)
    at = place_of(await stored(run), ToolStarted, kept)
    fork = await run.fork_here(till.agent, at=at, accept_effects=True)
    again = await fork.fork_here(till.agent, at=at, accept_effects=True)
    for one in (fork, again):
        named = [entry.record.effect_key for entry in await stored(one) if isinstance(entry.record, ToolStarted)]
        assert {key.partition("/")[0] for key in named} == {run.id, one.id}
        till.keys.clear()
        assert (await verify(one, till.agent, after=0)).same
        assert till.keys == []
        found = await verify(one, till.agent, tools="live", after=0)
        assert found.same, found.text
        assert till.keys == [*named[: kept - 1], *named[kept:]]


async def test_a_fork_inside_an_answer_goes_on_after_the_words_if_the_agent_says_so() -> None:
    def go_on(messages: Messages) -> Any:
        partial = messages[-1].get("content", [{}])[0].get("text", "")
        return " four five" if messages[-1].get("role") == "assistant" else f"one two three {partial}"

    model = ScriptedModel([go_on], repeat=True)
    model.continues_partial = True
    goes_on, calls_again = (Till(model=model, on_partial=how).agent for how in ("continue", "retract"))
    run = await made(goes_on, "x")
    begun = place_of(await stored(run), ModelStarted)
    at = begun + 4  # the starts of message and block, two words
    fork = await run.fork_here(goes_on, at=at)
    said = [event["data"] async for event in fork.stream_async() if "data" in event]
    assert "".join(said) == "one two four five"
    assert str(await fork.result()) == "one two four five\n"
    events = [event async for event in (await run.fork_here(calls_again, at=at)).stream_async()]
    (withdrawn,) = [event for event in events if "retracted" in event]
    assert (withdrawn["from_seq"], withdrawn["to_seq"]) == (begun, at)
    assert str(events[-1]["result"]) == "one two three x\n"


async def test_what_is_too_large_or_raised_by_the_handler_is_raised_and_not_a_failure_of_the_fork() -> None:
    run = await made(Till().agent)
    small = Till(max_record_bytes=4000).agent
    at = place_of(await stored(run), ToolStarted)
    changes: list[dict[str, Any]] = [{"prompt": "x" * 5000}, {"results": {"t1": "x" * 5000}}, {"say": "x" * 5000}]
    for what in changes:
        with pytest.raises(RecordTooLargeError):
            await run.fork_here(small, at=1 if "prompt" in what else at, accept_effects=True, **what)

    def handler(**event: Any) -> None:
        raise ConnectionError("no terminal")

    with pytest.raises(ConnectionError, match="no terminal"):
        await run.fork_here(Till(callback_handler=handler).agent, at=1)


async def test_a_fork_that_is_told_something_inside_an_answer_keeps_the_words_up_to_there() -> None:
    def answers(messages: Messages) -> Any:
        said = messages[-1].get("content", [{}])[0].get("text", "")
        return "one two three" if said == "x" else f"After {messages[-2].get('content', [])}, you say {said}."

    agent = Till(model=ScriptedModel([answers], repeat=True)).agent
    run = await made(agent, "x")
    begun = place_of(await stored(run), ModelStarted)
    fork = await run.fork_here(agent, at=begun + 4, say="Stop.")
    events = [event async for event in fork.stream_async()]
    assert not any("retracted" in event for event in events)
    assert str(events[-1]["result"]) == "After [{'text': 'one two'}], you say Stop..\n"
    found = await verify(fork, agent)
    assert found.same, found.text
    for at in (begun, begun + 1):  # nothing was said yet: the call is made again, and then it is told
        fork = await run.fork_here(agent, at=at, say="Stop.")
        assert str(await fork.result()) == "After [{'text': 'one two three'}], you say Stop..\n"


async def test_the_call_of_a_tool_that_is_cut_is_made_again_before_the_fork_is_told_something() -> None:
    till = Till()
    run = await made(till.agent)
    entries = await stored(run)
    at = next(entry.seq for entry in entries if "toolUse" in str(dict(entry.record).get("chunk", "")))
    fork = await run.fork_here(till.agent, at=at, say="And be quick.")
    assert [event async for event in fork.stream_async() if "retracted" in event]
