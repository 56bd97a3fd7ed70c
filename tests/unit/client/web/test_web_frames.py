"""Events as the bytes of a response."""

from __future__ import annotations

import json
from typing import Any

import pytest

from playhead.client import Notice
from playhead.client.web.frames import frames_of
from playhead.client.web.request import Media
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.records import Entry, MessageAdded, ModelChunk, ModelRetried, ModelStarted, RunSubmitted

__all__: list[str] = []

LINES = "one\ntwo\r\n\u2028three"
SILENT = Notice("silent", "run", "worker host-7 is gone", (Interrupt({"id": "i", "reason": "why"}),), 3, 9)


def said(text: str, *, role: Any = "assistant") -> MessageAdded:
    origin = "model" if role == "assistant" else "tools"
    return MessageAdded(at=5, message={"role": role, "content": [{"text": text}]}, origin=origin)


def events() -> list[Event]:
    """Text that is retracted, then the message, then results of tools."""
    chunk = ModelChunk(at=3, chunk={"contentBlockDelta": {"delta": {"text": "wrong"}}})
    records = [
        RunSubmitted(at=1, agent="a"),
        ModelStarted(at=2),
        chunk,
        ModelRetried(at=4, supersedes=(3, 3)),
        said(LINES),
        said("a result", role="user"),
    ]
    projection = Projection("run")
    return [event for seq, one in enumerate(records, 1) for event in projection.feed(Entry(seq, 2, one))]


def test_a_server_sent_event_is_one_line_of_data_with_its_run_and_cursor():
    frames = frames_of("sse", None)
    for event in events():
        head, data, *rest = frames.event(event).decode().split("\n")
        assert (head, rest) == (f"id: run:{event.cursor}", ["", ""])
        assert json.loads(data.removeprefix("data: ")) == event
    assert frames.begin(1500) == b"retry: 1500\n\n"
    assert frames.heartbeat.startswith(b":")


def test_a_json_line_has_the_place_of_its_event():
    for event in events():
        (line,) = frames_of("jsonl", None).event(event).decode().splitlines()
        place = {"run": "run", "cursor": event.cursor, "seq": event.seq, "at": event.at}
        assert json.loads(line) == {**place, "event": event}


def test_plain_text_is_that_of_finished_messages_of_the_model():
    frames = frames_of("text", None)
    assert b"".join(map(frames.event, events())).decode() == f"{LINES}\n"
    assert frames.notice(SILENT) + frames.heartbeat + frames.begin(1) + frames.end(None) == b""
    assert frames.end({"type": "ValueError", "message": "no good"}) == b"Error: no good\n"


@pytest.mark.parametrize(
    ("media", "sent"), [("sse", b'data: "wrong"\n\n'), ("jsonl", b'"event": "wrong"}\n'), ("text", b"wrong")]
)
def test_show_says_what_is_sent_of_an_event_and_leaves_others_out(media: Media, sent: bytes):
    frames = frames_of(media, lambda event: event.get("data"))
    (only,) = filter(None, map(frames.event, events()))
    assert only.endswith(sent)


@pytest.mark.parametrize("media", ["sse", "jsonl"])
def test_a_notice_has_all_but_its_message_which_may_name_hosts(media: Media):
    sent = frames_of(media, None).notice(SILENT).decode()
    data = {"kind": "silent", "interrupts": [{"id": "i", "reason": "why"}], "since": 3, "until": 9}
    if media == "sse":
        assert sent == f"event: notice\ndata: {json.dumps(data)}\n\n"
    else:
        assert json.loads(sent) == {"notice": data}
