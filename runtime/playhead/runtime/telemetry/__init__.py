"""What runs tell OpenTelemetry: spans and measurements, derived from their records.

Nothing here imports `opentelemetry` before the program that playhead runs in has done so: without it no SDK can be set up.
"""

from __future__ import annotations

__all__: list[str] = []
