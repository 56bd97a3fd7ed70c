"""`playhead replay --step`: keys lead forward and back through the records of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest

from playhead.client.cli.stepping import Move, move_of, step_through
from playhead.runtime.core.records import Entry
from tests.support.eventful import eventful
from tests.support.readers import KeptLog, reader_of

__all__: list[str] = []

pytestmark = pytest.mark.anyio

ENTRIES = eventful()
PIECES = ("model.chunk", "tool.progressed")
STEPS = [entry.seq for entry in ENTRIES if entry.record.type not in PIECES]


async def stepped(keys: Sequence[str], *, first: int = 1, entries: list[Entry] = ENTRIES) -> tuple[int, KeptLog]:
    log = KeptLog(entries)
    sent: Iterator[str] = iter(keys)

    async def key() -> str:
        return next(sent, "")

    return await step_through(reader_of(log, "r"), first=first, key=key), log


def places(out: str) -> list[int]:
    """The records at which it was, by the second line of each place."""
    return [int(found) for found in re.findall(r"^ +(\d+) of \d+ · .* after the beginning$", out, re.MULTILINE)]


@pytest.mark.parametrize(
    ("keys", "move"),
    [
        (["n", " ", "\x1b[C"], "next"),
        (["p", "\x1b[D"], "back"),
        (["s", "\r", "\x1b[B"], "next step"),
        (["b", "\x1b[A"], "step back"),
        (["g"], "first"),
        (["G"], "last"),
        (["q", "\x1b", "", "\x03"], "quit"),
        (["z", "\x1b[Z"], "help"),
    ],
)
def test_a_key_means_one_move(keys: list[str], move: Move):
    assert {move_of(key) for key in keys} == {move}


async def test_records_are_gone_through_forward_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = await stepped("nnnppq")
    assert code == 0
    assert places(capsys.readouterr().out) == [1, 2, 3, 4, 3, 2]


@pytest.mark.exhaustive
async def test_every_record_is_reached_forward_and_then_back(capsys: pytest.CaptureFixture[str]) -> None:
    await stepped("n" * (len(ENTRIES) - 1) + "p" * (len(ENTRIES) - 1))
    there = list(range(1, len(ENTRIES) + 1))
    assert places(capsys.readouterr().out) == [*there, *reversed(there[:-1])]


@pytest.mark.exhaustive
async def test_steps_leave_out_what_was_streamed_and_say_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    await stepped("s" * (len(STEPS) - 1) + "b" * (len(STEPS) - 1))
    out = capsys.readouterr().out
    assert places(out) == [*STEPS, *reversed(STEPS[:-1])]
    assert "        6 records: word 0 word 1 word 2 word 3 word 4" in out


async def test_a_place_shows_the_record_and_the_state_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    started = next(entry.seq for entry in ENTRIES if entry.record.type == "tool.started")
    await stepped("n", first=started)
    out = capsys.readouterr().out
    assert re.search(rf"{started}-2 +tool.started +.*weather", out)
    assert "running · cycle 1 · 2 messages · running: weather · ready: traffic, book · 100 + 20 tokens" in out
    assert "next: run weather, traffic, book" in out


async def test_the_ends_of_a_run_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    await stepped("pGng")
    out = capsys.readouterr().out
    assert places(out) == [1, len(ENTRIES), 1]
    assert "the run begins here" in out
    assert "the run ends here" in out


async def test_a_run_that_goes_on_is_stepped_to_what_has_come_since(capsys: pytest.CaptureFixture[str]) -> None:
    log = KeptLog(ENTRIES[:10])
    keys = iter(["n", "n", "q"])
    told: list[str] = []

    async def key() -> str:
        told.append(capsys.readouterr().out)
        if len(told) == 2:
            log.entries.append(ENTRIES[10])
        return next(keys)

    await step_through(reader_of(log, "r"), first=10, key=key)
    assert [places(out) for out in told] == [[10], [], [11]]
    assert "this is the last record so far; the run goes on" in told[1]


async def test_an_unknown_key_shows_the_keys_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    await stepped("zn")
    out = capsys.readouterr().out
    assert out.count("q: leave") == 2
    assert places(out) == [1, 2]


async def test_what_a_model_sent_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    await stepped("G", entries=eventful(prompt="\x1b[31mred\x9b", answer="\x1b]0;title\x07"))
    assert all(c == "\n" or c.isprintable() for c in capsys.readouterr().out)
