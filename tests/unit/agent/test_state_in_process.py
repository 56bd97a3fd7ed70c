"""`agent.state` in this process: tools and hooks change it, the log has the changes, and `verify` repeats them."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime import AfterToolCallEvent, Agent, BeforeModelCallEvent, MessageAddedEvent, ToolContext, tool
from playhead.runtime.agent.factory import source_of
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import Entry, RunSubmitted, StateChanged, ToolFinished, ToolInterrupted
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify
from playhead.runtime.replay.here import OwnerHere

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def count(context: ToolContext) -> int:
    """Count."""
    context.agent.state.set("count", (context.state.get("count") or 0) + 1)
    context.state.delete("old")
    return context.state.get("count")


@tool
def broken(context: ToolContext) -> str:
    """Break."""
    context.state.set("tried", True)
    raise ValueError("no")


@tool
def ask(context: ToolContext) -> str:
    """Ask."""
    context.state.set("asked", True)
    return context.interrupt("sure")


def counts_calls(event: AfterToolCallEvent) -> None:
    event.agent.state.set("calls", (event.agent.state.get("calls") or 0) + 1)


def counts_messages(event: MessageAddedEvent) -> None:
    event.agent.state.set("messages", (event.agent.state.get("messages") or 0) + 1)


def counts_models(event: BeforeModelCallEvent) -> None:
    event.agent.state.set("models", (event.agent.state.get("models") or 0) + 1)


def agent(*calls: Any, **more: Any) -> Agent:
    script = [*calls, "Done."]
    return Agent(ScriptedModel(script), tools=[count, broken, ask], callback_handler=None, **more)


async def ran(agent: Agent) -> list[Entry]:
    """The records of one run of the agent, as a worker makes them."""
    log, run_id = MemoryLog(), new_run_id()
    await log.submit(NewRun(run_id, agent.name, RunSubmitted(at=0, agent=agent.name, prompt="Go.")))
    await OwnerHere(log, source_of(agent)).own()
    return await log.read(run_id)


async def test_what_tools_change_stays_on_the_agent_from_call_to_call() -> None:
    counting = Agent(
        ScriptedModel([tool_call("count", {}), "One.", tool_call("count", {}), "Two."]),
        tools=[count],
        state={"old": 1, "kept": [1]},
        callback_handler=None,
    )
    await counting.invoke_async("Count.")
    assert counting.state.get() == {"kept": [1], "count": 1}
    counting.state.set("mine", True)
    await counting.invoke_async("Again.")
    assert counting.state.get() == {"kept": [1], "count": 2, "mine": True}


async def test_a_change_is_in_the_record_with_which_the_call_ends() -> None:
    entries = await ran(agent(tool_call("count", {}), tool_call("broken", {}), state={"old": 1}))
    changes = [entry.record.state for entry in entries if isinstance(entry.record, ToolFinished)]
    assert changes == [{"values": {"count": 1}, "deleted": ["old"]}, {"values": {"tried": True}, "deleted": []}]
    begun = [entry.record for entry in entries if isinstance(entry.record, StateChanged)]
    assert [(one.values, one.begins) for one in begun] == [({"old": 1}, True)]
    assert fold(entries).agent_state == {"count": 1, "tried": True}


async def test_an_agent_without_a_state_has_the_records_that_it_had() -> None:
    entries = await ran(agent())
    assert "state.changed" not in [entry.record.type for entry in entries]
    assert fold(entries).agent_state is None


async def test_what_a_call_changed_before_it_asks_a_human_is_in_the_log() -> None:
    asking = agent(tool_call("ask", {}))
    assert (await asking.invoke_async("Go.")).stop_reason == "interrupt"
    assert asking.state.get() == {"asked": True}
    entries = await ran(agent(tool_call("ask", {})))
    (asked,) = [entry.record for entry in entries if isinstance(entry.record, ToolInterrupted)]
    assert asked.state == {"values": {"asked": True}, "deleted": []}


async def test_what_hooks_change_is_in_the_log_before_what_comes_next() -> None:
    hooks = [counts_calls, counts_models, counts_messages]
    entries = await ran(agent(tool_call("count", {}), hooks=hooks))
    types = [entry.record.type for entry in entries if entry.record.type != "model.chunk"]
    assert types[types.index("tool.finished") - 1] == types[types.index("model.started") - 1] == "state.changed"
    assert fold(entries).agent_state == {"count": 1, "calls": 1, "models": 2, "messages": 4}


@pytest.mark.parametrize("hooks", ["live", "recorded"])
async def test_verify_repeats_the_changes_of_tools_and_hooks(hooks: Any) -> None:
    def made(**more: Any) -> Agent:
        calls = [tool_call("count", {}), tool_call("broken", {})]
        return agent(*calls, state={"old": 1}, hooks=[counts_calls, counts_models, counts_messages], **more)

    entries = await ran(made())
    verified = await verify(entries, made(), hooks=hooks)
    assert verified.difference is None, verified.difference and verified.difference.text


async def test_verify_tells_of_a_hook_that_changes_something_else() -> None:
    def counts_by_two(event: AfterToolCallEvent) -> None:
        event.agent.state.set("calls", 2)

    entries = await ran(agent(tool_call("count", {}), hooks=[counts_calls]))
    found = (await verify(entries, agent(tool_call("count", {}), hooks=[counts_by_two]))).difference
    assert found is not None
    assert (found.kind, found.record) == ("hook", "state.changed")
