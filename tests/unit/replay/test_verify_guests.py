"""Verification of a guest's run: it runs again offline, and the first record that differs is named with its cause."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from playhead.runtime.core.errors import AgentStuckError
from playhead.runtime.core.records import Entry, ModelChunk, ModelStarted, SignalReceived
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.host import host
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.replay import Verification, guests, verify
from tests.support.guest_owners import RUN, Owners
from tests.unit.host import test_killed_anywhere as everything

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Run = Callable[[GuestContext, Any], AsyncGenerator[Any]]


async def clerk(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """Say it, look, ask a model, call a tool, look at the clock, ask a human."""
    yield {"began": prompt}
    page = await ctx.step("look", one)
    text = ""
    async for word in ctx.model({"system_prompt": "Be brief.", "messages": [prompt]}, words):
        text += word
    paid = await ctx.tool({"name": "pay", "input": {"euros": 17}, "toolUseId": "t1"}, one)
    yield {"paid": paid, "page": page, "late": ctx.now() < 0}
    answer = await ctx.ask("approve", {"text": text})
    ctx.result = f"{text}: {answer}"


async def one() -> int:
    """A value."""
    return 1


async def words() -> AsyncGenerator[str]:
    """A model."""
    for word in ("It is ", "so."):
        yield word


def changed(old: str, new: str) -> Run:
    """The clerk with another line."""
    source = inspect.getsource(clerk)
    assert source.count(old) == 1, old
    given: dict[str, Any] = {}
    code = compile(source.replace(old, new), "/its/clerk.py", "exec")
    exec(code, {**globals(), "calls": []}, given)
    return given["clerk"]


async def recorded(run: Run = clerk) -> list[Entry]:
    """The log of a run of it."""
    owners = Owners(FunctionGuest(run, name="clerk"))
    await owners.to_the_end()
    return owners.log


async def verified(run: Run, log: list[Entry] | None = None, **options: Any) -> Verification:
    """What is found in the clerk's log with another clerk."""
    return await verify(log or await recorded(), FunctionGuest(run, name="clerk"), **options)


LOOK, PAY, ASK = 'ctx.step("look", one)', '"toolUseId": "t1"}, one)', 'ctx.ask("approve", {"text": text})'

CHANGES = {
    "another event": ('{"began": prompt}', '{"began": "now"}', 4, "event", 3),
    "a prompt": ("Be brief.", "Be kind.", 6, "system_prompt", 1),
    "messages": ('"messages": [prompt]', '"messages": [prompt, "?"]', 6, "history", 1),
    "a step's key": (LOOK, 'ctx.step("peek", one)', 5, "step", 4),
    "one more step": (f"await {LOOK}", f'(await {LOOK}) + await ctx.step("again", one)', 6, "step", 4),
    "a missing step": (f"await {LOOK}", "1", 5, "step", 1),
    "another input": ('{"euros": 17}', '{"euros": 18}', 10, "tool_call", 8),
    "another call": (PAY, PAY.replace("t1", "t2"), 10, "tool_call", 8),
    "another use of the model's answer": ("text += word", "text = word", 14, "question", 10),
    "one more model call": (
        "text += word",
        "text += word\n    [_ async for _ in ctx.model(1, words)]",
        10,
        "tool_call",
        8,
    ),
    "another question": (ASK, 'ctx.ask("allow", {"text": text})', 14, "question", 10),
    "one more question": (f"await {ASK}", f'(await {ASK}) + await ctx.ask("sure", 1)', 17, "question", 10),
    "no question": (f"await {ASK}", '"yes"', 14, "question", 1),
    "a decision by the clock": ("ctx.now() < 0", "__import__('time').time() > 1", 12, "step", 9),
    "one more time": ('"late": ctx.now()', '"late": ctx.now() + ctx.now()', 13, "step", 9),
    "another result": ("{text}: {answer}", "{answer}: {text}", 17, "message", 1),
    "an error": ('"paid": paid', '"paid": 1 / 0', 12, "step", 9),
}


LOG: list[Entry] = []


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_of_a_function_is_named_at_its_record_and_line(name: str) -> None:
    old, new, seq, kind, line = CHANGES[name]
    LOG[:] = LOG or await recorded()
    found = (await verified(changed(old, new), LOG)).difference
    assert found is not None
    assert (found.seq, found.kind) == (seq, kind), found.text
    assert found.changes[0].where == f"/its/clerk.py:{line}"


async def test_an_unchanged_function_finds_nothing_and_does_nothing() -> None:
    run = everything.owners(everything.World())
    await run.to_the_end()
    world = everything.World()
    found = await verify(run.log, everything.owners(world).guest)
    assert found.same, found.text
    assert found.records == len(run.log)
    assert not world.effects


async def test_what_differs_is_shown_as_it_was_and_as_it_is() -> None:
    text = (await verified(changed("Be brief.", "Be kind."))).text
    assert text == (
        "record 6-1 of run run, model.started, differs (- recorded, + now)\n"
        "system_prompt: the system prompt (/its/clerk.py:1)\n"
        "  -Be brief.\n"
        "  +Be kind."
    )


async def test_kinds_that_are_ignored_are_passed_over() -> None:
    run = changed("Be brief.", "Be kind.")
    assert (await verified(run, ignore=["system_prompt"])).same
    found = await verified(changed('{"began": prompt}', '{"began": "now"}'), ignore=["event"])
    assert found.same, found.text


async def test_a_guest_takes_none_of_the_halves_of_an_agent() -> None:
    with pytest.raises(ValueError, match="a guest is verified with the recorded answers"):
        await verified(clerk, tools="live")


async def test_a_cancel_that_came_while_a_function_failed_is_not_a_difference() -> None:
    async def breaks() -> None:
        raise ValueError("broken")

    async def fails(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        await ctx.step("breaks", breaks)
        yield {}

    guest = FunctionGuest(fails, name="clerk")
    owners = Owners(guest)
    await owners.to_the_end()
    assert owners.log.pop().record.type == "run.failed"
    owners.append(SignalReceived(at=0, signal_id="s", kind="cancel", body=None))
    await owners.to_the_end()
    assert owners.end.type == "run.cancelled"
    assert (await verify(owners.log, guest)).same


async def blocks(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """Wait for ever, in its thread."""
    RELEASE.wait(20)
    yield {}


async def waits(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
    """Wait for what is not in the log."""
    await asyncio.Event().wait()
    yield {}


RELEASE = threading.Event()


@pytest.mark.parametrize("run", [blocks, waits])
async def test_a_guest_that_does_not_go_on_is_stopped_with_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await recorded()
    monkeypatch.setattr(guests, "PATIENCE_S", 0.02)
    monkeypatch.setattr(host, "CLOSE_GRACE_S", 0.02)
    RELEASE.clear()
    try:
        with pytest.raises(
            AgentStuckError, match=r"before record 4, event.emitted the agent clerk has not gone on for 0.02 s"
        ):
            await verified(run, log)
    finally:
        RELEASE.set()


async def test_a_run_that_goes_on_has_what_differs_only_in_what_it_has() -> None:
    log = await recorded()
    for length in range(2, len(log)):
        found = await verified(clerk, log[:length])
        assert found.same, found.text
    assert (await verified(changed("{text}: {answer}", "{answer}: {text}"), log[:14])).same


async def test_the_request_of_a_call_that_was_withdrawn_is_known_when_it_runs_again() -> None:
    whole = Owners(FunctionGuest(clerk, name="clerk"))
    await whole.to_the_end()
    cut = next(entry.seq for entry in whole.log if isinstance(entry.record, ModelChunk))
    run = Owners(whole.guest, whole.log[:cut])
    await run.to_the_end()
    began, again = (entry.seq for entry in run.log if isinstance(entry.record, ModelStarted))
    assert began < cut < again
    for seq in (began, again):
        asked = await guests.request_of_guest(run.guest, run.log, run_id=RUN, said=StoredMessages(), seq=seq)
        assert asked.parts == {"system_prompt": "Be brief.", "messages": ["go"]}
