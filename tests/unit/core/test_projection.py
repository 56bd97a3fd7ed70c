"""The projection: which events a log gives, in which order, and the same ones from any cursor."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.cursor import Cursor, parse_cursor
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import (
    CheckedRecord,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
    UnknownRecord,
)
from playhead.runtime.core.result import AgentResult

__all__: list[str] = []

ADD: ToolUse = {"toolUseId": "t1", "name": "add", "input": {"a": 1}}
ASKS: Message = {"role": "assistant", "content": [{"toolUse": ADD}]}
RESULTS: Message = {
    "role": "user",
    "content": [{"toolResult": {"toolUseId": "t1", "status": "success", "content": [{"text": "3"}]}}],
}
SAYS: Message = {"role": "assistant", "content": [{"text": "It is 3"}], "tracking_id": "m1"}
STATE = {"user": "u1", "flags": {"a": [1]}}
DONE = {"stop_reason": "end_turn", "message": SAYS, "metrics": {"cycles": 2}, "state": {}}


def chunk(**kind: Any) -> ModelChunk:
    return ModelChunk(at=0, chunk=kind)


def delta(**kind: Any) -> ModelChunk:
    return chunk(contentBlockDelta={"delta": kind})


def made_at(record: Record, at: int) -> Record:
    if isinstance(record, ModelChunk):
        return ModelChunk(at=at, chunk=record.chunk)
    assert isinstance(record, CheckedRecord)
    return record.model_copy(update={"at": at})


def log(*records: Record, state: dict[str, Any] | None = None) -> list[Entry]:
    """A run of these records after its submission, read back from its bytes; `at` tells the place."""
    submitted = RunSubmitted(at=0, agent="a", prompt="hi", invocation_state=state or {})
    entries: list[Entry] = []
    for seq, record in enumerate((submitted, RunClaimed(at=0, worker="w"), *records), 1):
        stored = encode_record(made_at(record, 1000 + seq))
        entries.append(Entry(seq, 1, decode_record(stored)))
    return entries


PROMPTED = MessageAdded(at=0, origin="prompt", message={"role": "user", "content": [{"text": "hi"}]})
ASKING: list[Record] = [
    PROMPTED,
    CycleStarted(at=0, cycle=1),
    ModelStarted(at=0),
    chunk(messageStart={"role": "assistant"}),
    delta(reasoningContent={"text": "hm"}),
    delta(reasoningContent={"signature": "sig"}),
    delta(reasoningContent={"redactedContent": b"\x00\xff"}),
    chunk(contentBlockStop={}),
    delta(text="Let me"),
    delta(citation={"title": "t"}),
    chunk(contentBlockStop={}),
    chunk(contentBlockStart={"start": {"toolUse": {"toolUseId": "t1", "name": "add"}}}),
    delta(toolUse={"input": '{"a":'}),
    delta(toolUse={"input": " 1}"}),
    chunk(contentBlockStop={}),
    chunk(messageStop={"stopReason": "tool_use"}),
    MessageAdded(at=0, origin="model", stop_reason="tool_use", message=ASKS),
    ToolStarted(at=0, index=0, tool_use=ADD, effect_key="k"),
    ToolProgressed(at=0, index=0, tool_use=ADD, data={"percent": 50}),
    ToolFinished(at=0, index=0, name="add", result={"toolUseId": "t1", "status": "success", "content": []}),
    MessageAdded(at=0, origin="tools", message=RESULTS),
    CycleStarted(at=0, cycle=2),
]
SPEAKING: list[Record] = [
    ModelStarted(at=0),
    chunk(messageStart={"role": "assistant"}),
    delta(text="It is "),
    delta(text="3 \ud83d"),
    chunk(contentBlockStop={}),
    chunk(messageStop={"stopReason": "end_turn"}),
    chunk(metadata={"usage": {"inputTokens": 1}}),
    MessageAdded(at=0, origin="model", stop_reason="end_turn", message=SAYS),
    RunCompleted(at=0, result=DONE),
]
TOOL_RUN = log(*ASKING, *SPEAKING, state=STATE)
DYING: list[Record] = [
    ModelStarted(at=0),
    delta(text="It is "),
    delta(text="4"),
    RunHandedOver(at=0, worker="w"),
    RunClaimed(at=0, worker="w2"),
    ModelRetried(at=0, supersedes=(25, 29), reason="died"),
]
SILENT: list[Record] = [ModelStarted(at=0), ModelRetried(at=0, supersedes=(31, 31))]
TAKEN_OVER = log(*ASKING, *DYING, *SILENT, *SPEAKING, state=STATE)
FAILED = log(
    *ASKING, ModelStarted(at=0), delta(text="It"), RunFailed(at=0, error_type="E", message="m", force_stop=True)
)
CANCELLED = log(*ASKING, SignalReceived(at=0, signal_id="s", kind="cancel"), RunCancelled(at=0, result=DONE))
RUNS = {"tool run": TOOL_RUN, "taken over": TAKEN_OVER, "failed": FAILED, "cancelled": CANCELLED}


def events(entries: Sequence[Entry], *, after: Cursor | None = None) -> list[Event]:
    projection = Projection("r1", after=after)
    return [event for entry in entries for event in projection.feed(entry)]


def names(found: Sequence[Event]) -> list[str]:
    """Each event by the key that tells its kind."""
    kinds = ["data", "reasoningText", "reasoning_signature", "reasoningRedactedContent", "citation", "current_tool_use"]
    kinds += ["tool_stream_event", "message", "result", "retracted", "force_stop", "init_event_loop", "start"]
    kinds += ["start_event_loop", "event"]
    return [next(kind for kind in kinds if kind in event) for event in found]


# ---------------------------------------------------------------- which events, in which order


def test_a_tool_run_gives_the_events_of_strands_in_their_order() -> None:
    assert names(events(TOOL_RUN)) == [
        *("init_event_loop", "start", "start_event_loop"),
        "event",
        *("event", "reasoningText"),
        *("event", "reasoning_signature"),
        *("event", "reasoningRedactedContent"),
        "event",
        *("event", "data"),
        *("event", "citation"),
        *("event", "event"),
        *("event", "current_tool_use"),
        *("event", "current_tool_use"),
        *("event", "event"),
        "message",
        "tool_stream_event",
        "message",
        *("start", "start", "start_event_loop"),
        "event",
        *("event", "data"),
        *("event", "data"),
        *("event", "event", "event"),
        "message",
        "result",
    ]


def test_events_have_the_keys_of_strands() -> None:
    found = events(TOOL_RUN)
    by_name = dict(zip(reversed(names(found)), reversed(found), strict=True))  # the first of each kind
    text, reasoning = {"text": "Let me"}, {"reasoningContent": {"text": "hm"}}
    assert by_name["init_event_loop"] == {"init_event_loop": True, **STATE}
    assert (by_name["start"], by_name["start_event_loop"]) == ({"start": True}, {"start_event_loop": True})
    assert by_name["event"] == {"event": {"messageStart": {"role": "assistant"}}}
    assert by_name["data"] == {"data": "Let me", "delta": text, **STATE}
    assert by_name["reasoningText"] == {"reasoningText": "hm", "delta": reasoning, "reasoning": True, **STATE}
    assert by_name["reasoningRedactedContent"]["reasoningRedactedContent"] == b"\x00\xff"
    assert by_name["current_tool_use"] == {
        "type": "tool_use_stream",
        "delta": {"toolUse": {"input": '{"a":'}},
        "current_tool_use": {"toolUseId": "t1", "name": "add", "input": '{"a":'},
        **STATE,
    }
    assert by_name["message"] == {"message": ASKS}
    progress = {"tool_use": ADD, "data": {"percent": 50}}
    assert by_name["tool_stream_event"] == {"type": "tool_stream", "tool_stream_event": progress}
    assert by_name["result"] == {"result": DONE}


def test_current_tool_use_grows_from_event_to_event() -> None:
    found = [event["current_tool_use"]["input"] for event in events(TOOL_RUN) if "current_tool_use" in event]
    assert found == ['{"a":', '{"a": 1}']


def test_prompts_and_repairs_have_no_event() -> None:
    repair = MessageAdded(at=0, origin="repair", message=RESULTS)
    assert events(log(repair, PROMPTED)) == []


def test_events_know_their_place() -> None:
    found = events(TOOL_RUN)
    assert {event.run_id for event in found} == {"r1"}
    assert all(event.at == 1000 + event.seq for event in found)
    assert [event.cursor for event in found[:5]] == ["4-1.0", "4-1.1", "4-1", "6-1", "7-1.0"]
    assert len({event.cursor for event in found}) == len(found)
    assert [parse_cursor(event.cursor) for event in found] == sorted(parse_cursor(event.cursor) for event in found)


def test_the_result_reads_like_the_object_of_strands() -> None:
    result = events(TOOL_RUN)[-1]["result"]
    assert isinstance(result, AgentResult)
    assert (str(result), result.stop_reason) == ("It is 3\n", "end_turn")
    assert (result.message, result.metrics.cycle_count) == (SAYS, 2)


def test_the_callers_state_is_in_the_events_strands_merges_it_into_and_wins() -> None:
    merged = {"data": "mine", "user": "u1"}
    found = events(log(CycleStarted(at=0, cycle=1), ModelStarted(at=0), delta(text="x"), PROMPTED, state=merged))
    assert found == [
        {"init_event_loop": True, **merged},
        {"start": True},
        {"start_event_loop": True},
        {"event": {"contentBlockDelta": {"delta": {"text": "x"}}}},
        {"delta": {"text": "x"}, **merged},
    ]


@pytest.mark.parametrize("entries", RUNS.values(), ids=RUNS)
def test_unknown_records_are_skipped(entries: list[Entry]) -> None:
    unknown = UnknownRecord.model_validate(
        {"type": "run.teleported", "at": 0, "cycle": 1, "chunk": {"messageStart": 1}}
    )
    mixed = [each for entry in entries for each in (entry, entry._replace(record=unknown))]
    assert events(mixed) == events(entries)


# ---------------------------------------------------------------- retraction


def test_text_of_a_dead_call_is_withdrawn_once() -> None:
    found = events(TAKEN_OVER)
    (retracted,) = [event for event in found if "retracted" in event]  # the second dead call said nothing
    assert retracted == {"retracted": True, "from_seq": 25, "to_seq": 29, "text": "It is 4"}
    withdrawn = [event for event in found if 25 <= event.seq <= 29]
    assert "".join(event.get("data", "") for event in withdrawn) == "It is 4"
    kept = [event for event in found if not 25 <= event.seq <= 29 and "retracted" not in event]
    assert kept == events(TOOL_RUN)


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize(("name", "error"), [("tool run", False), ("cancelled", False), ("failed", True)])
def test_a_projection_has_ended_with_the_terminal_record(name: str, error: bool) -> None:
    *before, last = RUNS[name]
    projection = Projection("r1")
    for entry in before:
        projection.feed(entry)
    assert (projection.ended, projection.error) == (False, None)
    projection.feed(last)
    assert (projection.ended, projection.error is not None) == (True, error)


@pytest.mark.parametrize(
    ("error_type", "caught"),
    [
        ("ValueError", ValueError),
        ("KeyError", KeyError),
        ("UnicodeDecodeError", RunFailedError),
        ("VendorError", RunFailedError),
    ],
)
def test_a_failed_run_gives_the_readers_exception(error_type: str, caught: type[Exception]) -> None:
    projection = Projection("r1")
    failure = RunFailed(at=0, error_type=error_type, message="too much", force_stop=False)
    assert projection.feed(Entry(1, 1, failure)) == []
    error = projection.error
    assert error is not None
    assert (isinstance(error, caught), type(error).__name__) == (True, error_type)
    assert error.args == ("too much",)
    assert (error.error_type, error.run_id) == (error_type, "r1")


def test_force_stop_comes_before_the_exception() -> None:
    assert events(FAILED)[-1] == {"force_stop": True, "force_stop_reason": "m"}


# ---------------------------------------------------------------- cursors


def call_start(entries: Sequence[Entry], seq: int) -> int:
    """Where a reader that has seen record `seq` begins to read: its model call's start, else record 2."""
    starts = [entry.seq for entry in entries if isinstance(entry.record, ModelStarted) and entry.seq <= seq]
    return max(starts, default=2)


def rejoined(entries: list[Entry], cursor: Cursor, seq: int) -> list[Event]:
    begin = call_start(entries, seq)
    return events([entries[0], *(entry for entry in entries[1:] if entry.seq >= begin)], after=cursor)


def places(found: Sequence[Event]) -> list[tuple[Event, int, int, str]]:
    return [(event, event.seq, event.at, event.cursor) for event in found]


@pytest.mark.parametrize("entries", RUNS.values(), ids=RUNS)
def test_after_every_event_comes_exactly_the_rest(entries: list[Entry]) -> None:
    found = events(entries)
    for index, event in enumerate(found, 1):
        assert places(rejoined(entries, event.cursor, event.seq)) == places(found[index:])


@pytest.mark.parametrize("entries", RUNS.values(), ids=RUNS)
def test_after_every_record_comes_exactly_the_rest(entries: list[Entry]) -> None:
    found = events(entries)
    for seq in range(len(entries) + 1):
        rest = [event for event in found if event.seq > seq]
        for cursor in (seq, str(seq)):
            assert places(rejoined(entries, cursor, seq)) == places(rest)


@pytest.mark.parametrize("after", [None, 0, "0"])
def test_without_a_cursor_everything_comes(after: Cursor | None) -> None:
    assert events(TOOL_RUN, after=after) == events(TOOL_RUN)


@settings(deadline=None)
@given(st.sampled_from(sorted(RUNS)), st.data())
def test_a_reader_that_leaves_again_and_again_sees_each_event_once(run: str, data: st.DataObject) -> None:
    entries = RUNS[run]
    seen: list[Event] = []
    expected = events(entries)
    while len(seen) < len(expected):
        cursor, seq = (seen[-1].cursor, seen[-1].seq) if seen else (0, 0)
        seen += rejoined(entries, cursor, seq)[: data.draw(st.integers(min_value=1, max_value=20))]
    assert places(seen) == places(expected)


@pytest.mark.parametrize(
    ("cursor", "seq", "epoch"),
    [(0, 0, None), (41, 41, None), ("41", 41, None), (10**15, 10**15, None), ("41-2", 41, 2), ("1-0", 1, 0)],
)
def test_a_number_means_the_whole_record(cursor: Cursor, seq: int, epoch: int | None) -> None:
    place = parse_cursor(cursor)
    assert (place.seq, place.epoch) == (seq, epoch)
    assert place.event > 1_000_000


def test_an_events_cursor_names_the_event_and_the_owner_in_either_form() -> None:
    assert parse_cursor("41.0") == (41, 0, None)
    assert parse_cursor("41-3.2") == (41, 2, 3)


@pytest.mark.parametrize("entries", RUNS.values(), ids=RUNS)
def test_cursors_of_former_versions_mean_what_they_meant(entries: list[Entry]) -> None:
    found = events(entries)
    for index, event in enumerate(found, 1):
        former = str(event.seq) if event.index is None else f"{event.seq}.{event.index}"
        assert places(rejoined(entries, former, event.seq)) == places(found[index:])


def test_an_entrys_cursor_is_that_of_its_last_event() -> None:
    entry = TOOL_RUN[3]
    assert entry.cursor == events([TOOL_RUN[0], entry])[-1].cursor == "4-1"


NUMBERLESS = "-1 41.-1 x 41. .1 1.2.3 +1 4_1 41- -2 41-2. 41--2 41-2-3 41.0-2 41-x 41,2 ٤"


@pytest.mark.parametrize("cursor", [-1, True, False, b"41", [41], "", "4 1", " 41", "9" * 40, *NUMBERLESS.split()])
def test_what_is_not_a_cursor_is_named(cursor: Any) -> None:
    with pytest.raises(ValueError, match="is not a cursor") as caught:
        parse_cursor(cursor)
    assert repr(cursor) in str(caught.value)
    with pytest.raises(ValueError, match="is not a cursor"):
        Projection("r1", after=cursor)


# ---------------------------------------------------------------- JSON


def from_json(text: str) -> Any:
    def revive(value: dict[str, Any]) -> Any:
        return base64.b64decode(value["data"]) if value.keys() == {"__bytes_encoded__", "data"} else value

    return json.loads(text, object_hook=revive)


@pytest.mark.parametrize("entries", RUNS.values(), ids=RUNS)
def test_every_event_survives_json_and_the_wire(entries: list[Entry]) -> None:
    for event in events(entries):
        text = event.to_json()
        assert from_json(text.encode().decode()) == plain(event)
        assert "\n" not in text


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_any_text_survives_json_and_the_wire(text: str) -> None:
    wire = Event({"data": text}).to_json().encode()
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # halves that meet, meet
    assert json.loads(wire) == {"data": joined}


def test_json_keeps_other_alphabets_readable() -> None:
    assert Event({"data": "né 日本"}).to_json() == '{"data": "né 日本"}'


def test_what_has_no_json_form_is_named() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        Event({"data": object()}).to_json()
