"""The table of metrics in docs/tracing.md is the code's."""

from __future__ import annotations

from playhead.runtime.telemetry.measurements import COUNTERS, HELD, HISTOGRAMS, OBSERVED
from tests.docs.docs_markdown import ROOT, section, table

__all__: list[str] = []


def test_the_page_has_every_metric_with_its_kind_and_unit():
    rows = table(section((ROOT / "docs/tracing.md").read_text("utf-8"), "Metrics"))
    shown = {row[0].strip("`"): row[1] for row in rows}
    histograms = {name: f"histogram, {unit}" for name, (unit, _) in HISTOGRAMS.items()}
    assert shown == {**dict.fromkeys([*COUNTERS, *OBSERVED], "counter"), **histograms, HELD: "gauge"}
