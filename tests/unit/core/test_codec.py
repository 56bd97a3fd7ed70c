"""The codec: what goes in comes out, small where it is frequent, and foreign bytes meet one exception."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from playhead.runtime.core.codec import (
    MAX_RECORD_BYTES,
    MAX_SUM_BYTES,
    decode_batch,
    decode_record,
    decode_stored,
    encode_chunk,
    encode_record,
    limit_of,
    pack,
    read_back,
    unpack,
)
from playhead.runtime.core.errors import EncodingError, ForeignRecordError, RecordTooLargeError
from playhead.runtime.core.records import (
    RECORD_TYPES,
    CheckedRecord,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    Record,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    UnknownRecord,
)
from playhead.runtime.core.segments import compact, record_of

__all__: list[str] = []

AT = 1_732_345_678_901
TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates included
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.binary()
PLAIN = st.recursive(
    SCALARS | st.integers(min_value=2**63, max_value=2**200) | st.integers(min_value=-(2**200), max_value=-(2**63)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DELTAS = (
    st.fixed_dictionaries({"text": TEXTS})
    | st.fixed_dictionaries({"toolUse": st.fixed_dictionaries({"input": TEXTS})})
    | st.fixed_dictionaries({"reasoningContent": st.fixed_dictionaries({"text": TEXTS})})
    | st.fixed_dictionaries({"reasoningContent": st.fixed_dictionaries({"signature": TEXTS})})
    | st.dictionaries(st.sampled_from(["text", "toolUse", "reasoningContent", "citation"]), PLAIN, max_size=2)
)
INDEXES = st.integers(min_value=0, max_value=300) | st.none() | PLAIN
DELTA_CHUNKS = st.fixed_dictionaries(
    {"contentBlockDelta": st.fixed_dictionaries({"delta": DELTAS}, optional={"contentBlockIndex": INDEXES})}
)
CHUNKS = DELTA_CHUNKS | st.dictionaries(
    st.sampled_from(["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "metadata", "new"]),
    PLAIN,
    max_size=3,
)

PATIENT = settings(deadline=None)
"""A machine that is busy with other tests says nothing of the codec."""


# ---------------------------------------------------------------- what goes in comes out


@PATIENT
@given(PLAIN)
def test_plain_data_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


@PATIENT
@given(CHUNKS, st.integers(min_value=0, max_value=2**50))
@example({"contentBlockDelta": {"delta": {"text": "a"}, "contentBlockIndex": None}}, 0)
@example({"contentBlockDelta": {"delta": {"text": "a", "toolUse": {"input": "b"}}}}, 0)
@example({"contentBlockDelta": {"delta": {"toolUse": {"input": "b", "name": "c"}}}}, 0)
@example({"contentBlockDelta": {"delta": {"text": None}, "contentBlockIndex": 0}}, 0)
@example({"contentBlockDelta": {"delta": {"text": "a"}, "more": 1}}, 0)
@example({"contentBlockDelta": {"delta": {"text": "a"}}, "more": 1}, 0)
@example({"contentBlockDelta": {"delta": {}}}, 0)
def test_every_form_of_chunk_comes_back(chunk: dict[str, Any], at: int) -> None:
    record = ModelChunk(at=at, chunk=chunk)
    assert decode_record(encode_record(record)) == record


@PATIENT
@given(CHUNKS, st.integers(min_value=0, max_value=2**50))
@example({"contentBlockDelta": {"delta": {"text": "a"}, "contentBlockIndex": True}}, 0)
@example({"contentBlockDelta": {"delta": {"text": "a"}, "contentBlockIndex": (1, 2)}}, 0)
@example({"contentBlockDelta": {"delta": {"text": "\ud800"}, "contentBlockIndex": 10**40}}, 0)
@example({"metadata": {"usage": (1, 2)}}, 0)
def test_what_is_read_back_without_its_bytes_is_what_is_in_them(chunk: dict[str, Any], at: int) -> None:
    items = compact(at, chunk)
    data = encode_chunk(items)
    assert repr(read_back(items, data)) == repr(decode_stored(data))  # equality would take True for 1


def test_a_chunk_whose_index_cannot_be_read_back_is_refused() -> None:
    for index in (msgpack.ExtType(1, b"no number"), 10**5000, {(1, 2): 3}, object()):
        with pytest.raises(EncodingError, match=r"model\.chunk: "):
            encode_chunk([1, AT, "a", index])


@PATIENT
@given(PLAIN)
def test_what_a_record_holds_comes_back(value: Any) -> None:
    for record in (
        RunSubmitted(at=AT, agent="a", prompt=value, session="s", invocation_state={"k": value}, options={"o": value}),
        ToolProgressed(at=AT, index=2, tool_use={"toolUseId": "t", "name": "n", "input": value}, data=value),
        MessageAdded(at=AT, origin="model", stop_reason="end_turn", message={"content": [{"json": value}]}),
        RunCompleted(at=AT, result={"r": value}),
    ):
        again = decode_record(encode_record(record))
        assert again == record
        assert type(again) is type(record)


def test_a_pair_of_numbers_comes_back_as_a_pair() -> None:
    record = ModelRetried(at=AT, supersedes=(3, 9), reason="died")
    assert decode_record(encode_record(record)) == record


def test_a_record_of_a_newer_type_is_kept_whole() -> None:
    newer = {"v": 3, "type": "run.teleported", "at": AT, "to": ["mars", b"\x00"]}
    record = decode_record(pack(newer))
    assert type(record) is UnknownRecord
    assert unpack(encode_record(record)) == newer


def test_fields_of_a_newer_version_are_kept() -> None:
    newer = {"v": 2, "type": "signal.received", "at": AT, "signal_id": "s", "kind": "steer", "body": None, "who": "ada"}
    newer["invocation_state"] = None
    record = decode_record(pack(newer))
    assert isinstance(record, SignalReceived)
    assert (record.v, unpack(encode_record(record))) == (2, newer)


def test_fields_a_record_lacks_have_their_defaults() -> None:
    record = decode_record(pack({"type": "run.submitted", "at": AT, "agent": "a"}))
    assert record == RunSubmitted(at=AT, agent="a")


def test_every_record_type_is_registered_under_its_name() -> None:
    checked: list[type[CheckedRecord]] = [cls for cls in CheckedRecord.__subclasses__() if cls is not UnknownRecord]
    named = {str(cls.model_fields["type"].default): cls for cls in checked}
    assert {**named, ModelChunk.type: ModelChunk} == RECORD_TYPES


def test_packing_in_several_threads_at_once_mixes_nothing() -> None:
    faults: list[object] = []

    def work(number: int) -> None:
        value = {"big": [2**100 + number] * 20, "text": "x" * number}
        faults.extend(1 for _ in range(300) if msgpack_value(pack(value)) != value)

    def msgpack_value(data: bytes) -> object:
        try:
            return unpack(data)
        except ForeignRecordError as error:
            return error

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert faults == []


# ---------------------------------------------------------------- small where it is frequent


@pytest.mark.parametrize(
    ("delta", "form"),
    [
        ({"text": " hello"}, 1),
        ({"toolUse": {"input": " hello"}}, 2),
        ({"reasoningContent": {"text": " hello"}}, 3),
    ],
)
def test_a_delta_takes_a_few_bytes_beside_its_text(delta: dict[str, Any], form: int) -> None:
    plain = encode_record(ModelChunk(at=AT, chunk={"contentBlockDelta": {"delta": delta}}))
    indexed = encode_record(ModelChunk(at=AT, chunk={"contentBlockDelta": {"delta": delta, "contentBlockIndex": 1}}))
    assert unpack(plain) == [form, AT, " hello"]
    assert unpack(indexed) == [form, AT, " hello", 1]
    assert len(plain) == 18  # array 1, form 1, time 9, text 1 + 6
    assert len(indexed) == 19


def test_other_chunks_are_kept_whole_without_the_names_of_fields() -> None:
    chunk = {"messageStop": {"stopReason": "end_turn"}}
    assert unpack(encode_record(ModelChunk(at=AT, chunk=chunk))) == [0, AT, chunk]


# ---------------------------------------------------------------- what cannot be stored


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({1, 2}, "set"),
        ([object()], "object"),
        ({"deep": {"er": threading.Lock()}}, "lock"),
        ({(1, 2): 3}, "unhashable"),
        (msgpack.ExtType(1, b"no number"), "invalid literal"),
        (10**5000, "digits"),
    ],
    ids=["set", "object", "lock", "tuple-key", "foreign-extension", "endless-int"],
)
def test_what_has_no_form_is_refused_with_its_reason(value: Any, named: str) -> None:
    with pytest.raises(EncodingError, match=named):
        pack(value)
    with pytest.raises(EncodingError, match=rf"run\.submitted: .*{named}"):
        encode_record(RunSubmitted(at=AT, agent="a", prompt=value))
    with pytest.raises(EncodingError, match=r"model\.chunk: "):
        encode_record(ModelChunk(at=AT, chunk={"metadata": value}))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_has_a_limit_and_a_refusal_writes_nothing() -> None:
    assert unpack(pack(nested(400))) == nested(400)
    loop: list[Any] = []
    loop.append(loop)
    for value in (nested(100_000), loop, [1, 2, {3}]):
        with pytest.raises(EncodingError):
            pack(value)
        assert pack("clean") == b"\xa5clean"


def test_a_record_over_the_limit_is_refused_with_its_size() -> None:
    def of_size(size: int) -> ModelChunk:
        return ModelChunk(at=AT, chunk={"contentBlockDelta": {"delta": {"text": "x" * (size - 16)}}})

    assert len(encode_record(of_size(MAX_RECORD_BYTES))) == MAX_RECORD_BYTES == 1 << 20
    with pytest.raises(RecordTooLargeError, match=r"model\.chunk.*1,048,577.*1,048,576") as caught:
        encode_record(of_size(MAX_RECORD_BYTES + 1))
    assert (caught.value.size, caught.value.limit) == (MAX_RECORD_BYTES + 1, MAX_RECORD_BYTES)
    assert len(encode_record(of_size(70_000), limit=70_000)) == 70_000
    with pytest.raises(RecordTooLargeError):
        encode_record(of_size(70_001), limit=70_000)


@pytest.mark.parametrize(
    ("record", "allowed"),
    [
        (ModelChunk(at=AT, chunk={}), 1000),
        (MessageAdded(at=AT, message={}, origin="prompt"), 1000),
        (MessageAdded(at=AT, message={}, origin="steer"), 1000),
        (MessageAdded(at=AT, message={}, origin="model"), MAX_SUM_BYTES),
        (MessageAdded(at=AT, message={}, origin="tools"), MAX_SUM_BYTES),
        (ToolFinished(at=AT, index=0, name="t", result={"toolUseId": "t", "status": "success", "content": []}), 1000),
        (RunPaused(at=AT, interrupts=[], result={}), MAX_SUM_BYTES),
        (RunCompleted(at=AT, result={}), MAX_SUM_BYTES),
        (RunFailed(at=AT, error_type="E", message=""), 1000),
    ],
    ids=lambda value: f"{value.type} {getattr(value, 'origin', '')}" if isinstance(value, Record) else str(value),
)
def test_what_only_sums_up_what_is_stored_may_be_larger_than_its_parts(record: Record, allowed: int) -> None:
    assert limit_of(record, 1000) == allowed
    assert limit_of(record, 2 * MAX_SUM_BYTES) == 2 * MAX_SUM_BYTES, "a limit that was set higher counts"


# ---------------------------------------------------------------- foreign bytes


FOREIGN: list[Any] = [
    {},
    [],
    None,
    5,
    "text",
    b"bytes",
    [1],
    [1, AT],
    [1, AT, 5],
    [1, "when", "text"],
    [0, AT, "not a chunk"],
    [0, AT, None],
    [9, AT, "text"],
    [None, AT, "text"],
    [[1], AT, "text"],
    {"type": "run.submitted"},
    {"type": "run.submitted", "at": AT, "agent": 5},
    {"type": "run.submitted", "at": "now", "agent": "a"},
    {"type": ["run.submitted"], "at": AT},
    {"type": 5, "at": AT},
    {"type": None, "at": AT},
    {"at": AT},
    {"type": "no.time"},
    {"type": "run.claimed", "at": AT, "worker": "w", 5: 6},
    {b"type": b"run.claimed"},
]


@pytest.mark.parametrize("value", FOREIGN, ids=repr)
def test_what_is_not_a_record_is_refused(value: Any) -> None:
    data = pack(value)
    with pytest.raises(ForeignRecordError):
        decode_record(data)
    with pytest.raises(ForeignRecordError):
        decode_batch(data, 1)
    with pytest.raises(ForeignRecordError):
        decode_batch(data + data, 2)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\xa5hell", b"\xa1\xff", b"\x01\x01", b"\xc7\x01\x01x", b"\x91" * 2000]
)
def test_what_is_not_a_value_is_refused(data: bytes) -> None:
    for decode in (unpack, decode_record):
        with pytest.raises(ForeignRecordError, match="not a playhead record"):
            decode(data)


def test_a_refusal_shows_no_more_than_the_beginning() -> None:
    with pytest.raises(ForeignRecordError) as caught:
        decode_record(b"\xda\xff\xff" + b"s" * 60_000)
    assert len(str(caught.value)) < 300


def one_or_foreign(data: bytes) -> Iterator[Record]:
    try:
        yield decode_record(data)
    except ForeignRecordError:
        return


@PATIENT
@given(st.binary(max_size=200))
def test_foreign_bytes_raise_nothing_but_foreign_record_error(data: bytes) -> None:
    for record in one_or_foreign(data):
        assert isinstance(record, Record)
        encode_record(record)
    for count in (1, 2, 3):
        with suppress(ForeignRecordError):
            assert len(decode_batch(data, count)) == count


@PATIENT
@given(PLAIN, st.sampled_from([*RECORD_TYPES, "un.known"]), PLAIN)
def test_foreign_values_raise_nothing_but_foreign_record_error(value: Any, kind: str, other: Any) -> None:
    for foreign in (value, [value, other, value], {"type": kind, "at": 1, "v": value, "message": other}, [0, 1, value]):
        for record in one_or_foreign(pack(foreign)):
            assert isinstance(record, Record)


@PATIENT
@given(CHUNKS, st.data())
def test_a_cut_off_record_is_refused(chunk: dict[str, Any], data: st.DataObject) -> None:
    encoded = encode_record(ModelChunk(at=AT, chunk=chunk))
    cut = data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))
    with pytest.raises(ForeignRecordError):
        decode_record(encoded[:cut])
    with pytest.raises(ForeignRecordError):
        decode_record(encoded + encoded)


# ---------------------------------------------------------------- batches


@PATIENT
@given(st.lists(CHUNKS.map(lambda chunk: ModelChunk(at=AT, chunk=chunk)), min_size=1, max_size=5))
def test_a_batch_is_its_records_one_after_the_other(records: list[Record]) -> None:
    encoded = [encode_record(record) for record in records]
    assert [record_of(stored) for stored in decode_batch(b"".join(encoded), len(encoded))] == records


@PATIENT
@given(st.lists(CHUNKS, min_size=1, max_size=4), st.data())
def test_a_batch_that_does_not_hold_just_its_count_is_refused(chunks: list[Any], data: st.DataObject) -> None:
    whole = b"".join(encode_record(ModelChunk(at=AT, chunk=chunk)) for chunk in chunks)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    for damaged, count in ((whole[:cut], len(chunks)), (whole, len(chunks) + 1), (whole + whole[:1], len(chunks))):
        with pytest.raises(ForeignRecordError):
            decode_batch(damaged, count)
