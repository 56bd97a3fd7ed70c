"""Spans of Strands agents: none for what has happened before, because its first owner has made them."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import NonRecordingSpan, Span, Tracer, get_current_span, use_span
from strands.telemetry.tracer import get_tracer

from playhead.runtime.guests.strands.hosted import replaying

__all__ = ["quiet_spans"]


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


def quiet_spans() -> None:
    """Let the tracer of Strands, of which a process has one, be silent where the log answers."""
    tracer = get_tracer()
    if not isinstance(tracer.tracer, _QuietTracer):
        tracer.tracer = _QuietTracer(tracer.tracer)
