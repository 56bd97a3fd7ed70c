"""What `playhead replay --only` shows of a run, and the line that tells how far a replay is."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from playhead.client.cli.play import Only, PlayedView, is_part
from playhead.runtime.core.events import Event, Projection
from tests.support.eventful import eventful

__all__: list[str] = []

ENTRIES = eventful()


def view(only: Only | None = None, *, after: int = 0) -> PlayedView:
    last = ENTRIES[-1]
    return PlayedView("r", after=after, only=only, head=last.seq, ends_at=last.record.at, speed=4.0)


def shown(only: Only | None, capsys: pytest.CaptureFixture[str], *, after: int = 0) -> tuple[str, list[str]]:
    """What is printed on standard output, and the lines on standard error."""
    printed = view(only, after=after)
    for entry in ENTRIES:
        printed.feed(entry)
    out, err = capsys.readouterr()
    return out, err.splitlines()


def test_all_of_a_run_is_shown_as_a_tail_shows_it(capsys: pytest.CaptureFixture[str]):
    out, err = shown(None, capsys)
    assert out.endswith("It rains in Paris.\n")
    assert "[withdrawn: word 0 word 1 word 2 word 3 word 4]" in err
    assert "✓ book: booked (150 ms)" in err


def test_only_the_text_of_the_model_is_shown(capsys: pytest.CaptureFixture[str]):
    out, err = shown(Only.TEXT, capsys)
    assert out.endswith("Let me look.\nIt rains in Paris.\n")
    assert err == ["[withdrawn: word 0 word 1 word 2 word 3 word 4]", *err[-1:]]
    assert err[-1].startswith("end_turn · ")


def test_only_the_tools_are_shown(capsys: pytest.CaptureFixture[str]):
    out, err = shown(Only.TOOLS, capsys)
    assert out == ""
    assert err[:-1] == [
        *(f'→ {name} {{"place": "Paris"}}' for name in ("weather", "traffic", "book")),
        '… traffic: {"jams": 2}',
        "✓ weather: rain (150 ms)",
        "✗ traffic: no data (150 ms)",
        '→ book {"place": "Paris"}',
        "✓ book: booked (150 ms)",
    ]


def test_only_the_model_is_shown_with_each_of_its_calls(capsys: pytest.CaptureFixture[str]):
    out, err = shown(Only.MODEL, capsys)
    assert out.endswith("It rains in Paris.\n")
    assert [line for line in err if line.startswith("model call ")] == [
        "model call 1, record 5",
        "model call 2, record 7",
        "model call 3, record 16",
        "model call 1, record 49",
    ]
    assert not any("weather" in line for line in err)


def test_only_the_messages_are_shown_each_when_it_is_complete(capsys: pytest.CaptureFixture[str]):
    out, err = shown(Only.MESSAGES, capsys)
    assert out == ""
    assert err[0] == "     user  How is Paris?"
    assert err[1:3] == ["assistant  Let me look.", 'assistant  → weather {"place": "Paris"}']
    assert err[-3:-1] == ["     user  Be brief.", "assistant  It rains in Paris."]


def test_what_is_before_the_first_record_is_not_shown(capsys: pytest.CaptureFixture[str]):
    paused = next(entry.seq for entry in ENTRIES if entry.record.type == "run.paused")
    out, err = shown(None, capsys, after=paused - 1)
    assert out == "It rains in Paris.\n"
    assert err[0] == "? approve: Shall I book?"


# As JSON


def events() -> list[Event]:
    projection = Projection("r")
    return [event for entry in ENTRIES for event in projection.feed(entry)]


@pytest.mark.parametrize(
    ("only", "keys"),
    [
        (Only.TEXT, {"data", "retracted", "result"}),
        (Only.MESSAGES, {"message", "result"}),
        (Only.TOOLS, {"tool_stream_event", "tool_interrupt_event", "message", "result"}),
        (Only.MODEL, {"event", "data", "delta", "retracted", "retrying", "result"}),
    ],
)
def test_the_events_of_a_part_are_those_of_its_kinds(only: Only, keys: set[str]):
    part = [event for event in events() if is_part(only, event)]
    assert part
    assert [event for event in part if keys.isdisjoint(event)] == []
    assert {key for event in part for key in event} & keys == keys
    assert sum("result" in event for event in part) == 2, "a pause and the end belong to every part"


def test_the_messages_of_the_tools_are_those_with_results():
    found = [event for event in events() if "message" in event and is_part(Only.TOOLS, event)]
    assert [event["message"]["role"] for event in found] == ["user"]


# How far it is


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Generator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    yield terminal


def test_a_terminal_shows_position_time_and_what_the_run_did(monkeypatch: pytest.MonkeyPatch):
    started = next(entry for entry in ENTRIES if entry.record.type == "tool.started")
    with on_terminal(monkeypatch) as terminal:
        played = view()
        for entry in ENTRIES[: started.seq]:
            played.feed(entry)
        played.tick()
        line = terminal.getvalue().rpartition("\n")[2]
        assert f"▶ record {started.seq} of {len(ENTRIES)} · 3.2 s of 64.1 s · 4 x · running weather" in line
        played.feed(ENTRIES[started.seq])
        assert (
            terminal.getvalue().rpartition("\n")[0].rpartition("\n")[2].endswith('→ traffic {"place": "Paris"}\x1b[0m')
        )


def test_after_the_end_and_without_a_terminal_there_is_no_such_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    played = view()
    played.feed(ENTRIES[0])
    played.tick()
    assert "▶" not in capsys.readouterr().err
    with on_terminal(monkeypatch) as terminal:
        ended = view()
        for entry in ENTRIES:
            ended.feed(entry)
        said = terminal.getvalue()
        ended.tick()
        assert terminal.getvalue() == said


def test_a_run_that_has_grown_since_is_not_ahead_of_its_end(monkeypatch: pytest.MonkeyPatch):
    with on_terminal(monkeypatch) as terminal:
        played = PlayedView("r", after=0, only=None, head=2, ends_at=0, speed=None)
        for entry in ENTRIES[:3]:
            played.feed(entry)
        played.tick()
        assert "▶ record 3 of 3 · 510 ms of 510 ms · worker-1 runs it" in terminal.getvalue()
