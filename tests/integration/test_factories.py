"""A factory on a fleet: what it made for a run is in the log, and later owners, readers, `verify` and forks have the same."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from playhead.client import Run, open_log
from playhead.client.prices import Price, cost_of
from playhead.runtime import Agent, AgentFactory, AgentFactoryError, OverrideRefusedError, RunContext
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import AgentMade, ModelStarted, RunClaimed, RunSubmitted
from playhead.runtime.log.values import NewRun
from playhead.runtime.models import DemoModel, ScriptedModel, resolve, tool_call
from playhead.runtime.replay import verify
from tests.support.fleet import Owner
from tests.support.tools import ask, look

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def answer(messages: Messages) -> Any:
    results = any("toolResult" in block for block in messages[-1].get("content", []))
    return "Done." if results else tool_call("ask", {}, f"t{len(messages)}")


class Named(ScriptedModel):
    """A model with an id of its own, which the definition has."""

    model_id = "one"

    def get_config(self) -> dict[str, Any]:
        return {"model_id": self.model_id, "params": {}}


class Desk:
    """A factory of an agent that asks, and what it was called with and asked."""

    def __init__(self, prompt: str = "For {tenant}.", model_id: str = "one", **options: Any) -> None:
        self.contexts: list[RunContext] = []
        self.model = Named([answer], repeat=True)
        self.model.model_id = model_id
        self.prompt = prompt
        self.options: dict[str, Any] = {"tools": [ask, look], "callback_handler": None} | options

    def desk(self, ctx: RunContext) -> Agent:
        self.contexts.append(ctx)
        tenant = ctx.invocation_state["tenant"]
        return Agent(self.model, system_prompt=self.prompt.format(tenant=tenant), **self.options)

    @property
    def prompts(self) -> list[str | None]:
        return [request.system_prompt for request in self.model.requests]


async def kinds(run: Run) -> list[str]:
    return [entry.record.type async for entry in run.records()]


async def calls_of(run: Run) -> list[int]:
    return [entry.seq async for entry in run.records() if isinstance(entry.record, ModelStarted)]


async def test_a_factory_gets_what_its_run_was_submitted_with_and_each_tenant_its_own_agent(fleet: Fleet) -> None:
    desk = Desk(tools=[])
    desk.model.calls = ["Yes."]
    async with fleet.worker(desk.desk), fleet.client() as client:
        for tenant, session in (("bakery", "ada"), ("bank", None)):
            await client.invoke_async("desk", "Hi", session_id=session, invocation_state={"tenant": tenant})
        assert desk.prompts == ["For bakery.", "For bank."]
        first, second = desk.contexts
        assert (first.agent_name, first.session_id, first.invocation_state) == ("desk", "ada", {"tenant": "bakery"})
        assert second.session_id is None
        assert {first.run_id, second.run_id} == {info.run_id for info in await client.runs()}


async def test_the_next_owner_has_what_the_log_has_though_its_factory_makes_another_agent(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    before, after = Desk(), Desk("Changed.", tools=[look, ask], retry=None)
    async with fleet.client() as client:
        async with fleet.worker(before.desk):
            run = await client.start("desk", "Hi", invocation_state={"tenant": "bank"})
            (question,) = (await run.result()).interrupts or []
        async with fleet.worker(after.desk):
            await run.respond({question.id: "this"})
            assert str(await run.result()) == "Done.\n"
        assert after.prompts == ["For bank."]
        assert [one["name"] for one in after.model.requests[0].tool_specs or []] == ["ask", "look"]
        assert (await kinds(run)).count("agent.made") == 1
        assert "makes another agent now" not in caplog.text
        for seq in await calls_of(run):
            asked, there = await run.request(seq), await run.states().at(seq)
            assert asked.request.system_prompt == "For bank."
            assert (there.definition and there.definition.stored().digest) == asked.definition
            assert asked.model["config"]["model_id"] == "one"
        path = tmp_path / "run.jsonl"
        await run.export(path)
        with open_log(path) as file:
            for kept in (run, file.run()):
                same = await verify(kept, AgentFactory(Desk().desk), tools="live")
                assert same.same, same.text
                assert same.notes == ()
                other = (await verify(kept, after.desk)).difference
                assert other is not None
                assert [one.kind for one in other.changes] == ["system_prompt", "tool_order"]
        did = (await run.diff(run)).left
        assert await cost_of(run, did, {"one": Price(1.0, 2.0)}) is not None


async def test_a_model_object_or_a_tool_that_is_no_longer_made_is_told_and_recorded(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = Desk(), Desk(model_id="two", tools=[ask])
    async with fleet.client() as client:
        async with fleet.worker(before.desk):
            run = await client.start("desk", "Hi", invocation_state={"tenant": "bank"})
            (question,) = (await run.result()).interrupts or []
        async with fleet.worker(after.desk):
            await run.respond({question.id: "this"})
            await run.result()
        assert "its factory makes another agent now than the log has" in caplog.text
        assert "the tools that are offered" in caplog.text
        assert '+  "model_id": "two"' in caplog.text
        told = [entry.record.definition async for entry in run.records() if isinstance(entry.record, AgentMade)]
        assert [one["model"]["config"]["model_id"] for one in told] == ["one", "two"]
        first, second = await calls_of(run)
        assert (await run.request(first)).request.tool_names == ["ask", "look"]
        assert (await run.request(second)).request.tool_names == ["ask"]
        found = (await verify(run, after.desk)).difference
        assert found is not None
        assert found.epoch == 1


async def test_a_model_by_name_is_the_same_for_the_next_owner(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "DemoModel", partial(DemoModel, delay=0))

    def one(ctx: RunContext) -> Agent:
        return Agent("demo", tools=[ask], callback_handler=None)

    log = fleet.log()
    run_id = new_run_id()
    await log.submit(NewRun(run_id, "one", RunSubmitted(at=1, agent="one", prompt="Hi")))
    other = ScriptedModel(["Mine."])
    async with fleet.client() as client:
        async with fleet.worker(one):
            run = client.run(run_id)
            await run.result()
        (call,) = await calls_of(run)
        async with fleet.worker(AgentFactory(lambda _: Agent(other, callback_handler=None), name="one")):
            fork = await run.fork(at=call)
            assert "demo model" in str(await fork.result())
        assert other.requests == []
        assert (await kinds(fork)).count("agent.made") == 2, "the tool is no longer made"
    await log.aclose()


async def test_a_fork_goes_on_with_the_agent_of_its_parent_and_another_agent_with_its_own(fleet: Fleet) -> None:
    desk = Desk(tools=[])
    desk.model.calls, desk.model.repeat = ["One."], True
    other = Agent(ScriptedModel(["Two."]), name="other", system_prompt="Other.", callback_handler=None)
    async with fleet.worker(desk.desk, other), fleet.client() as client:
        run = await client.start("desk", "Hi", session_id="ada", invocation_state={"tenant": "bank"})
        await run.result()
        (call,) = await calls_of(run)
        desk.prompt = "Changed."
        fork = await run.fork(at=call)
        await fork.result()
        early = await run.fork(at=2)
        await early.result()
        assert desk.prompts == ["For bank.", "For bank.", "Changed."]
        again = await fork.fork(at=call)
        await again.result()
        assert {context.session_id for context in desk.contexts} == {"ada"}, "a fork has a session of its own"
        away = await run.fork(at=call, agent="other")
        assert str(await away.result()) == "Two.\n"
        assert (await away.request((await calls_of(away))[-1])).request.system_prompt == "Other."
        here = await run.fork_here(desk.desk, at=call)
        assert str(await here.result()) == "One.\n"
        assert desk.prompts[-1] == "For bank."


async def test_overrides_apply_to_what_a_factory_makes_and_it_says_what_it_allows(fleet: Fleet) -> None:
    desk = Desk(allow_overrides={"system_prompt"}, tools=[])
    desk.model.calls = ["One."]
    async with fleet.worker(desk.desk), fleet.client() as client:
        run = await client.start("desk", "Hi", invocation_state={"tenant": "bank"}, system_prompt="Mine.")
        await run.result()
        assert desk.prompts == ["Mine."]
        (call,) = await calls_of(run)
        assert (await run.request(call)).request.system_prompt == "Mine."
        same = await verify(run, AgentFactory(desk.desk))
        assert same.same, same.text
        refused = await client.start("desk", "Hi", invocation_state={"tenant": "bank"}, tools=[])
        with pytest.raises(RunFailedError) as failed:
            await refused.result()
        assert isinstance(failed.value, OverrideRefusedError)


async def test_a_factory_that_raises_or_returns_no_agent_fails_its_run_alone(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tools=[])
    desk.model.calls = ["One."]

    def wrong(ctx: RunContext) -> Any:
        return ctx.run_id

    async with fleet.worker(desk.desk, wrong) as worker, fleet.client() as client:
        for agent, says in (("desk", "raised KeyError: 'tenant'"), ("wrong", "of type str, not an Agent")):
            with pytest.raises(RunFailedError, match=says) as failed:
                await client.invoke_async(agent, "Hi")
            assert isinstance(failed.value, AgentFactoryError)
        assert str(await client.invoke_async("desk", "Hi", invocation_state={"tenant": "bank"})) == "One.\n"
        await fleet.ended(worker, failed=2, completed=1)
    shown = [record.exc_info for record in caplog.records if record.name == "playhead.runs" and record.exc_info]
    assert [one[0] for one in shown] == [KeyError], "only what the function raised has a traceback"


async def test_a_worker_that_drains_hands_over_a_run_whose_factory_is_still_at_work(fleet: Fleet) -> None:
    called, go = threading.Event(), threading.Event()

    def desk(ctx: RunContext) -> Agent:
        called.set()
        go.wait(20)
        return Agent(ScriptedModel(["Late."]), callback_handler=None)

    async with fleet.client() as client:
        try:
            async with fleet.worker(desk) as worker:
                run = await client.start("desk", "Hi")
                await anyio.to_thread.run_sync(called.wait, 20)
        finally:
            go.set()
        assert worker.statistics().ended == {"handed_over": 1}
        async with fleet.worker(AgentFactory(lambda _: Agent(ScriptedModel(["Mine."])), name="desk")):
            assert str(await run.result()) == "Mine.\n"


async def test_a_run_past_its_crash_limit_fails_before_its_factory_is_called(fleet: Fleet) -> None:
    desk, log = Desk(), fleet.log()
    async with fleet.client() as client:
        run = await client.start("desk", "Hi", invocation_state={"tenant": "bank"})
        for _ in range(2):
            claim = await log.claim(
                {"desk": Owner.CLAIMED["agent"]}, worker="w", token=new_token(), lease_ms=60_000, suspects=True
            )
            assert claim is not None
            await log.bury("w", ended="was killed by SIGKILL")
        async with fleet.worker(desk.desk, crash_limit=1):
            with pytest.raises(RunFailedError, match="crash limit is 1") as failed:
                await run.result()
        assert failed.value.error_type == "CrashLimitExceeded"
        assert desk.contexts == []
        claims = [entry async for entry in run.records() if isinstance(entry.record, RunClaimed)]
        assert len(claims) == 3
    await log.aclose()
