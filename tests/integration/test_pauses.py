"""Interrupts, responses and steers, from the client's side: what is asked, how to respond, how a tail ends."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client, Notice, Run
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import (
    AgentPausedError,
    EncodingError,
    InterruptNotOpenError,
    RecordTooLargeError,
    RunEndedError,
    RunFailedError,
    RunNotFoundError,
)
from playhead.runtime.core.events import Event
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import MessageAdded
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@tool
async def pay(euros: int, context: ToolContext) -> str:
    """Pays, if allowed to."""
    return f"{euros} paid: {context.interrupt('approve', {'euros': euros})}"


@tool
def book(context: ToolContext) -> str:
    """Asks two things, one after the other."""
    return f"{context.interrupt('where')} {context.interrupt('when')}"


def script(messages: Messages) -> Any:
    """Uses the tool the user named; then tells what it gave, and what the user said last."""
    blocks = [block for message in messages if message.get("role") == "user" for block in message.get("content", [])]
    texts = [block["text"] for block in blocks if "text" in block]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    if results:
        return f"{results[-1]['content'][0]['text']}; {texts[-1]}"
    return tool_call(texts[0], {"euros": 5} if texts[0] == "pay" else {}, "t1", text="Let me see.")


def clerk() -> Agent:
    return Agent(ScriptedModel([script], repeat=True), name="clerk", tools=[pay, book], callback_handler=None)


async def all_events(run: Run, **options: Any) -> list[Event]:
    return [event async for event in run.stream_async(**options)]


async def asked(client: Client, prompt: str = "pay", **options: Any) -> tuple[Run, list[Event]]:
    """A run that is paused, and what it did so far."""
    run = await client.start("clerk", prompt, **options)
    return run, await all_events(run)


def ids(events: list[Event]) -> list[str]:
    return [interrupt.id for interrupt in events[-1]["result"].interrupts or []]


# How a tail ends at a pause


async def test_a_stream_ends_with_the_question_and_goes_on_after_it_once_answered(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        run, first = await asked(client, invocation_state={"mood": "fine"})
        result = first[-1]["result"]
        assert result.stop_reason == "interrupt"
        (question,) = result.interrupts
        assert (question.name, question.reason) == ("approve", {"euros": 5})
        assert (await run.info()).state == "paused"
        assert (await run.result()).interrupts == [question]
        assert await all_events(run, after=first[-1].cursor) == [], "no event comes after it until there is a response"
        assert await run.respond({question.id: "fine"}, invocation_state={"mood": "better"}) == "queued"
        rest = await all_events(run, after=first[-1].cursor)
        for events, mood in ((first, "fine"), (rest, "better")):
            assert {event["mood"] for event in events if "init_event_loop" in event or "data" in event} == {mood}
        assert str(rest[-1]["result"]) == "5 paid: fine; pay\n"
        whole = await all_events(run)
        assert first + rest == whole, "a pause that is over is passed over, and hides nothing"
        for place, event in enumerate(whole):
            assert await all_events(run, after=event.cursor) == whole[place + 1 :]
        assert str(await run.result()) == str(rest[-1]["result"])
        assert client.statistics().subscriptions == 0


async def test_a_caller_that_answers_within_the_stream_stays_in_it(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        results: list[Any] = []
        async for event in client.stream_async("clerk", "book"):
            if "result" in event:
                results.append(event["result"])
                for number, question in enumerate(event["result"].interrupts or []):
                    await client.run(event.run_id).respond({question.id: f"answer {number}"})
        assert [result.stop_reason for result in results] == ["interrupt", "interrupt", "end_turn"]
        assert [len(result.interrupts or []) for result in results] == [1, 1, 0]
        assert str(results[-1]) == "answer 0 answer 0; book\n"


@pytest.mark.parametrize("how", ["records", "stream", "result", "client"])
async def test_a_caller_that_waits_on_is_told_what_is_asked_and_how_to_respond(fleet: Fleet, how: str) -> None:
    told: list[Notice] = []
    asked = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice)
        asked.set()

    async with fleet.worker(clerk()), fleet.client(on_notice=on_notice) as client:
        run = await client.start("clerk", "pay")
        done: list[Any] = []

        async def wait() -> None:
            if how == "records":
                done.extend([entry async for entry in run.records()])
            elif how == "stream":
                done.extend(await all_events(run, on_pause="wait"))
            elif how == "result":
                done.append(await run.result(on_pause="wait"))
            else:
                done.append(await client.invoke_async("clerk", "pay", on_pause="wait"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await asked.wait()
            (notice,) = told
            (question,) = notice.interrupts
            assert (notice.kind, question.name) == ("paused", "approve")
            for part in (f'approve: {{"euros": 5}} ({question.id})', f"playhead respond {notice.run_id} RESPONSE"):
                assert part in notice.message
            await client.run(notice.run_id).respond({question.id: "yes"})
        assert done
        assert [notice.kind for notice in told] == ["paused"]


async def test_a_reader_that_comes_to_a_paused_run_by_a_bare_number_is_told_too(fleet: Fleet) -> None:
    told = anyio.Event()
    notices: list[Notice] = []

    def on_notice(notice: Notice) -> None:
        notices.append(notice)
        told.set()

    async with fleet.worker(clerk()), fleet.client(on_notice=on_notice) as client:
        run, events = await asked(client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, run.records(after=events[-1].seq))
            await told.wait()
            tasks.cancel_scope.cancel()
        assert [one.id for one in notices[0].interrupts] == ids(events)


@pytest.mark.parametrize("how", ["records", "stream", "result", "received"])
async def test_leaving_the_tail_of_a_paused_run_leaves_no_subscription_and_the_run_as_it_was(
    fleet: Fleet, how: str
) -> None:
    told = anyio.Event()
    async with fleet.worker(clerk()), fleet.client(on_notice=lambda _: told.set()) as client:
        run, _ = await asked(client)

        async def wait() -> None:
            ways: dict[str, Callable[[], Any]] = {
                "records": lambda: anext(run.records(after=info.head)),
                "stream": lambda: all_events(run, on_pause="wait"),
                "result": lambda: run.result(on_pause="wait"),
                "received": lambda: run.received("never"),
            }
            await ways[how]()
            pytest.fail("no response arrived")

        info = await run.info()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await told.wait()
            tasks.cancel_scope.cancel()
        assert client.statistics()[:2] == (0, 0)
        assert (await run.info()).state == "paused"


async def test_a_caller_is_told_of_a_dead_fleet_once_the_response_is_given(fleet: Fleet) -> None:
    told: list[str] = []
    no_worker = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice.kind)
        if notice.kind == "no_worker":
            no_worker.set()

    async with fleet.client(on_notice=on_notice) as client:
        async with fleet.worker(clerk()):
            run, events = await asked(client)
        viewer = fleet.viewer(run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(viewer.watch)
            await viewer.seen(events[-1].seq)
            await run.respond({ids(events)[0]: "yes"})
            await no_worker.wait()
            async with fleet.worker(clerk()):
                await run.result()
        assert told[-1] == "no_worker"
        assert viewer.entries[-1].record.type == "run.completed"


async def test_a_deadline_ends_the_tail_of_a_paused_run_with_no_worker_alive(fleet: Fleet) -> None:
    async with fleet.client(on_notice=lambda _: None) as client:
        async with fleet.worker(clerk()):
            run, events = await asked(client, deadline=60.0)
        info = await run.info()
        assert info.deadline is not None
        assert 59_000 < info.deadline - info.created <= 60_000
        viewer = fleet.viewer(run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(viewer.watch)
            await viewer.seen(events[-1].seq)
            await fleet.ask("ZADD", client.log.keys.deadlines, "XX", 1, run.id)  # a minute passes
        assert viewer.entries[-1].record.type == "run.failed"
        with pytest.raises(RunFailedError) as raised:
            await run.result()
        assert raised.value.error_type == "DeadlineExceeded"
        with pytest.raises(RunEndedError, match="has ended"):
            await run.respond({ids(events)[0]: "too late"})


async def test_a_deadline_ends_a_queued_run_that_no_worker_serves(fleet: Fleet) -> None:
    async with fleet.client(on_notice=lambda _: None) as client:
        with pytest.raises(RunFailedError, match="deadline"):
            await client.invoke_async("unserved", "Hi", deadline=0.001)


async def test_a_caller_whose_run_waits_for_a_paused_run_is_told_which(fleet: Fleet) -> None:
    told: list[Notice] = []
    heard = anyio.Event()

    def on_notice(notice: Notice) -> None:
        told.append(notice)
        heard.set()

    async with fleet.worker(clerk()), fleet.client(on_notice=on_notice) as client:
        first, events = await asked(client, session_id="ada")
        second = await client.start("clerk", "pay", session_id="ada")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second.result)
            await heard.wait()
            await first.respond({ids(events)[0]: "yes"})
        assert told[0].kind == "queued"
        assert f"with run {first.id}, which is paused and waits for a response" in told[0].message


# Responses


async def test_of_two_clients_that_respond_at_once_one_wins_and_the_other_is_told(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as one, fleet.client() as two:
        run, events = await asked(one)
        await (await two.start("unserved", "Hi")).cancel()  # so that its rights are checked: else it responds later
        (question,) = ids(events)
        lost: dict[str, InterruptNotOpenError] = {}

        async def respond(client: Client, text: str) -> None:
            try:
                await client.run(run.id).respond({question: text})
            except InterruptNotOpenError as error:
                lost[text] = error

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(respond, one, "one")
            tasks.start_soon(respond, two, "two")
        (loser,) = lost
        assert (lost[loser].run_id, lost[loser].ids) == (run.id, [question])
        winner = "two" if loser == "one" else "one"
        assert str(await run.result()) == f"5 paid: {winner}; pay\n"


async def test_a_response_sent_twice_counts_once_and_is_not_an_error(fleet: Fleet) -> None:
    async with fleet.client() as client:
        async with fleet.worker(clerk()):
            run, events = await asked(client)
        (question,) = ids(events)
        for _ in range(2):
            assert await run.respond({question: "yes"}, signal_id="mine") == "queued"
        assert len(await client.log.inbox(run.id)) == 1
        async with fleet.worker(clerk()):
            assert str(await run.result()) == "5 paid: yes; pay\n"
        assert await run.respond({question: "yes"}, signal_id="mine") == "completed"
        with pytest.raises(RunEndedError, match=r"has ended \(completed\)"):
            await run.respond({question: "no"})
        receipt = await run.received("mine")
        assert receipt.record.type == "signal.received"
        assert receipt.seq > events[-1].seq


async def test_what_is_not_asked_cannot_be_answered_and_nothing_is_changed(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        run, events = await asked(client)
        before = await run.info()
        with pytest.raises(InterruptNotOpenError) as raised:
            await run.respond({ids(events)[0]: "yes", "v1:other": "no"})
        assert raised.value.ids == ["v1:other"]
        assert await run.info() == before
        with pytest.raises(RunNotFoundError):
            await client.run(new_run_id()).respond({"x": 1})


NOT_A_RESPONSE: list[Any] = [{}, None, [], "yes", {1: "yes"}, [("id", "yes")], {"id": None}]


@pytest.mark.parametrize("responses", NOT_A_RESPONSE, ids=repr)
async def test_what_is_not_a_response_is_refused_before_anything_is_sent(fleet: Fleet, responses: Any) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match=r"respond needs|None is not a response"):
            await client.run(new_run_id()).respond(responses)


async def test_what_cannot_be_stored_is_refused_before_anything_is_sent(fleet: Fleet) -> None:
    async with fleet.client(max_record_bytes=1000) as client:
        run = client.run(new_run_id())
        with pytest.raises(RecordTooLargeError, match="the response is"):
            await run.respond({"question": "x" * 1000})
        with pytest.raises(RecordTooLargeError, match="the steer is"):
            await run.steer("x" * 1000)
        with pytest.raises(EncodingError, match="the response to 'question' cannot be stored"):
            await run.respond({"question": object()})
        with pytest.raises(EncodingError, match="the steer cannot be stored"):
            await run.steer([{"text": "x", "tag": object()}])


# Steers


async def test_a_steer_is_taken_in_at_the_next_boundary_and_acknowledged_in_the_log(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    async with fleet.worker(Agent(model, name="agent")), fleet.client() as client:
        run = await client.start("agent", "Hi")
        await model.held.wait()
        assert await run.steer([{"text": "Hurry"}], signal_id="s1") == "running"
        assert await run.steer([{"text": "Hurry"}], signal_id="s1") == "running"
        model.go.set()
        receipt = await run.received("s1")
        await run.result()
        assert model.calls[1][-1].get("content") == [{"text": "Hurry"}]
        heard = [entry.record async for entry in run.records(after=receipt.cursor)]
        assert any(isinstance(record, MessageAdded) and record.origin == "steer" for record in heard)
        with pytest.raises(RunEndedError):
            await run.steer("Too late")
        assert await run.steer("Hurry", signal_id="s1") == "completed", "that one had been taken in"
        with pytest.raises(RunEndedError, match="without receiving the signal never"):
            await run.received("never")


async def test_a_steer_leaves_a_paused_run_paused_and_is_taken_in_when_it_goes_on(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        run, events = await asked(client)
        assert await run.steer("and hurry") == "paused"
        assert (await run.info()).state == "paused"
        assert (await run.result()).stop_reason == "interrupt"
        await run.respond({ids(events)[0]: "yes"})
        assert str(await run.result()) == "5 paid: yes; and hurry\n"


NOT_A_STEER: list[Any] = [None, "", "  \n", [], [{"role": "user", "content": [{"text": "x"}]}], 5, [{"what": 1}]]


@pytest.mark.parametrize("prompt", NOT_A_STEER, ids=repr)
async def test_what_says_nothing_is_refused_before_anything_is_sent(fleet: Fleet, prompt: Any) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match=r"a (steer|prompt) must"):
            await client.run(new_run_id()).steer(prompt)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), 1e12])
async def test_what_is_not_a_deadline_is_refused_before_anything_is_sent(fleet: Fleet, deadline: float) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="deadline must be"):
            await client.start("clerk", "pay", deadline=deadline)
        assert await client.runs() == []


async def test_a_paused_run_is_cancelled_at_once(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        run, events = await asked(client)
        assert await run.cancel() == "cancelled"
        assert (await all_events(run))[-1]["result"].stop_reason == "cancelled"
        assert await all_events(run, after=events[-1].cursor) == [(await all_events(run))[-1]]
        with pytest.raises(RunEndedError):
            await run.respond({ids(events)[0]: "yes"})


# A remote agent


def response(result: Any, text: str) -> list[dict[str, Any]]:
    return [{"interruptResponse": {"interruptId": one.id, "response": text}} for one in result.interrupts]


async def test_a_remote_agent_asks_and_goes_on_like_one_in_this_process(fleet: Fleet) -> None:
    async def use(agent: Any) -> list[Any]:
        first = [event async for event in agent.stream_async("pay")]
        rest = [event async for event in agent.stream_async(response(first[-1]["result"], "yes"))]
        return [json.loads(event.to_json()) for event in first + rest]

    async with fleet.worker(clerk()), fleet.client() as client:
        here, there = await use(clerk()), await use(client.agent("clerk"))
        assert [list(event) for event in there] == [list(event) for event in here]
        assert there[-1]["result"]["message"]["content"] == here[-1]["result"]["message"]["content"]


async def test_a_remote_agent_of_another_process_answers_by_the_session(fleet: Fleet) -> None:
    async with fleet.worker(clerk()):
        async with fleet.client() as client:
            first = await client.agent("clerk", session_id="ada").invoke_async("pay")
        async with fleet.client() as client:
            agent = client.agent("clerk", session_id="ada")
            with pytest.raises(AgentPausedError) as raised:
                await agent.invoke_async("What about it?")
            assert raised.value.interrupt_ids == [one.id for one in first.interrupts or []]
            assert str(await agent.invoke_async(response(first, "yes"))) == "5 paid: yes; pay\n"
            with pytest.raises(InterruptNotOpenError):
                await agent.invoke_async(response(first, "yes"))
            assert len(await client.runs()) == 1


async def test_a_remote_agent_called_from_code_that_is_not_async_answers_too(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        agent = client.agent("clerk")
        first = await anyio.to_thread.run_sync(agent, "pay")
        second = await anyio.to_thread.run_sync(agent, response(first, "yes"))
        assert (first.stop_reason, str(second)) == ("interrupt", "5 paid: yes; pay\n")


async def test_a_remote_agent_gives_up_what_waits_for_responses(fleet: Fleet) -> None:
    async with fleet.worker(clerk()), fleet.client() as client:
        agent = client.agent("clerk")
        await agent.cancel()
        first = await agent.invoke_async("pay")
        await agent.cancel()
        with pytest.raises(InterruptNotOpenError):
            await agent.invoke_async(response(first, "yes"))
        assert (await agent.invoke_async("pay")).stop_reason == "interrupt"


async def test_events_of_a_stream_that_no_caller_reads_on_are_freed(fleet: Fleet) -> None:
    """The stream is left between the question and the look whether it is open."""
    async with fleet.worker(clerk()), fleet.client() as client:
        stream: AsyncGenerator[Event, None] = client.stream_async("clerk", "pay")
        async with aclosing(stream):
            async for event in stream:
                if "result" in event:
                    break
        assert client.statistics()[:2] == (0, 0)
