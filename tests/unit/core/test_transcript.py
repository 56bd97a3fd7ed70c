"""The transcript of a run: what was said and done, as a person reads it."""

from __future__ import annotations

from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import MessageAdded, ModelChunk, ModelStarted, RunFailed
from playhead.runtime.core.transcript import Item, transcript
from playhead.runtime.models import chunks as c
from tests.support.eventful import Eventful, eventful

__all__: list[str] = []

ENTRIES = eventful()


def told(items: list[Item]) -> list[tuple[str, str, str]]:
    return [(item.kind, item.title, item.text) for item in items]


def test_a_run_is_told_in_the_order_of_its_log():
    items = transcript(ENTRIES)
    assert told(items)[:6] == [
        ("user", "prompt", "How is Paris?"),
        ("note", "model call 1 failed: ConnectionError: reset; it is made again in 0.4 s", ""),
        ("text", "", " word 0 word 1 word 2 word 3 word 4"),
        (
            "note",
            "worker-1 died or was cut off while a call of its model (record 7) ran; worker-2 takes the run over, owner 2",
            "",
        ),
        ("note", "the model is asked again: worker-1 is gone", ""),
        ("text", "", "Let me look."),
    ]
    assert [item.kind for item in items][6:13] == ["call"] * 3 + ["progress", "result", "error", "question"]
    assert told(items)[-2:] == [("text", "", "It rains in Paris."), ("end", "end_turn", "")]
    assert [item.first for item in items] == sorted(item.first for item in items)


def test_what_was_withdrawn_names_the_record_that_withdrew_it():
    retried = next(entry.seq for entry in ENTRIES if entry.record.type == "model.retried")
    assert [(item.text, item.withdrawn) for item in transcript(ENTRIES) if item.withdrawn is not None] == [
        (" word 0 word 1 word 2 word 3 word 4", retried)
    ]
    assert all(item.withdrawn is None for item in transcript(ENTRIES[: retried - 1]))


def test_each_piece_of_a_text_has_its_record():
    item = next(item for item in transcript(ENTRIES) if item.text == "It rains in Paris.")
    assert "".join(item.texts) == item.text
    for seq, text in zip(item.seqs, item.texts, strict=True):
        assert ENTRIES[seq - 1].record == ModelChunk(at=ENTRIES[seq - 1].record.at, chunk=c.text_delta(text))


def test_a_message_that_was_not_streamed_is_told_once():
    run = Eventful()
    run.opening("Hi")
    said: Message = {"role": "assistant", "content": [{"text": "Cancelled by user"}]}
    run.add(MessageAdded(at=0, message=said, origin="model", stop_reason="cancelled"))
    assert told(transcript(run.entries))[-1] == ("text", "", "Cancelled by user")


def test_reasoning_and_text_are_items_of_their_own():
    run = Eventful()
    run.opening("Hi")
    run.add(ModelStarted(at=0))
    run.chunks([c.reasoning_delta("Hm"), c.reasoning_delta("."), c.text_delta("Four")])
    assert told(transcript(run.entries))[-2:] == [("reasoning", "", "Hm."), ("text", "", "Four")]


def test_an_error_that_ends_a_run_is_told():
    run = Eventful()
    run.opening("Hi")
    run.add(RunFailed(at=0, error_type="ValueError", message="nothing works"))
    assert told(transcript(run.entries))[-1] == ("error", "ValueError", "nothing works")
