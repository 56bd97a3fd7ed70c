"""A guest's run with every kind of work, cut after each record: the next owner brings it to the same end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from playhead.runtime.core.records import ModelRetried, ToolFinished, ToolStarted
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.current import current_call
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.models import text_call
from tests.support.guest_owners import RUN, Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class World:
    """What is outside of the log: the effects, by key."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.values: list[tuple[float, float]] = []

    async def run(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
        """Look, think, work side by side, ask, and say it."""
        yield {"began": prompt, "for": ctx.invocation_state["user"]}
        page = await ctx.step("look", self.look)
        text = ""
        async for chunk in ctx.model(["what?", page], self.answer):
            text += chunk.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
            yield {"so_far": text}
        async with asyncio.TaskGroup() as tasks:
            paid = tasks.create_task(self.pay(ctx, "a", 3))
            other = tasks.create_task(self.pay(ctx, "b", 1))
        yield {"paid": [paid.result(), other.result()]}
        try:
            await ctx.tool({"name": "broken", "toolUseId": "c"}, self.broken)
        except ZeroDivisionError as error:
            yield {"broken": str(error)}
        self.values.append((ctx.now(), ctx.random()))
        await ctx.sleep(0.001)
        approved = await ctx.ask("approve", {"text": text})
        words: list[str] = [word async for word in ctx.model("more", self.words)]
        yield {"approved": approved, "words": words, "time": ctx.now() >= self.values[0][0]}
        ctx.result = {"text": text, "approved": approved}

    async def look(self) -> dict[str, Any]:
        """A step."""
        self.effects["look"] += 1
        return {"page": (1, 2)}

    async def answer(self) -> AsyncGenerator[Any]:
        """A model in the form of the Converse API."""
        for chunk in text_call("It is so."):
            yield chunk

    async def words(self) -> AsyncGenerator[str]:
        """A model in a form of its own."""
        for word in ("Well", ", ", "yes"):
            yield word

    async def pay(self, ctx: GuestContext, name: str, turns: int) -> Any:
        """A tool that takes some turns of the event loop, and a step in it."""

        async def body() -> Any:
            call = current_call()
            assert call is not None
            for _ in range(turns):
                await asyncio.sleep(0)
            self.effects[call.effect_key] += 1
            return await ctx.step("receipt", self.look)

        return await ctx.tool({"name": "pay", "input": {"n": turns}, "toolUseId": name}, body)

    async def broken(self) -> None:
        """A tool that raises."""
        self.effects["broken"] += 1
        raise ZeroDivisionError("by zero")


def owners(world: World, log: Any = None) -> Owners:
    return Owners(FunctionGuest(world.run, name="guest"), log or [])


def events(run: Owners) -> list[dict[str, Any]]:
    """Without the chunks' own numbers: what a reader sees, the two parallel tools' order included."""
    return [dict(event) for event in run.events()]


async def test_the_run_has_every_kind_of_work() -> None:
    world = World()
    run = owners(world)
    await run.to_the_end()
    assert run.end.type == "run.completed"
    assert run.end.result["structured_output"] == {"text": "It is so.", "approved": "yes"}
    assert run.end.result["metrics"]["tools"]["pay"] == {"calls": 2, "ok": 2, "errors": 0}
    assert len(run.hosts) == 2, "it paused once"
    assert world.effects == {"look": 3, f"{RUN}/a": 1, f"{RUN}/b": 1, "broken": 1}
    assert len(world.values) == 2
    assert world.values[0] == world.values[1], "a clock and a random number are the same when it runs again"
    said = "".join(event["data"] for event in run.events() if "data" in event)
    assert said == "It is so.Well, yes", "text deltas of any form are data"
    assert {"event": "Well"} in events(run)


@pytest.mark.exhaustive
async def test_cut_after_any_record_it_comes_to_the_same_end() -> None:
    whole = owners(World())
    await whole.to_the_end()
    for cut in range(1, len(whole.log)):
        world = World()
        run = owners(world, list(whole.log[:cut]))
        where = f"cut after record {cut}, {whole.log[cut - 1].record.type}"
        finished = Counter(record.lane for record in run.of(ToolFinished))
        await run.to_the_end()
        assert run.end.type == "run.completed", f"{where}: {run.end}"
        assert events(run) == events(whole), where
        assert [one.seq for one in run.log] == list(range(1, len(run.log) + 1)), where
        for lane, times in finished.items():
            assert times == 1, where
            assert world.effects[f"{RUN}{lane}"] == 0, f"{where}: {lane} ran although it had finished"
        assert Counter(record.lane for record in run.of(ToolFinished)) == {"/a": 1, "/b": 1, "/c": 1}, where
        assert len(run.of(ModelRetried)) <= 1, where
        assert all(record.effect_key == f"{RUN}{record.lane}" for record in run.of(ToolStarted)), where


async def test_owners_that_die_again_and_again_lose_nothing() -> None:
    whole = owners(World())
    await whole.to_the_end()
    for records in (20, 27):  # so many an owner writes before it dies: enough for a whole answer
        run = owners(World())
        for _ in range(60):
            if not run.ended:
                await run.own(upto=len(run.log) + 1 + records)
        assert run.ended, records
        assert events(run) == events(whole)


async def test_a_whole_answer_is_not_asked_for_again_though_its_end_is_missing() -> None:
    whole = owners(World())
    await whole.to_the_end()
    last = max(one.seq for one in whole.log if "metadata" in dict(one.record).get("chunk", {}))
    run = owners(World(), list(whole.log[:last]))
    await run.to_the_end()
    assert run.of(ModelRetried) == []
    assert events(run) == events(whole)
