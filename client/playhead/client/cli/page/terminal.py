"""The transcript and the timeline of a run as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from playhead.client.cli.page.axis import Axis
from playhead.client.cli.render import counted, printable, seconds, short
from playhead.client.cli.tables import Column
from playhead.runtime.core.timeline import Bar, Timeline
from playhead.runtime.core.transcript import Item

__all__ = ["COSTS", "cost_rows", "timeline_lines", "transcript_lines"]

_MOST_BARS: Final = 60
_MOST_CYCLES: Final = 30
_LABEL: Final = 26
_ENDING: Final = 22
_STYLES: Final = {
    "model": "blue",
    "tool": "green",
    "queue": "bright_black",
    "retry": "yellow",
    "human": "magenta",
    "takeover": "red",
    "handover": "cyan",
    "fork": "bright_black",
}
_SAYS: Final = {
    "user": ("user", "bold"),
    "text": ("model", ""),
    "reasoning": ("thinks", "dim italic"),
    "call": ("→", "cyan"),
    "progress": ("…", "dim"),
    "result": ("✓", "green"),
    "error": ("✗", "red"),
    "question": ("?", "yellow"),
    "note": ("·", "dim"),
    "end": ("■", "dim"),
}


def transcript_lines(items: Sequence[Item]) -> Iterator[tuple[Text, Text]]:
    """The items of a transcript, with long results cut to one line: for each its record and its kind, and what it is."""
    for item in items:
        who, style = _SAYS[item.kind]
        text = item.text if item.kind in ("user", "text", "reasoning") else short(item.text)
        title = "" if item.kind in ("user", "text", "reasoning") else f"{item.title}{': ' if text else ''}"
        if item.withdrawn is not None:
            who, style, text = "model", "dim strike", short(text)
        yield Text(f"{item.first:>6} {who:>6}  ", style="dim"), Text(printable(f"{title}{text.strip()}"), style=style)


def timeline_lines(timeline: Timeline, *, width: int) -> Iterator[Text]:
    """One line per bar: its name, its place on the time axis, and how long it took."""
    bars = timeline.bars
    if len(bars) > _MOST_BARS:
        least = sorted((bar.took_ms for bar in bars), reverse=True)[_MOST_BARS - 1]
        bars = tuple(bar for bar in bars if bar.took_ms >= least)[:_MOST_BARS]
    axis = Axis(timeline)
    space = max(10, width - _LABEL - _ENDING)
    whole = f"{seconds(timeline.ended - timeline.began)}, {counted(timeline.records, 'record')}"
    yield Text(f"{f'timeline of {whole}':<{_LABEL + 1}}", style="bold")
    for bar in bars:
        began = min(int(axis.place(bar.began) * space), space - 1)
        length = max(1, round(axis.place(bar.ended) * space) - began)
        name = short(printable(f"{bar.kind} {bar.name}"), longest=_LABEL - 1)
        fill = {"withdrawn": "░", "interrupted": "▒"}.get(bar.outcome, "█")
        style = "red" if bar.outcome == "error" else _STYLES[bar.kind]
        yield Text.assemble(
            f"{name:<{_LABEL}}",
            " " * began,
            (_cut(fill * length) if axis.is_cut(bar) else fill * length, style),
            " " * (space - began - length),
            (f" {seconds(bar.took_ms)}{_ending(bar)}", "dim"),
        )
    if len(bars) < len(timeline.bars):
        left_out = len(timeline.bars) - len(bars)
        yield Text(f"({left_out} shorter bars are left out; `--html FILE` shows all of them)", style="dim")
    if any(axis.is_cut(bar) for bar in bars):
        yield Text("(a wait with ≈ is drawn shorter than it was)", style="dim")


def _cut(drawn: str) -> str:
    middle = len(drawn) // 2
    return f"{drawn[:middle]}≈{drawn[middle + 1 :]}"


def _ending(bar: Bar) -> str:
    return "" if bar.outcome == "ok" else f", {bar.outcome}"


COSTS: Final = (
    Column("cycle"),
    Column("records", 1, right=True),
    Column("time", right=True),
    Column("model", right=True),
    Column("tools", right=True),
    Column("waits", 2, right=True),
    Column("tokens in", 3, right=True),
    Column("out", 3, right=True),
)
"""The columns of `cost_rows`."""


def cost_rows(timeline: Timeline) -> Iterator[list[str]]:
    """The cost of each cycle; if there are many, of those that took longest."""
    cycles = timeline.cycles
    if len(cycles) > _MOST_CYCLES:
        longest = sorted(cycles, key=lambda one: one.took_ms, reverse=True)[:_MOST_CYCLES]
        cycles = tuple(sorted(longest, key=lambda one: one.number))
    for one in cycles:
        tools = f"{seconds(one.tool_ms)} ({one.tools})" if one.tools else ""
        yield [
            str(one.number),
            f"{one.first}-{one.last}",
            seconds(one.took_ms),
            seconds(one.model_ms),
            tools,
            seconds(one.wait_ms) if one.wait_ms else "",
            str(one.input_tokens),
            str(one.output_tokens),
        ]
