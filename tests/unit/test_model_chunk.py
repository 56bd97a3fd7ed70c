"""`ModelChunk.of` is `ModelChunk(...)` in every respect but the time it takes."""

from __future__ import annotations

import copy

import pytest
from pydantic import ValidationError

from playhead.runtime.codec import decode_record, encode_record
from playhead.runtime.errors import ForeignRecordError
from playhead.runtime.records import ModelChunk

__all__: list[str] = []

CHUNK = {"contentBlockDelta": {"delta": {"text": "a"}}}
MADE = ModelChunk.of(7, CHUNK)
CHECKED = ModelChunk(at=7, chunk=CHUNK)


def test_it_is_the_same_record() -> None:
    assert CHECKED == MADE
    assert (repr(MADE), dict(MADE), vars(MADE)) == (repr(CHECKED), dict(CHECKED), vars(CHECKED))
    assert MADE.model_dump() == CHECKED.model_dump()
    assert MADE.model_dump_json(exclude_unset=True) == CHECKED.model_dump_json(exclude_unset=True)
    assert (MADE.model_fields_set, MADE.model_extra) == (CHECKED.model_fields_set, CHECKED.model_extra)
    assert set(ModelChunk.model_fields) == set(dict(MADE))


def test_it_copies_and_stays_frozen() -> None:
    assert copy.deepcopy(MADE) == CHECKED
    assert MADE.model_copy(update={"at": 8}) == ModelChunk(at=8, chunk=CHUNK)
    assert encode_record(MADE) == encode_record(CHECKED)
    with pytest.raises(ValidationError, match="frozen"):
        MADE.at = 8


@pytest.mark.parametrize("at", ["1", None, 1.0, True])
def test_foreign_bytes_with_another_kind_of_time_are_refused(at: object) -> None:
    data = encode_record(ModelChunk.model_construct(at=at, chunk=CHUNK))  # type: ignore[arg-type]
    with pytest.raises(ForeignRecordError, match="made at"):
        decode_record(data)
