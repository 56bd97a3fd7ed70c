"""Spans and metrics of Strands agents: none for what has happened before, because its first owner has made them."""

from __future__ import annotations

from typing import Any

from opentelemetry.metrics import Counter, Histogram
from opentelemetry.trace import NonRecordingSpan, Span, Tracer, get_current_span, use_span
from strands.telemetry import MetricsClient
from strands.telemetry.tracer import get_tracer

from playhead.runtime.guests.strands.hosted import replaying

__all__ = ["quiet_telemetry"]


class _QuietTracer(Tracer):
    """A tracer that makes no span while the log answers; what is made then belongs to the span around it."""

    def __init__(self, inner: Tracer) -> None:
        self._inner = inner

    def start_span(self, name: str, context: Any = None, *args: Any, **kwargs: Any) -> Span:
        """A span, or one that is not recorded."""
        if replaying():
            return NonRecordingSpan(get_current_span(context).get_span_context())
        return self._inner.start_span(name, context, *args, **kwargs)

    def start_as_current_span(self, name: str, context: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The same as the current span during a block."""
        if replaying():
            return use_span(self.start_span(name, context))
        return self._inner.start_as_current_span(name, context, *args, **kwargs)


class _QuietInstrument:
    """A counter or a histogram that counts nothing while the log answers."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Count, unless it was counted."""
        if not replaying():
            self._inner.add(*args, **kwargs)

    def record(self, *args: Any, **kwargs: Any) -> None:
        """Record, unless it was recorded."""
        if not replaying():
            self._inner.record(*args, **kwargs)


def quiet_telemetry() -> None:
    """Let the tracer and the instruments of Strands, of which a process has one each, be silent where the log answers."""
    tracer, metrics = get_tracer(), MetricsClient()
    if not isinstance(tracer.tracer, _QuietTracer):
        tracer.tracer = _QuietTracer(tracer.tracer)
    for name, instrument in vars(metrics).items():
        if isinstance(instrument, Counter | Histogram):
            setattr(metrics, name, _QuietInstrument(instrument))
