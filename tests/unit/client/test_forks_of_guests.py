"""A run of a guest is forked at any record: the guest runs again over the records before it, and is live from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import pytest

from playhead.client import RunReader
from playhead.client.tails.file_tail import file_tail
from playhead.runtime.core.errors import ForkAfterEffectsError, RunFailedError
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    ToolStarted,
)
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from playhead.runtime.replay import verify
from playhead.runtime.replay.rerun import rerun
from tests.support.strands_agents import AGENTS, MANY, WORLD, World

__all__: list[str] = []

pytestmark = pytest.mark.anyio

EFFECTS: list[str] = []
QUESTION = "v1:guest:ask:approve"


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """Every kind of record."""

    async def pay() -> str:
        EFFECTS.append("pay")
        return "17 euros"

    async def look() -> int:
        EFFECTS.append("look")
        return 1

    async def words() -> AsyncGenerator[str]:
        EFFECTS.append("ask")
        yield "You owe."

    yield {"began": prompt}
    page = await ctx.step("look", look)
    text = "".join([word async for word in ctx.model({"messages": [prompt]}, words)])
    paid = await ctx.tool({"name": "pay", "input": {"n": page}, "toolUseId": "t1"}, pay)
    answer = await ctx.ask("approve", text)
    ctx.result = f"{paid}: {answer} {''.join(map(str, ctx.steers()))}".strip()


GUEST = FunctionGuest(clerk, name="clerk")


async def made(guest: Guest, *, session: str | None = None, answers: Any = None) -> RunReader:
    """A run of a guest, in memory."""
    first = RunSubmitted(at=0, agent=guest.name, prompt="go", session=session)
    entries = [Entry(1, 0, first)]
    if answers:
        entries.append(Entry(2, 0, SignalReceived(at=0, signal_id="s", kind="respond", body=answers)))
    log, run_id = await rerun(entries, guest)
    EFFECTS.clear()
    return RunReader(run_id, log=log, open_tail=partial(file_tail, log))


async def stored(run: RunReader) -> list[Entry]:
    return await run.log.read(run.id)


def kinds(entries: list[Entry]) -> dict[str, int]:
    """The first record of each kind that does not end the run; of steps, of each key."""
    named = {f"{one.record.type} {getattr(one.record, 'key', '')}": one.seq for one in reversed(entries)}
    return {kind: seq for kind, seq in named.items() if kind.strip() not in TERMINAL_TYPES}


@pytest.mark.parametrize("session", [None, "ada"])
async def test_forked_at_each_kind_of_record_it_comes_to_the_same_end(session: str | None) -> None:
    parent = await made(GUEST, session=session, answers={QUESTION: "yes"})
    log = await stored(parent)
    places = kinds(log)
    assert len(places) >= 12
    for kind, at in places.items():
        fork = await parent.fork_here(GUEST, at=at, answers={}, accept_effects=True)
        if (await fork.info()).state == "paused":  # the answer came later
            last = (await stored(fork))[-1].seq
            fork = await fork.fork_here(GUEST, at=last, answers={QUESTION: "yes"}, accept_effects=True)
        assert str(await fork.result()).strip() == "17 euros: yes", kind
        done = [one.record for one in log[:at]]
        wanted = ["look"] * (not any(isinstance(one, StepFinished) and one.key == "/step:look" for one in done))
        assert [one for one in EFFECTS if one == "look"] == wanted, kind
        assert (await verify(fork, GUEST)).same, kind
        EFFECTS.clear()


async def test_a_fork_has_what_it_is_given_in_place_of_what_follows() -> None:
    parent = await made(GUEST, answers={QUESTION: "yes"})
    log = await stored(parent)
    tool = next(one.seq for one in log if isinstance(one.record, ToolStarted))
    paused = next(one.seq for one in log if isinstance(one.record, RunPaused))
    with pytest.raises(ForkAfterEffectsError, match="has run tools: pay"):
        await parent.fork_here(GUEST, at=tool)
    paid = await parent.fork_here(GUEST, at=tool, results={"t1": "no euros"}, say="stop", accept_effects=True)
    assert EFFECTS == [], "the call with a result did not run"
    assert (await paid.info()).state == "paused"
    last = (await stored(paid))[-1].seq
    told = await paid.fork_here(GUEST, at=last, answers={QUESTION: "no"}, accept_effects=True)
    assert str(await told.result()).strip() == "no euros: no stop"
    other = await parent.fork_here(GUEST, at=paused, answers={"approve": "never"}, accept_effects=True)
    assert str(await other.result()).strip() == "17 euros: never"
    asked = await parent.fork_here(GUEST, at=2, prompt="another")
    assert any(dict(one.record).get("event") == {"began": "another"} for one in await stored(asked))
    with pytest.raises(ValueError, match="has begun with its prompt at record 3"):
        await parent.fork_here(GUEST, at=4, prompt="too late")
    with pytest.raises(ValueError, match=rf"no other question 'approve' is open after record {paused}"):
        await parent.fork_here(GUEST, at=paused, answers={QUESTION: 1, "approve": 2}, accept_effects=True)
    with pytest.raises(ValueError, match=r"no call 't9' needs a result after record \d+: those are t1 \(pay\)"):
        await parent.fork_here(GUEST, at=tool, results={"t9": 1}, accept_effects=True)


async def test_words_are_said_within_an_answer_which_is_then_made_again() -> None:
    parent = await made(GUEST, answers={QUESTION: "yes"})
    chunk = next(one.seq for one in await stored(parent) if one.record.type == "model.chunk")
    fork = await parent.fork_here(GUEST, at=chunk, say="hurry")
    assert EFFECTS == ["ask", "pay"]
    last = (await stored(fork))[-1].seq
    end = await fork.fork_here(GUEST, at=last, answers={QUESTION: "yes"}, accept_effects=True)
    assert str(await end.result()).strip() == "17 euros: yes hurry"


async def test_todays_code_that_does_something_else_before_the_place_fails_at_the_record() -> None:
    async def other(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"begins": prompt}

    parent = await made(GUEST, answers={QUESTION: "yes"})
    fork = await parent.fork_here(FunctionGuest(other, name="clerk"), at=6)
    with pytest.raises(RunFailedError, match=r"record 4 of the log is the event \{'began': 'go'\}"):
        await fork.result()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["simple", "sub_agents", "swarm"])
async def test_an_agent_of_strands_is_forked_at_each_kind_of_record(name: str) -> None:
    world = World()
    guest = StrandsGuest(lambda: {**AGENTS, **MANY}[name](WORLD[-1]), name="agent")
    parent = await made(guest)
    result, log = str(await parent.result()), await stored(parent)
    for kind, at in kinds(log).items():
        world = World()
        fork = await parent.fork_here(guest, at=at, accept_effects=True)
        assert str(await fork.result()) == result, kind
        ended = sum(one.record.type == "tool.finished" for one in log[:at])
        assert sum(world.effects.values()) <= 7 - ended, f"{kind}: a finished tool ran again"
        assert (await verify(fork, guest)).same, kind


async def test_the_state_at_a_record_of_a_guest_has_its_session_and_no_step_of_playheads_own_loop() -> None:
    run = await made(GUEST, session="ada", answers={QUESTION: "yes"})
    log = await stored(run)
    tool = next(one.seq for one in log if isinstance(one.record, ToolStarted))
    states = run.states()
    at_work, ended = await states.at(tool), await states.at(len(log))
    assert (at_work.guest, at_work.step, at_work.history_known) == (True, None, True)
    assert (ended.guest, ended.step) == (False, None)
