"""A run as one self-contained HTML page: a slider moves the playhead, and the page shows the run as it was at that record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from playhead.client.cli.page.axis import Axis
from playhead.client.cli.page.filling import filled
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.cli.place import next_step
from playhead.client.cli.render import short
from playhead.runtime.core.context import KEEP_ALL, ContextPolicy
from playhead.runtime.core.converse import Message
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.left_call import whole_answer
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.plain import plain_text
from playhead.runtime.core.records import Entry, ModelChunk
from playhead.runtime.core.state import RunState, initial, open_chunks
from playhead.runtime.core.timeline import Drawing, Timeline
from playhead.runtime.core.transcript import Item, Transcript

__all__ = ["LARGEST_PAGE", "RunPage"]

LARGEST_PAGE: Final = 9_500_000
"""The largest page, in bytes, which opens without a wait. Long texts are cut until it fits."""

_LONGEST_TITLE: Final = 300  # a takeover names two workers and what ran
_CUTS: Final = (100_000, 20_000, 4_000, 1_000, 200, 40)
"""The most characters that the page keeps of one text: the first of these with which it fits."""


class RunPage:
    """Makes the page of a run, record by record. Of each record it holds what the page has of it at most.

    Args:
        run_id: The run.
        history: The messages that it began from.
        in_turn: Whether its agent runs tools one after the other.
        context: When and how its history is reduced.
    """

    def __init__(
        self, run_id: str, *, history: Sequence[Message] = (), in_turn: bool = False, context: ContextPolicy = KEEP_ALL
    ) -> None:
        self._run_id = run_id
        self._states = _States(history, in_turn=in_turn, context=context)
        self._drawing = Drawing()
        self._transcript = Transcript()
        self._records: list[str] = []  # each cut to the longest that a page has
        self._lengths: list[int] = []
        self._ats: list[int] = []
        self._types: list[str] = []
        self._epochs: list[int] = []

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        self._states.add(entry)
        self._drawing.add(entry)
        self._transcript.add(entry)
        text = _record(entry)
        self._records.append(text[: _CUTS[0]])
        self._lengths.append(len(text))
        self._ats.append(entry.record.at)
        self._types.append(entry.record.type)
        self._epochs.append(entry.epoch)

    def html(self, *, status: str) -> str:
        """The page; at least one record was added.

        Args:
            status: The run's state.

        Raises:
            ValueError: The page would be too large, however much is cut.
        """
        drawn = self._drawing.value()
        data = {
            "run": self._run_id,
            "status": status,
            **self._places(drawn),
            "states": self._states.rows,
            "words": self._states.words,
        }
        values = {"title": plain_text(f"run {self._run_id}"), "svg": timeline_svg(drawn)}
        for texts in self._texts():
            page = filled("page.html", values, data | texts)
            if len(page.encode()) <= LARGEST_PAGE:
                return page
        raise ValueError(f"run {self._run_id} has {len(self._ats)} records, which are too many for one page")

    def _texts(self) -> Iterator[dict[str, Any]]:
        """Records and transcript of a page, cut more and more, from the first cut on with which they may fit."""
        items = self._transcript.items
        lengths = [*self._lengths, *(len(text) for item in items for text in item.texts)]
        for cut in _CUTS:
            if sum(min(length, cut) for length in lengths) <= LARGEST_PAGE:
                records = [_cut(*one, cut) for one in zip(self._records, self._lengths, strict=True)]
                yield {"record": records, "items": [_item(item, cut) for item in items]}

    def _places(self, drawn: Timeline) -> dict[str, Any]:
        """Time, type and owner of each record; times are milliseconds, counted from the record before."""
        types = {name: place for place, name in enumerate(sorted(set(self._types)))}
        ats = list(accumulate(self._ats, max))  # time never goes back, as in the timeline
        return {
            "at": [later - earlier for earlier, later in pairwise([drawn.began, *ats])],
            "axis": [[time - drawn.began, round(place, 6)] for time, place in Axis(drawn).points],
            "types": list(types),
            "type": [types[name] for name in self._types],
            "epoch": self._epochs,
        }


def _cut(text: str, length: int, longest: int) -> str:
    """A text of `length` characters, of which at least `longest` are in `text`, cut if it is longer than `longest`."""
    return text if length <= longest else f"{text[:longest]}… ({length - longest} more characters)"


def _record(entry: Entry) -> str:
    """A record's own fields; for a chunk, only the chunk."""
    record = entry.record
    if type(record) is ModelChunk:
        return json_line(record.chunk, other=str)
    fields = {key: value for key, value in dict(record).items() if key not in ("v", "type", "at")}
    return json_line(fields, other=str)


def _item(item: Item, cut: int) -> list[Any]:
    """An item in the form that the page's script reads; the records of its pieces are counted from its first."""
    texts = [_cut(text, len(text), cut) for text in item.texts]
    return [
        item.kind,
        item.first,
        short(item.title, longest=_LONGEST_TITLE),
        texts,
        [seq - item.first for seq in item.seqs],
        item.withdrawn,
    ]


class _States:
    """The rows that the page shows of the state, by the first record to which each applies.

    Attributes:
        rows: A row for each change; calls and steps are numbers of `words`.
        words: Every call and every step once, because most of them belong to several rows.
    """

    def __init__(self, history: Sequence[Message], *, in_turn: bool, context: ContextPolicy) -> None:
        self._context = context
        self.rows: list[list[Any]] = []
        self.words: list[str] = []
        self._places: dict[str, int] = {}
        self._in_turn = in_turn
        self._state = initial(history)
        self._call: list[Entry] = []  # the records of the model call that is open
        self._shown: list[Any] | None = None

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        before, self._state = self._state, evolve(self._state, entry)
        if self._state.call_open is None:
            self._call.clear()
        else:
            self._call.append(entry)
        if self._state is before and self._shown is not None:
            return  # nearly all records are chunks, which change nothing
        if (now := self._row(self._state)) != self._shown:
            self._shown = now
            self.rows.append([entry.seq, *now])

    def _row(self, state: RunState) -> list[Any]:
        calls = [
            self._place(f"{short(call.tool_use['name'])} {short(call.tool_use['input'])} ({call.state})")
            for call in open_calls(state)
        ]
        asked = [
            self._place(f"{short(one.get('name'))}: {short(one.get('reason'))}") for one in state.interrupts.values()
        ]
        answer = whole_answer(open_chunks(state, self._call)) if state.call_end is not None else None
        decided = decide(state, in_turn=self._in_turn, answer=answer, context=self._context)
        step = self._place(next_step(decided))
        usage = state.totals.usage
        tokens = f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)}"
        return [state.status, state.cycle, len(state.messages), calls, asked, step, tokens, state.call_open]

    def _place(self, text: str) -> int:
        place = self._places.setdefault(text, len(self.words))
        if place == len(self.words):
            self.words.append(text)
        return place
