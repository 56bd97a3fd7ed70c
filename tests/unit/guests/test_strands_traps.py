"""What goes wrong when an agent of Strands is run again over its log, unless the host sees to it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from importlib import metadata
from typing import Any

import anyio
import pytest
import strands
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from strands.hooks import AfterInvocationEvent, BeforeToolCallEvent
from strands.telemetry import MetricsClient
from strands.telemetry.tracer import get_tracer
from strands.types.exceptions import ModelThrottledException

from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.records import (
    MessageAdded,
    RunSubmitted,
    SignalReceived,
    StateChanged,
    StepFinished,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.guests.strands import StrandsGuest
from tests.support.guest_owners import Owners
from tests.support.strands_agents import MANY, Script, World, said, slow

__all__: list[str] = []

pytestmark = pytest.mark.anyio

TWO_TURNS = (
    said("One.", calls=[("slow", "a", {"n": 1})]),
    said("Two.", calls=[("slow", "b", {"n": 2})]),
    said("Done."),
)


def guest(make: Callable[[], Any], **options: Any) -> StrandsGuest:
    return StrandsGuest(make, name="agent", **options)


async def played(made: StrandsGuest, log: Any = None, **options: Any) -> Owners:
    """A run of it, to its end."""
    run = Owners(made, list(log or []), **options)
    await run.to_the_end()
    return run


def upto(run: Owners, kind: type[Any], number: int = 1) -> list[Any]:
    """The log up to the record of that type with this number."""
    places = [entry.seq for entry in run.log if isinstance(entry.record, kind)]
    return run.log[: places[number - 1]]


async def test_a_request_that_has_the_time_in_it_differs_and_its_answer_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "playhead.runs")
    clock = itertools.count()
    made = guest(lambda: World().agent(*TWO_TURNS, system_prompt=f"It is {next(clock)} o'clock."))
    whole = await played(made)
    again = await played(made, upto(whole, ToolFinished, 2))
    assert again.end.type == "run.completed"
    assert len(again.of(StepFinished)) == len(whole.of(StepFinished)), "no model was asked again"
    assert "the recorded answer stands" in caplog.text


async def test_a_hook_that_decides_by_chance_diverges_at_the_exact_record() -> None:
    refuses = itertools.count()

    def decide(event: BeforeToolCallEvent) -> None:
        if next(refuses) % 2:
            event.cancel_tool = "bad luck"

    made = guest(lambda: World().agent(TWO_TURNS[0], said("Done."), hooks=[decide]))
    whole = await played(made)
    again = await played(made, whole.log[:-1])
    assert again.end.error_type == "DivergedError"
    assert "the log is" in again.end.message


@pytest.mark.parametrize("declared", [True, False])
async def test_a_tool_that_registers_tools_registers_them_again_if_it_is_declared(declared: bool) -> None:
    @strands.tool
    def extra() -> str:
        """A tool that is not there at first."""
        return "extra work"

    @strands.tool(context=True)
    def load(tool_context: strands.ToolContext) -> str:
        """Register a tool."""
        tool_context.agent.tool_registry.register_tool(extra)
        return "loaded"

    calls = [said(calls=[(name, name, {})]) for name in ("load", "extra")]
    made = guest(lambda: World().agent(*calls, said("Done."), tools=[load]), rerun={"load"} if declared else ())
    whole = await played(made)
    again = await played(made, upto(whole, ToolFinished))
    (*_, result) = again.of(ToolFinished)
    assert (result.result["content"] == [{"text": "extra work"}]) == declared, "docs/hosting.md tells to declare it"


async def test_a_wait_before_a_retry_that_is_over_is_not_waited_again() -> None:
    class Throttled(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            self.world.asked += 1
            if self.world.asked == 1:
                raise ModelThrottledException("slow down")
            async for chunk in super().stream(messages, *args, **kwargs):
                yield chunk

    def patient(seconds: float) -> StrandsGuest:
        def make() -> strands.Agent:
            waits: dict[str, Any] = {"initial_delay": seconds, "max_delay": seconds}
            agent = world.agent(retry_strategy=strands.ModelRetryStrategy(max_attempts=2, **waits))
            agent.model = Throttled(world, [said("Done.")])
            return agent

        return guest(make)

    world = World()
    whole = await played(patient(0.002))
    world.asked = 1
    with anyio.fail_after(15):
        again = await played(patient(3600), whole.log[:-3])
    assert again.end.type == "run.completed"


async def test_ids_and_times_of_messages_are_those_of_the_log() -> None:
    seen: list[list[Any]] = []

    def look(event: AfterInvocationEvent) -> None:
        seen.append([message.get("tracking_id") for message in event.agent.messages])

    made = guest(lambda: World().agent(*TWO_TURNS, hooks=[look]))
    whole = await played(made)
    again = await played(made, upto(whole, MessageAdded, 4))
    logged = [record.message["tracking_id"] for record in again.of(MessageAdded)]
    assert seen[-1] == logged
    assert logged[:4] == [record.message["tracking_id"] for record in whole.of(MessageAdded)][:4]


async def test_a_lost_run_stops_a_tool_instead_of_giving_the_model_an_error() -> None:
    def lose(event: BeforeToolCallEvent) -> None:
        run.ownership.lose("another owner has it")

    run = Owners(guest(lambda: World().agent(*TWO_TURNS, hooks=[lose])))
    with pytest.raises(FencedError):
        await run.own()
    assert (run.of(ToolStarted), run.of(ToolFinished)) == ([], [])


async def test_the_tools_of_a_result_are_counted_from_the_log() -> None:
    made = guest(lambda: World().agent(*TWO_TURNS))
    whole = await played(made)
    again = await played(made, upto(whole, ToolFinished, 2))
    assert again.end.result["metrics"]["tools"] == {"slow": {"calls": 2, "ok": 2, "errors": 0}}


async def test_the_result_of_a_graph_is_told_once_at_its_end() -> None:
    run = await played(guest(lambda: MANY["graph"](World())))
    told = [event for event in run.events() if "result" in event]
    assert told == run.events()[-1:]


async def test_the_state_of_an_agent_is_kept_with_the_session() -> None:
    made = guest(lambda: World().agent(said(calls=[("remember", "a", {"what": "x"})]), said("Done."), state={"own": 1}))
    for stored, kept in (({"kept": ["w"]}, {"kept": ["w", "x"]}), (None, {"own": 1, "kept": ["x"]})):
        for cut in (1, 12):
            run = Owners(made, said=StoredMessages(agent_state=stored))
            run.log.clear()
            run.append(RunSubmitted(at=0, agent="agent", prompt="go", session="s"))
            await run.own(upto=cut + 2)
            await run.to_the_end()
            (changed,) = run.of(StateChanged)
            assert (changed.values, changed.begins) == (kept, True)
            assert run.hosts[-1].state.agent_state == kept


async def test_a_steer_reaches_the_model_with_the_results_and_after_its_answer() -> None:
    asked: list[list[str]] = []

    class Listening(Script):
        async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            asked.append([block["text"] for one in messages for block in one["content"] if "text" in block])
            if len(asked) == 3:  # in the answer that would be the last
                run.control.deliver([*run.inbox(), Signal("late", "steer", "and then?")])
                await anyio.sleep(0.01)
            async for chunk in super().stream(messages, *args, **kwargs):
                yield chunk

    @strands.tool
    async def steered() -> str:
        """Be told something meanwhile."""
        run.control.deliver([*run.inbox(), Signal("early", "steer", "hurry")])
        await anyio.sleep(0.01)
        return "done"

    def make() -> strands.Agent:
        agent = world.agent(tools=[steered])
        agent.model = Listening(world, [said(calls=[("steered", "a", {})]), said("Almost."), said("Yes.")])
        return agent

    world = World()
    run = Owners(guest(make))
    asked.append([])
    await run.to_the_end()
    assert asked[1:] == [["go"], ["go", "hurry"], ["go", "hurry", "Almost.", "and then?"]]
    origins = [(one.origin, one.message["content"][0].get("text")) for one in run.of(MessageAdded)]
    assert ("steer", "hurry") in origins
    for cut in range(5, len(run.log), 4):
        again = Owners(guest(make), run.log[:cut])
        received = {getattr(one.record, "signal_id", "") for one in again.log}
        if not {"early", "late"} <= received:
            continue
        await again.to_the_end()
        assert [one.message["content"] for one in again.of(MessageAdded)] == [
            one.message["content"] for one in run.of(MessageAdded)
        ], cut


async def test_a_cancel_after_the_current_tools_lets_them_end_and_has_the_last_word() -> None:
    @strands.tool
    async def cancelling() -> str:
        """Be cancelled meanwhile."""
        run.control.deliver([Signal("c", "cancel", {"message": "Bye.", "after_current_tools": True})])
        await anyio.sleep(0.01)
        return "done"

    calls = [("cancelling", "a", {}), ("slow", "b", {"n": 1})]
    made = guest(lambda: World().agent(said(calls=calls), said("Never said."), tools=[cancelling, slow]))
    run = Owners(made)
    await run.to_the_end()
    cuts = range(len(upto(run, SignalReceived)), len(run.log))
    for one in [run, *[await played(made, run.log[:cut]) for cut in cuts]]:
        assert (one.end.type, one.end.result["stop_reason"]) == ("run.cancelled", "cancelled")
        assert one.end.result["message"]["content"] == [{"text": "Bye."}]
        assert [record.result["status"] for record in one.of(ToolFinished)] == ["success", "success"]


async def test_another_version_of_strands_is_told_in_a_warning_and_where_it_diverges(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["slow", "counting"]
    made = guest(lambda: World().agent(said(calls=[(texts[-1], "a", {"n": 1})]), said("Done.")))
    whole = await played(made)
    installed = metadata.version("strands-agents")
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    again = await played(made, upto(whole, ToolFinished))
    assert again.end.type == "run.completed"
    assert f"began with strands-agents {installed}, and this agent is run by strands-agents 9.9" in caplog.text
    other = guest(lambda: World().agent(said("Nothing to do.")))
    log = [entry for entry in upto(whole, ToolFinished) if not hasattr(entry.record, "chunk")]
    diverged = await played(other, log)
    assert diverged.end.error_type == "DivergedError"
    assert diverged.end.message.endswith(
        f"began with strands-agents {installed}, and this agent is run by strands-agents 9.9"
    )


async def test_spans_are_not_made_again_while_the_log_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    exported, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(get_tracer(), "tracer", provider.get_tracer("test"))
    made = guest(lambda: World().agent(*TWO_TURNS))
    whole = await played(made)
    names = [span.name for span in exported.get_finished_spans()]
    assert names.count("chat") == 3
    exported.clear()
    await played(made, upto(whole, ToolFinished, 2))
    names = [span.name for span in exported.get_finished_spans()]
    assert (names.count("chat"), "execute_tool slow" in names) == (1, False)


async def test_metrics_do_not_count_again_while_the_log_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    client = MetricsClient()
    for name, own in list(vars(client).items()):
        monkeypatch.setattr(client, name, own)  # so that these come back
    made = guest(lambda: World().agent(*TWO_TURNS))

    async def counted(log: Any) -> tuple[int, int, int]:
        """The cycles, the tool calls and the input tokens that the owners of the run count from there on."""
        reader = InMemoryMetricReader()
        client.meter = MeterProvider([reader]).get_meter("strands")
        client.create_instruments()
        assert (await played(made, log)).end.type == "run.completed"
        found = reader.get_metrics_data()
        metrics = [] if found is None else found.resource_metrics[0].scope_metrics[0].metrics
        sums: dict[str, Any] = {
            one.name: [getattr(p, "value", None) or getattr(p, "sum", 0) for p in one.data.data_points]
            for one in metrics
        }
        kinds = ("event_loop.start_cycle", "tool.call_count", "event_loop.input.tokens")
        cycles, calls, tokens = (sum(sums.get(f"strands.{kind}", ())) for kind in kinds)
        return cycles, calls, tokens

    whole = await played(made)
    assert await counted([]) == (3, 2, 3)
    called = [number for number, one in enumerate(whole.log, 1) if isinstance(one.record, ToolFinished)]
    added = [number for number, one in enumerate(whole.log, 1) if isinstance(one.record, MessageAdded)]
    assert await counted(whole.log[: called[0]]) == (2, 1, 2)
    assert await counted(whole.log[: called[1]]) == (1, 0, 1)
    assert await counted(whole.log[: added[-1]]) == (0, 0, 0)
    assert whole.of(ToolFinished)[0].duration_ms > 0, "a call has the time that its body took"
