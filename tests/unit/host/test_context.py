"""What a guest's context promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest
from pydantic import TypeAdapter, ValidationError

from playhead.runtime.core.errors import OutcomeUnknownError, RecordedError
from playhead.runtime.core.records import (
    Entry,
    EventEmitted,
    MessageAdded,
    ModelChunk,
    RunPaused,
    SignalReceived,
    StepFinished,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.current import Call, current_call
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.raised import made_again, recorded
from playhead.runtime.tools.tool import OnUnknownOutcome
from tests.support.guest_owners import RUN, Owners

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Log = list[Entry]


def owners(run: Any, log: Log | None = None, **options: Any) -> Owners:
    return Owners(FunctionGuest(run, name="guest"), log or [], **options)


class Shop:
    """A guest with one tool, whose worker died while it ran."""

    def __init__(self, policy: OnUnknownOutcome) -> None:
        self.policy: OnUnknownOutcome = policy
        self.ran: list[Call | None] = []

    async def run(self, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        """Pay."""
        try:
            paid = await ctx.tool({"name": "pay", "toolUseId": "t/1"}, self.pay, on_unknown_outcome=self.policy)
        except OutcomeUnknownError as error:
            paid = str(error)
        yield {"paid": paid}

    async def pay(self) -> str:
        """Its call is known in a thread, too."""
        self.ran.append(await asyncio.to_thread(current_call))
        return "paid"

    async def died(self, answer: Any = "yes") -> Owners:
        """The run, whose first owner died in the tool."""
        run = owners(self.run, answer=answer)
        await run.own()
        start = next(one.seq for one in run.log if isinstance(one.record, ToolStarted))
        self.ran.clear()
        return owners(self.run, run.log[:start], answer=answer)


def paid(run: Owners) -> Any:
    (event,) = run.of(EventEmitted)
    return event.event["paid"]


async def test_a_call_that_was_cut_off_is_made_again_with_the_same_key_and_knows_it() -> None:
    shop = Shop("retry")
    run = await shop.died()
    await run.to_the_end()
    (call,) = shop.ran
    assert call is not None
    assert (call.effect_key, call.attempt, call.run_id) == (f"{RUN}/t%2F1", 2, RUN)
    assert paid(run) == "paid"


async def test_a_call_that_must_not_run_again_raises() -> None:
    shop = Shop("fail")
    run = await shop.died()
    await run.to_the_end()
    assert shop.ran == []
    assert "outcome of this call is unknown" in paid(run)
    again = owners(shop.run, run.log[:-2])
    await again.to_the_end()
    assert paid(again) == paid(run)


async def test_the_result_of_a_call_that_raised_without_a_message_names_the_exception() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def pay() -> None:
            raise TimeoutError

        with pytest.raises(TimeoutError):
            await ctx.tool({"name": "pay", "toolUseId": "t"}, pay)
        yield {"paid": False}

    guest = owners(run)
    await guest.to_the_end()
    assert [one.result["content"] for one in guest.of(ToolFinished)] == [[{"text": "Error: TimeoutError"}]]


@pytest.mark.parametrize(
    ("answer", "gave", "runs"), [("retry", "paid", 1), ("fail", "unknown", 0), ({"result": "5 euros"}, "5 euros", 0)]
)
async def test_a_human_is_asked_what_became_of_a_call(answer: Any, gave: str, runs: int) -> None:
    shop = Shop("ask")
    run = await shop.died(answer)
    await run.to_the_end()
    assert len(shop.ran) == runs
    assert gave in paid(run)
    (asked,) = run.of(ToolInterrupted)
    assert asked.interrupts == run.of(RunPaused)[0].interrupts


async def test_a_call_that_is_cut_off_again_is_asked_about_again() -> None:
    shop = Shop("ask")
    run = await shop.died("retry")
    await run.own()
    await run.own(upto=len(run.log) + 3)  # its claim, the answer, the start
    assert isinstance(run.end, ToolStarted)
    await run.to_the_end()
    assert len(run.of(ToolInterrupted)) == 2
    assert paid(run) == "paid"


async def test_any_other_answer_asks_again() -> None:
    shop = Shop("ask")
    run = await shop.died("perhaps")
    await run.own()
    await run.own()
    assert isinstance(run.end, RunPaused)
    run.answer = "fail"
    await run.to_the_end()
    assert "unknown" in paid(run)


async def test_questions_that_are_open_together_are_asked_together_once_all_work_is_done() -> None:
    worked: list[str] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def work() -> None:
            await asyncio.sleep(0.01)
            worked.append("done")

        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ctx.ask(name, name)) for name in ("one", "two")]
            tasks.create_task(ctx.tool({"name": "work"}, work))
        yield {"answers": [one.result() for one in asked]}

    whole = owners(run)
    await whole.to_the_end()
    (paused,) = whole.of(RunPaused)
    assert [one["name"] for one in paused.interrupts] == ["one", "two"]
    assert worked == ["done"]
    assert whole.of(EventEmitted)[0].event == {"answers": ["yes", "yes"]}


async def test_a_model_call_beside_another_one_is_stored_whole_and_not_shown() -> None:
    async def stream(name: str) -> AsyncGenerator[str]:
        for number in range(3):
            await asyncio.sleep(0.001)
            yield f"{name}{number}"

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def call(name: str) -> list[str]:
            return [item async for item in ctx.model(name, lambda: stream(name))]

        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(call(name)) for name in "ab"]
        yield {"heard": [one.result() for one in calls]}

    whole = owners(run)
    await whole.own()
    assert [one.chunk for one in whole.of(ModelChunk)] == [{"item": f"a{number}"} for number in range(3)]
    heard = {"heard": [[f"{name}{number}" for number in range(3)] for name in "ab"]}
    assert whole.of(EventEmitted)[0].event == heard
    for cut in range(3, len(whole.log)):
        again = owners(run, whole.log[:cut])
        await again.to_the_end()
        assert again.of(EventEmitted)[0].event == heard, cut


async def test_a_guest_may_stop_listening_to_a_model() -> None:
    sent: list[int] = []

    async def numbers() -> AsyncGenerator[int]:
        for number in range(9):
            sent.append(number)
            yield number

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        items = ctx.model("count", numbers)
        async for item in items:
            if item == 2:
                break
        await items.aclose()
        yield {"stopped": True}

    whole = owners(run)
    await whole.own()
    assert whole.end.type == "run.completed"
    assert sent == [0, 1, 2]
    again = owners(run, whole.log[:-1])
    await again.own()
    assert again.end.type == "run.completed"
    assert sent == [0, 1, 2], "it is not asked again"


async def test_a_model_call_that_raised_raises_the_same_again() -> None:
    async def broken() -> AsyncGenerator[str]:
        yield "half"
        raise ConnectionResetError("reset")

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        try:
            async for _ in ctx.model("ask", broken):
                pass
        except ConnectionResetError as error:
            yield {"raised": str(error)}

    whole = owners(run)
    await whole.own()
    again = owners(run, whole.log[:-1])
    await again.own()
    for one in (whole, again):
        assert one.of(EventEmitted)[0].event == {"raised": "reset"}


async def test_a_long_sleep_has_no_worker_and_is_not_slept_again() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        await ctx.sleep(3600)
        yield {"awake": True}

    def an_hour_ago(entry: Entry) -> Entry:
        record = entry.record
        if not isinstance(record, StepFinished) or not isinstance(record.value, float):
            return entry
        return Entry(entry.seq, entry.epoch, record.model_copy(update={"value": record.value - 3600}))

    sleeping = owners(run)
    owner = await sleeping.own()
    assert 3000 < owner.rest <= 3600
    assert not sleeping.ended
    later = owners(run, [an_hour_ago(one) for one in sleeping.log])
    assert later.log != sleeping.log
    await later.own()
    assert later.end.type == "run.completed"


async def test_the_run_is_handed_over_when_nothing_of_it_is_at_work() -> None:
    began, ends = anyio.Event(), asyncio.Event()
    home = asyncio.get_running_loop()
    guest_loop: list[asyncio.AbstractEventLoop] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def body() -> str:
            guest_loop.append(asyncio.get_running_loop())
            home.call_soon_threadsafe(began.set)
            await ends.wait()
            return "done"

        await ctx.tool({"name": "work"}, body)
        await ctx.step("next", body)
        yield {"never": True}

    leaving = owners(run)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leaving.own)
        await began.wait()
        leaving.ownership.leave()
        guest_loop[0].call_soon_threadsafe(ends.set)
    assert isinstance(leaving.end, ToolFinished), "what was at work is done, and nothing else began"


async def test_a_steer_reaches_the_guest_at_the_same_place_each_time() -> None:
    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def body() -> None:
            deliver()
            while not steered.of(SignalReceived):  # noqa: ASYNC110 - its log is written on another loop
                await asyncio.sleep(0.001)

        yield {"before": ctx.steers()}
        await ctx.tool({"name": "work"}, body)
        yield {"after": ctx.steers()}

    steered, sent = owners(run), list[bool]()
    home = asyncio.get_running_loop()

    def deliver() -> None:
        sent.append(True)
        home.call_soon_threadsafe(lambda: steered.control.deliver([Signal("s", "steer", "And now?")]))

    await steered.own()
    said = [one.event for one in steered.of(EventEmitted)]
    assert said == [{"before": []}, {"after": ["And now?"]}]
    again = owners(run, steered.log[:-1])
    await again.own()
    assert [one.event for one in again.of(EventEmitted)] == said
    assert sent == [True]


async def test_a_session_gives_its_messages_and_gets_the_prompt_and_the_result() -> None:
    before: Any = {"role": "user", "content": [{"text": "Before."}]}

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"history": list(ctx.history), "state": ctx.invocation_state}
        ctx.result = f"You said {prompt}"

    talk = owners(run, said=StoredMessages(messages=[before]))
    owner = await talk.own()
    assert talk.of(EventEmitted)[0].event == {"history": [before], "state": {"user": "ada"}}
    assert [one.origin for one in talk.of(MessageAdded)] == ["prompt", "model"]
    assert [block["text"] for one in owner.state.added for block in one.get("content", [])] == ["go", "You said go"]
    assert talk.end.result["message"]["content"] == [{"text": "You said go"}]


class OddError(Exception):
    """One that cannot be made of a message."""

    def __init__(self, number: int, *, name: str) -> None:
        self.number = number
        super().__init__(f"{number} {name}")


def local() -> type[Exception]:
    class LocalError(Exception):
        pass

    return LocalError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad"), ValueError),
        (KeyError("k"), KeyError),
        (OSError(2, "gone"), FileNotFoundError),
        (OddError(1, name="one"), OddError),
        (local()("hidden"), RecordedError),
    ],
)
def test_what_a_step_raised_is_caught_by_the_same_class_again(error: Exception, kind: type[Exception]) -> None:
    again = made_again(recorded(error))
    assert type(again) is kind
    assert str(error).strip("'") in str(again)


class RefusedError(Exception):
    """One of an SDK, with what its handlers look at."""

    def __init__(self, status: int, **more: Any) -> None:
        self.status = status
        self.more = more
        self._private = status
        super().__init__()

    def __str__(self) -> str:
        return f"refused with {self.status}"


def test_an_exception_keeps_its_attributes_that_are_short_plain_data() -> None:
    again = made_again(recorded(RefusedError(429, body={"code": "busy"})))
    assert (str(again), vars(again)) == ("refused with 429", {"status": 429, "more": {"body": {"code": "busy"}}})
    assert vars(made_again(recorded(RefusedError(429, body="x" * 20_000)))) == {"status": 429}
    assert vars(made_again(recorded(RefusedError(429, response=object())))) == {"status": 429}


def test_an_error_of_pydantic_is_made_again_with_its_lines() -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(dict[str, int]).validate_python({"a": "many", "b": object()})
    again: Any = made_again(recorded(raised.value))
    assert type(again) is ValidationError
    lines = [(one["type"], one["loc"], one["msg"]) for one in raised.value.errors()]
    assert [(one["type"], one["loc"], one["msg"]) for one in again.errors()] == lines


async def test_keys_that_repeat_are_counted() -> None:
    values: list[int] = []

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        async def value() -> int:
            values.append(len(values))
            return len(values)

        yield {"values": [await ctx.step("same", value) for _ in range(3)]}
        tool: Callable[[], Any] = lambda: ctx.tool({"name": "t", "toolUseId": "same"}, value)  # noqa: E731
        yield {"tools": [await tool() for _ in range(2)]}

    whole = owners(run)
    await whole.own()
    assert [one.key for one in whole.of(StepFinished)] == ["/step:same", "/step:same~2", "/step:same~3"]
    assert [one.lane for one in whole.of(ToolFinished)] == ["/same", "/same~2"]
    again = owners(run, whole.log[:-1])
    await again.own()
    assert len(values) == 5
