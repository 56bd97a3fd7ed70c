"""Records to bytes and back: msgpack, nothing pickled, with a compact form for the frequent record.

A record is a msgpack map. `model.chunk` is a msgpack array instead, about half the size:

    [1, at, text, index]     a text delta           [2, at, json, index]   a tool input delta
    [3, at, text, index]     a reasoning delta      [0, at, chunk]         any other chunk, whole

`index` is `contentBlockIndex` and is left out where the chunk has none. The first number is the form's version: a new
form takes a new number, an old one is never given another meaning.
"""

from __future__ import annotations

import threading
from typing import Any, Final, cast

import msgpack
from pydantic import ValidationError

from playhead.runtime.errors import EncodingError, ForeignRecordError, RecordTooLargeError
from playhead.runtime.records import RECORD_TYPES, ModelChunk, Record, UnknownRecord
from playhead.runtime.types import Chunk

__all__ = ["MAX_RECORD_BYTES", "decode_record", "decode_records", "encode_record", "pack", "unpack"]

MAX_RECORD_BYTES: Final = 1 << 20
"""Default limit of one encoded record, in bytes."""

_WHOLE, _TEXT, _TOOL_INPUT, _REASONING = 0, 1, 2, 3
_BIG_INT: Final = 1  # msgpack extension code: an int beyond 64 bits, as decimal text
_MAX_BUFFER: Final = 1 << 31
_ADVICE: Final = "Use text, numbers, bytes, lists and dicts with text keys."


def _default(value: Any) -> Any:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INT, str(value).encode())
    raise TypeError(f"a value of type {type(value).__name__} has no msgpack form")


def _ext_hook(code: int, data: bytes) -> Any:
    return int(data) if code == _BIG_INT else msgpack.ExtType(code, data)


class _OfThread(threading.local):
    """A packer for each thread: on a big int it runs Python code, and another thread would write into its buffer."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=_default, unicode_errors="surrogatepass", autoreset=True)


_of_thread = _OfThread()


def pack(value: Any) -> bytes:
    """Encode plain data (dict, list, str, bytes, int of any size, float, bool, None) as msgpack.

    What this returns, `unpack` can read: a value that msgpack writes but cannot read back is refused here.

    Raises:
        EncodingError: For anything else, and for data nested deeper than msgpack allows (about 500 levels).
    """
    data = _pack(value)
    try:
        unpack(data)
    except ForeignRecordError as error:  # a dict with tuples for keys, say: stored, it would end its run's log
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
    """Decode what `pack` made.

    Raises:
        ForeignRecordError: If the bytes are not one whole msgpack value.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_ext_hook, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises ValueError, its own types and, from the hook, anything int() raises
        raise ForeignRecordError(f"not a playhead record: {error} in {data[:40]!r}") from error


def _encode_chunk(at: int, chunk: Chunk) -> bytes:
    items = _compact(at, chunk)
    return pack(items) if items[0] == _WHOLE else _pack(items)


def _compact(at: int, chunk: Chunk) -> list[Any]:
    delta_block = chunk.get("contentBlockDelta")
    if len(chunk) != 1 or type(delta_block) is not dict:
        return [_WHOLE, at, chunk]
    delta = delta_block.get("delta")
    index = delta_block.get("contentBlockIndex")
    if type(delta) is not dict or len(delta) != 1 or len(delta_block) != (1 if index is None else 2):
        return [_WHOLE, at, chunk]
    ((kind, value),) = delta.items()
    form = _TEXT
    if kind == "toolUse" and type(value) is dict and len(value) == 1:
        form, value = _TOOL_INPUT, value.get("input")
    elif kind == "reasoningContent" and type(value) is dict and len(value) == 1:
        form, value = _REASONING, value.get("text")
    elif kind != "text":
        return [_WHOLE, at, chunk]
    if type(value) is not str:
        return [_WHOLE, at, chunk]
    return [form, at, value] if index is None else [form, at, value, index]


def _expand(items: list[Any]) -> ModelChunk:
    form, at, value = items[0], items[1], items[2]
    expected: type[Any] = dict if form == _WHOLE else str
    if type(value) is not expected:
        raise TypeError(f"a model.chunk that holds a {type(value).__name__}")
    if form == _WHOLE:
        return ModelChunk(at=at, chunk=value)
    if form == _TEXT:
        delta: dict[str, Any] = {"text": value}
    elif form == _TOOL_INPUT:
        delta = {"toolUse": {"input": value}}
    elif form == _REASONING:
        delta = {"reasoningContent": {"text": value}}
    else:
        raise ForeignRecordError(f"a model.chunk of unknown form {form!r}; this run was written by a newer version")
    block = {"contentBlockIndex": items[3], "delta": delta} if len(items) > 3 else {"delta": delta}
    return ModelChunk(at=at, chunk={"contentBlockDelta": block})


def encode_record(record: Record, *, limit: int = MAX_RECORD_BYTES) -> bytes:
    """One record as msgpack bytes.

    Raises:
        EncodingError: If it holds something that is not plain data; the text names the record's type.
        RecordTooLargeError: If it is over `limit` bytes.
    """
    try:
        data = _encode_chunk(record.at, record.chunk) if isinstance(record, ModelChunk) else pack(dict(record))
    except EncodingError as error:
        raise EncodingError(f"{record.type}: {error}") from error
    if len(data) > limit:
        raise RecordTooLargeError(f"a {record.type} record", size=len(data), limit=limit)
    return data


def decode_record(data: bytes) -> Record:
    """The record in `data`; a type from a newer version comes back as `UnknownRecord`.

    Raises:
        ForeignRecordError: If these are not the bytes of a record.
    """
    return _revive(unpack(data), data)


def _revive(value: Any, data: bytes) -> Record:
    try:
        if type(value) is list:
            return _expand(cast("list[Any]", value))
        if type(value) is dict:
            fields = cast("dict[str, Any]", value)
            return RECORD_TYPES.get(fields.get("type", ""), UnknownRecord).model_validate(fields)
    except (ValidationError, IndexError, TypeError) as error:
        raise ForeignRecordError(f"not a playhead record: {error} in {data[:40]!r}") from error
    raise ForeignRecordError(f"not a playhead record: a {type(value).__name__} in {data[:40]!r}")


def decode_records(data: bytes) -> list[Record]:
    """The records of a published batch: msgpack values one after the other.

    Raises:
        ForeignRecordError: As `decode_record`.
    """
    unpacker = msgpack.Unpacker(
        ext_hook=_ext_hook, strict_map_key=False, unicode_errors="surrogatepass", max_buffer_size=_MAX_BUFFER
    )
    unpacker.feed(data)
    records: list[Record] = []
    end = 0
    try:
        for value in unpacker:
            records.append(_revive(value, data))
            end = unpacker.tell()  # only here is it sure to stand between records
    except ForeignRecordError:
        raise
    except Exception as error:
        raise ForeignRecordError(f"not a playhead batch: {error} in {data[:40]!r}") from error
    if end != len(data):
        raise ForeignRecordError(f"not a playhead batch: cut off after {end} of {len(data)} bytes")
    return records
