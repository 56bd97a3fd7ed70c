"""The client: submit, watch, come back, ask; everything by run id, from any process."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client, Notice, Run
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import MaxTokensReachedException, NoWorkerError, PlayheadError, RunFailedError
from playhead.runtime.core.events import Event
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
async def add(a: int, b: int) -> AsyncGenerator[int, None]:
    """Adds."""
    yield a
    yield a + b


@tool
def recall(context: ToolContext) -> str:
    """Tells what the caller gave along."""
    return f"{context.invocation_state['mood']} in {context.agent_name}"


def adder(name: str = "adder", *, repeat: bool = False) -> Agent:
    """An agent that adds once and says so."""
    script = [tool_call("add", {"a": 2, "b": 2}, text="Let me see."), "That is four."]
    return Agent(ScriptedModel(script, repeat=repeat), name=name, tools=[add], callback_handler=None)


def echo(messages: Messages) -> str:
    """Says how many messages it was given and the text of the last."""
    return f"{len(messages)}: {messages[-1].get('content', [])[0]['text']}"


def echoing(name: str = "echo") -> Agent:
    return Agent(ScriptedModel([echo], repeat=True), name=name, callback_handler=None)


def without_ids(events: list[Event]) -> Any:
    """Events as JSON, without the ids that every run makes anew."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            volatile = ("tracking_id", "timeToFirstByteMs", "latencyMs", "latency_ms", "ms")
            return {key: strip(item) for key, item in value.items() if key not in volatile}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return [strip(json.loads(event.to_json())) for event in events]


async def test_a_fleet_gives_the_same_events_as_the_agent_in_this_process(
    fleet: Fleet, no_key_leaks: Callable[[], list[str]]
) -> None:
    here = [event async for event in adder().stream_async("What is 2+2?", invocation_state={"mood": "fine"})]
    async with fleet.worker(adder()), fleet.client() as client:
        stream = client.stream_async("adder", "What is 2+2?", invocation_state={"mood": "fine"})
        there = [event async for event in stream]
    assert without_ids(there) == without_ids(here)
    assert [event.seq for event in there] == sorted(event.seq for event in there)
    assert len({event.run_id for event in there}) == 1
    assert all(event.at > 1_600_000_000_000 for event in there)
    assert no_key_leaks() == []


async def test_invoking_gives_the_result_with_its_metrics(fleet: Fleet) -> None:
    async with fleet.worker(adder()), fleet.client() as client:
        result = await client.invoke_async("adder", "What is 2+2?")
    assert str(result) == "That is four.\n"
    assert result.stop_reason == "end_turn"
    assert result.metrics.cycle_count == 2
    assert result.metrics.tool_metrics == {"add": {"calls": 1, "ok": 1, "errors": 0}}


async def test_tools_get_what_the_caller_gave_along(fleet: Fleet) -> None:
    agent = Agent(ScriptedModel([tool_call("recall", {}), "So."]), name="agent", tools=[recall])
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("agent", "Hi", invocation_state={"mood": "fine", "nested": {"list": [1, None]}})
        events = [event async for event in run.stream_async()]
    told = [event["message"]["content"] for event in events if "message" in event][1]
    assert told[0]["toolResult"]["content"] == [{"text": "fine in agent"}]
    assert events[0]["nested"] == {"list": [1, None]}


async def test_starting_returns_at_once_and_a_worker_that_comes_later_serves_the_run(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("adder", "What is 2+2?")
        info = await run.info()
        assert (info.state, info.agent, info.head, info.worker) == ("queued", "adder", 1, None)
        async with fleet.worker(adder()) as worker:
            assert str(await run.result()) == "That is four.\n"
            assert worker.statistics().claimed == 1
        info = await run.info()
        assert (info.state, info.epoch, info.crashes) == ("completed", 1, 0)


async def test_one_run_id_is_one_run_however_often_it_is_submitted(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        run_id = new_run_id()
        first = await client.start("echo", "first", run_id=run_id)
        again = await client.start("echo", "first", run_id=run_id)
        assert first.id == again.id == run_id
        assert str(await again.result()) == "1: first\n"
        assert [info.run_id for info in await client.runs()] == [run_id]


async def test_a_run_can_be_left_and_rejoined_by_another_client_where_one_was(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")):
        async with fleet.client() as client:
            seen: list[Event] = []
            async with aclosing(client.stream_async("agent", "Hi")) as events:
                async for event in events:
                    seen.append(event)
                    if event.get("data") == "two ":
                        break
        model.go.set()
        async with fleet.client() as client:
            run = client.run(seen[-1].run_id)
            seen += [event async for event in run.stream_async(after=seen[-1].cursor)]
            assert seen == [event async for event in run.stream_async()]
    assert "".join(event["data"] for event in seen if "data" in event) == model.text


async def test_leaving_is_not_cancelling(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        async with aclosing(run.stream_async()) as events:
            async for event in events:
                if event.get("data") == "two ":
                    break
        assert client.statistics().subscriptions == 0
        assert (await run.info()).state == "running"
        model.go.set()
        assert str(await run.result()) == f"{model.text}\n"


async def test_a_stream_starts_its_run_when_the_first_event_is_asked_for(fleet: Fleet) -> None:
    async with fleet.client() as client:
        for stream in (client.stream_async("agent", "Hi"), client.agent("agent").stream_async("Hi")):
            assert await client.runs() == []
            await stream.aclose()
        assert await client.runs() == []


async def test_leaving_a_stream_leaves_the_run_and_ends_the_tail(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        remote = client.agent("agent", session_id="ada")
        for stream in (client.stream_async("agent", "Hi"), remote.stream_async("Hi")):
            async with aclosing(stream) as events:
                await anext(events)
                assert client.statistics().subscriptions == 1
            assert client.statistics().subscriptions == 0
        assert [(await client.run(info.run_id).info()).state for info in await client.runs()] == ["running"] * 2
        model.go.set()


async def test_the_result_can_be_asked_for_at_any_time_and_often(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    results: list[str] = []
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")

        async def ask() -> None:
            results.append(str(await run.result()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await model.held.wait()
            tasks.start_soon(ask)
            model.go.set()
        await ask()
        await ask()
    assert results == [f"{model.text}\n"] * 4


async def test_a_failed_run_raises_under_the_workers_name_after_its_last_event(fleet: Fleet) -> None:
    class BillingError(Exception):
        pass

    script = [ScriptedCall(text_call("Half an answer")[:3], BillingError("no money left"))]
    async with fleet.worker(Agent(ScriptedModel(script, repeat=True), name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        events: list[Event] = []

        async def read() -> None:
            async for event in run.stream_async():
                events.append(event)  # noqa: PERF401 - those before the error count too

        for attempt in (read, run.result, read):
            with pytest.raises(RunFailedError, match="no money left") as raised:
                await attempt()
            assert type(raised.value).__name__ == raised.value.error_type == "BillingError"
            assert raised.value.run_id == run.id
        assert events[-1] == {"force_stop": True, "force_stop_reason": "no money left"}
        assert (await run.info()).state == "failed"


@pytest.mark.parametrize("error", [TimeoutError("slow"), ConnectionResetError("gone"), KeyError("key")])
async def test_a_built_in_exception_of_the_worker_can_be_caught_by_its_name(fleet: Fleet, error: Exception) -> None:
    model = ScriptedModel([ScriptedCall([], error)])
    async with fleet.worker(Agent(model, name="agent", retry=None)), fleet.client() as client:
        with pytest.raises(type(error)) as raised:
            await client.invoke_async("agent", "Hi")
    assert isinstance(raised.value, RunFailedError)


async def test_a_message_cut_at_the_token_limit_fails_as_such(fleet: Fleet) -> None:
    model = ScriptedModel([text_call("Half an", stop_reason="max_tokens")])
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        with pytest.raises(MaxTokensReachedException, match="maximum token limit"):
            await client.invoke_async("agent", "Hi")


# Workers and runs


async def test_a_run_that_no_worker_serves_says_so_once_and_waits(fleet: Fleet) -> None:
    notices: list[Notice] = []
    told, answered = anyio.Event(), anyio.Event()

    def on_notice(notice: Notice) -> None:
        notices.append(notice)
        told.set()

    async with fleet.worker(echoing("other")), fleet.client(on_notice=on_notice) as client:
        await fleet.until(lambda: _has(client, workers=1))
        results: list[str] = []

        async def ask() -> None:
            results.append(str(await client.invoke_async("adder", "What is 2+2?")))
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await told.wait()
            async with fleet.worker(adder()):
                await answered.wait()
        assert [notice.kind for notice in notices] == ["no_worker"]
        assert "no live worker serves agent 'adder' (served now: other)" in notices[0].message
        assert results == ["That is four.\n"]


async def _has(client: Client, *, workers: int) -> bool:
    return len(await client.workers()) == workers


class Told:
    """Called with notices: the runs that they are about."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.once = anyio.Event()

    def __call__(self, notice: Notice) -> None:
        self.runs.append(notice.run_id)
        self.once.set()


async def test_a_reader_that_passes_on_notice_gets_the_notices_of_its_run_and_the_client_does_not(fleet: Fleet) -> None:
    default, events, records, result = told = [Told() for _ in range(4)]
    async with fleet.client(on_notice=default) as client:
        mine, other = [await client.start("unserved", text) for text in ("mine", "other")]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(all_of, mine.stream_async(on_notice=events))
            tasks.start_soon(all_of, mine.records(on_notice=records))
            tasks.start_soon(partial(mine.result, on_notice=result))
            tasks.start_soon(other.result)
            for one in told:
                await one.once.wait()
            for run in (mine, other):
                await run.cancel()
        assert [one.runs for one in told] == [[other.id], [mine.id], [mine.id], [mine.id]]


async def all_of(stream: AsyncGenerator[Any, None]) -> list[Any]:
    return [one async for one in stream]


async def test_a_caller_that_does_not_wait_for_a_worker_is_told_and_the_run_stays_queued(fleet: Fleet) -> None:
    async with fleet.client(on_notice=lambda notice: None) as client:
        stream = client.stream_async("adder", "What is 2+2?", wait_for_worker=0.5)
        with pytest.raises(NoWorkerError, match=r"no live worker serves agent 'adder'.*stays queued"):
            async for _ in stream:
                pass
        (info,) = await client.runs()
        assert info.state == "queued"
        async with fleet.worker(adder()):
            assert str(await client.run(info.run_id).result()) == "That is four.\n"


async def test_a_run_after_others_says_that_it_is_queued(fleet: Fleet, held_model: Callable[..., HeldModel]) -> None:
    kinds: list[str] = []
    told = anyio.Event()

    def on_notice(notice: Notice) -> None:
        kinds.append(notice.kind)
        told.set()

    model = held_model()
    async with (
        fleet.worker(Agent(model, name="agent"), concurrency=1),
        fleet.client(on_notice=on_notice) as client,
        anyio.create_task_group() as tasks,
    ):
        await client.start("agent", "First")
        await model.held.wait()
        second = await client.start("agent", "Second")
        tasks.start_soon(second.result)
        await told.wait()
        model.go.set()
    assert kinds == ["queued"]


async def test_workers_say_what_they_serve_and_are_gone_when_drained(fleet: Fleet) -> None:
    async with fleet.client() as client:
        async with fleet.worker(adder(), echoing(), concurrency=7) as worker:
            await fleet.until(lambda: _has(client, workers=1))
            (info,) = await client.workers()
            assert (info.worker, list(info.agents), info.concurrency) == (worker.name, ["adder", "echo"], 7)
        assert await client.workers() == []


async def test_runs_are_listed_newest_first(fleet: Fleet) -> None:
    async with fleet.client() as client:
        assert await client.runs() == []
        ids = [(await client.start("unserved", str(number))).id for number in range(5)]
        assert sorted(info.run_id for info in await client.runs()) == sorted(ids)
        created = [info.created for info in await client.runs()]
        assert created == sorted(created, reverse=True)
        assert len(await client.runs(limit=2)) == 2


async def test_two_deployments_on_one_server_do_not_meet(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as ours, Client(fleet.url, prefix=fleet.prefix + "x") as theirs:
        run = await ours.start("echo", "ours")
        assert str(await run.result()) == "1: ours\n"
        assert await theirs.runs() == []
        assert await theirs.workers() == []
        other = await theirs.start("echo", "theirs")
        assert (await other.info()).state == "queued"


# An agent of the fleet that is used like one in this process


async def test_a_remote_agent_keeps_its_conversation(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        remote = client.agent("echo")
        assert str(await remote.invoke_async("one")) == "1: one\n"
        events = [event async for event in remote.stream_async("two", invocation_state={"mood": "fine"})]
        assert str(events[-1]["result"]) == "3: two\n"
        assert events[0] == {"init_event_loop": True, "mood": "fine"}
        assert str(await client.agent("echo").invoke_async("alone")) == "1: alone\n"
        assert str(await client.agent("echo", session_id=remote.session_id).invoke_async("three")) == "5: three\n"


async def test_a_remote_agent_can_be_called_from_code_that_is_not_async(fleet: Fleet) -> None:
    async with fleet.worker(echoing()), fleet.client() as client:
        remote = client.agent("echo")
        results = [str(await anyio.to_thread.run_sync(remote, prompt)) for prompt in ("one", "two")]
    assert results == ["1: one\n", "3: two\n"]


# Opening and closing


async def test_a_client_that_is_not_open_says_how_to_open_it(fleet: Fleet) -> None:
    client = Client(fleet.url, prefix=fleet.prefix)
    with pytest.raises(PlayheadError, match="use `async with Client"):
        await client.start("agent", "Hi")
    async with client:
        run = await client.start("agent", "Hi")
    with pytest.raises(PlayheadError, match="not open"):
        client.run(run.id)
    async with client:
        assert (await client.run(run.id).info()).state == "queued"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), ExceptionGroup("mine", [OSError()])])
async def test_an_error_in_a_clients_block_comes_out_as_it_is(fleet: Fleet, error: BaseException) -> None:
    client = Client(fleet.named("thrower"), prefix=fleet.prefix)

    async def use() -> None:
        async with client:
            run = await client.start("unserved", "Hi")
            async for _ in run.records():
                raise error

    with pytest.raises(type(error)) as raised:
        await use()
    assert raised.value is error

    async def all_gone() -> bool:
        return not await fleet.connections("thrower")

    await fleet.until(all_gone)


async def test_a_closed_client_leaves_no_connection(fleet: Fleet) -> None:
    async with fleet.client(name="leaver") as client:
        run = await client.start("unserved", "Hi")
        async with aclosing(run.records()) as records:
            await anext(records)
        assert 1 <= len(await fleet.connections("leaver")) <= 2

    async def all_gone() -> bool:
        return not await fleet.connections("leaver")

    await fleet.until(all_gone)


async def test_closing_a_client_ends_its_tails(fleet: Fleet) -> None:
    """A tail of a closed client has nothing to read from; it must not wait for ever."""
    ended = anyio.Event()

    async def read(run: Run) -> None:
        async for _ in run.records():
            seen.set()

    async def watch(run: Run) -> None:
        with pytest.raises(PlayheadError, match=f"closed while run {run.id} was read; the run goes on"):
            await read(run)
        ended.set()

    seen = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with fleet.client(name="closer") as client:
            tasks.start_soon(watch, await client.start("unserved", "Hi"))
            await seen.wait()
        with anyio.fail_after(5):
            await ended.wait()

    async def all_gone() -> bool:
        return not await fleet.connections("closer")

    await fleet.until(all_gone)


# Replay


async def test_a_replay_gives_the_same_events_again_on_the_recorded_clock(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        with anyio.move_on_after(0.12):  # what is replayed: a pause in the recording
            await anyio.sleep_forever()
        model.go.set()
        await run.result()
        records = [entry async for entry in run.records()]
        events = [event async for event in run.stream_async()]
        recorded_s = (records[-1].record.at - records[0].record.at) / 1000
        assert recorded_s >= 0.12
        for speed in (None, 4.0, 1.0):
            began = time.monotonic()
            assert [event async for event in run.replay(speed=speed)] == events
            assert time.monotonic() - began >= (recorded_s / speed if speed else 0.0)
        assert [entry async for entry in run.replay_records(speed=None)] == records


@pytest.mark.parametrize("speed", [0, -1.0])
async def test_a_replay_at_no_speed_is_refused(fleet: Fleet, speed: float) -> None:
    async with fleet.client() as client:
        run = await client.start("unserved", "Hi")
        with pytest.raises(ValueError, match="speed must be above 0"):
            await anext(run.replay(speed=speed))
