"""A run as one self-contained HTML page: a slider moves the playhead, and the page shows the run as it was at that record."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate, pairwise
from typing import Any, Final

from playhead.client.cli.page.axis import Axis
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.cli.place import next_step
from playhead.client.cli.render import short
from playhead.runtime.core.converse import Message
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.records import Entry, ModelChunk
from playhead.runtime.core.state import RunState, initial
from playhead.runtime.core.timeline import Timeline, timeline
from playhead.runtime.core.transcript import Item, transcript

__all__ = ["LARGEST_PAGE", "run_page"]

LARGEST_PAGE: Final = 9_500_000
"""The largest page, in bytes, which opens without a wait. Long texts are cut until it fits."""

_CUTS: Final = (100_000, 20_000, 4_000, 1_000, 200, 40)
"""The most characters that the page keeps of one text: the first of these with which it fits."""


def run_page(
    entries: Sequence[Entry], *, run_id: str, status: str, history: Sequence[Message] = (), in_turn: bool = False
) -> str:
    """Make the page of a run.

    Args:
        entries: Its records from 1 on, at least one.
        run_id: Its id.
        status: Its state.
        history: The messages that it began from.
        in_turn: Whether its agent runs tools one after the other.

    Raises:
        ValueError: If the page would be too large even with the shortest texts.
    """
    drawn = timeline(entries)
    template = files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
    values = {
        "title": escape(plain_text(f"run {run_id}")),
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest_of_script(template)}'",
        "svg": timeline_svg(drawn),
    }
    states = _States(entries, history=history, in_turn=in_turn)
    data = {
        "run": run_id,
        "status": status,
        **_places(entries, drawn),
        "states": states.rows,
        "words": states.words,
    }
    for texts in _texts(entries):
        # No text of the run can end the element, because a script of JSON has no other use for this character.
        values["data"] = json_line(data | texts).replace("<", "\\u003c")
        page = re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)
        if len(page.encode()) <= LARGEST_PAGE:
            return page
    raise ValueError(f"run {run_id} has {len(entries)} records, which are too many for one page")


def _texts(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield a page's records and transcript, cut more and more, starting with the first cut with which they may fit."""
    records, items = [_record(entry) for entry in entries], transcript(entries)
    lengths = [*map(len, records), *(len(text) for item in items for text in item.texts)]
    for cut in _CUTS:
        if sum(min(length, cut) for length in lengths) <= LARGEST_PAGE:
            yield {"record": [_cut(text, cut) for text in records], "items": [_item(item, cut) for item in items]}


def _places(entries: Sequence[Entry], drawn: Timeline) -> dict[str, Any]:
    """The time, type and owner of each record; times are in milliseconds, counted from the previous record."""
    types = {name: place for place, name in enumerate(sorted({entry.record.type for entry in entries}))}
    ats = list(accumulate((entry.record.at for entry in entries), max))  # time never goes back, as in the timeline
    return {
        "at": [later - earlier for earlier, later in pairwise([drawn.began, *ats])],
        "axis": [[time - drawn.began, round(place, 6)] for time, place in Axis(drawn).points],
        "types": list(types),
        "type": [types[entry.record.type] for entry in entries],
        "epoch": [entry.epoch for entry in entries],
    }


def _digest_of_script(template: str) -> str:
    """The digest of the page's own script, the only one that the page's policy allows."""
    found = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    assert found, "the template has its script"
    return f"sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more characters)"


def _record(entry: Entry) -> str:
    """A record's own fields; for a chunk, only the chunk."""
    record = entry.record
    if type(record) is ModelChunk:
        return json_line(record.chunk, other=str)
    fields = {key: value for key, value in dict(record).items() if key not in ("v", "type", "at")}
    return json_line(fields, other=str)


def _item(item: Item, cut: int) -> list[Any]:
    """An item in the form that the page's script reads; the records of its pieces are counted from its first."""
    texts = [_cut(text, cut) for text in item.texts]
    return [item.kind, item.first, short(item.title), texts, [seq - item.first for seq in item.seqs], item.withdrawn]


class _States:
    """The rows that the page shows of the state, by the first record to which each applies.

    Attributes:
        rows: A row for each change; calls and steps are numbers of `words`.
        words: Every call and every step once, because most of them belong to several rows.
    """

    def __init__(self, entries: Iterable[Entry], *, history: Sequence[Message], in_turn: bool) -> None:
        self.rows: list[list[Any]] = []
        self.words: list[str] = []
        self._places: dict[str, int] = {}
        state, shown = initial(history), None
        for entry in entries:
            before, state = state, evolve(state, entry)
            if state is before and shown is not None:
                continue  # nearly all records are chunks, which change nothing
            if (now := self._row(state, in_turn=in_turn)) != shown:
                shown = now
                self.rows.append([entry.seq, *now])

    def _row(self, state: RunState, *, in_turn: bool) -> list[Any]:
        calls = [
            self._place(f"{short(call.tool_use['name'])} {short(call.tool_use['input'])} ({call.state})")
            for call in open_calls(state)
        ]
        asked = [
            self._place(f"{short(one.get('name'))}: {short(one.get('reason'))}") for one in state.interrupts.values()
        ]
        step = self._place(next_step(decide(state, in_turn=in_turn)))
        usage = state.totals.usage
        tokens = f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)}"
        return [state.status, state.cycle, len(state.messages), calls, asked, step, tokens, state.call_open]

    def _place(self, text: str) -> int:
        place = self._places.setdefault(text, len(self.words))
        if place == len(self.words):
            self.words.append(text)
        return place
