"""The trace context in the records of a run."""

from __future__ import annotations

import pytest

from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.records import CycleStarted, Entry, ModelStarted, RunClaimed, RunSubmitted
from playhead.runtime.core.trace import callers_trace, former_trace, may_hold_trace, with_trace
from tests.support.old_runs import FILES, OldRun

__all__: list[str] = []

SENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_a_log_names_the_span_of_the_owner_that_wrote_last() -> None:
    (file,) = [file for file in FILES if file.stem == "traced"]
    entries = OldRun(file).entries
    stored = {entry.epoch: dict(entry.record)["trace"] for entry in entries if dict(entry.record).get("trace")}
    assert sorted(stored) == [0, 1, 2], "the caller's, and one of each owner"
    assert callers_trace(entries[0].record) == stored[0]
    claim = next(at for at, entry in enumerate(entries) if entry.epoch == 2)
    assert [former_trace(entries[:3]), former_trace(entries[:claim]), former_trace(entries)] == [
        {},
        stored[1],
        stored[2],
    ]


def test_the_context_is_stored_with_the_record_and_only_there() -> None:
    started = ModelStarted(at=1)
    stored = decode_record(encode_record(with_trace(started, SENT)))
    assert dict(stored) == {**dict(started), "trace": SENT}
    assert "trace" not in dict(started)
    claimed = RunClaimed(at=1, worker="w")
    assert with_trace(claimed, SENT) is claimed
    assert not may_hold_trace(claimed)


@pytest.mark.parametrize("broken", ["00-a-b-01", 7, ["traceparent"], {}, {"traceparent": 7}, None])
def test_a_field_of_another_form_is_ignored(broken: object) -> None:
    odd = CycleStarted(at=1, cycle=1).model_copy(update={"trace": broken})
    assert former_trace([Entry(1, 0, RunSubmitted(at=1, agent="a")), Entry(2, 1, odd)]) == {}
