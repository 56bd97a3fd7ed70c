"""A model call that fails with a transient error is made again: the records, the events, the limits, the wait."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from playhead.runtime import (
    Agent,
    Event,
    ModelRetryStrategy,
    ModelThrottledException,
    ModelUnavailableError,
    RetryPolicy,
)
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunFailed,
    RunHandedOver,
    RunSubmitted,
    SignalReceived,
    now_ms,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.steps import CallModel, SayCancelled
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ModelRequest, ScriptedCall, ScriptedModel, text_call
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio

AT_ONCE = RetryPolicy(max_attempts=3, initial_delay=0)
HOUR = 3600.0
NEVER = RetryPolicy(initial_delay=0, max_delay=2 * HOUR, max_total_delay=2 * HOUR)
"""Waits for two hours if the provider asks for that: no test waits so long."""

ASKS_FOR_AN_HOUR = ScriptedCall(error=ModelThrottledException("slow down", retry_after=HOUR))
HALF = [*text_call("Half an answer")[:4]]


def agent_of(
    *calls: Any, retry: RetryPolicy | ModelRetryStrategy | None = AT_ONCE, **options: Any
) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(list(calls), **options)
    return Agent(model, name="a", callback_handler=None, retry=retry), model


async def played(agent: Agent) -> tuple[list[Event], Exception | None]:
    """The events of one invocation, and what it raised."""
    events: list[Event] = []
    try:
        async for event in agent.stream_async("Hi"):
            events.append(event)  # noqa: PERF401 - a comprehension would lose them with the error
    except Exception as error:
        return events, error
    return events, None


@pytest.mark.parametrize(
    "error", [ModelThrottledException("slow down"), ConnectionResetError("reset"), ModelUnavailableError("overloaded")]
)
async def test_a_call_that_failed_before_its_first_chunk_is_made_again(error: Exception) -> None:
    agent, model = agent_of(ScriptedCall(error=error), "Hello")
    events, raised = await played(agent)
    assert raised is None
    assert str(events[-1]["result"]) == "Hello\n"
    (told,) = [event for event in events if "retrying" in event]
    assert told == {
        "retrying": True,
        "delay": 0.0,
        "attempt": 1,
        "error_type": type(error).__name__,
        "error": str(error),
    }
    assert not any("retracted" in event for event in events), "nothing was streamed"
    first, second = model.requests
    assert first == second


async def test_the_throttle_event_comes_after_the_wait_with_the_callers_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playhead.runtime.loop.loop.rest_of_wait", lambda delay, **_: 0.0)
    busy = ScriptedCall(error=ModelThrottledException("slow down"))
    agent, _ = agent_of(busy, busy, "Hello", retry=ModelRetryStrategy())
    events = [event async for event in agent.stream_async("Hi", invocation_state={"user": "ada"})]
    told = [
        event for event in events if "retrying" in event or "event_loop_throttled_delay" in event or "data" in event
    ]
    assert [next(iter(event)) for event in told[:5]] == [
        "retrying",
        "event_loop_throttled_delay",
        "retrying",
        "event_loop_throttled_delay",
        "data",
    ]
    assert told[1] == {"event_loop_throttled_delay": 4, "user": "ada"}
    assert told[3] == {"event_loop_throttled_delay": 8, "user": "ada"}


async def test_a_strategy_says_which_errors_count() -> None:
    class Stubborn(ModelRetryStrategy):
        def is_retryable(self, exception: Exception) -> bool:
            return isinstance(exception, LookupError)

    agent, model = agent_of(ScriptedCall(error=KeyError("a bug")), "Hello", retry=Stubborn(initial_delay=0))
    assert str(await agent.invoke_async("Hi")) == "Hello\n"
    agent, model = agent_of(ScriptedCall(error=ConnectionResetError("reset")), retry=Stubborn(initial_delay=0))
    assert isinstance((await played(agent))[1], ConnectionResetError)
    assert len(model.requests) == 1


async def test_the_text_of_a_stream_that_was_cut_is_withdrawn_before_the_wait() -> None:
    agent, _ = agent_of(ScriptedCall(HALF, ConnectionResetError("reset")), "Half an answer is not enough.")
    events, _ = await played(agent)
    kinds = ["withdrawn" if "retracted" in event else "wait" if "retrying" in event else "" for event in events]
    withdrawn, wait = kinds.index("withdrawn"), kinds.index("wait")
    assert withdrawn < wait
    assert events[withdrawn]["text"] == "".join(event["data"] for event in events[:withdrawn] if "data" in event)
    again = "".join(event["data"] for event in events[wait:] if "data" in event)
    assert again == "Half an answer is not enough."
    assert [event["message"]["content"] for event in events if "message" in event] == [[{"text": again}]]
    shown = [event.seq for event in events[:withdrawn] if "data" in event]
    assert events[withdrawn]["from_seq"] < min(shown)
    assert events[withdrawn]["to_seq"] == max(shown)


async def test_a_model_that_fails_when_its_stream_is_made_is_called_again() -> None:
    class Refusing(ScriptedModel):
        def stream(self, *args: Any, **kwargs: Any) -> Any:
            if not self.requests:
                self.requests.append(ModelRequest([], [], None, None))
                raise ConnectionRefusedError("refused")
            return super().stream(*args, **kwargs)

    model = Refusing(["", "Hello"])
    agent = Agent(model, callback_handler=None, retry=AT_ONCE)
    assert str(await agent.invoke_async("Hi")) == "Hello\n"


async def test_attempts_are_limited_and_the_last_error_fails_the_run() -> None:
    errors = [ConnectionResetError(f"reset {number}") for number in (1, 2, 3)]
    agent, model = agent_of(*[ScriptedCall(error=error) for error in errors])
    events, raised = await played(agent)
    assert raised is errors[-1]
    assert [(event["attempt"], event["error"]) for event in events if "retrying" in event] == [
        (1, "reset 1"),
        (2, "reset 2"),
    ]
    assert events[-1] == {"force_stop": True, "force_stop_reason": "reset 3"}
    assert len(model.requests) == 3


async def test_each_message_has_its_own_attempts() -> None:
    cut = ScriptedCall(error=ConnectionResetError("reset"))
    tool_call = [
        c.message_start(),
        c.tool_start("t", "no_such_tool"),
        c.tool_delta("{}"),
        c.block_stop(),
        c.message_stop("tool_use"),
    ]
    agent, model = agent_of(cut, cut, tool_call, cut, cut, "Done")
    events, _ = await played(agent)
    assert str(events[-1]["result"]) == "Done\n"
    assert len(model.requests) == 6


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), KeyError("a bug")])
async def test_a_bug_of_the_model_fails_the_run_at_once(error: Exception) -> None:
    agent, model = agent_of(ScriptedCall(error=error), "Hello")
    events, raised = await played(agent)
    assert raised is error
    assert not any("retrying" in event for event in events)
    assert len(model.requests) == 1


@pytest.mark.parametrize("retry", [None, RetryPolicy(max_attempts=1)])
async def test_retries_can_be_turned_off(retry: RetryPolicy | None) -> None:
    agent, model = agent_of(ScriptedCall(error=ConnectionResetError("reset")), "Hello", retry=retry)
    _, raised = await played(agent)
    assert isinstance(raised, ConnectionResetError)
    assert len(model.requests) == 1


async def test_a_provider_that_asks_for_more_than_the_limit_fails_the_run_at_once() -> None:
    agent, model = agent_of(ASKS_FOR_AN_HOUR, "Hello", retry=RetryPolicy())
    _, raised = await played(agent)
    assert isinstance(raised, ModelThrottledException)
    assert len(model.requests) == 1


async def test_a_cancel_ends_the_wait_and_the_failure_is_not_raised() -> None:
    agent, model = agent_of(ASKS_FOR_AN_HOUR, "Hello", retry=NEVER)
    result = None
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            async for event in agent.stream_async("Hi"):
                if "retrying" in event:
                    assert event["delay"] == HOUR

                    async def cancel() -> None:
                        agent.cancel()

                    tasks.start_soon(cancel)  # runs as soon as the loop waits
                result = event.get("result")
    assert result is not None
    assert result.stop_reason == "cancelled"
    assert len(model.requests) == 1


async def test_a_cancel_before_the_wait_begins_ends_it_too() -> None:
    agent, model = agent_of(ASKS_FOR_AN_HOUR, "Hello", retry=NEVER)
    result = None
    with anyio.fail_after(10):
        async for event in agent.stream_async("Hi"):
            if "retrying" in event:
                agent.cancel()
            result = event.get("result")
    assert result is not None
    assert result.stop_reason == "cancelled"
    assert len(model.requests) == 1


async def test_the_default_handler_tells_of_the_withdrawal_and_of_the_wait(capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel([ScriptedCall(HALF, ConnectionResetError("reset")), "Hello"])
    await Agent(model, retry=AT_ONCE).invoke_async("Hi")
    assert capsys.readouterr().out == (
        "Half an\n[the text of this message is withdrawn]\n"
        "[the model call failed: ConnectionResetError: reset; it is made again in 0.0 s]\nHello"
    )


# Takeover


def failed(*, delay: float, at: int | None = None) -> list[Record]:
    """A run up to the wait after its first call, which failed after a piece of text."""
    prompt = MessageAdded(at=0, origin="prompt", message={"role": "user", "content": [{"text": "hi"}]})
    opened = [RunSubmitted(at=0, agent="a", prompt="hi"), RunClaimed(at=0, worker="w1"), prompt]
    call = [CycleStarted(at=0, cycle=1), ModelStarted(at=0), ModelChunk(at=0, chunk=c.text_delta("Half"))]
    withdrawn = ModelRetried(at=0, supersedes=(5, 6), reason="the call failed")
    failure = ModelFailed(at=now_ms() if at is None else at, error_type="E", message="m", delay=delay, attempt=1)
    return [*opened, *call, withdrawn, failure]


def log_of(records: Sequence[Record]) -> list[Entry]:
    return [Entry(seq, 1, decode_record(encode_record(record))) for seq, record in enumerate(records, 1)]


def decided(records: Sequence[Record]) -> object:
    return decide(fold(log_of(records)))


def test_a_new_owner_finds_the_failure_and_its_wait_in_the_log() -> None:
    records = failed(delay=4.0)
    call = CallModel(attempt=2, failed=ModelFailed(**dict(records[-1])))
    claimed = [RunHandedOver(at=0, worker="w1"), RunClaimed(at=0, worker="w2")]
    assert decided(records) == call
    assert decided([*records, claimed[1]]) == call, "after a crash"
    assert decided([*records, *claimed, *claimed]) == call, "after any number of hand-overs"
    assert decided(records[:-1]) == CallModel(attempt=2), "it died before the wait was stored"
    assert decided([*records, SignalReceived(at=0, signal_id="s", kind="cancel")]) == SayCancelled()
    again = [*records, claimed[1], ModelStarted(at=0, attempt=2)]
    assert decided([*again, RunClaimed(at=0, worker="w3")]) == CallModel(attempt=3, supersedes=(10, 10))


def test_a_new_cycle_forgets_the_failures_of_the_one_before() -> None:
    message = MessageAdded(at=0, message={"role": "assistant", "content": []}, origin="model", stop_reason="end_turn")
    state = fold(log_of([*failed(delay=4.0), ModelStarted(at=0, attempt=2)]))
    assert (state.failures, state.waited, state.failed) == (1, 4.0, None)
    state = fold(log_of([*failed(delay=4.0), ModelStarted(at=0, attempt=2), message, CycleStarted(at=0, cycle=2)]))
    assert (state.failures, state.waited, state.failed) == (0, 0.0, None)


def loop_after(records: Sequence[Record], model: Any, **options: Any) -> Loop:
    """The loop of a new owner of this run."""
    log = log_of([*records, RunClaimed(at=0, worker="w2")])
    agent = Agent(model, name="a", callback_handler=None, retry=options.pop("retry", AT_ONCE), **options.pop("of", {}))
    state = fold(log)
    return Loop(agent.spec, run_id="r", state=state, head=len(log), epoch=2, partial=open_chunks(state, log), **options)


async def rest_of(loop: Loop) -> list[Record]:
    async with aclosing(loop.records()) as items:
        return [record_of(item) async for item in items if not isinstance(item, Flush)]


async def test_a_new_owner_waits_only_for_the_rest_of_the_delay() -> None:
    model = ScriptedModel(["Hello"])
    with anyio.fail_after(10):
        records = await rest_of(loop_after(failed(delay=HOUR, at=now_ms() - int(HOUR * 1000) + 20), model))
    assert isinstance(records[0], ModelStarted)
    assert records[0].attempt == 2


async def test_a_wait_longer_than_the_longest_is_left_to_the_log_with_what_remains_of_it() -> None:
    model = ScriptedModel(["Hello"])
    records = failed(delay=HOUR, at=now_ms() - 600_000)
    loop = loop_after(records, model, longest_wait=5.0)
    assert await rest_of(loop) == []
    assert loop.rest == pytest.approx(HOUR - 600, abs=30)
    assert model.requests == []


async def test_a_wait_that_the_log_kept_is_over_whatever_the_clock_of_the_next_owner_says() -> None:
    model = ScriptedModel(["Hello"])
    records = [*failed(delay=HOUR), RunHandedOver(at=0, worker="w1", delay=HOUR)]
    loop = loop_after(records, model, longest_wait=5.0)
    assert loop.rest == 0
    (started, *_) = await rest_of(loop)
    assert isinstance(started, ModelStarted)
    assert (started.attempt, started.delay) == (2, HOUR)


def test_only_the_last_wait_counts_as_over() -> None:
    again = [*failed(delay=4.0), RunHandedOver(at=0, worker="w1", delay=4.0), RunClaimed(at=0, worker="w2")]
    assert fold(log_of(again)).rested
    again += [ModelStarted(at=0, attempt=2), ModelRetried(at=0, supersedes=(11, 11))]
    again += [ModelFailed(at=0, error_type="E", message="m", delay=8.0, attempt=2)]
    assert not fold(log_of(again)).rested
    drained = [*failed(delay=4.0), RunHandedOver(at=0, worker="w1")]
    assert not fold(log_of(drained)).rested


@pytest.mark.parametrize("ahead_s", [0, 24 * HOUR])
async def test_a_drain_ends_the_wait_and_leaves_it_to_the_next_owner(ahead_s: float) -> None:
    model = ScriptedModel(["Hello"])
    ownership = Ownership("r")
    loop = loop_after(failed(delay=HOUR, at=now_ms() + int(ahead_s * 1000)), model, ownership=ownership)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_leave, ownership)
            assert await rest_of(loop) == []
        assert await rest_of(loop) == [], "also if it is asked for before the wait"
    assert model.requests == []


async def _leave(ownership: Ownership) -> None:
    ownership.leave()  # runs as soon as the loop waits


async def test_a_cancel_counts_more_than_a_drain() -> None:
    ownership, control = Ownership("r"), Control()
    loop = loop_after(failed(delay=HOUR), ScriptedModel(["Hello"]), ownership=ownership, control=control)

    async def both() -> None:
        ownership.leave()
        control.deliver([Signal("s", "cancel")])

    records: list[Record] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(both)
            records += await rest_of(loop)
    assert [record.type for record in records] == ["signal.received", "message.added", "run.cancelled"]


async def test_failures_of_all_owners_count() -> None:
    log = failed(delay=0.0)
    log += [ModelStarted(at=0, attempt=2), ModelRetried(at=0, supersedes=(9, 9))]
    log += [ModelFailed(at=0, error_type="E", message="m", attempt=2)]
    records = await rest_of(loop_after(log, ScriptedModel([ScriptedCall(error=ConnectionResetError("reset"))])))
    assert [record.type for record in records] == ["model.started", "run.failed"]
    assert isinstance(records[-1], RunFailed)
    assert (records[-1].error_type, records[-1].message) == ("ConnectionResetError", "reset")


async def test_waits_of_all_owners_count() -> None:
    policy = RetryPolicy(initial_delay=0, max_total_delay=10)
    asks = ScriptedCall(error=ModelUnavailableError("busy", retry_after=7))
    log = failed(delay=4.0, at=0)
    records = await rest_of(loop_after(log, ScriptedModel([asks]), retry=policy))
    assert [record.type for record in records] == ["model.started", "run.failed"]


@pytest.mark.parametrize("streamed", [[], HALF], ids=["refused", "cut"])
async def test_a_failed_continuation_is_withdrawn_from_where_its_message_began(streamed: list[Any]) -> None:
    dead = failed(delay=0.0)[:6]
    broken = ScriptedCall(streamed, ConnectionResetError("reset"))
    model = ScriptedModel([broken, "Half and half"], continues_partial=True)
    records = await rest_of(loop_after(dead, model, of={"on_partial": "continue"}))
    (retried,) = [record for record in records if isinstance(record, ModelRetried)]
    assert retried.supersedes == (5, 8 + len(streamed))
    starts = [record for record in records if isinstance(record, ModelStarted)]
    assert [(start.attempt, start.continues) for start in starts] == [(2, True), (3, False)]
    assert sum(isinstance(record, ModelFailed) for record in records) == 1


def test_an_older_version_which_does_not_know_the_wait_calls_the_model_at_once() -> None:
    log = log_of(failed(delay=HOUR))
    known = [entry for entry in log if not isinstance(entry.record, ModelFailed)]
    assert decide(fold(known)) == CallModel(attempt=2)
