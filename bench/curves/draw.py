"""Draws curves as SVG with matplotlib, from the dependency group `bench`. The same figures give the same file."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.curves.curve import FOLDER, Curve

__all__ = ["PANELS", "Panel", "draw"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of a curve.

    Attributes:
        title: The drawn quantity, with its unit.
        lines: The name of each line → the figure that it shows.
    """

    title: str
    lines: dict[str, str]


PANELS: Final = {
    "runs": (
        Panel(
            "CPU per event, µs, at 20 events/s a run",
            {"worker": "worker_us", "client": "client_us", "server": "server_us"},
        ),
        Panel("delay from yield to yield, ms", {"median": "delay_p50_ms", "p99": "delay_p99_ms"}),
    ),
    "workers": (
        Panel(
            "CPU per event, µs, at 100 runs a worker",
            {"worker": "worker_us", "client": "client_us", "server": "server_us"},
        ),
        Panel("delay from yield to yield, ms", {"median": "delay_p50_ms", "p99": "delay_p99_ms"}),
    ),
    "tails": (
        Panel("memory per tail, KiB", {"client process": "kib"}),
        Panel(
            "an idle tail, µs of CPU a second",
            {"client": "idle_client_us", "server": "idle_server_us"},
        ),
    ),
    "readers": (
        Panel("CPU, µs", {"client, per event yielded": "client_us", "server, per record": "server_us"}),
        Panel("delay from yield to yield, ms", {"median": "delay_p50_ms", "p99": "delay_p99_ms"}),
    ),
    "records": (
        Panel("CPU per record, µs", {"fold": "fold_us", "replay": "replay_us"}),
        Panel("attach in the middle, ms", {"until the next event": "attach_ms", "CPU": "attach_cpu_ms"}),
    ),
}
"""The drawings of each curve, side by side."""

_STYLE: Final = {
    # Without these, each drawing of the same figures would differ: ids are random, glyphs are those of this machine.
    "svg.hashsalt": "playhead",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(curve: Curve, folder: Path = FOLDER) -> Path:
    """Draw it to `<name>.svg`, both axes logarithmic; returns the file's path.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed; the dependency group `bench` installs it.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    figures: Any = importlib.import_module("matplotlib.figure")
    path = folder / f"{curve.name}.svg"
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=(8.4, 2.9), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(PANELS[curve.name])), PANELS[curve.name], strict=True):
            _plot(axes, curve, panel)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return path


def _plot(axes: Any, curve: Curve, panel: Panel) -> None:
    ticker: Any = importlib.import_module("matplotlib.ticker")
    for name, key in panel.lines.items():
        sizes, values = zip(*curve.of(key), strict=True)
        axes.plot(sizes, values, marker="o", markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = [size for size, _ in curve.of(curve.name)]
    axes.set_xticks(sizes, labels=[f"{size:,.0f}" for size in sizes])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.minorticks_off()
    axes.set_xlabel(curve.name)
    axes.set_title(panel.title, fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
