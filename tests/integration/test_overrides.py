"""Overrides of a run on a fleet: each owner has them, an agent must allow them, and readers and `verify` know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client, Run
from playhead.runtime import Agent, OverrideRefusedError
from playhead.runtime.core.errors import RunConflictError, RunFailedError
from playhead.runtime.core.records import ModelStarted, RunSubmitted
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify
from tests.support.tools import ask, look

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Guide:
    """An agent that allows all overrides, with its model, which asks once."""

    def __init__(self, **options: Any) -> None:
        self.model = ScriptedModel([tool_call("ask", {}), "This one.", "Again."])
        given: dict[str, Any] = {"tools": [look, ask], "system_prompt": "Guide.", "callback_handler": None}
        given["allow_overrides"] = {"system_prompt", "tools", "params", "model"}
        self.agent = Agent(self.model, name="guide", **(given | options))

    def asked(self) -> list[tuple[str | None, list[str]]]:
        return [(one.system_prompt, [spec["name"] for spec in one.tool_specs or []]) for one in self.model.requests]


async def calls_of(run: Run) -> list[int]:
    return [entry.seq async for entry in run.records() if isinstance(entry.record, ModelStarted)]


async def test_each_owner_of_a_run_has_its_overrides_and_readers_know_them(fleet: Fleet) -> None:
    guide = Guide()
    async with fleet.client() as client:
        async with fleet.worker(guide.agent):
            run = await client.start("guide", "Go", tools=["ask"], system_prompt="Lead.", params={"seed": 1})
            (question,) = (await run.result()).interrupts or []
        stricter = Guide(allow_overrides=())
        stricter.model.requests += guide.model.requests  # its next call is the second
        async with fleet.worker(stricter.agent):
            await run.respond({question.id: "left"})
            assert str(await run.result()) == "This one.\n", "what has begun is not refused after a roll-out"
        assert stricter.asked() == [("Lead.", ["ask"])] * 2
        for seq in await calls_of(run):
            told = await run.request(seq)
            assert (told.request.system_prompt, [one["name"] for one in told.request.tool_specs or []]) == (
                "Lead.",
                ["ask"],
            )
            assert told.model["config"] == {"params": {"seed": 1}}
        same = await verify(run, Guide().agent)
        assert same.same, same.text
        other = await verify(run, Guide(tools=[ask], system_prompt="Other.").agent)
        assert other.same, "the run has a system prompt and tools of its own"


async def test_a_fork_has_the_overrides_of_its_parent_and_its_first_records_keep_theirs(fleet: Fleet) -> None:
    guide = Guide()
    guide.model.calls = ["One.", "Two.", "Three."]
    async with fleet.worker(guide.agent), fleet.client() as client:
        run = await client.start("guide", "Go", system_prompt="Lead.", tools=["look"])
        await run.result()
        (call,) = await calls_of(run)
        fork = await run.fork(at=call, system_prompt="Follow.")
        await fork.result()
        assert guide.asked()[1] == ("Follow.", ["look"])
        first, second = await calls_of(fork)
        assert (await fork.request(first)).request.system_prompt == "Lead."
        assert (await fork.request(second)).request.system_prompt == "Follow."
        same = await verify(fork, guide.agent)
        assert same.same, same.text


async def test_what_no_worker_allows_is_refused_before_there_is_a_run(fleet: Fleet) -> None:
    guide = Guide(allow_overrides={"tools": ["look"], "params": ["seed"]})
    async with fleet.worker(guide.agent), fleet.client() as client:
        await client.invoke_async("guide", "Go", tools=["look"])
        refused: list[tuple[dict[str, Any], str]] = [
            ({"tools": ["ask"]}, r"tools=\['ask'\].* 'look'"),
            ({"params": {"top_k": 1}}, r"params=\['top_k'\].* 'seed'"),
            ({"model": "demo"}, "does not allow model= for a run: it allows tools=, params="),
        ]
        for given, says in refused:
            with pytest.raises(OverrideRefusedError, match=says):
                await client.start("guide", "Go", **given)
        with pytest.raises(OverrideRefusedError):
            await client.agent("guide").invoke_async("Go", system_prompt="Lead.")
        assert len(await client.runs()) == 1


async def test_without_a_worker_the_run_waits_and_fails_when_its_worker_refuses(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("guide", "Go", model="demo")
        guide = Guide(allow_overrides=())
        async with fleet.worker(guide.agent):
            with pytest.raises(RunFailedError, match="agent 'guide' does not allow model= for a run") as failed:
                await run.result()
        assert isinstance(failed.value, OverrideRefusedError)
        assert guide.model.requests == []


async def test_one_worker_that_allows_is_enough_for_a_submission(fleet: Fleet) -> None:
    old, new = Guide(allow_overrides=()), Guide()
    async with fleet.worker(new.agent), fleet.client() as client:
        await until_serving(fleet, client, 1)
        async with fleet.worker(old.agent):
            await until_serving(fleet, client, 2)
            await client.start("guide", "Go", system_prompt="Lead.")


async def until_serving(fleet: Fleet, client: Client, count: int) -> None:
    async def holds() -> bool:
        return len(await client.workers()) == count

    await fleet.until(holds)


async def test_one_run_id_with_other_overrides_is_another_request(fleet: Fleet) -> None:
    async with fleet.client() as client:
        mine = await client.new_run_id()
        run = await client.start("guide", "Go", run_id=mine, tools=["look"])
        await client.start("guide", "Go", run_id=mine, tools=["look"])
        with pytest.raises(RunConflictError) as refused:
            await client.start("guide", "Go", run_id=mine, tools=["ask"])
        assert refused.value.differs == ["tools"]
        (first,) = await run.log.read(run.id)
        assert isinstance(first.record, RunSubmitted)
        assert first.record.options == {"tools": ["look"]}
