"""Joining: at any cursor of any run, live or over, a reader sees exactly what is after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint

from playhead.client import Run
from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import pack
from playhead.runtime.core.errors import GapError
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import Entry
from playhead.runtime.log.values import Batch
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AGENT = "agent"


async def all_records(run: Run, *, after: int = 0) -> list[Entry]:
    return [entry async for entry in run.records(after=after)]


async def all_events(run: Run, after: int | str | None = None) -> list[Event]:
    return [event async for event in run.stream_async(after=after)]


@tool
async def add(a: int, b: int) -> AsyncGenerator[int, None]:
    """Adds."""
    yield a
    yield a + b


async def test_joining_at_any_cursor_gives_exactly_what_is_after_it(fleet: Fleet) -> None:
    model = ScriptedModel([tool_call("add", {"a": 2, "b": 2}, text="Let me see."), "That is four."])
    async with fleet.worker(Agent(model, name=AGENT, tools=[add])), fleet.client() as client:
        run = await client.start(AGENT, "What is 2+2?", invocation_state={"mood": "fine"})
        events = await all_events(run)
        assert len(events) > 20
        assert len({event.cursor for event in events}) == len(events)
        for place, event in enumerate(events):
            assert await all_events(run, after=event.cursor) == events[place + 1 :], event.cursor
        for seq in range(events[-1].seq + 1):
            assert await all_events(run, after=seq) == [event for event in events if event.seq > seq], seq


async def test_joining_live_in_the_middle_of_a_message_misses_and_repeats_nothing(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model(before=[f"{number} " for number in range(10)])
    async with fleet.worker(Agent(model, name=AGENT)), fleet.client() as client:
        run = await client.start(AGENT, "Count")
        first: list[Event] = []
        async with aclosing(run.stream_async()) as events:
            async for event in events:
                first.append(event)
                if event.get("data") == "9 ":
                    break
        seen: dict[str, list[Event]] = {}

        async def rejoin(cursor: str) -> None:
            seen[cursor] = await all_events(client.run(run.id), after=cursor)

        async with anyio.create_task_group() as tasks:
            for event in first:
                tasks.start_soon(rejoin, event.cursor)
            for _ in range(50):
                await checkpoint()
            model.go.set()
        whole = await all_events(run)
        for place, event in enumerate(first):
            assert seen[event.cursor] == whole[place + 1 :]


async def test_a_very_long_message_is_read_and_joined_anywhere(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    """Thousands of records: more than any page, buffer or batch holds."""
    model, heir = held_model(before=[f"{number} " for number in range(3000)]), held_model()
    heir.go.set()
    async with fleet.client() as client:
        run = await client.start(AGENT, "Hi")
        async with fleet.worker(Agent(model, name=AGENT)):
            await model.held.wait()
        async with fleet.worker(Agent(heir, name=AGENT)):
            events = await all_events(run)
        assert [event["text"] for event in events if "retracted" in event] == ["".join(model.before)]
        assert len(events) > 6000
        assert [entry.seq for entry in await all_records(run)] == list(range(1, events[-1].seq + 1))
        for place in (2, 700, 2900, 5999):
            assert await all_events(run, after=events[place].cursor) == events[place + 1 :]


async def test_a_record_of_a_later_version_is_passed_over(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        future = pack({"v": 9, "type": "future.thing", "at": 1, "what": {"new": True}})
        (answer,) = await owner.log.append([Batch(owner.id, owner.claim.token, owner.head, [future])])
        owner.head = answer.head
        await owner.append("a")
        note = Batch(owner.id, owner.claim.token, owner.head, [future])
        assert (await owner.log.release(note)).stored
        async with fleet.worker(Agent(ScriptedModel(["Done."]), name=AGENT)):
            events = await all_events(client.run(owner.id))
        assert str(events[-1]["result"]) == "Done.\n"
        types = [entry.record.type for entry in await all_records(client.run(owner.id))]
        assert types.count("future.thing") == 2


async def test_a_finished_run_is_read_to_its_end_and_after_its_end_is_nothing(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        await owner.append("a")
        await owner.end()
        run = client.run(owner.id)
        assert [entry.seq for entry in await all_records(run)] == [1, 2, 3, 4]
        assert [entry.seq for entry in await all_records(run, after=3)] == [4]
        assert (await all_events(run))[-1]["result"].stop_reason == "end_turn"
        assert await all_events(run, after=4) == []


async def test_a_reader_that_left_after_the_last_record_comes_back_to_the_end_and_not_to_a_gap(fleet: Fleet) -> None:
    async with fleet.worker(Agent(ScriptedModel(["Fine."]), name=AGENT)), fleet.client() as client:
        run = await client.start(AGENT, "How are you?")
        head = (await all_records(run))[-1].seq
        assert await all_records(run, after=head) == []
        with pytest.raises(GapError):  # such a record never existed
            await all_records(run, after=head + 1)
