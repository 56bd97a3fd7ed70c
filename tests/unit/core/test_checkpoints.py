"""The state at any record, by checkpoints, is the fold of the records up to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from playhead.runtime.core.checkpoints import SPACING, Checkpoints
from playhead.runtime.core.converse import Message
from playhead.runtime.core.evolve import evolve, fold
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import Entry, MessageAdded, ModelChunk, RunPaused
from playhead.runtime.core.segments import Segment, compact
from playhead.runtime.core.state import RunState, initial
from tests.support.eventful import eventful

__all__: list[str] = []

LONG = eventful(words=SPACING, answer="word " * (2 * SPACING))
HISTORY: list[Message] = [{"role": "user", "content": [{"text": "Earlier."}]}]


def page(entries: list[Entry]) -> Iterator[Segment]:
    """The entries as a log stores them, one segment each."""
    for seq, epoch, record in entries:
        stored = compact(record.at, record.chunk) if isinstance(record, ModelChunk) else record
        yield Segment(seq, epoch, [stored])


def states(entries: list[Entry]) -> Iterator[RunState]:
    state = initial(HISTORY)
    for entry in entries:
        state = evolve(state, entry)
        yield state


@pytest.mark.exhaustive
@pytest.mark.parametrize("pages", [1, 7, 400])
def test_the_state_at_every_record_is_the_fold_up_to_it(pages: int):
    assert len(LONG) > 3 * SPACING
    checkpoints = Checkpoints(HISTORY)
    size = len(LONG) // pages + 1
    for start in range(0, len(LONG), size):
        checkpoints.extend(page(LONG[start : start + size]))
    assert checkpoints.head == len(LONG)
    for entry, expected in zip(reversed(LONG), reversed(list(states(LONG))), strict=True):
        start = checkpoints.before(entry.seq)
        assert 0 < entry.seq - start <= SPACING
        assert checkpoints.state_at(entry.seq, LONG[start : start + SPACING]) == expected


def test_a_redaction_among_the_chunks_is_in_every_later_state():
    verdict = ModelChunk(at=0, chunk={"redactContent": {"redactUserContentMessage": "[withdrawn]"}})
    entries = [*LONG[:5], Entry(6, 1, verdict)]
    checkpoints = Checkpoints()
    checkpoints.extend(page(entries))
    state = checkpoints.state_at(6, entries)
    assert state == fold(entries)
    assert state.messages[0].get("content") == [{"text": "[withdrawn]"}]


# The open calls


def calls_at(seq: int) -> list[tuple[str, str]]:
    return [(call.tool_use["name"], call.state) for call in open_calls(fold(LONG[:seq]))]


def seqs_of(kind: str) -> list[int]:
    return [entry.seq for entry in LONG if entry.record.type == kind]


def test_the_open_calls_are_those_without_a_result_and_say_how_far_they_are():
    first, second, _, again = seqs_of("tool.started")
    assert calls_at(first - 1) == [("weather", "ready"), ("traffic", "ready"), ("book", "ready")]
    assert calls_at(first) == [("weather", "running"), ("traffic", "ready"), ("book", "ready")]
    assert calls_at(second) == [("weather", "running"), ("traffic", "running"), ("book", "ready")]
    (paused,) = [entry.seq for entry in LONG if isinstance(entry.record, RunPaused)]
    assert calls_at(paused) == [("book", "waiting")]
    assert calls_at(again) == [("book", "running")]
    assert calls_at(seqs_of("tool.finished")[-1]) == []


def test_calls_of_an_answer_that_was_cut_off_are_not_open():
    before = LONG[: seqs_of("tool.started")[0] - 1]
    asked = before.pop()
    assert isinstance(asked.record, MessageAdded)
    cut = asked.record.model_copy(update={"stop_reason": "max_tokens"})
    assert open_calls(fold([*before, asked]))
    assert open_calls(fold([*before, asked._replace(record=cut)])) == []


def test_before_a_batch_and_after_the_end_no_call_is_open():
    assert calls_at(0) == []
    assert calls_at(5) == []
    assert calls_at(len(LONG)) == []
