"""What is stored is written as a line that people can read, and comes back byte for byte."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playhead.runtime.core.codec import encode_record, pack
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.records import ModelChunk, ToolFinished
from playhead.runtime.log.file.lines import data_of, parse, record_line, value_of
from tests.support.sweeps import sweep

__all__: list[str] = []

GOLDEN = sorted(Path(__file__).parents[3].glob("golden/*/*.jsonl"))

texts = st.text(st.characters(codec=None)) | st.text(st.sampled_from('a\n\x85\u2028\ud83d\ude00\x00"\\'), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=20)
keys = texts | st.sampled_from(["__bytes_encoded__", "data", "type"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
deltas = st.tuples(st.integers(0, 4), st.integers() | st.booleans(), texts | st.none()).map(list)


def written(data: bytes) -> str:
    return record_line(7, 2, data, value_of(data))


def back(line: str) -> bytes:
    assert "\n" not in line
    held = parse(line.encode())
    assert (held["seq"], held["epoch"]) == (7, 2)
    return data_of(held, "record")


@given(values | deltas)
@example({"__bytes_encoded__": True, "data": "AAAA"})
@example({"__bytes_encoded__": True, "data": "not base64"})
@example({"a": {"__bytes_encoded__": True, "data": b"x"}})
@example("\ud83d\ude00")
@example(float("nan"))
@example(10**5000)
@example([1, True, "x"])
@example([1.0, 5, "x"])
def test_every_value_that_can_be_stored_comes_back_byte_for_byte(value: Any) -> None:
    try:
        data = pack(value)
    except PlayheadError:
        return
    assert back(written(data)) == data


@given(st.binary(max_size=60))
@example(b"\xca\x3f\x80\x00\x00")
@example(b"\xce\x00\x00\x00\x01")
@example(b"\x82\xa1a\x01\xa1a\x02")
@example(b"\x81\x01\x02")
@example(b"\xd4\x05\x00")
@example(b"\x91" * 400 + b"\x90")
def test_bytes_that_playhead_would_write_otherwise_come_back_as_they_are(data: bytes) -> None:
    assert back(written(data)) == data


@pytest.mark.parametrize("file", sweep(GOLDEN, step=4), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_records_of_old_logs_come_back_byte_for_byte_and_all_can_be_read(file: Path) -> None:
    for line in file.read_text("utf-8").splitlines():
        held = json.loads(line)
        if "record" in held:
            data = base64.b64decode(held["record"])
            assert '"bytes": "' not in written(data)
            assert back(written(data)) == data


def test_a_record_is_readable_with_its_bytes_marked_and_other_alphabets_as_they_are() -> None:
    result: Any = {"toolUseId": "t", "status": "success", "content": [{"raw": b"\x00\xff", "text": "Größe 🌞"}]}
    line = written(encode_record(ToolFinished(at=5, index=0, name="size", result=result)))
    assert line == (
        '{"seq": 7, "epoch": 2, "record": {"v": 1, "type": "tool.finished", "at": 5, "lane": "", "index": 0, '
        '"name": "size", '
        '"result": {"toolUseId": "t", "status": "success", "content": [{"raw": {"__bytes_encoded__": true, '
        '"data": "AP8="}, "text": "Größe 🌞"}]}, "duration_ms": 0, "stop": null, "returned": null, "state": null, '
        '"memory": {}}}'
    )


def test_a_delta_is_written_in_the_short_form_in_which_it_is_stored() -> None:
    chunk = ModelChunk(at=5, chunk={"contentBlockDelta": {"delta": {"text": 'a "b"'}}})
    assert written(encode_record(chunk)) == '{"seq": 7, "epoch": 2, "record": [1, 5, "a \\"b\\""]}'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "not JSON"),
        ("[1]", "holds a list"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"record": {"__bytes_encoded__": true, "data": 5}}', "not JSON"),
        ('{"record": {"__bytes_encoded__": true, "data": "%"}}', "not JSON"),
        ('{"a": ' + "1" * 5000 + "}", "not JSON"),
    ],
)
def test_a_line_that_is_not_one_says_why(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(line.encode())


def test_a_line_without_the_bytes_of_its_record_says_so() -> None:
    with pytest.raises(ValueError, match="neither 'record' nor 'bytes'"):
        data_of({"seq": 1}, "record")
    with pytest.raises(ValueError, match="not base64"):
        data_of({"bytes": "%"}, "record")
