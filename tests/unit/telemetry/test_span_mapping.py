"""The pure mapping of records to operations on spans and to measurements, over the logs of every kind of run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    ContextReduced,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelRetried,
    Record,
    RunHandedOver,
    RunPaused,
)
from playhead.runtime.core.state import initial
from playhead.runtime.telemetry.conventions import Conventions, serialized, usage_attributes
from playhead.runtime.telemetry.measurements import COUNTERS, HISTOGRAMS, Measurement, RunMeasurements
from playhead.runtime.telemetry.operations import End, Operation, Start, Tell
from playhead.runtime.telemetry.span_mapping import SpanMapping
from tests.support.old_runs import FILES, OldRun

__all__: list[str] = []

GOLDEN = [pytest.param(file, id=f"{file.parent.name}/{file.stem}") for file in FILES]


def outcome_of(record: Record) -> str:
    if record.type in TERMINAL_TYPES or isinstance(record, RunPaused):
        return record.type.removeprefix("run.")
    return "handed_over" if isinstance(record, RunHandedOver) else "fenced"


def of_owner(entries: Sequence[Entry], epoch: int) -> list[Operation]:
    """The operations of one ownership of a run, whose records are among all of the run's."""
    first = entries[0].record
    mapping = SpanMapping("r1", agent="helper", epoch=epoch, session=None, conventions=Conventions())
    found: list[Operation] = [mapping.begin()]
    state, last = initial(), first
    for entry in entries:
        state = evolve(state, entry)
        if entry.epoch == epoch and not isinstance(entry.record, ModelChunk):
            found += mapping.operations(entry.record, state.messages, cycle=state.cycle)
            last = entry.record
    outcome = outcome_of(last)
    return [*found, *mapping.end(last if outcome not in ("handed_over", "fenced") else None, outcome)]


def owners(entries: Sequence[Entry]) -> list[int]:
    return sorted({entry.epoch for entry in entries if entry.epoch})


def outline(operations: Sequence[Operation]) -> str:
    """The spans in the order in which they end, each with its status."""
    names = {one.key: one.name for one in operations if isinstance(one, Start)} | {"agent": "agent", "cycle": "cycle"}
    return ", ".join(f"{names[one.key]} {one.status}" for one in operations if isinstance(one, End))


@pytest.mark.parametrize("file", GOLDEN)
def test_each_span_begins_within_its_parent_and_ends_once_before_it(file: Path) -> None:
    entries = OldRun(file).entries
    for epoch in owners(entries):
        opened: dict[str, str | None] = {}
        for one in of_owner(entries, epoch):
            match one:
                case Start(key, _, parent, _):
                    assert key not in opened
                    assert parent is None or parent in opened
                    opened[key] = parent
                case End(key, _, status, failure):
                    assert key in opened
                    assert key not in opened.values(), "a child is still open"
                    assert (status == "error") == (failure is not None)
                    del opened[key]
                case Tell(key, _):
                    assert key in opened
        assert opened == {}


@pytest.mark.parametrize(
    ("name", "epoch", "spans"),
    [
        ("0.1.0/retried", 1, "chat error, chat ok, cycle ok, agent ok"),
        ("0.1.0/failing", 1, "chat error, cycle error, agent error"),
        ("0.1.0/cancelled", 1, "chat ok, cycle ok, agent ok"),
        ("0.1.0/paused_and_steered", 1, "chat ok, execute_tool pay ok, cycle ok, agent ok"),
        ("0.1.0/paused_and_steered", 2, "execute_tool pay ok, cycle ok, chat ok, cycle ok, agent ok"),
        ("0.1.0/taken_over", 1, "chat unset, cycle unset, agent unset"),
        ("0.1.0/taken_over", 2, "chat ok, cycle ok, agent ok"),
        ("0.2.0/summarized", 1, "chat error, cycle error, chat ok, chat ok, cycle ok, agent ok"),
        ("0.2.0/hooked", 2, "execute_tool pay ok, cycle ok, agent ok"),
        ("0.2.0/postponed", 1, "chat error, cycle unset, agent unset"),
    ],
)
def test_the_spans_of_a_kind_of_run(name: str, epoch: int, spans: str) -> None:
    (file,) = [file for file in FILES if f"{file.parent.name}/{file.stem}" == name]
    assert outline(of_owner(OldRun(file).entries, epoch)) == spans


@pytest.mark.parametrize("file", GOLDEN)
def test_each_measurement_has_an_instrument_and_all_tokens_that_were_paid_are_counted(file: Path) -> None:
    entries = OldRun(file).entries
    found: list[Measurement] = []
    for epoch in owners(entries):
        measures = RunMeasurements(agent="helper", model_id="m1")
        for entry in entries:
            if entry.epoch == epoch and not isinstance(entry.record, ModelChunk):
                found += measures.of(entry.record)
    assert {one.name for one in found} <= {*COUNTERS, *HISTOGRAMS}
    assert all(one.value >= 0 for one in found)
    tokens = Counter[str]()
    for one in found:
        if one.name == "gen_ai.client.token.usage":
            tokens[str(one.attributes["gen_ai.token.type"])] += int(one.value)
    paid = [entry.record.usage for entry in entries if isinstance(entry.record, ContextReduced | ModelRetried)]
    paid += [
        entry.record.message.get("metadata", {}).get("usage", {})
        for entry in entries
        if isinstance(entry.record, MessageAdded) and entry.record.origin == "model"
    ]
    assert tokens["input"] == sum(usage.get("inputTokens", 0) for usage in paid)
    assert tokens["output"] == sum(usage.get("outputTokens", 0) for usage in paid)


def test_cached_tokens_are_counted_once_however_a_provider_counts_them() -> None:
    within = {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12, "cacheReadInputTokens": 6}
    beside = {"inputTokens": 4, "outputTokens": 2, "totalTokens": 12, "cacheReadInputTokens": 6}
    assert usage_attributes(within, latest=True) == usage_attributes(beside, latest=True)
    assert usage_attributes(within, latest=True)["gen_ai.usage.cache_read.input_tokens"] == 6


def test_what_json_does_not_have_is_replaced() -> None:
    assert serialized([{"image": {"bytes": b"\x00"}}, "ü"]) == '[{"image": {"bytes": "<replaced>"}}, "ü"]'
    assert serialized({(1, 2): 3}) == '"<replaced>"'
