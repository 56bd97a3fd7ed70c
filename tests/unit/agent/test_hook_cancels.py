"""A hook calls `event.agent.cancel()`: what the run does is what it does in Strands, and it survives the worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import strands
import strands.hooks

from playhead import runtime
from playhead.runtime import Agent, BeforeModelCallEvent, BeforeToolCallEvent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import HookDecided, MessageAdded, Record
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.replay import verify
from tests.support.recorded_runs import Plan, Play
from tests.support.strands_agents import World, said

__all__: list[str] = []

pytestmark = pytest.mark.anyio

EVENTS = (
    "BeforeInvocationEvent",
    "MessageAddedEvent",
    "BeforeModelCallEvent",
    "AfterModelCallEvent",
    "BeforeToolsEvent",
    "BeforeToolCallEvent",
    "AfterToolCallEvent",
    "AfterToolsEvent",
    "AfterInvocationEvent",
)
CANCELS: tuple[dict[str, Any], ...] = ({}, {"message": "Stop."}, {"message": "Stop.", "after_current_tools": True})
TWO = [("look", "a", {"n": 1}), ("look", "b", {"n": 2})]
KEYS = ("init_event_loop", "start", "start_event_loop", "message", "tool_cancel_event", "force_stop", "result")


def cancelling(at: int, given: dict[str, Any]) -> Callable[[Any], None]:
    """A hook that cancels when its event comes for the `at`-th time."""
    times = itertools.count(1)

    def hook(event: Any) -> None:
        if next(times) == at:
            event.agent.cancel(**given)

    return hook


async def played(agent: Any, ran: list[int]) -> dict[str, Any]:
    """What the run gave: its events, its history, the calls that ran, and how it ended."""
    events = [event async for event in agent.stream_async("go")]
    result = events[-1]["result"]
    history = [(message["role"], [_plain(block) for block in message["content"]]) for message in agent.messages]
    ends = result.stop_reason, [_plain(block) for block in result.message["content"]]
    return {
        "events": [key for event in events for key in KEYS if key in event],
        "history": history,
        "ends": ends,
        "ran": sorted(ran),
    }


def _plain(block: dict[str, Any]) -> Any:
    return block.get("text") or block.get("toolResult") or "a call"


async def in_strands(event: str, at: int, given: dict[str, Any], *, calls: bool) -> dict[str, Any]:
    ran: list[int] = []

    @strands.tool
    def look(n: int) -> str:
        """Look."""
        ran.append(n)
        return f"seen {n}"

    first = said("Let me.", calls=TWO) if calls else said("Hello", " there")
    agent = World().agent(first, said("Done."), tools=[look], hooks=[])
    hook: Any = cancelling(at, given)
    agent.hooks.add_callback(getattr(strands.hooks, event), hook)
    return await played(agent, ran)


async def in_playhead(event: str, at: int, given: dict[str, Any], *, calls: bool) -> dict[str, Any]:
    ran: list[int] = []

    @tool
    def look(n: int) -> str:
        """Look."""
        ran.append(n)
        return f"seen {n}"

    agent = Agent(ScriptedModel([SAID if calls else "Hello there", "Done."]), tools=[look], callback_handler=None)
    agent.hooks.add_callback(getattr(runtime, event), cancelling(at, given))
    return await played(agent, ran)


SAID = [*tool_call("look", {"n": 1}, "a", text="Let me.")[:-2], *tool_call("look", {"n": 2}, "b")[1:]]


@pytest.mark.parametrize("given", CANCELS, ids=["at once", "with a message", "after the tools"])
@pytest.mark.parametrize("event", EVENTS)
async def test_it_is_what_it_is_in_strands(event: str, given: dict[str, Any]) -> None:
    for at, calls in ((1, True), (2, True), (1, False)):
        expected = await in_strands(event, at, given, calls=calls)
        assert await in_playhead(event, at, given, calls=calls) == expected, (at, calls)


@tool
async def look(n: int) -> str:
    """Look."""
    return f"seen {n}"


def spoken(messages: Messages) -> Any:
    return text_call("Done.") if "toolResult" in str(messages) else SAID


def made(event: str, given: dict[str, Any], asked: list[str]) -> Agent:
    """An agent whose hook cancels at that event, once it has a message of the model where that can be."""

    async def hook(now: Any) -> None:
        asked.append(event)
        if event in ("BeforeInvocationEvent", "BeforeModelCallEvent") or "Let me." in str(now.agent.messages):
            now.agent.cancel(**given)

    agent = Agent(ScriptedModel([spoken], repeat=True), name="planned", tools=[look], callback_handler=None)
    agent.hooks.add_callback(getattr(runtime, event), hook)
    return agent


def history(records: list[Record]) -> list[Any]:
    return [(one.message.get("role"), one.message.get("content")) for one in records if isinstance(one, MessageAdded)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("given", CANCELS[1:], ids=["with a message", "after the tools"])
@pytest.mark.parametrize("event", [one for one in EVENTS if one not in ("AfterModelCallEvent", "AfterInvocationEvent")])
async def test_cut_after_any_record_the_next_owner_cancels_too_and_a_recorded_hook_is_not_asked(
    event: str, given: dict[str, Any]
) -> None:
    whole = Play(Plan(), agent=made(event, given, []))
    await whole.to_its_end()
    (decided,) = [entry for entry in whole.entries if isinstance(entry.record, HookDecided)]
    assert (decided.record.type, dict(decided.record)["verdict"]) == ("hook.decided", "cancel_run")
    for cut in range(1, len(whole.entries)):
        asked: list[str] = []
        play = Play(Plan(), agent=made(event, given, asked))
        play.entries, play.epoch = list(whole.entries[:cut]), whole.entries[cut - 1].epoch
        await play.to_its_end()
        if event == "MessageAddedEvent" and decided.seq - 1 == cut:
            continue  # of such a message a hook is told at most once
        where = f"cut after record {cut}, {whole.records[cut - 1].type}"
        assert history(play.records) == history(whole.records), where
        assert dict(play.records[-1])["result"]["stop_reason"] == "cancelled", where
        assert fold(play.entries).status == fold(whole.entries).status, where
        again = [one for one in play.records if isinstance(one, HookDecided)]
        assert len(again) == 1, where


@pytest.mark.parametrize("given", CANCELS, ids=["at once", "with a message", "after the tools"])
@pytest.mark.parametrize("event", [one for one in EVENTS if one != "AfterInvocationEvent"])
async def test_verify_asks_the_hook_again_and_names_it_if_it_cancels_no_longer(
    event: str, given: dict[str, Any]
) -> None:
    play = Play(Plan(), agent=made(event, given, []))
    await play.to_its_end()
    assert (await verify(play.recording, made(event, given, []))).same
    (at,) = [entry.seq for entry in play.entries if isinstance(entry.record, HookDecided)]
    found = await verify(play.recording, made("AfterInvocationEvent", given, []))
    assert found.difference is not None
    assert found.difference.seq == at
    assert event in found.text


async def test_after_its_event_a_hook_is_told_what_to_use() -> None:
    kept: list[Any] = []

    def hook(event: BeforeModelCallEvent) -> None:
        kept.append(event.agent)

    def wrong(event: BeforeToolCallEvent) -> None:
        event.agent.cancel(message=5)

    agent = Agent(ScriptedModel([SAID, "Done."]), tools=[look], hooks=[hook, wrong], callback_handler=None)
    with pytest.raises(TypeError, match="message"):
        await agent.invoke_async("go")
    with pytest.raises(RuntimeError, match=r"after its event: from elsewhere use run\.cancel\(\)"):
        kept[0].cancel()
