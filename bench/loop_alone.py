"""The loop alone: an in-process `Agent` on a scripted model, no Redis, no callback; CPU per chunk.

Loop, records and projection are in it. Yardstick: Strands' in-process loop on the same chunks, where `strands` can be
imported (the dependency group `bench` brings it); without it the figure stands alone, and its ratio has no bound. The
loop with spans and metrics on is measured in turn, beside itself without.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, at_most, of_rounds, ratio_at_most
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime import Agent
from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import ScriptedModel, text_call

__all__ = ["in_process", "measure"]

_MOST_CHUNKS_OF_STRANDS: Final = 20_000
_TRACED: Final = "a BatchSpanProcessor whose exporter drops the spans"


def _chunks(count: int) -> list[Chunk]:
    return text_call(" ".join(["token"] * count))


async def _ours(count: int) -> float:
    agent = Agent(ScriptedModel([_chunks(count)]), callback_handler=None)
    return await _per_event(agent.stream_async("go"), count)


async def _strands(count: int) -> float:
    strands: Any = importlib.import_module("strands")
    base: Any = importlib.import_module("strands.models").Model
    chunks = _chunks(count)

    class Scripted(base):
        def update_config(self, **config: Any) -> None:
            del config

        def get_config(self) -> dict[str, Any]:
            return {}

        async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Chunk, None]:
            del arguments, options
            for chunk in chunks:
                yield chunk

        async def structured_output(self, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
            del arguments, options
            raise RuntimeError("structured output is not measured here")
            yield

    agent = strands.Agent(model=Scripted(), callback_handler=None)
    return await _per_event(agent.stream_async("go"), count)


async def _per_event(stream: Any, count: int) -> float:
    began, events = cpu_seconds(), 0
    async with aclosing(stream) as items:
        async for event in items:
            events += "data" in event
    assert events == count, f"{events} of {count} chunks came"
    return (cpu_seconds() - began) / count * 1e6


def _set_up_telemetry() -> None:
    """Set up an SDK whose exporter drops what it gets."""
    trace: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    metrics: Any = importlib.import_module("opentelemetry.sdk.metrics")
    readers: Any = importlib.import_module("opentelemetry.sdk.metrics.export")

    class Dropping(export.SpanExporter):
        def export(self, spans: object) -> Any:
            del spans
            return export.SpanExportResult.SUCCESS

    tracers = trace.TracerProvider()
    tracers.add_span_processor(export.BatchSpanProcessor(Dropping()))
    importlib.import_module("opentelemetry.trace").set_tracer_provider(tracers)
    meters = metrics.MeterProvider([readers.InMemoryMetricReader()])
    importlib.import_module("opentelemetry.metrics").set_meter_provider(meters)


async def in_process(config: dict[str, Any], talk: Talk) -> None:
    """Role: runs the loop in a process of its own, so that no other CPU counts. Asks: `ours`, `strands` (`count`).

    With `traced` in the config it has an SDK of OpenTelemetry.
    """
    if config.get("traced"):
        _set_up_telemetry()
    async for question in talk.questions():
        run = _ours if question["ask"] == "ours" else _strands
        talk.answer(await run(question["count"]))


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    del bench
    count = sizes.loop_chunks
    ours: list[float] = []
    theirs: list[float] = []
    traced: list[float] = []
    async with (
        child(in_process, {}, uvloop=False) as process,
        child(in_process, {"traced": _has_sdk()}, uvloop=False) as other,
    ):
        for number in range(sizes.rounds):
            say(f"loop: round {number + 1} of {sizes.rounds}")
            ours.append(await process.ask("ours", count=count))
            if _has_sdk():
                traced.append(await other.ask("ours", count=count))
            if importlib.util.find_spec("strands") is not None:
                theirs.append(await process.ask("strands", count=min(_MOST_CHUNKS_OF_STRANDS, count)))
    note = f"{count:,} chunks, loop, records and projection included"
    note += "" if theirs else "; `uv run --group bench` brings Strands to measure for comparison"
    figure = of_rounds("loop", "CPU per chunk, in process", ours, "µs", target=at_most(3), note=note)
    figures = [figure]
    if theirs:
        beside = "Strands' in-process loop on the same chunks"
        figures.append(figure.beside(theirs, beside, called="beside Strands", target=ratio_at_most(0.45)))
    if traced:
        of_traced = of_rounds("loop", "CPU per chunk, with spans and metrics on", traced, "µs", note=_TRACED)
        figures.append(of_traced.beside(ours, "the same without an SDK", called="beside itself without"))
    return figures


def _has_sdk() -> bool:
    return (
        importlib.util.find_spec("opentelemetry") is not None
        and importlib.util.find_spec("opentelemetry.sdk") is not None
    )
