"""The timeline of a run as SVG: one row for the model and the waits, and one for each tool that ran beside others."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from playhead.client.cli.page.axis import Axis
from playhead.client.cli.render import printable, seconds
from playhead.runtime.core.timeline import Bar, Mark, Timeline

__all__ = ["timeline_svg"]

_WIDTH: Final = 1200
_LEFT: Final = 60
_INNER: Final = _WIDTH - _LEFT - 10
_TOP: Final = 24
_ROW: Final = 26
_BAR: Final = 20
_LETTER: Final = 6.6
"""The width of a letter at 11 pixels: a name is drawn in its bar if there is space for it."""

_COLOURS: Final = {
    "model": "#4c78a8",
    "tool": "#3f9b6b",
    "queue": "#b0b4ba",
    "retry": "#d9a421",
    "human": "#a05fb4",
    "takeover": "#d1495b",
    "handover": "#3aa6b9",
    "fork": "#8d99ae",
}


def timeline_svg(timeline: Timeline) -> str:
    """The timeline as one `<svg>` element. Each bar is a `<g class="bar">` that has its records as `data-first`, `data-last`."""
    axis = Axis(timeline)
    rows = 1 + timeline.lanes
    height = _TOP + rows * _ROW + 22
    title = f"{seconds(timeline.ended - timeline.began)}, {timeline.records} records"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'font-family="system-ui, sans-serif" font-size="11" role="img" aria-label="Timeline: {title}">',
            *_frame(timeline, rows),
            *_cycles(timeline, axis, rows),
            *(_bar(bar, axis) for bar in timeline.bars),
            *(_mark(mark, axis, rows) for mark in timeline.marks),
            _legend(timeline, height, title),
            "</svg>",
        ]
    )


def _text(text: str) -> str:
    """Escape text for an element or an attribute."""
    return escape(printable(text).replace("\n", " ").replace("\t", " "))


def _x(place: float) -> float:
    return _LEFT + place * _INNER


def _frame(timeline: Timeline, rows: int) -> Iterator[str]:
    for row in range(rows):
        y = _TOP + row * _ROW
        name = "model" if row == 0 else "tools" if row == 1 else ""
        yield f'<text x="4" y="{y + 15}" fill="#888">{name}</text>'
        yield f'<rect x="{_LEFT}" y="{y}" width="{_INNER}" height="{_BAR}" fill="#8882" rx="3"/>'


def _cycles(timeline: Timeline, axis: Axis, rows: int) -> Iterator[str]:
    """A numbered line where each cycle begins, for as many cycles as there is space for."""
    free = 0.0
    for cycle in timeline.cycles:
        x = _x(axis.place(cycle.began))
        if x < free:
            continue
        name = f"cycle {cycle.number}"
        free = x + 16 + len(name) * _LETTER
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{_TOP + rows * _ROW}" stroke="#8885"/>'
        yield f'<text x="{x + 2:.1f}" y="{_TOP - 8}" fill="#888">{name}</text>'


def _bar(bar: Bar, axis: Axis) -> str:
    began, ended = axis.place(bar.began), axis.place(bar.ended)
    x, width = _x(began), max(1.5, (ended - began) * _INNER)
    y = _TOP + (bar.lane + 1 if bar.kind == "tool" else 0) * _ROW
    said = f"{bar.kind} {bar.name}: {seconds(bar.took_ms)}, {bar.outcome}, records {bar.first} to {bar.last}"
    if bar.input_tokens or bar.output_tokens:
        said += f", {bar.input_tokens} + {bar.output_tokens} tokens"
    opacity = "0.4" if bar.outcome in ("withdrawn", "interrupted") else "1"
    edge = ' stroke="#d1123b" stroke-width="2"' if bar.outcome == "error" else ""
    name = f"{bar.name} ≈ {seconds(bar.took_ms)}" if axis.is_cut(bar) else bar.name
    letters = int((width - 8) / _LETTER)
    label = name if len(name) <= letters else f"{name[: letters - 1]}…" if letters > 3 else ""
    return (
        f'<g class="bar" data-first="{bar.first}" data-last="{bar.last}"><title>{_text(said)}</title>'
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" '
        f'fill="{_COLOURS[bar.kind]}" fill-opacity="{opacity}"{edge}/>'
        + (f'<text x="{x + 4:.1f}" y="{y + 14}" fill="#fff">{_text(label)}</text>' if label else "")
        + "</g>"
    )


def _mark(mark: Mark, axis: Axis, rows: int) -> str:
    x = _x(axis.place(mark.at))
    bottom = _TOP + rows * _ROW
    said = f"{mark.kind} {mark.name}, record {mark.seq}"
    return (
        f'<g class="mark"><title>{_text(said)}</title><path d="M{x:.1f} {bottom - 4} l4 7 h-8 z" fill="#d1123b"/></g>'
    )


def _legend(timeline: Timeline, height: int, title: str) -> str:
    kinds = dict.fromkeys(bar.kind for bar in timeline.bars)
    said = "".join(f'<tspan fill="{_COLOURS[kind]}"> ■ {kind}</tspan>' for kind in _COLOURS if kind in kinds)
    return f'<text x="{_LEFT}" y="{height - 6}" fill="#888">{title} {said}</text>'
