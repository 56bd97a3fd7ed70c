"""The SDK's tracing in hosted runs: one trace for a run, and no span of what the log answers, because a former owner sent it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from agents.tracing import get_trace_provider

from playhead.runtime.host.context import current_context

__all__ = ["quiet_spans", "trace_of"]

_CALLS: Final = ("on_span_start", "on_span_end")


def trace_of(run_id: str) -> str:
    """The id of a run's trace: the same for all its owners."""
    return f"trace_{hashlib.blake2b(run_id.encode(), digest_size=16).hexdigest()}"


def quiet_spans() -> None:
    """Let no processor of the SDK's provider get spans while a log answers. Another provider is left as it is."""
    processors = vars(get_trace_provider()).get("_multi_processor")  # all of them, also those that are added later
    if processors is None or any(name in vars(processors) for name in _CALLS):
        return
    for name in _CALLS:
        setattr(processors, name, _unless_replaying(getattr(processors, name)))


def _unless_replaying(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    def told(span: Any) -> None:
        ctx = current_context()
        if ctx is None or not ctx.replaying:
            tell(span)

    return told
