"""Writes and reads the lines of a file of runs. Pure.

A line is JSON. A value stored as msgpack is written as JSON if that gives the same bytes again, and otherwise in
base64: `docs/records.md` has the table of lines.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import asdict, fields
from typing import Any, Final, cast, get_args

from playhead.runtime.core.codec import encode_chunk, pack, unpack
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.json_lines import bytes_as_json
from playhead.runtime.core.metadata import Metadata, checked_metadata
from playhead.runtime.core.records import RunStateName
from playhead.runtime.core.segments import REASONING, TEXT
from playhead.runtime.log.values import RunInfo

__all__ = [
    "held_of_info",
    "FORMAT",
    "LONGEST_LINE",
    "RECORD_LINE",
    "VERSION",
    "data_of",
    "definition_line",
    "end_line",
    "header_line",
    "info_of_line",
    "message_line",
    "parse",
    "record_line",
    "run_line",
    "value_of",
]

FORMAT: Final = "playhead-runs"
VERSION: Final = 1

LONGEST_LINE: Final = 128 << 20
"""The longest line, in bytes: a record has at most 64 MiB, and so 86 MiB in base64."""

_LONGEST_TEXT: Final = 96 << 20  # a value whose JSON is longer is written in base64

RECORD_LINE: Final = re.compile(rb'\{"seq": ([1-9][0-9]{0,17}), "epoch": ([0-9]{1,18}), "(?:record|bytes)": ')
"""The beginning of a record's line, as it is written here."""

_ENDS_A_LINE: Final = re.compile("[\x85\u2028\u2029]")  # for many programs, and JSON allows them in a text
_MARK: Final = '"__bytes_encoded__"'


def _bytes_of(given: dict[str, Any]) -> Any:
    """The bytes that `bytes_as_json` turned into this dict; any other dict is unchanged."""
    if given.get("__bytes_encoded__") is True and given.keys() == {"__bytes_encoded__", "data"}:
        return base64.b64decode(given["data"], validate=True)
    return given


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=bytes_as_json)
_ASCII_ENCODER: Final = json.JSONEncoder(allow_nan=False, default=bytes_as_json)
_DECODER: Final = json.JSONDecoder(parse_constant=_refused)
_DECODER_OF_BYTES: Final = json.JSONDecoder(parse_constant=_refused, object_hook=_bytes_of)


def _decoded(text: str) -> Any:
    return (_DECODER_OF_BYTES if _MARK in text else _DECODER).decode(text)


def _encoded(value: Any) -> str:
    text = _ENCODER.encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return _ASCII_ENCODER.encode(value)
    return _ENDS_A_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _held(name: str, data: bytes, value: Any) -> str:
    """`"name": JSON` if the JSON of `value` gives `data` again, else `"bytes": "base64"`."""
    try:
        text = _encoded(value)
        if len(text) <= _LONGEST_TEXT and pack(_decoded(text)) == data:
            return f'"{name}": {text}'
    except (PlayheadError, ValueError, TypeError, RecursionError):  # not JSON, or not what playhead packs
        pass
    return f'"bytes": "{base64.b64encode(data).decode()}"'


def header_line(*, runs: int, playhead: str) -> str:
    """The first line of a file of `runs` runs, written by version `playhead`."""
    return json.dumps({"format": FORMAT, "version": VERSION, "runs": runs, "playhead": playhead})


def run_line(info: RunInfo) -> str:
    """The line that begins a run."""
    return json.dumps(held_of_info(info))


def held_of_info(info: RunInfo) -> dict[str, Any]:
    """What a line holds of a run; `info_of_line` reads it."""
    fields = asdict(info)
    return {"run": fields.pop("run_id"), **fields}


def definition_line(digest: str, data: bytes) -> str:
    """The line of an agent's definition."""
    return f'{{"definition": {json.dumps(digest)}, {_held("value", data, value_of(data))}}}'


def message_line(number: int, data: bytes) -> str:
    """The line of message `number`, from 1, of those that the run began from."""
    return f'{{"message": {number}, {_held("value", data, value_of(data))}}}'


def record_line(seq: int, epoch: int, data: bytes, value: Any) -> str:
    """The line of a record whose bytes are `data`; `value` is `value_of(data)`."""
    if type(value) is list:
        items = cast("list[Any]", value)
        if len(items) == 3 and type(items[2]) is str and items[2].isascii() and _is_delta(items, data):
            return f'{{"seq": {seq}, "epoch": {epoch}, "record": [{items[0]}, {items[1]}, {json.dumps(items[2])}]}}'
    return f'{{"seq": {seq}, "epoch": {epoch}, {_held("record", data, value)}}}'


def _is_delta(items: list[Any], data: bytes) -> bool:
    """Whether these are the bytes of a delta without an index. Nearly all records are, and need no further proof."""
    form, at, _ = items
    plain = type(form) is int and TEXT <= form <= REASONING and type(at) is int
    return plain and encode_chunk(items, limit=len(data)) == data


def end_line(*, lines: int, records: int, sha256: str) -> str:
    """The last line: the number of lines and records before it, and the digest of their bytes."""
    return json.dumps({"lines": lines, "records": records, "sha256": sha256})


def value_of(data: bytes) -> Any:
    """The value in `data`; None if it is not msgpack."""
    try:
        return unpack(data)
    except PlayheadError:
        return None


def parse(line: bytes) -> dict[str, Any]:
    """Parse a line. Bytes come back as bytes.

    Raises:
        ValueError: If it is not a JSON object; the message says why.
    """
    try:
        found = _decoded(line.decode())
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, and not an object")
    return cast("dict[str, Any]", found)


def data_of(held: dict[str, Any], name: str) -> bytes:
    """The bytes that a line holds under `name`, or in base64.

    Raises:
        ValueError: If it holds neither, or a value that cannot be stored.
    """
    if name in held:
        try:
            return pack(held[name])
        except PlayheadError as error:
            raise ValueError(str(error)) from error
    if not isinstance(held.get("bytes"), str):
        raise ValueError(f"it has neither {name!r} nor 'bytes'")
    try:
        return base64.b64decode(held["bytes"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"its bytes are not base64 ({error})") from error


_TEXTS: Final = ("state", "agent")
_OPTIONAL: Final = ("session", "worker", "deadline", "due")


def info_of_line(held: dict[str, Any]) -> RunInfo:
    """The run that a line begins; fields added by a newer version are dropped.

    Raises:
        ValueError: If a field is missing or has the wrong type.
    """
    given: dict[str, Any] = {**held, "run_id": held["run"]}
    for field in (one for one in fields(RunInfo) if one.name != "metadata"):
        value = given.get(field.name)
        kind = str if field.name in ("run_id", "session", "worker", *_TEXTS) else int
        if not (isinstance(value, kind) or (value is None and field.name in _OPTIONAL)) or isinstance(value, bool):
            raise ValueError(f"the run's {field.name} is {value!r:.100}")
    if given["state"] not in get_args(RunStateName):
        raise ValueError(f"a run has no state {given['state']!r:.100}")
    known: dict[str, Any] = {field.name: given.get(field.name) for field in fields(RunInfo)}
    known["metadata"] = _metadata_of_line(given)
    return RunInfo(**known)


def _metadata_of_line(held: dict[str, Any]) -> Metadata:
    """A run's metadata; none in a file of an earlier version. Raises ValueError if it is malformed."""
    try:
        return checked_metadata(held.get("metadata", {}))
    except TypeError as error:
        raise ValueError(f"the run's {error}") from error
