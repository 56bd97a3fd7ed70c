"""A prompt that is sent to a running run, and that its guest did not take, is that of the guest's next invocation: none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from playhead.runtime.core.records import (
    Entry,
    EventEmitted,
    MessageAdded,
    Record,
    RunClaimed,
    RunCompleted,
    SignalReceived,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.loop.spec import Flush
from playhead.runtime.replay import EntriesRecording, verify
from tests.support.guest_owners import RUN, Owners, cuts

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Talk:
    """A guest that answers what it hears, and is sent prompts while its model answers.

    Attributes:
        sends: By the prompt that is answered, the prompts that are sent meanwhile.
        takes: Whether the guest takes them itself.
    """

    def __init__(self, sends: dict[str, list[str]], *, takes: bool = False) -> None:
        self.sends = sends
        self.takes = takes
        self.home = asyncio.get_running_loop()
        self.run: Owners = self.owned([])

    def owned(self, log: list[Entry]) -> Owners:
        """The owners of a run of it."""
        self.run = Owners(FunctionGuest(self.guest, name="guest"), list(log))
        return self.run

    async def guest(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        """One answer to each prompt: it tells how many messages were said before."""

        async def answer() -> AsyncGenerator[str]:
            yield f"{prompt} after {len(ctx.history)}"
            await self.steered(str(prompt))

        text = "".join([piece async for piece in ctx.model([prompt], answer)])
        heard = ctx.steers() if self.takes else []
        ctx.result, ctx.items = " and ".join([text, *heard]), [text]
        yield {"past": ctx.past(lambda message: message.get("role"))}

    async def steered(self, prompt: str) -> None:
        """Wait until all that is sent in this answer is in the log."""
        run, sent = self.run, [Signal(f"s {one}", "steer", one) for one in self.sends.get(prompt, [])]
        while missing := [one for one in sent if one.signal_id not in received(run)]:
            self.home.call_soon_threadsafe(run.control.deliver, missing)
            await asyncio.sleep(0.001)


def received(run: Owners) -> list[str]:
    return [one.signal_id for one in run.of(SignalReceived)]


def said(run: Owners) -> list[tuple[str, str]]:
    """What enters the session, with its origin."""
    return [(one.origin, one.message["content"][0]["text"]) for one in run.of(MessageAdded)]


async def test_a_prompt_that_the_guest_did_not_take_is_that_of_its_next_invocation_with_the_conversation_so_far() -> (
    None
):
    talk = Talk({"go": ["and then?"], "and then?": ["and now?", "and last?"]})
    whole = talk.run
    await whole.to_the_end()
    assert said(whole) == [
        ("prompt", "go"),
        ("model", "go after 0"),
        ("steer", "and then?"),
        ("model", "and then? after 2"),
        ("steer", "and now?"),
        ("model", "and now? after 4"),
        ("steer", "and last?"),
        ("model", "and last? after 6"),
    ]
    assert whole.end.result["message"]["content"] == [{"text": "and last? after 6"}]
    pasts = [event["past"] for event in whole.events() if "past" in event]
    assert pasts[-1][:2] == ["user", "go after 0"]
    for run, where in cuts(whole, talk.owned):
        await run.to_the_end()
        assert said(run) == said(whole), where
        assert run.end.result["message"] == whole.end.result["message"], where
    assert (await verify(EntriesRecording(whole.log, run_id=RUN), whole.guest)).same


async def test_a_prompt_that_the_guest_takes_does_not_invoke_it_again() -> None:
    run = Talk({"go": ["hurry"]}, takes=True).run
    await run.to_the_end()
    assert said(run) == [("prompt", "go"), ("model", "go after 0 and hurry")]


async def owned(run: Owners, sent: list[Signal], *, after: type[Record]) -> None:
    """An owner, whose guest has ended before its host is given what is sent: that comes with this record."""
    async with aclosing(run.opened().records()) as items:
        async for item in items:
            assert not isinstance(item, Flush)
            record = record_of(item)
            if isinstance(record, RunCompleted) and len(received(run)) < len(sent):
                return  # the log completes no run for which signals wait
            run.append(record)
            if isinstance(record, after):
                run.control.deliver(sent)


class Short:
    """A guest that waits for nothing after its first record."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    async def guest(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        """An event, and an answer."""
        yield {"prompt": prompt}
        if self.fails:
            raise ValueError("no")
        ctx.result = f"{prompt} after {len(ctx.history)}"


async def test_a_prompt_that_comes_when_the_guest_has_ended_invokes_it_when_its_owner_runs_it_again() -> None:
    run = Owners(FunctionGuest(Short().guest, name="guest"))
    run.append(RunClaimed(at=0, worker="w"))
    for _ in range(2):
        await owned(run, [Signal("late", "steer", "and then?")], after=EventEmitted)
    assert said(run)[1:] == [("model", "go after 0"), ("steer", "and then?"), ("model", "and then? after 2")]
    assert received(run) == ["late"]
    assert run.ended


async def test_a_cancel_that_follows_such_a_prompt_ends_the_run_with_the_answer_that_it_has() -> None:
    run = Owners(FunctionGuest(Short().guest, name="guest"))
    run.append(RunClaimed(at=0, worker="w"))
    sent = [Signal("late", "steer", "and then?"), Signal("c", "cancel")]
    for _ in range(2):
        await owned(run, sent, after=EventEmitted)
    assert received(run) == ["late", "c"]
    assert run.end.result["message"]["content"] == [{"text": "go after 0"}]


async def test_a_prompt_that_waits_when_the_run_fails_is_not_received() -> None:
    """So it becomes a run of its own, if it was sent to the session."""
    run = Owners(FunctionGuest(Short(fails=True).guest, name="guest"))
    await owned(run, [Signal("late", "steer", "and then?")], after=EventEmitted)
    assert run.end.type == "run.failed"
    assert received(run) == []
