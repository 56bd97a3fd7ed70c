"""`if_busy`: what a caller gets whose session has a run that has not ended, from every place that submits runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import strands

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RunConflictError, RunFailedError, SessionHeldError
from playhead.runtime.core.records import MessageAdded, RunSubmitted, SignalReceived
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from playhead.runtime.models import ScriptedModel
from tests.support.strands_agents import Script, World
from tests.support.strands_agents import said as said_by_strands

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


async def said(client: Client, session: str = "ada") -> list[str]:
    """What the user said in the session."""
    messages: list[Any] = list(await client.session(session).messages())
    return [block["text"] for one in messages if one["role"] == "user" for block in one["content"] if "text" in block]


async def test_a_remote_agent_that_is_busy_does_what_the_caller_chose(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        agent = client.agent("agent", session_id="ada")
        first = await client.start("agent", "one", session_id="ada")
        await model.held.wait()
        with pytest.raises(SessionHeldError, match=f"run {first.id} \\(running\\) holds the session 'ada'"):
            await agent.invoke_async("refused", if_busy="reject")
        steered = await client.start("agent", "two", session_id="ada", if_busy="steer")
        assert steered.id == first.id
        model.go.set()
        events = [event async for event in agent.stream_async("three", if_busy="queue")]
        assert events[-1].run_id != first.id
        assert await said(client) == ["one", "two", "three"]


async def test_the_run_that_is_busy_is_cancelled_and_the_new_one_follows(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        first = await client.start("agent", "one", session_id="ada")
        await model.held.wait()
        second = await client.start("agent", "two", session_id="ada", if_busy="cancel")
        assert (await first.result()).stop_reason == "cancelled"
        model.go.set()
        assert (await second.result()).stop_reason == "end_turn"
        assert await said(client) == ["one", "two"]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ({"if_busy": "wait", "session_id": "ada"}, "if_busy must be 'queue' or 'reject' or 'cancel' or 'steer'"),
        ({"if_busy": "reject"}, "if_busy='reject' needs a session_id"),
        ({"if_busy": "steer", "session_id": "ada", "prompt": None}, "a steer must not be empty"),
        ({"if_busy": "steer", "session_id": "ada", "limits": {"turns": 1}}, "'steer' does not go with limits"),
    ],
)
async def test_a_choice_that_does_not_fit_the_call_is_refused(fleet: Fleet, call: dict[str, Any], wrong: str) -> None:
    given: Any = {"prompt": "Hi", **call}
    async with fleet.client() as client:
        with pytest.raises(ValueError, match=wrong):
            await client.start("agent", **given)
        assert await client.runs() == []


async def test_a_steer_submitted_again_under_one_id_is_the_same_request_or_a_conflict(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run_id = await client.new_run_id(session_id="ada")
        for _ in range(2):
            run = await client.start("agent", "one", session_id="ada", run_id=run_id, if_busy="steer")
            assert run.id == run_id
        with pytest.raises(RunConflictError):
            await client.start("agent", "two", session_id="ada", run_id=run_id, if_busy="steer")


def own_loop(answer: Callable[[Messages], str]) -> Agent:
    return Agent(ScriptedModel([answer], repeat=True), name="agent", callback_handler=None)


def function(answer: Callable[[Messages], str]) -> FunctionGuest:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def stream() -> AsyncGenerator[str]:
            yield answer([])

        ctx.result = "".join([piece async for piece in ctx.model([prompt], stream)])
        yield {"ended": True}

    return FunctionGuest(run, name="agent", own_loop=False)


def of_strands(answer: Callable[[Messages], str]) -> StrandsGuest:
    class Answers(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
            """One text."""
            for chunk in said_by_strands(answer(messages)):
                yield chunk

    world = World()

    def make() -> strands.Agent:
        made = world.agent(tools=[])
        made.model = Answers(world, [])
        return made

    return StrandsGuest(make, name="agent", own_loop=False)


@pytest.mark.parametrize("served", [own_loop, function, of_strands])
async def test_no_prompt_is_lost_or_said_twice_when_a_run_ends_while_it_is_steered(
    fleet: Fleet, served: Callable[[Callable[[Messages], str]], Agent | Guest]
) -> None:
    """Each steer races with the end of the run: in any order it is in one run's log, as a signal or as its prompt. One that a
    run received and did not fail or get cancelled after is in its conversation."""
    dice = random.Random(7)

    def answer(messages: Messages) -> str:
        if dice.random() < 0.25:
            raise RuntimeError("the model failed")
        return "yes"

    sent: list[str] = []

    async def talk(client: Client, session: str) -> None:
        for number in range(12):
            sent.append(f"{session} {number}")
            run = await client.start("agent", sent[-1], session_id=session, if_busy="steer")
            if dice.random() < 0.2:
                await run.cancel()
            for _ in range(dice.randrange(8)):
                await anyio.lowlevel.checkpoint()

    async with fleet.worker(served(answer)), fleet.client() as client:
        async with anyio.create_task_group() as tasks:
            for session in ("ada", "bob", "cid"):
                tasks.start_soon(talk, client, session)
        found: Counter[str] = Counter()
        for session in ("ada", "bob", "cid"):
            while (busy := await client.run_of_session(session)) is not None:
                with suppress(RunFailedError):
                    await busy.result()
        for info in await client.runs(limit=100):
            records = [entry.record async for entry in client.run(info.run_id).records()]
            signals = [one for one in records if isinstance(one, SignalReceived)]
            steers = [str(one.body) for one in signals if one.kind == "steer"]
            found.update([*steers, *(str(one.prompt) for one in records if isinstance(one, RunSubmitted))])
            if info.state == "completed" and len(signals) == len(steers):
                added = [one.message for one in records if isinstance(one, MessageAdded)]
                told = [block["text"] for one in added for block in one.get("content", []) if "text" in block]
                assert [text for text in told if text in steers] == steers
        assert found == Counter(sent)
