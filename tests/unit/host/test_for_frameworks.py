"""What a guest's context has for the agents of frameworks: shared objects, names of their own, kept items, the tokens."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    ModelChunk,
    RunPaused,
    StepFinished,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.host.changes import change_again, changes_since, fields_of
from playhead.runtime.host.context import GuestContext, current_context
from playhead.runtime.host.forms import Form
from playhead.runtime.host.function import FunctionGuest
from tests.support.guest_owners import Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Seat(BaseModel):
    number: int


@dataclasses.dataclass
class Booking:
    seat: Seat | None = None
    by: str = ""
    connection: Any = None


def owners(run: Any, log: list[Entry] | None = None, **options: Any) -> Owners:
    return Owners(FunctionGuest(run, name="guest"), log or [], **options)


async def killed_after_each_record(run: Any) -> Owners:
    """A run of that function. Killed after any record, it comes to the same result, and does no finished tool again."""
    whole = owners(run)
    await whole.to_the_end()
    for cut in range(2, len(whole.log)):
        again = owners(run, whole.log[:cut])
        await again.to_the_end()
        assert again.end.type == whole.end.type, again.end
        assert again.end.result == whole.end.result, f"cut after record {cut}"
    return whole


async def test_what_a_call_changes_in_a_shared_object_is_there_after_a_takeover() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        booking, noted = Booking(connection=object()), {"old": 1}

        async def book() -> str:
            booking.seat, booking.by = Seat(number=7), "ada"
            return "booked"

        async def note() -> None:
            noted["new"] = 2
            del noted["old"]
            raise ValueError("no more paper")

        await ctx.tool({"name": "book"}, book, shared=booking)
        with pytest.raises(ValueError, match="paper"):
            await ctx.tool({"name": "note"}, note, shared=noted)
        assert isinstance(booking.seat, Seat)
        ctx.result = [booking.seat.number, booking.by, noted]
        yield {}

    whole = await killed_after_each_record(run)
    assert whole.end.result["structured_output"] == [7, "ada", {"new": 2}]


def test_of_an_object_that_is_none_of_them_nothing_is_kept() -> None:
    thing = object()
    assert fields_of(thing) == {}
    assert changes_since({}, thing) == {}


def test_a_value_that_its_field_does_not_take_is_set_as_it_is() -> None:
    booking = Booking()
    change_again(booking, {"values": {"seat": "window"}})
    assert booking.seat == "window"


async def test_a_call_that_the_guest_cut_off_is_not_made_again() -> None:
    calls: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def hangs() -> None:
            calls.append("hangs")
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as limit:
            await ctx.tool({"name": "hangs"}, hangs)
        ctx.result = f"cut off: {limit.cancelled_caught}"
        yield {}

    first = owners(run)
    await first.to_the_end()
    (finished,) = first.of(ToolFinished)
    assert "the agent waited no longer for this call" in finished.result["content"][0]["text"]
    place = next(entry.seq for entry in first.log if isinstance(entry.record, ToolFinished))
    second = owners(run, first.log[:place])
    await second.to_the_end()
    assert second.end.result == first.end.result
    assert calls == ["hangs"]


async def test_a_call_that_the_guest_cut_off_before_it_began_is_not_begun_later() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        with anyio.CancelScope() as limit:
            limit.cancel()
            await ctx.tool({"name": "pay"}, anyio.sleep_forever)
        ctx.result = f"cut off: {limit.cancelled_caught}"
        yield {}

    whole = await killed_after_each_record(run)
    (finished,) = whole.of(ToolFinished)
    assert (whole.of(ToolStarted), finished.memory["cut_off"]) == ([], True)


async def test_what_is_done_within_a_name_has_no_order_with_the_rest_and_is_hidden() -> None:
    slow = asyncio.Event()

    async def words(*said: str) -> AsyncGenerator[str]:
        for word in said:
            yield word

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        texts: dict[str, str] = {}

        async def ask(name: str, *, first: bool) -> None:
            if first != slow.is_set():
                await anyio.sleep(0.001)
            with ctx.within(name):
                texts[name] = "".join([word async for word in ctx.model(name, lambda: words("by ", name))])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: ask("judge", first=False))
            tasks.start_soon(lambda: ask("guard", first=True))
        ctx.result = [texts["judge"], texts["guard"]]
        yield {}

    whole = owners(run)
    await whole.to_the_end()
    assert whole.of(ModelChunk) == []
    assert {one.key for one in whole.of(StepFinished)} == {"/within:judge/model:1", "/within:guard/model:1"}
    slow.set()
    again = owners(run, whole.log[:-1])
    await again.to_the_end()
    assert again.end.result["structured_output"] == ["by judge", "by guard"]


async def test_items_of_a_session_come_back_in_the_form_in_which_they_were_kept() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        past = ctx.past(lambda message: {"plain": message.get("content")})
        ctx.items = [{"call": 1}, {"said": "Hi"}]
        ctx.usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
        ctx.result = past
        yield {}

    first = owners(run)
    await first.to_the_end()
    assert first.end.result["metrics"]["usage"]["totalTokens"] == 7
    assert "metadata" not in first.end.result["message"]
    said = [one.message for one in first.of(MessageAdded)]
    second = owners(run, said=StoredMessages(messages=said))
    await second.to_the_end()
    assert second.end.result["structured_output"] == [{"plain": [{"text": "go"}]}, {"call": 1}, {"said": "Hi"}]


@dataclasses.dataclass
class Word:
    """An object of a framework."""

    text: Any
    tokens: Any = None


WORDS = Form(
    dump=lambda word: {"word": word.text}, load=lambda said: Word(said["word"]), usage=lambda word: word.tokens
)


async def test_items_of_a_form_reach_the_code_as_objects_and_their_tokens_are_counted() -> None:
    tokens = {"input_tokens": 3, "output_tokens": 4}

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def words(*said: Word) -> AsyncGenerator[Word]:
            for word in said:
                yield word

        shown = ctx.model(prompt, lambda: words(Word("a"), Word("ü", tokens)), form=WORDS)
        texts = [word.text async for word in shown]
        with ctx.within("hidden"):
            texts += [word.text async for word in ctx.model(prompt, lambda: words(Word("b", tokens)), form=WORDS)]
        ctx.result = texts
        yield {}

    whole = await killed_after_each_record(run)
    assert whole.end.result["structured_output"] == ["a", "ü", "b"]
    assert whole.end.result["metrics"]["usage"] == {"inputTokens": 6, "outputTokens": 8, "totalTokens": 14}
    assert [one.chunk for one in whole.of(ModelChunk)][1:] == [
        {"item": {"word": "ü"}},
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}},
    ]


async def test_an_item_of_a_form_that_is_not_plain_data_becomes_it() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def words() -> AsyncGenerator[Word]:
            yield Word(Seat(number=7))

        ctx.result = [str(word.text) async for word in ctx.model(prompt, words, form=WORDS)]
        yield {}

    owned = owners(run)
    await owned.to_the_end()
    assert owned.end.result["structured_output"] == ["number=7"], "the code gets the object"
    assert [one.chunk for one in owned.of(ModelChunk)] == [{"item": {"word": {"number": 7}}}]


async def test_questions_that_are_asked_side_by_side_pause_the_run_once() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        ctx.result = await ctx.ask_all([("one", 1), ("one", 2), ("two", None)])
        yield {}

    whole = await killed_after_each_record(run)
    (paused,) = whole.of(RunPaused)
    assert [(one["name"], one["reason"]) for one in paused.interrupts] == [("one", 1), ("one", 2), ("two", None)]
    assert whole.end.result["structured_output"] == ["yes", "yes", "yes"]


async def test_a_result_of_the_log_takes_what_was_done_within_its_call_with_it() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def outer() -> str:
            return await ctx.step("inner", inner)

        async def inner() -> str:
            return "done"

        assert current_context() is ctx
        ctx.result = await ctx.tool({"name": "outer"}, outer)
        await ctx.step("live", inner)
        yield {"replaying": ctx.replaying}

    whole = owners(run)
    await whole.to_the_end()
    place = next(entry.seq for entry in whole.log if isinstance(entry.record, ToolFinished))
    again = owners(run, whole.log[:place])
    await again.to_the_end()
    assert [event["replaying"] for event in again.events() if "replaying" in event] == [False]
    assert current_context() is None
