"""Encodes records to bytes and decodes them: msgpack without pickle, and a compact form for the most frequent record.

A record is a msgpack map. `model.chunk` is a msgpack array instead, about half the size:

    [1, at, text, index]     a text delta           [2, at, json, index]   a tool input delta
    [3, at, text, index]     a reasoning delta      [0, at, chunk]         any other chunk, whole

`index` is `contentBlockIndex` and is omitted if the chunk has none. The first number is the version of the form: a
new form takes a new number, and an existing number never changes its meaning.
"""

from __future__ import annotations

from threading import local
from typing import Any, Final, cast

import msgpack
from pydantic import ValidationError

from playhead.runtime.core.errors import EncodingError, ForeignRecordError, RecordTooLargeError
from playhead.runtime.core.records import (
    RECORD_TYPES,
    CheckedRecord,
    CycleStarted,
    MessageAdded,
    ModelChunk,
    ModelStarted,
    Record,
    RunResumed,
    StepFinished,
    UnknownRecord,
)
from playhead.runtime.core.segments import REASONING, TEXT, WHOLE, Stored, compact, record_of

__all__ = [
    "MAX_RECORD_BYTES",
    "MAX_SUM_BYTES",
    "decode_batch",
    "decode_record",
    "decode_stored",
    "encode_chunk",
    "encode_record",
    "limit_of",
    "pack",
    "read_back",
    "stored_of",
    "unpack",
]

MAX_RECORD_BYTES: Final = 1 << 20
"""The default size limit of one encoded record, in bytes."""

MAX_SUM_BYTES: Final = 64 << 20
"""The size limit, in bytes, of a record that repeats stored data: see `limit_of`. Far below the limits of Redis and msgpack."""

_SUMS: Final = frozenset(
    {
        "run.completed",
        "run.cancelled",
        "run.paused",
        "structured_output.produced",
        "child.recorded",
        "state.changed",
    }
)
_BIG_INT: Final = 1  # msgpack extension code: an int beyond 64 bits, as decimal text
_ADVICE: Final = "Use text, numbers, bytes, lists and dicts with text keys."


def _default(value: Any) -> Any:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INT, str(value).encode())
    raise TypeError(f"a value of type {type(value).__name__} has no msgpack form")


def _ext_hook(code: int, data: bytes) -> Any:
    return int(data) if code == _BIG_INT else msgpack.ExtType(code, data)


class _OfThread(local):
    """Holds one packer per thread: packing a big int runs Python code, during which another thread could use the same buffer."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=_default, unicode_errors="surrogatepass", autoreset=True)


_of_thread = _OfThread()


def pack(value: Any) -> bytes:
    """Encode plain data (dict, list, str, bytes, int of any size, float, bool, None) as msgpack.

    `unpack` can read everything that this returns, because a value that msgpack can write but not read back is refused.

    Raises:
        EncodingError: For anything else, and for data nested deeper than msgpack allows (about 500 levels).
    """
    data = _pack(value)
    try:
        unpack(data)
    except ForeignRecordError as error:  # for example a dict with tuples as keys; once stored, it would break the log
        raise EncodingError(f"cannot be stored: {error.__cause__}. {_ADVICE}") from error
    return data


def _pack(value: Any) -> bytes:
    packer = _of_thread.packer
    try:
        return cast("bytes", packer.pack(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        packer.reset()
        raise EncodingError(f"cannot be stored: {error}. {_ADVICE}") from error


def unpack(data: bytes) -> Any:
    """Decode bytes that `pack` made.

    Raises:
        ForeignRecordError: If the bytes are not one whole msgpack value.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_ext_hook, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises ValueError, its own types and, from the hook, anything int() raises
        raise ForeignRecordError(f"not a playhead record: {error} in {data[:40]!r}") from error


def _check_compact(items: list[Any], data: bytes) -> None:
    """Refuse an array that is not a `model.chunk` while its bytes are at hand for the error: readers rely on its types."""
    if len(items) < 3 or type(items[1]) is not int:
        raise ForeignRecordError(f"not a playhead record: an array of {len(items)} in {data[:40]!r}")
    form = items[0]
    if type(form) is not int or not WHOLE <= form <= REASONING:
        raise ForeignRecordError(f"a model.chunk of unknown form {form!r}; this run was written by a newer version")
    if type(items[2]) is not (dict if form == WHOLE else str):
        raise ForeignRecordError(
            f"not a playhead record: a model.chunk that holds a {type(items[2]).__name__} in {data[:40]!r}"
        )


def limit_of(record: Record, limit: int) -> int:
    """The size limit of `record` in a run whose records may have `limit` bytes each.

    A record that holds many (a message whose chunks are stored, a message of stored tool results, the records of a
    child, the result of a run, the items of a model call of a guest) may be larger than any of its parts and must not
    fail for that reason. Its limit is `MAX_SUM_BYTES`.
    """
    match record:
        case MessageAdded(origin="model" | "tools"):
            sums_up = True
        case (
            ModelStarted(invocation_state=dict())
            | CycleStarted(invocation_state=dict())
            | RunResumed(invocation_state=dict())
        ):
            sums_up = True  # they repeat what `signal.received` has
        case StepFinished():
            sums_up = record.ends_call
        case _:
            sums_up = record.type in _SUMS
    return max(limit, MAX_SUM_BYTES) if sums_up else limit


def encode_record(record: Record, *, limit: int = MAX_RECORD_BYTES) -> bytes:
    """Encode one record as msgpack bytes.

    Raises:
        EncodingError: If the record holds something that is not plain data; the message names the record's type.
        RecordTooLargeError: If the record is larger than `limit` bytes.
    """
    if type(record) is ModelChunk:
        return encode_chunk(compact(record.at, record.chunk), limit=limit)
    try:
        data = pack(dict(record))
    except EncodingError as error:
        raise EncodingError(f"{record.type}: {error}") from error
    if len(data) > limit:
        raise RecordTooLargeError(f"a {record.type} record", size=len(data), limit=limit)
    return data


def encode_chunk(items: list[Any], *, limit: int = MAX_RECORD_BYTES) -> bytes:
    """Like `encode_record`, for a `model.chunk` that is already an array."""
    plain = items[0] != WHOLE
    if plain and len(items) == 3:  # two numbers and a string: every such value can be encoded
        data = cast("bytes", _of_thread.packer.pack(items))
    else:
        try:
            data = _pack(items) if plain and type(items[3]) is int else pack(items)
        except EncodingError as error:
            raise EncodingError(f"{ModelChunk.type}: {error}") from error
    if len(data) > limit:
        raise RecordTooLargeError(f"a {ModelChunk.type} record", size=len(data), limit=limit)
    return data


def decode_record(data: bytes) -> Record:
    """Decode the record in `data`; a type written by a newer version becomes an `UnknownRecord`.

    Raises:
        ForeignRecordError: If these are not the bytes of a record.
    """
    return record_of(decode_stored(data))


def decode_stored(data: bytes) -> Stored:
    """Like `decode_record`, but a `model.chunk` stays the stored array; `record_of` turns it into a record."""
    return stored_of(unpack(data), data)


def read_back(items: list[Any], data: bytes) -> Stored:
    """What `decode_stored` would return for `data`, which `encode_chunk` made of `items`. Avoids decoding."""
    plain = items[0] != WHOLE and (len(items) == 3 or type(items[3]) is int)
    return items if plain else decode_stored(data)


def decode_batch(data: bytes, count: int) -> list[Stored]:
    """Decode `count` consecutive records, each as `decode_stored` returns it.

    Raises:
        ForeignRecordError: As `decode_record`, and if `data` does not hold exactly `count` records.
    """
    if count == 1:
        return [decode_stored(data)]
    # Decoded as one msgpack array, because a single call decodes them all.
    values = cast("list[Any]", unpack(b"\xdd" + count.to_bytes(4, "big") + data))
    return [stored_of(value, data) for value in values]


def stored_of(value: Any, data: bytes) -> Stored:
    """Like `decode_stored`, for a value that is already unpacked; an error shows `data`."""
    if type(value) is list:
        items = cast("list[Any]", value)
        if len(items) == 3:  # most are text deltas: checked in one comparison
            form, at, text = items
            if form == TEXT and type(form) is int and type(at) is int and type(text) is str:
                return items
        _check_compact(items, data)
        return items
    if type(value) is not dict:
        raise ForeignRecordError(f"not a playhead record: a {type(value).__name__} in {data[:40]!r}")
    fields = cast("dict[str, Any]", value)
    try:
        kind = RECORD_TYPES.get(fields.get("type", ""), UnknownRecord)
        if kind is ModelChunk:
            return ModelChunk(at=fields["at"], chunk=fields["chunk"])
        return cast("type[CheckedRecord]", kind).model_validate(fields)
    except (ValidationError, KeyError, TypeError) as error:
        raise ForeignRecordError(f"not a playhead record: {error} in {data[:40]!r}") from error
