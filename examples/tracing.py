# Spans and metrics of a fleet on the console: each process sets the SDK of OpenTelemetry up before its first run.
#
#   uv add playhead "playhead-runtime[otel]" opentelemetry-sdk
#   playhead dev examples/tracing.py          serves the agent `traced`, and prints its spans as they end
#   python examples/tracing.py "2+2"          in another folder, set PLAYHEAD_URL as `dev` prints it
#
# The spans of the worker are children of the client's span `question`: all have one trace id. For a collector, put
# `OTLPSpanExporter` of the package opentelemetry-exporter-otlp in a `BatchSpanProcessor` in place of the console.
import asyncio
import sys

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.toolbox import calculator


def line(span: ReadableSpan) -> str:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    own, above = f"{context.span_id:016x}", f"{parent.span_id:016x}" if parent else "-" * 16
    tokens = (span.attributes or {}).get("gen_ai.usage.total_tokens", "")
    return f"{context.trace_id:032x} {above} > {own} {span.status.status_code.name:5} {span.name} {tokens}\n"


tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(formatter=line)))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))

traced = Agent(name="traced", tools=[calculator], trace_attributes={"service.namespace": "examples"})


async def main(prompt: str) -> None:
    async with Client() as client:
        with trace.get_tracer("examples").start_as_current_span("question"):
            async for event in client.stream_async("traced", prompt):
                print(event.get("data", ""), end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "2+2"))
