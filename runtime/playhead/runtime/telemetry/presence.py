"""Whether the program uses OpenTelemetry, which decides whether playhead imports its API; and the caller's context."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playhead.runtime.telemetry.otel import OpenTelemetry

__all__ = ["current_trace", "imported", "set_up"]


def imported() -> OpenTelemetry | None:
    """The API of OpenTelemetry; None if the program has not imported it: then no span can be current."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from playhead.runtime.telemetry.otel import API

    return API


def set_up() -> OpenTelemetry | None:
    """The API of OpenTelemetry, if an SDK is set up; else None. Libraries import the API without setting one up."""
    api = imported()
    return api if api is not None and api.is_set_up else None


def current_trace() -> dict[str, str]:
    """The span that is current here, as `run.submitted.trace` has it: a W3C trace context; empty without a span."""
    api = imported()
    return {} if api is None else api.carried()
