"""A tracer and a meter that keep what they are told, for tests; only while a test uses them is an SDK set up."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["Telemetry", "id_of", "telemetry_set_up"]


class Telemetry:
    """What spans and meters were told while it was set up."""

    def __init__(self, exporters: Sequence[SpanExporter]) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        for exporter in (self._spans, *exporters):
            self.tracers.add_span_processor(SimpleSpanProcessor(exporter))
        self.meters = MeterProvider(metric_readers=[self._reader])

    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they began."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of a name, in the order in which they began."""
        return [span for span in self.spans() if span.name == name]

    def tree(self) -> list[str]:
        """The names of the spans that have ended, each below its parent and deeper."""
        spans = self.spans()
        ids = {id_of(span) for span in spans}

        def lines(parent: int | None, depth: int) -> Iterator[str]:
            for span in spans:
                held = span.parent.span_id if span.parent is not None and span.parent.span_id in ids else None
                if held == parent:
                    yield "  " * depth + span.name
                    yield from lines(id_of(span), depth + 1)

        return list(lines(None, 0))

    def measured(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        """The sum of a counter's or a histogram's values, by their sorted attributes."""
        found: dict[tuple[tuple[str, Any], ...], float] = {}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics if one.name == name):
                for point in metric.data.data_points:
                    held: Any = point
                    value = held.sum if hasattr(held, "sum") else held.value
                    found[_attributes(held.attributes)] = value
        return found


def id_of(span: ReadableSpan) -> int:
    """The id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def _attributes(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(given.items()))


@contextmanager
def telemetry_set_up(monkeypatch: pytest.MonkeyPatch, exporters: Sequence[SpanExporter] = ()) -> Generator[Telemetry]:
    """Set up an SDK for the block: a provider can be set up only once in a process, so the getters are replaced."""
    here = Telemetry(exporters)
    with monkeypatch.context() as patched:
        patched.setattr(trace, "get_tracer_provider", lambda: here.tracers)
        patched.setattr(metrics, "get_meter_provider", lambda: here.meters)
        yield here
        here.tracers.shutdown()
        here.meters.shutdown()
