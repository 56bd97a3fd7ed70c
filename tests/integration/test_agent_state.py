"""`agent.state` in a fleet: a run of a session begins from what the run before it left, however that ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import open_log
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import RunClaimed, StateChanged, ToolFinished
from playhead.runtime.models import ScriptedCall, ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def count(context: ToolContext) -> str:
    """Count."""
    number = (context.agent.state.get("count") or 0) + 1
    context.agent.state.set("count", number)
    return str(number)


@tool
def keep_a_set(context: ToolContext) -> str:
    """Keep what is not JSON."""
    context.state.set("seen", {1})
    return "kept"


def counting(*, fails: bool = False, state: Any = None) -> Agent:
    """An agent whose every run counts once, and then answers, or fails."""

    def script(messages: Messages) -> Any:
        if "toolResult" not in messages[-1].get("content", [{}])[0]:
            return tool_call("count", {}, f"t{len(messages)}")
        return ScriptedCall([], RuntimeError("no money left")) if fails else "Done."

    return Agent(
        ScriptedModel([script], repeat=True),
        name="agent",
        tools=[count],
        state=state,
        retry=None,
        callback_handler=None,
    )


async def test_each_run_of_a_session_begins_from_the_state_that_the_one_before_left(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]]
) -> None:
    agent = counting(state={"count": 10, "kind": "new"})
    async with fleet.worker(agent), fleet.client() as client:
        session = client.session("ada")
        assert await session.state() == {}
        for number in (11, 12):
            await client.invoke_async("agent", "Count.", session_id="ada")
            assert await session.state() == {"count": number, "kind": "new"}
        await client.invoke_async("agent", "Count.", session_id="bob")
        assert await client.session("bob").state() == {"count": 11, "kind": "new"}
    assert agent.state.get() == {"count": 10, "kind": "new"}, "a fleet's agent is a definition and keeps nothing"
    assert no_key_leaks() == []


async def test_a_failed_run_leaves_what_its_log_has(fleet: Fleet) -> None:
    async with fleet.client() as client:
        async with fleet.worker(counting(fails=True)):
            with pytest.raises(RunFailedError, match="no money left"):
                await client.invoke_async("agent", "Count.", session_id="ada")
        assert await client.session("ada").state() == {"count": 1}
        async with fleet.worker(counting()):
            await client.invoke_async("agent", "Count.", session_id="ada")
        assert await client.session("ada").state() == {"count": 2}


async def test_a_worker_that_dies_in_a_call_loses_no_change_and_makes_none_twice(fleet: Fleet) -> None:
    begun, held = anyio.Event(), anyio.Event()

    @tool
    async def slow(context: ToolContext) -> str:
        """Count, and wait in the first attempt."""
        context.state.set("slow", (context.state.get("slow") or 0) + 1)
        if context.attempt == 1:
            begun.set()
            await held.wait()
        return "done"

    def script(messages: Messages) -> Any:
        calls = {1: tool_call("count", {}, "t1"), 3: tool_call("slow", {}, "t2")}
        return calls.get(len(messages), "Done.")

    agent = Agent(ScriptedModel([script], repeat=True), name="agent", tools=[count, slow], callback_handler=None)
    async with fleet.client() as client:
        run = await client.start("agent", "Go.", session_id="ada")
        async with fleet.worker(agent) as worker:
            await begun.wait()
            info = await run.info()
            await client.log.bury(info.worker or worker.name, ended="was killed by SIGKILL")
            async with fleet.worker(agent):
                await run.result()
        entries = [entry async for entry in run.records()]
        assert len([entry for entry in entries if isinstance(entry.record, RunClaimed)]) == 2
        changes = [entry.record.state for entry in entries if isinstance(entry.record, ToolFinished)]
        assert changes == [{"values": {"count": 1}, "deleted": []}, {"values": {"slow": 1}, "deleted": []}]
        assert await client.session("ada").state() == {"count": 1, "slow": 1}


async def test_a_value_that_is_not_json_is_an_error_that_the_model_reads(fleet: Fleet) -> None:
    model = ScriptedModel([tool_call("keep_a_set", {}), "Done."])
    agent = Agent(model, name="agent", tools=[keep_a_set], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        await client.invoke_async("agent", "Go.", session_id="ada")
        assert "agent.state['seen'] cannot be set: it is not JSON serializable" in str(model.requests[-1].messages)
        assert await client.session("ada").state() == {}


async def test_copies_of_a_session_and_forks_of_a_run_have_the_state(fleet: Fleet) -> None:
    async with fleet.worker(counting()), fleet.client() as client:
        for _ in range(2):
            await client.invoke_async("agent", "Count.", session_id="ada")
        copy = await client.session("ada").fork("copy")
        await client.invoke_async("agent", "Count.", session_id="copy")
        assert (await copy.state(), await client.session("ada").state()) == ({"count": 3}, {"count": 2})
        (second, _) = await client.session("ada").runs()
        entries = [entry async for entry in client.run(second.run_id).records()]
        ((begun, values),) = [(one.seq, one.record.values) for one in entries if isinstance(one.record, StateChanged)]
        assert values == {"count": 1}
        for at in (1, begun, len(entries) - 1):
            fork = await client.run(second.run_id).fork(at=at, accept_effects=True)
            await fork.result()
            assert await client.session((await fork.info()).session or "").state() == {"count": 2}, at
        assert await client.session("ada").trim(keep_last=1) == 4
        assert await client.session("ada").state() == {"count": 2}
        await client.session("ada").delete()
        assert await client.session("ada").state() == {}


async def test_a_run_keeps_its_state_in_a_file_and_in_another_deployment_and_a_fork_there_goes_on_with_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    async with fleet.worker(counting(state={"who": "ada"})), fleet.client() as client:
        await client.invoke_async("agent", "Count.", session_id="ada")
        run = await client.start("agent", "Count.", session_id="ada")
        await run.result()
        entries = [entry async for entry in run.records()]
        await run.export(path)
    assert fold(entries).agent_state == {"who": "ada", "count": 2}
    counted = next(entry.seq for entry in entries if isinstance(entry.record, ToolFinished))
    with open_log(path) as file:
        assert [entry async for entry in file.run().records()] == entries
    other = type(fleet)(fleet.url, f"{fleet.prefix}-other")
    async with other.client() as client, other.worker(counting(state={"who": "bob"})):
        (imported,) = await client.import_runs(path)
        assert [entry async for entry in imported.records()] == entries
        for at in (counted - 1, counted):  # the call that counts runs again, or has its result
            fork = await imported.fork(at=at, accept_effects=True)
            assert str(await fork.result()) == "Done.\n"
            session = (await fork.info()).session
            assert session is not None
            assert await client.session(session).state() == {"who": "ada", "count": 2}
