"""The spans of a fleet: children of the caller's, linked where another owner goes on; the log has what that needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunSubmitted
from playhead.runtime.core.trace import with_trace
from playhead.runtime.log.values import Batch, NewRun
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify
from tests.support.spans import Telemetry, id_of, telemetry_set_up

if TYPE_CHECKING:
    from playhead.client import Run
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    with telemetry_set_up(monkeypatch) as here:
        yield here


def scripted(*calls: Any, name: str = "helper", **options: Any) -> Agent:
    return Agent(ScriptedModel(calls, repeat=True), name=name, callback_handler=None, **options)


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that a span links to."""
    return [link.context.span_id for link in span.links]


async def stored(run: Run) -> list[dict[str, Any]]:
    """The trace contexts in the records of a run."""
    found = [dict(entry.record).get("trace") async for entry in run.records()]
    return [one for one in found if one]


async def test_the_spans_of_a_worker_are_children_of_the_callers(fleet: Fleet, telemetry: Telemetry) -> None:
    async with fleet.worker(scripted("Hi.")) as worker, fleet.client() as client:
        with trace.get_tracer("test").start_as_current_span("request") as request:
            run = await client.start("helper", "go", session_id="ada")
        await run.result()
        await fleet.ended(worker, completed=1)
        (span,) = telemetry.named("invoke_agent helper")
        assert telemetry.tree() == [
            "request",
            "  invoke_agent helper",
            "    execute_event_loop_cycle",
            "      chat",
        ]
        assert span.parent is not None
        assert (span.parent.span_id, span.parent.is_remote) == (request.get_span_context().span_id, True)
        attributes = span.attributes or {}
        assert attributes["gen_ai.conversation.id"] == "ada"
        assert (attributes["playhead.run.id"], attributes["playhead.run.epoch"]) == (run.id, 1)
        assert len(await stored(run)) == 2, "the caller's in record 1, the owner's in its first cycle.started"


async def test_a_run_that_a_tool_starts_is_a_child_of_the_tool(fleet: Fleet, telemetry: Telemetry) -> None:
    async with fleet.client() as client:

        @tool
        async def delegate() -> str:
            """Delegate."""
            return str(await client.invoke_async("inner", "go"))

        outer = Agent(
            ScriptedModel([tool_call("delegate", {}, "t1"), "Done."]),
            name="outer",
            tools=[delegate],
            callback_handler=None,
        )
        async with fleet.worker(outer, scripted("Hi.", name="inner")) as worker:
            await client.invoke_async("outer", "go")
            await fleet.ended(worker, completed=2)
        assert telemetry.tree()[3:5] == ["    execute_tool delegate", "      invoke_agent inner"]


async def test_the_next_owner_links_its_span_to_the_one_that_it_continues(
    fleet: Fleet, telemetry: Telemetry, held_model: Callable[..., HeldModel]
) -> None:
    model = held_model()
    agent = Agent(model, name="helper", callback_handler=None)
    async with fleet.client() as client:
        run = await client.start("helper", "go")
        async with fleet.worker(agent):
            await model.held.wait()
        model.go.set()
        async with fleet.worker(agent) as worker:
            await run.result()
            await fleet.ended(worker, completed=1)
        first, second = telemetry.named("invoke_agent helper")
        outcomes = [(span.attributes or {})["playhead.outcome"] for span in (first, second)]
        assert outcomes == ["handed_over", "completed"]
        assert (linked(first), linked(second)) == ([], [id_of(first)])
        assert (await verify(run, agent)).same


async def test_a_fork_is_a_child_of_its_own_caller_and_linked_to_its_parent(fleet: Fleet, telemetry: Telemetry) -> None:
    async with fleet.worker(scripted("Hi.")) as worker, fleet.client() as client:
        run = await client.start("helper", "go")
        await run.result()
        with trace.get_tracer("test").start_as_current_span("request") as request:
            fork = await run.fork(at=4)
        await fork.result()
        await fleet.ended(worker, completed=2)
        parent, forked = telemetry.named("invoke_agent helper")
        assert linked(forked) == [id_of(parent)]
        assert forked.parent is not None
        assert forked.parent.span_id == request.get_span_context().span_id
        assert (await run.diff(fork)).common == 4


async def test_an_owner_that_died_is_linked_by_the_record_that_it_wrote_last(
    fleet: Fleet, telemetry: Telemetry
) -> None:
    sent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    log = fleet.log()
    run_id, token = new_run_id(), new_token()
    await log.submit(NewRun(run_id, "helper", RunSubmitted(at=1, agent="helper", prompt="go")))
    claimed = {"helper": encode_record(RunClaimed(at=2, worker="gone"))}
    claim = await log.claim(claimed, worker="gone", token=token, lease_ms=1)
    assert claim is not None
    begun = encode_record(with_trace(CycleStarted(at=3, cycle=1), sent))
    await log.append([Batch(run_id, token, claim.head, [begun])])
    await log.aclose()
    async with fleet.client() as client, fleet.worker(scripted("Hi.")) as worker:
        await client.run(run_id).result()
        await fleet.ended(worker, completed=1)
    (span,) = telemetry.named("invoke_agent helper")
    assert [trace.format_span_id(one) for one in linked(span)] == ["b7ad6b7169203331"]
    assert (span.attributes or {})["playhead.run.epoch"] == 2


async def test_one_run_id_submitted_again_within_another_span_is_the_same_run(
    fleet: Fleet, telemetry: Telemetry
) -> None:
    async with fleet.client() as client:
        run_id = await client.new_run_id()
        for name in ("first", "second"):
            with trace.get_tracer("test").start_as_current_span(name):
                await client.start("helper", "go", run_id=run_id)
        assert [one.run_id for one in await client.runs()] == [run_id]


@tool
def ask(context: ToolContext) -> str:
    """Ask."""
    return str(context.interrupt("which", "Which one?"))


async def test_a_pause_ends_the_span_and_a_response_goes_on_in_a_linked_one(fleet: Fleet, telemetry: Telemetry) -> None:
    agent = scripted(tool_call("ask", {}, "t1"), "Done.", tools=[ask])
    async with fleet.worker(agent) as worker, fleet.client() as client:
        run = await client.start("helper", "go")
        (question,) = (await run.result()).interrupts or []
        await run.respond({question.id: "this"})
        await run.result()
        await fleet.ended(worker, completed=1, paused=1)
    first, second = telemetry.named("invoke_agent helper")
    assert (first.attributes or {})["playhead.outcome"] == "paused"
    assert linked(second) == [id_of(first)]


async def test_without_an_sdk_no_record_has_a_trace(fleet: Fleet) -> None:
    async with fleet.worker(scripted("Hi.")), fleet.client() as client:
        run = await client.start("helper", "go")
        await run.result()
        assert await stored(run) == []


async def test_a_run_that_fails_ends_its_spans_in_error(fleet: Fleet, telemetry: Telemetry) -> None:
    def broken(context: object) -> Agent:
        raise KeyError("tenant")

    async with fleet.worker(broken) as worker, fleet.client() as client:
        run = await client.start("broken", "go")
        with pytest.raises(Exception, match="tenant"):
            await run.result()
        await fleet.ended(worker, failed=1)
    (span,) = telemetry.spans()
    assert (span.name, span.status.status_code.name) == ("invoke_agent broken", "ERROR")
    (event,) = span.events
    assert "KeyError" in str((event.attributes or {})["exception.stacktrace"])


async def test_a_worker_and_its_client_are_measured(fleet: Fleet, telemetry: Telemetry) -> None:
    async with fleet.worker(scripted("Hi there.")) as worker, fleet.client() as client:
        await client.invoke_async("helper", "go")
        await fleet.ended(worker, completed=1)
        told = worker.statistics()
        of_worker = (("playhead.worker", worker.name),)
        assert telemetry.measured("playhead.worker.claims")[of_worker] == 1
        assert telemetry.measured("playhead.worker.records")[of_worker] == told.records
        assert telemetry.measured("playhead.worker.runs")[of_worker] == 0
        assert telemetry.measured("playhead.worker.append.duration")[of_worker] > 0
    assert telemetry.measured("playhead.run.submitted") == {(("gen_ai.agent.name", "helper"),): 1}
    assert telemetry.measured("playhead.worker.claims")[of_worker] == 1, "for the collection at the end of the process"
