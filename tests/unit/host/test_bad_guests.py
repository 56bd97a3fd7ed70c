"""What a guest does wrong ends its own run with one clear error."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.records import EventEmitted, StepFinished, ToolFinished, ToolStarted
from playhead.runtime.core.signals import Signal
from playhead.runtime.host import host
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from tests.support.guest_owners import Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CANCEL = Signal("cancel", "cancel")


def owners(run: Any, log: Any = None) -> Owners:
    return Owners(FunctionGuest(run, name="guest"), log or [])


async def one() -> int:
    return 1


async def test_an_event_that_cannot_be_stored_names_its_key() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"fine": 1}
        yield {"user": {"socket": object()}}

    failed = owners(run)
    await failed.own()
    assert failed.end.error_type == "EncodingError"
    assert "an event of the agent cannot be stored: ['user']['socket'] is object" in failed.end.message
    assert len(failed.of(EventEmitted)) == 1


async def test_an_event_that_is_not_a_dict_is_refused_with_its_type() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield "text"

    failed = owners(run)
    await failed.own()
    assert failed.end.error_type == "TypeError"
    assert "'text' of type str" in failed.end.message


@pytest.mark.parametrize("value", [{"lock": threading.Lock()}, "x" * (1 << 20)], ids=["a lock", "too large"])
async def test_a_value_that_cannot_be_stored_is_an_error_that_is_not_computed_again(value: Any) -> None:
    ran: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def body() -> Any:
            ran.append("body")
            return value

        for work in (lambda: ctx.step("key", body), lambda: ctx.tool({"name": "tool"}, body)):
            try:
                await work()
            except Exception as error:
                yield {"raised": type(error).__name__, "says": str(error)}

    whole = owners(run)
    await whole.own()
    (step,), (tool,) = whole.of(StepFinished), whole.of(ToolFinished)
    assert step.error["type"] == tool.memory["raised"]["type"] == whole.of(EventEmitted)[0].event["raised"]
    assert whole.end.type == "run.completed"
    again = owners(run, whole.log[:-1])
    await again.own()
    assert ran == ["body", "body"]
    assert [dict(event) for event in again.events()] == [dict(event) for event in whole.events()]


@pytest.mark.parametrize("place", ["event", "step", "end"])
async def test_a_guest_that_decides_by_what_is_not_in_the_log_diverges_at_the_exact_record(place: str) -> None:
    numbers: Iterator[int] = itertools.count()

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        number = next(numbers)
        if place == "event":
            yield {"number": number}
        if place == "step" or number == 0:
            await ctx.step(f"number {number}", one)
        yield {"over": True}
        await ctx.step("last", one)

    whole = owners(run)
    await whole.own()
    cut = next(one.seq for one in whole.log if "over" in dict(one.record).get("event", {}))
    again = owners(run, whole.log[: cut if place != "end" else cut + 1])
    await again.own()
    assert again.end.error_type == "DivergedError", again.end
    assert "record 4 of the log is" in again.end.message
    assert "clock" in again.end.message
    shown = {"event": "the event {'number': 0}", "step": "step:number 0", "end": "step:number 0"}
    assert shown[place] in again.end.message


async def test_a_guest_that_diverges_cannot_catch_it_and_go_on() -> None:
    numbers: Iterator[int] = itertools.count()
    caught: list[BaseException] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        try:
            yield {"number": next(numbers)}
            await ctx.step("step", one)
        except Exception as error:
            caught.append(error)

    whole = owners(run)
    await whole.own()
    again = owners(run, whole.log[:4])
    await again.own()
    assert again.end.error_type == "DivergedError"
    assert caught == []


async def test_a_guest_that_raises_fails_the_run_with_its_exception() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"so": "far"}
        raise LookupError("nothing there")

    failed = owners(run)
    owner = await failed.own()
    assert (failed.end.error_type, failed.end.message) == ("LookupError", "nothing there")
    assert isinstance(owner.error, LookupError)


async def test_a_guest_that_exits_the_process_ends_its_run_only() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"so": "far"}
        raise SystemExit(3)

    failed = owners(run)
    await failed.own()
    assert failed.end.error_type == "SystemExit"


async def test_a_request_that_differs_is_noted_and_its_recorded_answer_stands(caplog: pytest.LogCaptureFixture) -> None:
    numbers: Iterator[int] = itertools.count()

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async for item in ctx.model({"time": next(numbers)}, words):
            yield {"heard": item}
        await ctx.step("last", one)

    async def words() -> AsyncGenerator[str]:
        yield "word"

    whole = owners(run)
    await whole.own()
    caplog.set_level("INFO", "playhead.runs")
    again = owners(run, whole.log[:-2])
    await again.own()
    assert again.end.type == "run.completed"
    assert "model:1 differs from what record 4 has of it" in caplog.text


class Cancelled:
    """Cancels a run as soon as its guest has begun."""

    def __init__(self, run: Any) -> None:
        self.began = threading.Event()
        self.owners = owners(run)

    async def to_the_end(self) -> Any:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.owners.own)
            await anyio.to_thread.run_sync(self.began.wait)
            self.owners.control.deliver([CANCEL])
        return self.owners.end


async def test_a_cancel_ends_a_guest_where_it_waits_and_its_clean_up_runs() -> None:
    cleaned: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def body() -> None:
            case.began.set()
            await asyncio.Event().wait()

        try:
            await ctx.tool({"name": "long"}, body)
        finally:
            cleaned.append("up")
        yield {"never": True}

    case = Cancelled(run)
    end = await case.to_the_end()
    assert end.type == "run.cancelled"
    assert end.result["stop_reason"] == "cancelled"
    assert cleaned == ["up"]
    (finished,) = case.owners.of(ToolFinished)
    assert "cancelled" in finished.result["content"][0]["text"]


async def test_a_guest_that_swallows_cancellation_is_cancelled_at_its_next_step() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        for _ in range(3):
            try:
                case.began.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await ctx.step("nevertheless", one)
        yield {"never": True}

    case = Cancelled(run)
    assert (await case.to_the_end()).type == "run.cancelled"
    assert case.owners.of(StepFinished) == []


async def test_a_guest_that_blocks_its_loop_is_left_to_itself_after_a_cancel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.05)
    monkeypatch.setattr(host, "CLOSE_GRACE_S", 0.05)
    release = threading.Event()

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        case.began.set()
        release.wait(10)
        yield {"never": True}

    case = Cancelled(run)
    try:
        assert (await case.to_the_end()).type == "run.cancelled"
    finally:
        release.set()
    assert [one.record.type for one in case.owners.log[-2:]] == ["signal.received", "run.cancelled"]
    assert "does not end within 0.05 s" in caplog.text


async def test_nothing_begins_once_the_run_is_lost() -> None:
    ran: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def body() -> None:
            ran.append("body")

        yield {"so": "far"}
        runs.ownership.mark_lost("another worker owns it")
        try:
            await ctx.tool({"name": "pay"}, body)
        except Exception:  # an error of the fence must not reach the guest's own handlers
            ran.append("caught")

    runs = owners(run)
    with pytest.raises(FencedError):
        await runs.own()
    assert ran == []
    assert runs.of(ToolStarted) == []


async def test_what_a_guest_does_when_its_run_was_handed_over_is_not_written() -> None:
    wrote: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"so": "far"}
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await ctx.step("late", one)
            except asyncio.CancelledError:
                wrote.append("cancelled")
                raise

    runs = owners(run)
    await runs.own(upto=3)
    assert runs.of(StepFinished) == []
    assert wrote == ["cancelled"]


async def chunks() -> AsyncGenerator[Chunk]:
    yield {"contentBlockDelta": {"delta": {"text": "one"}}}


async def test_an_item_of_a_model_that_cannot_be_stored_fails_the_call() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def items() -> AsyncGenerator[Any]:
            yield {"ok": True}
            yield {"bad": object()}

        async for _ in ctx.model("ask", items):
            pass
        yield {"never": True}

    failed = owners(run)
    await failed.own()
    assert failed.end.error_type == "EncodingError"
    assert "an item of the model:1 cannot be stored: ['bad'] is object" in failed.end.message


@pytest.mark.exhaustive
@pytest.mark.parametrize("hidden", [False, True])
async def test_a_model_that_never_waits_lets_a_cancel_through(hidden: bool) -> None:
    async def chunks() -> AsyncGenerator[str]:
        while True:
            yield "word"

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        with ctx.within("side") if hidden else nullcontext():
            async for _ in ctx.model("say", chunks):
                pass
        yield {}

    endless = owners(run)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endless.own)
        await anyio.sleep(0.02)
        endless.control.deliver([CANCEL])
    assert endless.end.type == "run.cancelled"
