"""What a guest does side by side, within time limits and in other threads, over a log that another order has written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import anyio
import pytest

from playhead.runtime.core.records import EventEmitted, ModelChunk, ModelRetried, ModelStarted, StepFinished
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from tests.support.guest_owners import Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Run = Callable[[GuestContext, Any], AsyncGenerator[Any]]


def owners(run: Run) -> Owners:
    return Owners(FunctionGuest(run, name="guest"))


def upto(whole: Owners, last: int) -> Owners:
    """New owners of the run, with its records up to that one."""
    return Owners(whole.guest, whole.log[:last])


def texts(run: Owners) -> str:
    return "".join(event["data"] for event in run.events() if "data" in event)


async def side_by_side(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    tasks = [asyncio.ensure_future(one) for one in calls]
    return [await one for one in tasks]


class TwoCalls:
    """Makes two model calls side by side, in the order of `first` and `second`; the second waits until the first gives something."""

    def __init__(self) -> None:
        self.order = "AB"
        self.given: dict[str, str] = {}

    async def run(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        begun = asyncio.Event()

        async def words(name: str) -> AsyncGenerator[str]:
            for number in range(4):
                yield f"{name}{number} "
                await asyncio.sleep(0)

        async def ask(name: str) -> None:
            if name == self.order[1]:
                await begun.wait()
            self.given[name] = ""
            async for item in ctx.model([name], lambda: words(name), name=name):
                self.given[name] += item
                begun.set()

        await side_by_side(ask("A"), ask("B"))
        await ctx.step("last", lambda: asyncio.sleep(0, 1))
        yield {"over": True}


async def test_the_answers_of_two_calls_that_were_cut_off_are_not_mixed_in_whatever_order_they_are_made_again() -> None:
    guest = TwoCalls()
    first = owners(guest.run)
    await first.own()
    shown = [entry.seq for entry in first.log if isinstance(entry.record, ModelChunk)]
    guest.order = "BA"
    second = upto(first, shown[1])
    await second.own()
    assert second.end.type == "run.completed", second.end
    assert guest.given == {"A": "A0 A1 A2 A3 ", "B": "B0 B1 B2 B3 "}
    assert texts(second) in {guest.given["A"], guest.given["B"]}, "readers follow one answer"
    last = next(e.seq for e in second.log if isinstance(e.record, StepFinished) and "last" in e.record.key)
    third = upto(second, last - 1)
    guest.given.clear()
    await third.own()
    assert third.end.type == "run.completed", third.end
    assert guest.given == {"A": "A0 A1 A2 A3 ", "B": "B0 B1 B2 B3 "}


async def test_an_event_that_came_while_a_call_was_shown_stays_when_the_call_is_withdrawn_after_it_was_told_again() -> (
    None
):
    waits = True

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        begun = asyncio.Event()

        async def words() -> AsyncGenerator[str]:
            for number in range(4):
                begun.set()
                yield f"{number} "
                await asyncio.sleep(0)

        async def ask() -> str:
            if not waits:
                await begun.wait()
            return "".join([item async for item in ctx.model(["q"], words)])

        answer = asyncio.ensure_future(ask())
        if waits:
            await begun.wait()
        yield {"looked": 1}
        begun.set()
        yield {"answer": await answer}

    whole = owners(run)
    await whole.own()
    looked = next(entry.seq for entry in whole.log if isinstance(entry.record, EventEmitted))
    waits = False
    again = upto(whole, looked + 1)
    await again.own()
    assert again.end.type == "run.completed", again.end
    assert [event["looked"] for event in again.events() if "looked" in event] == [1]
    third = upto(again, len(again.log) - 1)
    await third.own()
    assert third.end.type == "run.completed", third.end


class Limited:
    """Waits for a model, a step or a sleep for a short time only, then does something else; counts what it did."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.did: list[str] = []

    async def _slow(self) -> AsyncGenerator[str]:
        self.did.append("slow")
        yield "slow "
        await asyncio.Event().wait()

    async def _fast(self) -> AsyncGenerator[str]:
        self.did.append("fast")
        yield "fast"

    async def _step(self) -> None:
        self.did.append("slow")
        await asyncio.Event().wait()

    async def _waits(self, ctx: GuestContext) -> None:
        match self.what:
            case "model":
                _ = [item async for item in ctx.model(["q"], self._slow)]
            case "hidden model":
                with ctx.within("a part"):
                    _ = [item async for item in ctx.model(["q"], self._slow)]
            case "step":
                await ctx.step("slow", self._step)
            case _:
                await ctx.sleep(20)

    async def run(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        limited = False
        try:
            with anyio.fail_after(0.02):
                await self._waits(ctx)
        except TimeoutError:
            limited = True
        text = "".join([item async for item in ctx.model(["q"], self._fast)])
        yield {"limited": limited, "text": text}
        yield {"over": await ctx.step("last", lambda: asyncio.sleep(0, 1))}


@pytest.mark.parametrize("what", ["model", "hidden model", "step", "sleep"])
async def test_what_the_guest_waited_for_no_longer_is_not_begun_again_and_nothing_after_it_is_withdrawn(
    what: str,
) -> None:
    guest = Limited(what)
    whole = owners(guest.run)
    await whole.own()
    assert whole.end.type == "run.completed", whole.end
    last = next(e.seq for e in whole.log if isinstance(e.record, StepFinished) and "last" in e.record.key)
    for cut in (last - 1, last):
        guest.did.clear()
        again = upto(whole, cut)
        await again.own()
        assert again.end.type == "run.completed", again.end
        assert (guest.did, again.of(ModelRetried)) == ([], [])
        assert next(event for event in again.events() if "limited" in event)["limited"]


async def test_a_question_beside_a_sleep_that_is_cut_off_pauses_the_run() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def remind() -> None:
            with anyio.move_on_after(0.02):
                await ctx.sleep(30)

        answer, _ = await side_by_side(ctx.ask("pay"), remind())
        yield {"answer": answer}

    asks = owners(run)
    await asks.own()
    assert asks.end.type == "run.paused", asks.end
    await asks.own()
    assert asks.end.type == "run.completed", asks.end


async def test_calls_from_the_blocked_event_loop_do_not_wait_for_it() -> None:
    async def one() -> int:
        return 1

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        done = [ctx.wait(lambda number=number: ctx.tool({"name": f"t{number}"}, one)) for number in range(60)]
        yield {"sum": sum(done)}

    calls = owners(run)
    await calls.own()
    assert calls.end.type == "run.completed", calls.end


async def test_threads_of_the_guest_come_to_their_steps_in_any_order() -> None:
    order = ["b", "a"]

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        ended = {name: threading.Event() for name in order}

        def work(name: str) -> None:
            async def do() -> str:
                return name

            if name == order[1]:
                ended[order[0]].wait()
            ctx.wait(lambda: ctx.step(name, do))
            ended[name].set()

        threads = [threading.Thread(target=work, args=(name,)) for name in order]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        yield {"over": True}

    whole = owners(run)
    await whole.own()
    assert whole.end.type == "run.completed", whole.end
    first = next(entry.seq for entry in whole.log if isinstance(entry.record, StepFinished))
    order.reverse()
    again = upto(whole, first)
    await again.own()
    assert again.end.type == "run.completed", again.end


async def test_a_long_answer_that_readers_do_not_see_is_the_same_after_a_takeover() -> None:
    async def long() -> AsyncGenerator[dict[str, Any]]:
        for number in range(1_200):
            yield {"number": number, "delta": "word " * 200}

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        with ctx.within("a part"):
            items = [item async for item in ctx.model(["q"], long)]
        yield {"items": len(items)}

    whole = owners(run)
    await whole.own()
    answered = next(entry.seq for entry in whole.log if isinstance(entry.record, StepFinished))
    again = upto(whole, answered)
    await again.own()
    assert (whole.end.type, again.end.type) == ("run.completed", "run.completed"), again.end
    assert not whole.of(ModelStarted)


async def test_calls_of_one_name_get_what_the_log_has_of_the_same_request_in_whatever_order_they_come() -> None:
    order = [0, 1, 2]

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        turns = [asyncio.Event() for _ in order]

        async def answer(number: int) -> AsyncGenerator[str]:
            yield f"answer {number}"

        async def paid(number: int) -> str:
            return f"paid {number}"

        async def one(number: int) -> list[str]:
            place = order.index(number)
            if place:
                await turns[place - 1].wait()
            call = asyncio.ensure_future(ctx.tool({"name": "pay", "input": {"n": number}}, lambda: paid(number)))
            model = ctx.model([number], lambda: answer(number), name="one")
            first = asyncio.ensure_future(anext(model))
            await asyncio.sleep(0)
            turns[place].set()
            said = [await first, await call]
            await model.aclose()
            return said

        yield {"said": await side_by_side(*(one(number) for number in range(len(order))))}
        yield {"over": await ctx.step("last", lambda: asyncio.sleep(0, 1))}

    whole = owners(run)
    await whole.own()
    assert whole.end.type == "run.completed", whole.end
    last = next(e.seq for e in whole.log if isinstance(e.record, StepFinished) and "last" in e.record.key)
    order[:] = [2, 0, 1]
    again = upto(whole, last - 1)
    await again.own()
    assert again.end.type == "run.completed", again.end
    (event,) = [event for event in again.events() if "said" in event]
    assert event["said"] == [[f"answer {number}", f"paid {number}"] for number in range(3)]
