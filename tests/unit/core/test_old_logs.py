"""Logs written by earlier versions, kept byte for byte in `tests/golden/<version>/`, fold and play as they did then; they are verified in
`tests/unit/replay/test_golden_logs.py`.

A file holds a run, with bytes in base64: its entries (id, and the record's bytes), the definitions that its claims name,
the messages of its session (also later ones), what its model was asked in each call, the events that the entries gave
(with their cursors), and the error raised at the end, or null. `tests.golden.record` writes them. Files are added,
never changed: what a user's Redis holds does not change either.
"""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from playhead.runtime.core.decide import decide
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.evolve import evolve, fold
from playhead.runtime.core.made import made_agent
from playhead.runtime.core.records import RECORD_TYPES, CheckedRecord, ModelChunk, ModelStarted
from playhead.runtime.core.requests import claimed_definition, request_of
from playhead.runtime.core.state import initial
from tests.support.old_runs import FILES, OldRun
from tests.support.sweeps import sweep

__all__: list[str] = []


@pytest.fixture(params=sweep(FILES, step=4), ids=lambda file: f"{file.parent.name}/{file.stem}")
def old(request: pytest.FixtureRequest) -> OldRun:
    """One run of an earlier version."""
    return OldRun(request.param)


def test_an_old_log_gives_the_events_it_gave_then(old: OldRun) -> None:
    events, projection = old.play()
    assert [json.loads(event.to_json()) for event in events] == [value for _, value in old.events]
    error = projection.error
    assert (error and [error.error_type, str(error)]) == old.error
    assert projection.ended


def test_a_cursor_kept_from_then_goes_on_after_its_event(old: OldRun) -> None:
    whole, _ = old.play()
    for place, (cursor, _) in enumerate(old.events, start=1):
        assert old.play(cursor)[0] == whole[place:]


def test_an_old_log_folds_from_every_record_to_the_same_end(old: OldRun) -> None:
    whole = fold(old.entries)
    assert decide(whole) is None, "an ended run has no next step"
    state = initial()
    for entry in old.entries[:-1]:
        state = evolve(state, entry)
        assert state.status in ("queued", "running", "paused")
        decide(state)  # a new owner that takes it over here knows what to do
    assert evolve(state, old.entries[-1]) == whole


def test_an_old_log_tells_what_its_model_was_asked(old: OldRun) -> None:
    made = [entry for entry in old.entries if isinstance(entry.record, ModelStarted)]
    calls = [entry.seq for entry in made if not dict(entry.record).get("lane")]  # what a guest asks is not in the log
    assert list(old.requests) == calls
    for seq, sent in old.requests.items():
        made, digest = made_agent(old.entries[:seq]), claimed_definition(old.entries[:seq])
        stored = AgentDefinition.of(old.definitions[digest]) if made is None else made.definition
        definition = stored.of_run(old.entries[0].record, seq=seq)
        request = request_of(old.entries[:seq], definition=definition, session=old.session)
        assert [request.messages, request.tool_specs, request.system_prompt, request.tool_choice] == sent


def test_there_are_old_logs_with_every_type_of_record() -> None:
    assert {entry.record.type for file in FILES for entry in OldRun(file).entries} == RECORD_TYPES.keys()


def test_there_are_old_logs_of_every_kind_of_end() -> None:
    assert {OldRun(file).entries[-1].record.type for file in FILES} == {"run.completed", "run.failed", "run.cancelled"}


def test_there_are_old_logs_with_every_field_of_every_record() -> None:
    found: dict[str, set[str]] = {}
    for entry in (
        entry for file in FILES for entry in OldRun(file).entries if not isinstance(entry.record, ModelChunk)
    ):
        record = cast("CheckedRecord", entry.record)
        known = found.setdefault(record.type, {"v", "type"})
        known |= {name for name, field in type(record).model_fields.items() if getattr(record, name) != field.default}
    fields = {
        name: set(cast("Any", kind).model_fields) for name, kind in RECORD_TYPES.items() if kind is not ModelChunk
    }
    assert {name: fields[name] - known for name, known in found.items() if fields[name] - known} == {}
