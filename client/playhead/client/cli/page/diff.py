"""Two runs as one page of HTML that needs nothing else: what each did, side by side."""

from __future__ import annotations

from typing import Any, Final

from playhead.client.cli.page.filling import filled
from playhead.client.cli.page.html import LARGEST_PAGE
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.cli.telling import act_line, where_they_part
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.run_acts import RunAct
from playhead.runtime.core.run_diff import RunDiff
from playhead.runtime.core.timeline import Timeline

__all__ = ["diff_page"]

_CUTS: Final = (100_000, 10_000, 1_000, 100, 0)
"""How many characters of what an act was the page keeps at most; the first of these with which it fits."""


def diff_page(
    found: RunDiff, *, names: tuple[str, str], numbers: tuple[str, str], drawn: tuple[Timeline, Timeline]
) -> str:
    """The page of two runs. The pairs are of the left run and of the right one.

    Args:
        found: How they differ.
        names: What the user called them.
        numbers: Each in numbers, in one line.
        drawn: Their timelines.

    Raises:
        ValueError: The page would be too large, however much is cut.
    """
    values = {
        "title": plain_text(f"{names[0]} and {names[1]}"),
        "svg_left": timeline_svg(drawn[0]),
        "svg_right": timeline_svg(drawn[1]),
    }
    for cut in _CUTS:
        data = {
            "where": where_they_part(found),
            "names": list(names),
            "numbers": list(numbers),
            "rows": [
                [pair.either.cycle, pair.same, _side(pair.left, cut), _side(pair.right, cut)] for pair in found.pairs
            ],
        }
        page = filled("diff.html", values, data)
        if len(page.encode()) <= LARGEST_PAGE:
            return page
    raise ValueError(f"the runs did {len(found.pairs)} things, which are too many for one page")


def _side(act: RunAct | None, cut: int) -> list[Any] | None:
    """An act as the page's script reads it: its line, its records, and what it was, as JSON."""
    if act is None:
        return None
    whole = json_line(act.content, other=str)
    return [act_line(act, cycle=False), act.first, act.last, whole if len(whole) <= cut else None]
