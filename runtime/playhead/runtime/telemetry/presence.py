"""Whether the program uses OpenTelemetry, which decides whether playhead imports its API; and the caller's context."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from playhead.runtime.telemetry.measurements import Measurement
from playhead.runtime.telemetry.operations import Attributes

if TYPE_CHECKING:
    from playhead.runtime.telemetry.otel import OpenTelemetry

__all__ = ["count", "current_trace", "imported", "set_up"]


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


def count(name: str, attributes: Attributes) -> None:
    """Count one more of a counter of `measurements.COUNTERS`, if an SDK is set up."""
    if (api := set_up()) is not None:
        api.record(Measurement(name, 1, attributes))


def current_trace() -> dict[str, str]:
    """The span that is current here, as `run.submitted.trace` has it: a W3C trace context; empty without a span."""
    api = imported()
    return {} if api is None else api.carried()
