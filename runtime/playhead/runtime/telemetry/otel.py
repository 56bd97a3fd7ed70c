"""The only module that uses the API of OpenTelemetry: it performs operations, records measurements, and carries contexts.

It is imported once the program has imported `opentelemetry.trace`: see `presence`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Final, NamedTuple, TypeVar, cast

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation
from opentelemetry.trace import Link, Span, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from playhead.runtime.core.converse import Chunk
from playhead.runtime.telemetry.measurements import COUNTERS, HELD, HISTOGRAMS, OBSERVED, Measurement
from playhead.runtime.telemetry.operations import AGENT, Attributes, Content, End, Failure, Operation, Start, Tell
from playhead.runtime.telemetry.within import RequestWithin, within

__all__ = ["API", "Instruments", "OpenTelemetry", "SpanTree"]

logger: logging.Logger = logging.getLogger(__name__)

_W3C: Final = TraceContextTextMapPropagator()
_NAME: Final = "playhead"
_VERSION: Final = version("playhead-runtime")

_MOST_ENDED: Final = 16  # workers that a process has had

T = TypeVar("T")


class OpenTelemetry:
    """What playhead does by the API, with the providers that are set up at the time of each call."""

    def __init__(self) -> None:
        self._instruments: Instruments | None = None
        self._sources: list[_Source] = []
        self._ended: deque[_Source] = deque(maxlen=_MOST_ENDED)
        self._told: set[str] = set()

    @property
    def is_set_up(self) -> bool:
        """Whether spans or measurements may be recorded: a provider that is not the API's own is set up."""
        try:
            return not (_is_of_the_api(trace.get_tracer_provider()) and _is_of_the_api(metrics.get_meter_provider()))
        except Exception as error:  # of a variable such as OTEL_PYTHON_TRACER_PROVIDER, which names the provider
            self._tell_once("nothing is traced, because a provider cannot be loaded", error)
            return False

    def current(self) -> Context:
        """The context that is current here."""
        return context.get_current()

    def carried(self, here: Context | None = None) -> dict[str, str]:
        """The span of a context in the form of W3C, `traceparent` and perhaps `tracestate`; empty without a span.

        Without a context, of the one that is current.
        """
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, here)
        return carrier

    def received(self, carrier: Mapping[str, str], *, run_id: str) -> Context:
        """The context that `carried` wrote, perhaps in another process; an empty one if it is not valid."""
        found = _W3C.extract(dict(carrier), Context())
        if carrier and not trace.get_current_span(found).get_span_context().is_valid:
            shown = {name: value[:100] for name, value in carrier.items()}
            logger.debug("run %s: its trace context is ignored, because it is not valid: %r", run_id, shown)
            return Context()
        return found

    def spans(self, parent: Context, *, linked: Context) -> SpanTree:
        """The spans of an ownership that is to begin."""
        tracer = trace.get_tracer_provider().get_tracer(_NAME, _VERSION)
        return SpanTree(tracer, parent, linked=linked)

    def record(self, *measurements: Measurement) -> None:
        """Record measurements. What the SDK raises is logged once."""
        try:
            instruments = self._instruments_now()
            for one in measurements:
                instruments.record(one)
        except Exception as error:
            self._tell_once("not everything is measured, because the SDK raised", error)

    @contextmanager
    def observing(self, read: Callable[[], Mapping[str, float]], attributes: Attributes) -> Generator[None]:
        """Within the block, read the values of `OBSERVED` and `HELD` whenever measurements are collected, in any thread.

        Those at the end of the block are kept, because the last collection is at the end of the process.
        """
        source = _Source(read, attributes)
        self._sources.append(source)
        self.record()  # so that the instruments are there
        try:
            yield
        finally:
            self._sources.remove(source)
            last = dict(read())
            self._ended.append(_Source(lambda: last, attributes))

    def _instruments_now(self) -> Instruments:
        provider = metrics.get_meter_provider()
        if self._instruments is None or self._instruments.provider is not provider:
            self._instruments = Instruments(provider, lambda: [*self._sources, *self._ended])
        return self._instruments

    def _tell_once(self, what: str, error: Exception) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s: %s: %s", what, type(error).__name__, error)

    def request_within(self, stream: AsyncIterator[Chunk], here: Context) -> AsyncIterator[Chunk]:
        """A model's stream whose request is sent in a context."""
        return RequestWithin(stream, here)

    def within(
        self, stream: AsyncGenerator[T, None], here: Context, *, seen: Callable[[T], None]
    ) -> AsyncGenerator[T, None]:
        """A generator that runs in a context; `seen` is called with each of its items."""
        return within(stream, here, seen)


class SpanTree:
    """The spans of one ownership of a run, by the keys of their operations.

    Args:
        tracer: Makes them.
        parent: The context that the first span is a child of.
        linked: The context whose span the first span continues, if it has one.
    """

    def __init__(self, tracer: Tracer, parent: Context, *, linked: Context) -> None:
        self._tracer = tracer
        self._parent = parent
        self._spans: dict[str, Span] = {}
        former = trace.get_current_span(linked).get_span_context()
        self._links = [Link(former)] if former.is_valid else []

    @property
    def recording(self) -> bool:
        """Whether the first span is recorded. If not, because no SDK is set up or it is sampled out, nor are the others."""
        return AGENT in self._spans and self._spans[AGENT].is_recording()

    def context_of(self, *keys: str) -> Context:
        """The context in which the first of these spans that is open is current."""
        for key in (*keys, AGENT):
            if key in self._spans:
                return trace.set_span_in_context(self._spans[key], self._parent)
        return self._parent

    def perform(self, operation: Operation) -> None:
        """Perform an operation."""
        match operation:
            case Start(key, name, parent, content):
                within = self._parent if parent is None else self.context_of(parent)
                links = self._links if parent is None else None
                span = self._spans[key] = self._tracer.start_span(name, context=within, links=links)
                span.set_attribute("gen_ai.event.start_time", _now())
                _tell(span, content)
            case Tell(key, content):
                if key in self._spans:
                    _tell(self._spans[key], content)
            case End(key, content, status, failure):
                if (span := self._spans.pop(key, None)) is not None:
                    _end(span, content, status, failure)


def _tell(span: Span, content: Content) -> None:
    if content.attributes:
        span.set_attributes(content.attributes)
    for event in content.events:
        span.add_event(event.name, event.attributes)


def _end(span: Span, content: Content, status: str, failure: Failure | None) -> None:
    try:
        span.set_attribute("gen_ai.event.end_time", _now())
        _tell(span, content)
        if status == "ok":
            span.set_status(StatusCode.OK)
        elif status == "error":
            span.set_status(StatusCode.ERROR, failure.message if failure is not None else None)
        if failure is not None and failure.type:
            told = {"exception.type": failure.type, "exception.message": failure.message}
            if failure.stacktrace:
                told["exception.stacktrace"] = failure.stacktrace
            span.add_event("exception", told)
    finally:
        span.end()


def _now() -> str:
    return datetime.now(UTC).isoformat()


class _Source(NamedTuple):
    """What reads the values of one worker."""

    read: Callable[[], Mapping[str, float]]
    attributes: Attributes


class Instruments:
    """The instruments of one provider of meters; they do nothing without an SDK."""

    def __init__(self, provider: MeterProvider, sources: Callable[[], Sequence[_Source]]) -> None:
        self.provider = provider
        self._sources = sources
        meter = provider.get_meter(_NAME, _VERSION)
        self._counters: dict[str, Counter] = {
            name: meter.create_counter(name, unit, text) for name, (unit, text) in COUNTERS.items()
        }
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(name, unit, text) for name, (unit, text) in HISTOGRAMS.items()
        }
        for name, (unit, text) in OBSERVED.items():
            meter.create_observable_counter(name, [partial(self._observed, name)], unit, text)
        meter.create_observable_gauge(HELD, [partial(self._observed, HELD)], "{run}", "Runs that a worker holds.")

    def _observed(self, name: str, options: CallbackOptions) -> list[Observation]:
        del options
        return [Observation(read()[name], cast("Any", attributes)) for read, attributes in self._sources()]

    def record(self, measurement: Measurement) -> None:
        """Record a measurement."""
        name, value, attributes = measurement
        told: Any = attributes
        if (counter := self._counters.get(name)) is not None:
            counter.add(value, told)
        else:
            self._histograms[name].record(value, told)


def _is_of_the_api(provider: object) -> bool:
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


API: Final = OpenTelemetry()
