"""Agents as tools in a fleet: each call is a run of its own, on the worker of the run that calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client, Fork, Run, open_log
from playhead.client.cli.verifying import agent_for
from playhead.client.forking_here import run_here
from playhead.runtime import Agent, AgentFactory, ToolContext, tool
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.records import ChildStarted, ToolFinished
from playhead.runtime.core.transcript import transcript
from playhead.runtime.log.values import RunInfo
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.replay import verify
from playhead.workers import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
def pay(context: ToolContext) -> str:
    """Pay, if a human agrees."""
    return f"paid: {context.interrupt('approve', 5)}"


def told(messages: Messages) -> list[str]:
    """The texts of the results in a history."""
    results = [block["toolResult"] for one in messages for block in one.get("content", []) if "toolResult" in block]
    return [result["content"][0]["text"] for result in results]


def asks(*names: str) -> Any:
    """A model that calls these tools in one message, and then repeats the results."""

    def script(messages: Messages) -> Any:
        if told(messages):
            return " ".join(text.strip() for text in told(messages))
        given = [tool_call(name, {"input": "go"}, f"t{number}") for number, name in enumerate(names, 1)]
        calls: list[Chunk] = given[0][:-2]
        for more in given[1:]:
            calls += more[1:-2]
        return [*calls, *given[0][-2:]]

    return ScriptedModel([script], repeat=True)


def quiet(model: Any, name: str, **options: Any) -> Agent:
    given = ScriptedModel([model], repeat=True) if isinstance(model, str) else model
    return Agent(given, name=name, callback_handler=None, **options)


def paying(name: str = "payer") -> Agent:
    return quiet(
        ScriptedModel(
            [lambda messages: f"It is {told(messages)[0]}." if told(messages) else tool_call("pay", {}, "p1")],
            repeat=True,
        ),
        name,
        tools=[pay],
    )


async def children(client: Client, run: Run) -> list[RunInfo]:
    return list(await client.runs(tag=f"parent={run.id}"))


async def text_of(run: Run) -> str:
    return str(await run.result()).strip()


async def test_three_levels_run_on_a_worker_with_one_place(fleet: Fleet):
    middle = quiet(asks("inner"), "middle", tools=[quiet("It is blue.", "inner")])
    async with fleet.worker(quiet(asks("middle"), "outer", tools=[middle]), concurrency=1), fleet.client() as client:
        runs = [await client.start("outer", "Go.") for _ in range(3)]
        assert [await text_of(run) for run in runs] == ["It is blue."] * 3
        (child,) = await children(client, runs[0])
        (grandchild,) = await children(client, client.run(child.run_id))
        assert (child.agent, grandchild.agent) == ("outer.middle", "outer.middle.inner")


async def test_agents_side_by_side_and_the_same_agent_twice_in_one_message(fleet: Fleet):
    tools = [quiet("Left.", "left"), quiet("Right.", "right")]
    outer = quiet(asks("left", "right", "left"), "outer", tools=tools)
    async with fleet.worker(outer, concurrency=1), fleet.client() as client:
        run = await client.start("outer", "Go.")
        assert await text_of(run) == "Left. Right. Left."
        assert len(await children(client, run)) == 3


async def test_parent_and_child_name_each_other(fleet: Fleet):
    async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet("Blue.", "inner")])), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await run.result()
        (child,) = await children(client, run)
        (started,) = [entry.record async for entry in run.records() if isinstance(entry.record, ChildStarted)]
        assert (started.run, started.agent) == (child.run_id, "outer.inner")
        (first, *_) = await client.log.read(child.run_id)
        assert dict(first.record)["options"]["parent"] == {"run": run.id, "call": f"{run.id}/t1"}


async def test_a_question_of_a_child_is_answered_at_its_parent_on_another_worker(fleet: Fleet):
    outer = quiet(asks("payer"), "outer", tools=[paying()])
    async with fleet.client() as client:
        async with fleet.worker(outer, concurrency=1):
            run = await client.start("outer", "Go.")
            (question,) = (await run.result(on_pause="end")).interrupts or []
            (child,) = await children(client, run)
            assert (await run.info()).state == child.state == "paused"
        async with fleet.worker(outer, concurrency=1):
            await run.respond({question.id: "yes"})
            assert await text_of(run) == "It is paid: yes."
            assert [one.state for one in await children(client, run)] == ["completed"]


async def test_a_cancel_of_the_parent_cancels_the_child_that_runs(fleet: Fleet, held_model: Callable[..., HeldModel]):
    held = held_model(["Hm"], ["!"])
    async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet(held, "inner")])), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await held.held.wait()
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"
        assert [one.state for one in await children(client, run)] == ["cancelled"]
        (ended,) = [entry.record async for entry in run.records() if isinstance(entry.record, ToolFinished)]
        assert ended.result["content"] == [{"text": "Agent 'inner' cancelled"}]


async def test_a_cancel_of_a_paused_parent_cancels_the_paused_child(fleet: Fleet):
    async with fleet.client() as client:
        async with fleet.worker(quiet(asks("payer"), "outer", tools=[paying()])):
            run = await client.start("outer", "Go.")
            await run.result(on_pause="end")
        await run.cancel()
        assert [one.state for one in await children(client, run)] == ["cancelled"]


async def test_a_passed_deadline_of_the_parent_ends_the_child_too(fleet: Fleet):
    outer = quiet(asks("payer"), "outer", tools=[paying()])
    async with fleet.worker(outer, lease_ms=2000), fleet.client() as client:
        run = await client.start("outer", "Go.", deadline=60)
        await run.result(on_pause="end")
        (child,) = await children(client, run)
        assert child.deadline == (await run.info()).deadline is not None
        passed = [part for one in (run.id, child.run_id) for part in (1, one)]
        await fleet.ask("ZADD", f"{{{fleet.prefix}:0}}:deadlines", "XX", *passed)
        async for _ in run.records():
            pass
        assert (await run.info()).state == "failed"
        assert [one.state for one in await children(client, run)] in (["failed"], ["cancelled"])


async def test_a_failure_of_the_child_is_an_error_result(fleet: Fleet):
    class Broken:
        async def stream(self, *args: Any, **kwargs: Any) -> Any:
            yield text_call("Hm")[0]
            raise ValueError("kaput")

    outer = quiet(asks("inner"), "outer", tools=[quiet(Broken(), "inner", retry=None)])
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.")
        assert await text_of(run) == "Agent error: kaput"
        assert [one.state for one in await children(client, run)] == ["failed"]


@pytest.mark.parametrize("session", ["ada", None])
async def test_with_its_context_preserved_a_child_goes_on_with_the_conversation_of_its_session(
    fleet: Fleet, session: str | None
):
    counting = ScriptedModel([lambda messages: f"Message {len(messages)}."], repeat=True)
    inner = quiet(counting, "inner").as_tool(preserve_context=True)
    outer = quiet(asks("inner", "inner"), "outer", tools=[inner])
    async with fleet.worker(outer, concurrency=1), fleet.client() as client:
        first = await client.start("outer", "Go.", session_id=session)
        assert sorted(told(await messages(first))) == ["Message 1.\n", "Message 3.\n"]
        second = await client.start("outer", "Go.")
        assert sorted(told(await messages(second))) == ["Message 1.\n", "Message 3.\n"]


async def test_a_preserved_agent_that_waits_for_a_human_refuses_another_call_and_the_run_pauses(fleet: Fleet):
    outer = quiet(asks("payer", "payer"), "outer", tools=[paying().as_tool(preserve_context=True)])
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.", session_id="ada")
        (question,) = (await run.result(on_pause="end")).interrupts or []
        await run.respond({question.id: "yes"})
        refused = "Agent error: the agent waits for a response in another call; call it again afterwards"
        assert sorted(told(await messages(run))) == [refused, "It is paid: yes.\n"]
        assert sorted(one.state for one in await children(client, run)) == ["cancelled", "completed"]


async def messages(run: Run) -> Messages:
    """The run's message with the results of its calls."""
    await run.result()
    return [
        dict(entry.record)["message"]
        async for entry in run.records()
        if entry.record.type == "message.added" and dict(entry.record)["origin"] == "tools"
    ]


async def test_a_drain_hands_parent_and_child_over_and_the_next_worker_goes_on_with_the_child(
    fleet: Fleet, held_model: Callable[..., HeldModel]
):
    held = held_model(["one", " two"], [" three"])
    async with fleet.client() as client:
        async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet(held, "inner")])):
            run = await client.start("outer", "Go.")
            await held.held.wait()
        (child,) = await children(client, run)
        assert (await run.info()).state == child.state == "queued"
        assert child.handovers == 1
        async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet("It is blue.", "inner")]), concurrency=1):
            assert await text_of(run) == "It is blue."
        assert [one.run_id for one in await children(client, run)] == [child.run_id]
        retracted = [event async for event in run.stream_async() if "tool_stream_event" in event]
        inside: list[Any] = [event["tool_stream_event"]["data"] for event in retracted]
        assert [one["text"] for one in inside if "retracted" in one] == ["one two"]


async def test_parent_and_child_verify_and_a_file_has_the_whole_stream_of_the_parent(fleet: Fleet, tmp_path: Path):
    outer = quiet(asks("payer"), "outer", tools=[paying()])
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.")
        (question,) = (await run.result(on_pause="end")).interrupts or []
        await run.respond({question.id: "yes"})
        await run.result()
        (child,) = await children(client, run)
        for one in (run, client.run(child.run_id)):
            found = await verify(one, outer)
            assert found.same, found.text
            assert not found.notes
        path = tmp_path / "run.jsonl"
        await run.export(path)
        with open_log(path) as file:
            kept = [event async for event in file.run().stream_async()]
        assert kept == [event async for event in run.stream_async()]


async def test_a_fork_in_the_middle_of_a_call_has_a_child_of_its_own(fleet: Fleet):
    outer = quiet(asks("payer"), "outer", tools=[paying()])
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await run.result(on_pause="end")
        places = {entry.record.type: entry.seq for entry in await client.log.read(run.id)}
        fork = await client.fork(run, Fork(at=places["child.started"], accept_effects=True))
        (question,) = (await fork.result(on_pause="end")).interrupts or []
        await fork.respond({question.id: "yes"})
        assert await text_of(fork) == "It is paid: yes."
        (own,), (theirs,) = await children(client, fork), await children(client, run)
        assert own.run_id != theirs.run_id
        assert theirs.state == "paused"


async def test_an_agent_that_a_factory_makes_has_agents_as_tools(fleet: Fleet):
    def outer(_: Any) -> Agent:
        return quiet(asks("inner"), "any", tools=[quiet("Blue.", "inner")])

    async with fleet.worker(AgentFactory(outer)), fleet.client() as client:
        run = await client.start("outer", "Go.")
        assert await text_of(run) == "Blue."
        (child,) = await children(client, run)
        assert child.agent == "outer.inner"
        assert (await verify(client.run(child.run_id), AgentFactory(outer))).same


async def test_a_transcript_names_the_child_and_has_its_messages(fleet: Fleet):
    async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet("Blue.", "inner")])), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await run.result()
        items = transcript([entry async for entry in run.records()])
        assert [(one.title, one.text) for one in items if one.kind == "progress"] == [("inner", "Blue.")]
        assert any(one.title.startswith("child run ") and one.title.endswith(" of outer.inner") for one in items)


def test_an_agent_with_the_name_of_anothers_child_is_refused(fleet: Fleet):
    outer = quiet("Hi.", "outer", tools=[quiet("Hi.", "inner")])
    with pytest.raises(
        ValueError, match=r"agent 'outer\.inner' has the name that runs of a tool of agent 'outer' have"
    ):
        Worker([outer, quiet("Hi.", "outer.inner")], log=fleet.log("worker"))


async def test_a_lost_child_is_claimed_again_while_its_parent_goes_on(
    fleet: Fleet, held_model: Callable[..., HeldModel]
):
    held = held_model(["one"], [" two"])
    async with fleet.worker(quiet(asks("inner"), "outer", tools=[quiet(held, "inner")])), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await held.held.wait()
        (child,) = await children(client, run)
        server: Any = client.log
        await server.client.execute_command("ZADD", server.keys.leases, "XX", 1, child.run_id)
        with anyio.fail_after(10):
            while (await client.run(child.run_id).info()).epoch < 2:  # noqa: ASYNC110 - what a worker does gives no signal
                await anyio.sleep(0.02)
        held.go.set()
        await run.result()
        assert (await run.info()).epoch == 1


async def test_commands_find_the_agent_of_a_child_by_its_name_and_a_fork_of_it_runs_here(fleet: Fleet):
    outer = quiet(asks("inner"), "outer", tools=[quiet("Blue.", "inner")])
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.")
        await run.result()
        (child,) = await children(client, run)
        agents: Any = {"outer": outer, "another": quiet("Hi.", "another")}
        found = agent_for(child.agent, agents, target="agents.py")
        assert isinstance(found, Agent)
        assert (found.name, found.tools) == ("outer.inner", {})
        log = await run_here(client.log, child.run_id, Fork(at=1), found, run_id="0-fork")
        info = await log.info("0-fork")
        assert info is not None
        assert info.state == "completed"


async def test_a_run_that_delegates_ends_with_the_answer_of_its_child_and_verifies(fleet: Fleet):
    inner = quiet("You owe six.", "inner").as_tool(delegate=True)
    mixed = asks("inner", "pay")
    outer = quiet(
        ScriptedModel([mixed.calls[0], tool_call("inner", {"input": "go"}, "t3")]), "outer", tools=[inner, pay]
    )
    async with fleet.worker(outer), fleet.client() as client:
        run = await client.start("outer", "Go.")
        assert await text_of(run) == "You owe six."
        said = [event["data"] async for event in run.stream_async() if "data" in event]
        assert said == ["You", " owe", " six."]
        refused = told(await messages(run))[:2]
        assert [text.startswith("This tool call was not executed.") for text in refused] == [True, True]
        assert (await verify(run, outer)).same
