"""A replay gives the events of a run again on its recorded clock, or as fast as the log can be read."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import accumulate
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.client.reader import RunReader
from playhead.client.replay import Clock
from playhead.runtime.core.records import Entry, ModelChunk, RunCompleted
from playhead.runtime.models import chunks as c
from tests.support.eventful import START, eventful
from tests.support.readers import KeptLog, reader_of

__all__: list[str] = []

ENTRIES = eventful()


def run_of(entries: list[Entry]) -> RunReader:
    return reader_of(KeptLog(entries), "r")


# The clock


def test_records_are_due_at_their_recorded_times():
    clock = Clock(speed=1.0)
    assert clock.dues([START, START + 500, START + 500]) == [0.0, 0.5, 0.5]
    assert clock.dues([START + 2000]) == [2.0], "it goes on with the next page"


def test_a_clock_at_double_speed_is_due_in_half_the_time():
    assert Clock(speed=2.0).dues([0, 1000, 4000]) == [0.0, 0.5, 2.0]


def test_a_silence_is_cut_by_the_recorded_clock():
    assert Clock(speed=1.0, max_gap=2.0).dues([0, 1000, 3_600_000]) == [0.0, 1.0, 3.0]
    assert Clock(speed=4.0, max_gap=2.0).dues([0, 3_600_000]) == [0.0, 0.5]
    assert Clock(speed=1.0, max_gap=0).dues([0, 1000, 5000]) == [0.0, 0.0, 0.0]


def test_the_clock_of_another_owner_that_is_late_costs_no_time_twice():
    assert Clock(speed=1.0).dues([0, 1000, 200, 900, 1100]) == [0.0, 1.0, 1.0, 1.0, 1.1]


@given(st.lists(st.integers(-10_000, 100_000), min_size=1), st.floats(0.01, 100), st.none() | st.floats(0, 100))
def test_a_record_is_never_due_before_the_one_before_it(gaps: list[int], speed: float, max_gap: float | None):
    ats = list(accumulate(gaps))
    dues = Clock(speed=speed, max_gap=max_gap).dues(ats)
    assert dues == sorted(dues)
    assert dues[-1] <= (max(ats) - ats[0]) / 1000 / speed + 1e-6


# The replay

pytestmark = pytest.mark.anyio


async def of(stream: AsyncGenerator[Any, None]) -> list[Any]:
    async with aclosing(stream) as items:
        return [item async for item in items]


@pytest.mark.parametrize("speed", [None, 1e6])
async def test_a_replay_has_the_events_and_records_of_the_run(speed: float | None) -> None:
    run = run_of(ENTRIES)
    assert await of(run.replay(speed=speed)) == await of(run.stream_async(on_pause="wait"))
    assert await of(run.replay_records(speed=speed)) == ENTRIES


@pytest.mark.parametrize("speed", [None, 1e6])
async def test_a_replay_of_a_part_has_the_events_of_these_records(speed: float | None) -> None:
    run = run_of(ENTRIES)
    events = await of(run.stream_async(on_pause="wait"))
    for first, last in [(1, 1), (4, 9), (12, len(ENTRIES)), (20, 20)]:
        wanted = [event for event in events if first <= event.seq <= last]
        assert await of(run.replay(speed=speed, after=first - 1, until=last)) == wanted
        records = await of(run.replay_records(speed=speed, after=first - 1, until=last))
        assert records == ENTRIES[first - 1 : last]


async def test_a_replay_continues_at_the_cursor_of_any_event() -> None:
    run = run_of(ENTRIES)
    events = await of(run.stream_async(on_pause="wait"))
    for index, event in enumerate(events[:-1], 1):
        assert await of(run.replay(speed=1e6, after=event.cursor)) == events[index:]


async def test_records_come_at_their_times_and_not_before() -> None:
    run = run_of(ENTRIES)
    began = time.monotonic()
    async with aclosing(run.replay_records(speed=10.0, until=6)) as entries:
        async for entry in entries:
            assert time.monotonic() - began >= (entry.record.at - START) / 1000 / 10 - 1e-3


async def test_a_long_pause_is_cut() -> None:
    assert ENTRIES[-1].record.at - START > 60_000
    with anyio.fail_after(10):
        assert await of(run_of(ENTRIES).replay_records(speed=10.0, max_gap=0.1)) == ENTRIES


async def test_a_run_that_goes_on_is_played_up_to_now_and_then_followed() -> None:
    log = KeptLog(ENTRIES[:-1])
    seen: list[Entry] = []
    with anyio.fail_after(10):
        async for entry in reader_of(log, "r").replay_records(speed=1e6):
            seen.append(entry)
            if entry == ENTRIES[-2]:
                log.entries.append(ENTRIES[-1])
    assert seen == ENTRIES
    assert isinstance(seen[-1].record, RunCompleted)


async def test_an_end_that_the_run_has_not_reached_is_waited_for() -> None:
    log = KeptLog(ENTRIES[:-2])
    seen: list[int] = []
    with anyio.fail_after(10):
        async for entry in reader_of(log, "r").replay_records(speed=None, until=len(ENTRIES) - 1):
            seen.append(entry.seq)
            if entry == ENTRIES[-3]:
                log.entries += ENTRIES[-2:]
    assert seen == list(range(1, len(ENTRIES)))


@pytest.mark.exhaustive
async def test_a_reader_that_is_late_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [Entry(3 + n, 1, ModelChunk(at=START + 5 * n, chunk=c.text_delta("x"))) for n in range(100)]
    async with aclosing(run_of([*ENTRIES[:2], *said]).replay_records(max_gap=0.005, until=102)) as entries:
        await anext(entries)
        time.sleep(0.6)  # noqa: ASYNC251 - the reader, not the loop, is slow
        waits: list[float] = []

        async def waited(seconds: float) -> None:
            waits.append(seconds)

        monkeypatch.setattr(anyio, "sleep", waited)
        assert len([entry async for entry in entries]) == 101
    assert set(waits) == {0.0}, "what was due while it was busy comes at once"


# What is refused


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"speed": 0}, "speed must be above 0, not 0"),
        ({"speed": -1.0}, "speed must be above 0, not -1.0"),
        ({"speed": float("nan")}, "speed must be above 0, not nan"),
        ({"max_gap": -0.1}, "max_gap must be at least 0, not -0.1"),
        ({"until": 0}, "until must be at least 1, not 0"),
        ({"after": 5, "until": 5}, "until must be a record after 5, where the replay begins, not 5"),
        ({"after": "five"}, "'five' is not a cursor"),
    ],
)
def test_what_cannot_be_played_is_refused_at_the_call(arguments: dict[str, Any], text: str) -> None:
    run = run_of(ENTRIES)
    with pytest.raises(ValueError, match=text):
        run.replay(**arguments)
    with pytest.raises(ValueError, match=text):
        run.replay_records(**arguments)


def test_a_value_of_another_type_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="speed must be a number or None, not 'fast'"):
        run_of(ENTRIES).replay(speed=any_value("fast"))
    with pytest.raises(TypeError, match="until must be a whole number or None"):
        run_of(ENTRIES).replay(until=any_value("9"))


def any_value(value: Any) -> Any:
    """What a caller without a type checker passes."""
    return value
