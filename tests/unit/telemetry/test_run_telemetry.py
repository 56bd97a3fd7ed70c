"""What an agent in this process tells OpenTelemetry, and that nothing which goes wrong there reaches the run."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.errors import ModelThrottledException
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.core.retry import RetryPolicy
from playhead.runtime.models import ScriptedCall, ScriptedModel, tool_call
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from tests.support.spans import Telemetry, id_of, telemetry_set_up

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    with telemetry_set_up(monkeypatch) as here:
        yield here


def current() -> str:
    """The name of the span that is current here."""
    return str(getattr(trace.get_current_span(), "name", ""))


@tool
def in_a_thread(number: int) -> str:
    """Look."""
    return f"{number} {current()}"


@tool
async def on_the_loop(number: int) -> AsyncGenerator[str, None]:
    """Look."""
    yield f"{number} {current()}"


@tool
def ask(context: ToolContext) -> str:
    """Ask."""
    return str(context.interrupt("which", "Which one?"))


def agent_of(*calls: Any, **options: Any) -> Agent:
    given: dict[str, Any] = {"name": "helper", "callback_handler": None, **options}
    return Agent(ScriptedModel(calls), **given)


def results(agent: Agent) -> list[str]:
    blocks = [block for message in agent.messages for block in message.get("content", [])]
    return [block["toolResult"]["content"][0]["text"] for block in blocks if "toolResult" in block]


def both(*names: str) -> list[Chunk]:
    """One message with a call of each tool."""
    calls = [tool_call(name, {"number": number}, f"t{number}") for number, name in enumerate(names)]
    begun, ended = calls[0][:1], calls[0][-2:]
    return [*begun, *(chunk for call in calls for chunk in call[1:-2]), *ended]


@pytest.mark.parametrize("names", [["in_a_thread"], ["on_the_loop"], ["in_a_thread", "on_the_loop"]])
async def test_a_tool_runs_within_its_own_span(telemetry: Telemetry, names: list[str]) -> None:
    agent = agent_of(both(*names), "Done.", tools=[in_a_thread, on_the_loop])
    await agent.invoke_async("go")
    assert results(agent) == [f"{number} execute_tool {name}" for number, name in enumerate(names)]
    assert telemetry.tree() == [
        "invoke_agent helper",
        "  execute_event_loop_cycle",
        "    chat",
        *(f"    execute_tool {name}" for name in names),
        "  execute_event_loop_cycle",
        "    chat",
    ]


async def test_a_model_is_asked_within_its_span_and_the_callers_own_span_stays_current(telemetry: Telemetry) -> None:
    class Looking(ScriptedModel):
        async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Chunk, None]:
            seen.append(current())
            async with aclosing(super().stream(*arguments, **options)) as chunks:
                async for chunk in chunks:
                    yield chunk

    seen: list[str] = []
    agent = Agent(Looking(["Hello there."]), name="helper", callback_handler=None)
    with trace.get_tracer("test").start_as_current_span("request") as request:
        async for _ in agent.stream_async("go"):
            assert current() == "request"
    assert seen == ["chat"]
    (span,) = telemetry.named("invoke_agent helper")
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id


async def test_an_agent_called_by_a_tool_is_a_child_of_the_tool(telemetry: Telemetry) -> None:
    inner = agent_of("Inner.", name="inner")

    @tool
    async def delegate() -> str:
        """Delegate."""
        return str(await inner.invoke_async("go"))

    await agent_of(tool_call("delegate", {}, "t1"), "Done.", tools=[delegate]).invoke_async("go")
    assert telemetry.tree()[3:5] == ["    execute_tool delegate", "      invoke_agent inner"]


async def test_a_failed_call_has_a_span_of_its_own_and_is_counted(telemetry: Telemetry) -> None:
    agent = agent_of(
        ScriptedCall(error=ModelThrottledException("busy")), "Done.", retry=RetryPolicy(initial_delay=0.001)
    )
    await agent.invoke_async("go")
    failed, answered = telemetry.named("chat")
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "busy")
    assert [event.name for event in failed.events] == ["gen_ai.user.message", "exception"]
    assert (answered.status.status_code, (answered.attributes or {})["playhead.attempt"]) == (StatusCode.OK, 2)
    model = (("gen_ai.agent.name", "helper"), ("gen_ai.operation.name", "chat"))
    assert telemetry.measured("playhead.model.retries") == {model: 1}
    calls = {dict(key)["playhead.outcome"]: value for key, value in telemetry.measured("playhead.model.calls").items()}
    assert calls == {"failed": 1, "answered": 1}


async def test_runs_tools_and_tokens_are_measured(telemetry: Telemetry) -> None:
    await agent_of(both("in_a_thread", "missing"), "Done.", tools=[in_a_thread]).invoke_async("go")
    helper = ("gen_ai.agent.name", "helper")
    assert telemetry.measured("playhead.run.begun") == {(helper,): 1}
    assert telemetry.measured("playhead.run.ended") == {(helper, ("playhead.outcome", "completed")): 1}
    (tool_calls,) = telemetry.measured("playhead.tool.calls").items()
    assert tool_calls == ((helper, ("gen_ai.tool.name", "in_a_thread"), ("gen_ai.tool.status", "success")), 1)
    tokens = {dict(key)["gen_ai.token.type"]: n for key, n in telemetry.measured("gen_ai.client.token.usage").items()}
    assert tokens == {"input": 20, "output": 3}
    durations = ("playhead.run.duration", "playhead.tool.duration", "gen_ai.client.operation.duration")
    assert all(telemetry.measured(name) for name in durations)


async def test_a_resumed_run_links_its_span_to_the_one_that_paused(telemetry: Telemetry) -> None:
    agent = agent_of(tool_call("ask", {}, "t1"), "Done.", tools=[ask])
    paused = await agent.invoke_async("go")
    (question,) = paused.interrupts or []
    await agent.invoke_async([{"interruptResponse": {"interruptId": question.id, "response": "this"}}])
    first, second = telemetry.named("invoke_agent helper")
    outcomes = [(span.attributes or {})["playhead.outcome"] for span in (first, second)]
    assert outcomes == ["paused", "completed"]
    assert [link.context.span_id for link in second.links] == [id_of(first)]
    answers = [event for event in second.events if "interruptResponse" in str(event.attributes)]
    assert [event.name for event in answers] == ["gen_ai.user.message"]
    assert telemetry.tree()[4:] == [
        "invoke_agent helper",
        "  execute_event_loop_cycle",
        "    execute_tool ask",
        "  execute_event_loop_cycle",
        "    chat",
    ]


async def test_a_stream_that_is_left_ends_its_spans_without_a_status(telemetry: Telemetry) -> None:
    async with aclosing(agent_of("One two three.").stream_async("go")) as events:
        async for event in events:
            if "data" in event:
                break
    assert [span.name for span in telemetry.spans()] == ["invoke_agent helper", "execute_event_loop_cycle", "chat"]
    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}
    assert (telemetry.spans()[0].attributes or {})["playhead.outcome"] == "stopped"


class Broken(SpanExporter):
    """Raises for each span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise OSError("the collector is gone")


class BrokenProcessor(SpanProcessor):
    """Raises when a span begins and when it ends."""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        raise OSError("the queue is full")

    def on_end(self, span: ReadableSpan) -> None:
        raise OSError("the queue is full")


async def test_an_exporter_that_raises_does_not_hurt_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with telemetry_set_up(monkeypatch, exporters=[Broken()]) as telemetry:
        assert str(await agent_of("Done.").invoke_async("go")) == "Done.\n"
        assert len(telemetry.spans()) == 3


async def test_a_processor_that_raises_does_not_hurt_the_run_and_is_told_once(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry.tracers.add_span_processor(BrokenProcessor())
    agent = agent_of(tool_call("in_a_thread", {"number": 1}, "t1"), "Done.", tools=[in_a_thread])
    assert str(await agent.invoke_async("go")) == "Done.\n"
    (line,) = [one.getMessage() for one in caplog.records if one.name.startswith("playhead")]
    assert line.endswith("goes on, but is not traced as a whole: OSError: the queue is full")


async def test_a_run_that_is_sampled_out_tells_nothing_and_its_tools_know(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry.tracers, "sampler", ALWAYS_OFF)
    sampled: list[bool] = []

    @tool
    def look() -> str:
        """Look."""
        context = trace.get_current_span().get_span_context()
        sampled.append(context.is_valid and context.trace_flags.sampled)
        return "seen"

    await agent_of(tool_call("look", {}, "t1"), "Done.", tools=[look]).invoke_async("go")
    assert telemetry.spans() == []
    assert sampled == [False]


@pytest.mark.parametrize("sent", [{"traceparent": "00-no-no-01"}, {"tracestate": "a=b"}, {"traceparent": "x" * 9000}])
def test_a_broken_trace_context_is_ignored_with_one_line(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture, sent: dict[str, str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="playhead"):
        told = RunTelemetry("r1", agent="helper", epoch=1)
        told.begin([Entry(1, 0, RunSubmitted(at=1, agent="helper", trace=sent))])
        told.end("handed_over")
    (span,) = telemetry.spans()
    assert span.parent is None
    (line,) = [one for one in caplog.records if one.name.startswith("playhead")]
    assert (line.levelname, "its trace context is ignored" in line.getMessage()) == ("DEBUG", True)
    assert len(line.getMessage()) < 300


def test_a_valid_trace_context_is_the_parent(telemetry: Telemetry) -> None:
    told = RunTelemetry("r1", agent="helper", epoch=1)
    told.begin([Entry(1, 0, RunSubmitted(at=1, agent="helper", trace={"traceparent": CALLER}))])
    told.end("fenced")
    (span,) = telemetry.spans()
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
    assert (span.attributes or {})["playhead.outcome"] == "fenced"


@pytest.mark.parametrize("given", [{"a": {}}, {"a": [1, "x"]}, {1: "x"}, "team", {"a": None}])
def test_attributes_that_no_span_can_have_are_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="trace_attributes"):
        agent_of("Hi.", trace_attributes=given)


async def test_a_provider_that_cannot_be_loaded_does_not_hurt_the_run_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "none_of_this_name")
    monkeypatch.setenv("OTEL_PYTHON_METER_PROVIDER", "none_of_this_name")
    for _ in range(2):
        assert str(await agent_of("Done.").invoke_async("go")) == "Done.\n"
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("playhead")]
    assert [line.partition(":")[0] for line in lines] == ["nothing is traced, because a provider cannot be loaded"]
