"""A page that is opened at any record of a run shows each message once, by what was said so far and by the events after it."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import Entry, MessageAdded, ModelChunk
from playhead.runtime.core.segments import Segment, compact
from playhead.runtime.core.so_far import SoFar
from tests.support.eventful import eventful
from tests.support.sweeps import sweep

__all__: list[str] = []

ENTRIES = eventful()
HISTORY: list[Message] = [
    {"role": "user", "content": [{"text": "Hi"}]},
    {"role": "assistant", "content": [{"text": "Hello."}]},
]


def opened_at(head: int) -> SoFar:
    found = SoFar(HISTORY)
    for seq, epoch, record in ENTRIES[:head]:
        stored = compact(record.at, record.chunk) if isinstance(record, ModelChunk) else record
        found.add(Segment(seq, epoch, [stored]))
    return found


def events_after(cursor: str) -> list[dict[str, Any]]:
    projection = Projection("run", after=cursor)
    return [event for entry in ENTRIES for event in projection.feed(entry)]


def said(origin: str) -> list[Message]:
    records = [entry.record for entry in ENTRIES if isinstance(entry.record, MessageAdded)]
    return [record.message for record in records if record.origin in origin]


@pytest.mark.parametrize("head", sweep(range(1, len(ENTRIES)), step=6))
def test_each_message_is_shown_once_wherever_the_page_is_opened(head: int):
    found = opened_at(head)
    assert found.messages[:2] == HISTORY
    came = [event["message"] for event in events_after(found.cursor) if "message" in event]
    shown = [message for message in [*found.messages, *came] if message in said("model tools")]
    assert shown == said("model tools")
    assert found.messages[2] == said("prompt")[0], "the prompt is shown before the run begins, too"


@pytest.mark.parametrize("head", sweep(range(1, len(ENTRIES)), step=6))
def test_text_that_was_retracted_before_the_page_is_opened_does_not_come(head: int):
    retracted = next(index for index, one in enumerate(ENTRIES, 1) if one.record.type == "model.retried")
    came = [event for event in events_after(opened_at(head).cursor) if "retracted" in event]
    assert len(came) == (head < retracted)
    assert "word" not in str(opened_at(head).messages)


def test_a_page_that_is_opened_during_a_pause_gets_its_questions():
    paused = next(entry for entry in ENTRIES if entry.record.type == "run.paused")
    results = [event["result"] for event in events_after(opened_at(paused.seq).cursor) if "result" in event]
    assert [one.stop_reason for one in results] == ["interrupt", "end_turn"]


def test_what_is_shown_of_the_whole_run_is_what_its_session_gets():
    whole: list[Entry] = ENTRIES
    assert opened_at(len(whole)).messages == list(fold(whole, history=HISTORY).messages)
