"""Records are cut into segments where the owner changes or a number is missing, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import Message
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.records import Entry, ModelChunk, RunResumed
from playhead.runtime.core.segments import Encoded, Segment, changes_state, compact, segments
from playhead.runtime.core.state import initial

__all__: list[str] = []

Places = list[tuple[int, int]]


@pytest.mark.parametrize(
    ("places", "cut"),
    [
        ([], []),
        ([(7, 2)], [(7, 2, 1)]),
        ([(1, 1), (2, 1), (3, 1)], [(1, 1, 3)]),
        ([(1, 0), (2, 1), (3, 1)], [(1, 0, 1), (2, 1, 2)]),
        ([(1, 1), (2, 1), (4, 1)], [(1, 1, 2), (4, 1, 1)]),
        ([(1, 1), (3, 2), (4, 2), (5, 3)], [(1, 1, 1), (3, 2, 2), (5, 3, 1)]),
        ([(1, 1), (2, 2), (3, 1)], [(1, 1, 1), (2, 2, 1), (3, 1, 1)]),
    ],
)
def test_a_segment_is_of_one_owner_and_has_no_hole(places: Places, cut: list[tuple[int, int, int]]) -> None:
    found = segments(places, [[1, 1, str(seq)] for seq, _ in places])
    assert [(one.first, one.epoch, len(one.values)) for one in found] == cut
    assert [entry[:2] for one in found for entry in one.entries()] == places
    assert all(value == [1, 1, str(seq)] for one in found for seq, value in enumerate(one.values, one.first))


def test_a_segment_knows_its_last_record_and_makes_entries() -> None:
    one = Segment(4, 2, [[1, 9, "a"], [3, 9, "b", 0]])
    assert one.last == 5
    reasoning = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "b"}}}
    assert list(one.entries()) == [
        Entry(4, 2, ModelChunk(at=9, chunk={"contentBlockDelta": {"delta": {"text": "a"}}})),
        Entry(5, 2, ModelChunk(at=9, chunk={"contentBlockDelta": reasoning})),
    ]


@pytest.mark.parametrize(
    ("chunk", "changes"),
    [
        ({"contentBlockDelta": {"delta": {"text": "a"}}}, False),
        ({"contentBlockDelta": {"delta": {"toolUse": {"input": "{"}}}}, False),
        ({"messageStop": {"stopReason": "end_turn"}}, False),
        ({"redactContent": {"redactUserContentMessage": "[removed]"}}, True),
    ],
)
def test_of_the_chunks_the_fold_needs_only_those_that_change_it(chunk: Any, changes: bool) -> None:
    said: Message = {"role": "user", "content": [{"text": "secret"}]}
    state = initial([said, said])
    assert changes_state(compact(1, chunk)) is changes
    assert (evolve(state, Entry(3, 1, ModelChunk(at=1, chunk=chunk))) is not state) is changes


def test_the_fold_needs_every_record_that_is_not_a_chunk() -> None:
    assert changes_state(RunResumed(at=1))
    assert changes_state(Encoded(RunResumed(at=1), b""))
