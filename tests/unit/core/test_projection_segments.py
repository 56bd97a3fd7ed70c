"""The projection of segments, which makes most events in place, gives what the projection of single records gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.codec import decode_stored, encode_record
from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunResumed,
    RunSubmitted,
    ToolProgressed,
    UnknownRecord,
)
from playhead.runtime.core.segments import Segment, Stored

__all__: list[str] = []

USE: ToolUse = {"toolUseId": "t1", "name": "add", "input": {}}

texts = st.text(st.characters(exclude_categories=[]), max_size=4)  # halves of characters too
indices = st.none() | st.integers(0, 3)


def chunk_of(delta: dict[str, Any], index: int | None) -> dict[str, Any]:
    block: dict[str, Any] = {"delta": delta}
    return {"contentBlockDelta": block if index is None else {"contentBlockIndex": index, **block}}


deltas = st.one_of(
    texts.map(lambda text: {"text": text}),
    texts.map(lambda text: {"toolUse": {"input": text}}),
    texts.map(lambda text: {"reasoningContent": {"text": text}}),
    texts.map(lambda text: {"reasoningContent": {"signature": text}}),
    st.binary(max_size=2).map(lambda data: {"reasoningContent": {"redactedContent": data}}),
    texts.map(lambda text: {"text": text, "other": 1}),
    st.just({"citation": {"title": "t"}}),
    st.just({"toolUse": {"input": "{", "name": "add"}}),
    st.just({"later": 1}),
)
chunks = st.one_of(
    st.builds(chunk_of, deltas, indices),
    st.builds(chunk_of, texts.map(lambda text: {"text": text}), indices),
    st.sampled_from(
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockStart": {"start": {}}},
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t1", "name": "add"}}}},
            {"contentBlockStop": {}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 1}}},
            {"redactContent": {"redactAssistantContentMessage": "no"}},
        ]
    ),
)
states = st.sampled_from([{}, {"user": "u1"}, {"data": "the caller's", "delta": 1}])


def made(kind: Callable[..., Record], **fields: Any) -> Callable[[int], Record]:
    return lambda at: kind(at=at, **fields)


records = st.one_of(
    chunks.map(lambda chunk: made(ModelChunk, chunk=chunk)),
    chunks.map(lambda chunk: made(ModelChunk, chunk=chunk)),
    chunks.map(lambda chunk: made(ModelChunk, chunk=chunk)),
    states.map(lambda state: made(RunSubmitted, agent="a", invocation_state=state)),
    st.sampled_from(
        [
            made(ModelStarted),
            made(ModelStarted, continues=True),
            made(ModelRetried, supersedes=(2, 3)),
            made(CycleStarted, cycle=1),
            made(CycleStarted, cycle=2),
            made(RunClaimed, worker="w"),
            made(RunResumed),
            made(MessageAdded, origin="model", message={"role": "assistant", "content": []}),
            made(ToolProgressed, index=0, tool_use=USE, data=[1]),
            made(UnknownRecord, type="run.teleported"),
            made(RunCompleted, result={"stop_reason": "end_turn"}),
        ]
    ),
)


def stored(made: Sequence[Callable[[int], Record]]) -> list[Stored]:
    """As a log gives them: read back from their bytes."""
    return [decode_stored(encode_record(make(1000 + seq))) for seq, make in enumerate(made, 1)]


def cut(values: list[Stored], places: Sequence[int], *, first: int = 1) -> list[Segment]:
    """As segments, each by the next owner."""
    ends = [0, *sorted({place for place in places if 0 < place < len(values)}), len(values)]
    return [
        Segment(first + start, epoch, values[start:end]) for epoch, (start, end) in enumerate(pairwise(ends)) if end
    ]


def everything(event: Event) -> tuple[Any, ...]:
    """An event with all that is known of it; the order of its keys is part of its JSON."""
    return list(event.items()), event.run_id, event.seq, event.at, event.epoch, event.index, event.cursor


def one_by_one(segments: Sequence[Segment], after: str | None) -> tuple[list[Any], Projection]:
    projection = Projection("r", after=after)
    entries: list[Entry] = [entry for segment in segments for entry in segment.entries()]
    return [everything(event) for entry in entries for event in projection.feed(entry)], projection


def by_segments(segments: Sequence[Segment], after: str | None) -> tuple[list[Any], Projection]:
    projection = Projection("r", after=after)
    return [everything(event) for segment in segments for event in projection.events(segment)], projection


@settings(max_examples=3 * settings().max_examples)
@given(st.lists(records, min_size=1, max_size=30), st.lists(st.integers(1, 29), max_size=4), st.data())
def test_segments_give_the_events_of_their_records(
    made: list[Callable[[int], Record]], places: list[int], data: st.DataObject
) -> None:
    segments = cut(stored(made), places)
    expected, _ = one_by_one(segments, None)
    after = data.draw(st.none() | st.sampled_from([event[-1] for event in expected] or [None]))
    wanted, single = one_by_one(segments, after)
    found, whole = by_segments(segments, after)
    assert found == wanted
    assert (whole.ended, whole.invocation_state) == (single.ended, single.invocation_state)


@pytest.mark.parametrize("after", [None, "3-0", "4-0.0", "4-0", "5"])
def test_after_a_cursor_inside_a_segment_comes_the_rest(after: str | None) -> None:
    values = stored([made(ModelChunk, chunk=chunk_of({"text": str(number)}, None)) for number in range(3)])
    found, _ = by_segments([Segment(3, 0, values)], after)
    cursors = ["3-0.0", "3-0", "4-0.0", "4-0", "5-0.0", "5-0"]
    left = {None: 0, "3-0": 2, "4-0.0": 3, "4-0": 4, "5": 6}[after]
    assert [event[-1] for event in found] == cursors[left:]


def test_text_is_withdrawn_whole_whichever_way_it_came() -> None:
    text = [made(ModelChunk, chunk=chunk_of({"text": word}, None)) for word in ("It ", "is ", "4")]
    values = stored([made(ModelStarted), *text, made(ModelRetried, supersedes=(1, 4))])
    projection = Projection("r")
    found: list[Event] = []
    for segment in cut(values, [2]):
        found += (
            projection.events(segment)
            if segment.first == 1
            else [event for entry in segment.entries() for event in projection.feed(entry)]
        )
    assert found[-1] == {"retracted": True, "from_seq": 1, "to_seq": 4, "text": "It is 4"}


@pytest.mark.parametrize(("said", "withdrawn"), [([], False), ([""], True), (["a"], True)])
def test_a_call_that_died_before_it_said_anything_withdraws_nothing(said: list[str], withdrawn: bool) -> None:
    text = [made(ModelChunk, chunk=chunk_of({"text": word}, None)) for word in said]
    died = made(ModelRetried, supersedes=(1, 9))
    values = stored([made(ModelStarted), *text, died, died])
    found, _ = by_segments(cut(values, []), None)
    assert sum(("retracted", True) in event[0] for event in found) == withdrawn


def test_the_callers_state_counts_from_the_record_that_brings_it() -> None:
    text = made(ModelChunk, chunk=chunk_of({"text": "x"}, None))
    submitted = made(RunSubmitted, agent="a", invocation_state={"user": "u1"})
    found, _ = by_segments([Segment(1, 0, stored([text, submitted, text]))], None)
    assert [("user", "u1") in event[0] for event in found] == [False, False, False, True]
