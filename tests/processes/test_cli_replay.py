"""`playhead replay` as a user calls it: a part of a run, step by step, in a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.support.commands import Commands, Finished, Fleet

__all__: list[str] = []

Call = Callable[..., Finished]


class Played:
    """A run that has ended, and its records as JSON."""

    def __init__(self, fleet: Fleet, call: Call) -> None:
        asked = call("ask", "assistant", "What is 17 * 23?", "--json", "--url", fleet.url)
        self.lines = asked.lines
        self.id: str = asked.lines[0]["run"]
        self.head: int = call("show", self.id, "--json", "--url", fleet.url).lines[0]["head"]


@pytest.fixture
def played(fleet: Fleet, call: Call) -> Played:
    """One run."""
    return Played(fleet, call)


def test_a_part_of_a_run_is_played(played: Played, fleet: Fleet, call: Call):
    part = call("replay", played.id, "--fast", "--from", "5", "--until", "12", "--json", "--url", fleet.url)
    assert part.lines == [line for line in played.lines if 5 <= line["seq"] <= 12]
    tools = call("replay", played.id, "--speed", "20", "--max-gap", "0.1", "--only", "tools", "--url", fleet.url)
    assert (tools.code, tools.out) == (0, "")
    assert tools.err.splitlines()[:2] == ['→ calculator {"expression": "17 * 23"}', tools.err.splitlines()[1]]
    assert tools.err.splitlines()[1].startswith("✓ calculator: 391")
    text = call("replay", played.id, "--fast", "--only", "text", "--json", "--url", fleet.url)
    assert "".join(line["event"].get("data", "") for line in text.lines).count("391") == 1
    assert set(text.lines[-1]["event"]) == {"result"}


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--from", "100000"], 66, "has no record 100000"),
        (["--until", "100000"], 66, "has no record 100000"),
        (["--from", "9", "--until", "8"], 64, "--until 8 is before --from 9"),
        (["--step", "--json"], 64, "--step shows each record to a person"),
    ],
)
def test_what_cannot_be_played_is_one_clear_line(
    options: list[str], code: int, told: str, played: Played, fleet: Fleet, call: Call
):
    refused = call("replay", played.id, *options, "--url", fleet.url)
    assert (refused.code, refused.out, refused.err.count("\n")) == (code, "", 0)
    assert told in refused.err


def test_a_pipe_steps_through_a_run_by_its_characters(played: Played, fleet: Fleet, commands: Commands):
    command = commands.start(
        "replay", played.id, "--step", "--url", fleet.url, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.process.stdin is not None
    command.process.stdin.write(b"nn\nGb\n")
    command.process.stdin.close()
    told = command.wait()
    assert (told.code, told.err) == (0, "")
    places = re.findall(r"(\d+) of (\d+) · ", told.out)
    assert places == [(seq, str(played.head)) for seq in ("1", "2", "3", str(played.head), str(played.head - 1))]


def test_a_terminal_steps_through_a_run_by_its_keys(played: Played, fleet: Fleet, commands: Commands):
    ours, theirs = pty.openpty()
    command = commands.start("replay", played.id, "--step", "--url", fleet.url, stdin=theirs)
    os.close(theirs)
    command.until("q: leave")
    os.write(ours, b"\x1b[C\x1b[B\x1b[D")  # also keys that come faster than they are read
    for place in ("2 of", "3 of", "2 of"):
        command.until(rf"^ +{place}")
    command.signal(signal.SIGINT)
    assert command.wait().code == 130
    os.close(ours)


def test_a_terminal_shows_how_far_a_replay_is(played: Played, fleet: Fleet, commands: Commands):
    ours, theirs = pty.openpty()
    command = commands.start("replay", played.id, "--speed", "0.001", "--url", fleet.url, stderr=theirs)
    os.close(theirs)
    shown = b""
    while not re.search(rf"record \d+ of {played.head} · ", shown.decode(errors="replace")):
        shown += os.read(ours, 4096)
    command.signal(signal.SIGINT)
    assert command.wait().code == 130
    os.close(ours)
