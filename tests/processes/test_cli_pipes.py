"""The command line in a pipe: output that cannot be written and input that is closed end a command in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commands import PLAYHEAD, Commands, Fleet

__all__: list[str] = []

FULL = "cannot write the output: No space left on device"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", ["--help", "workers --url {url}", "workers --json --url {url}"])
def test_output_that_cannot_be_written_ends_the_command_with_74(arguments: str, fleet: Fleet, commands: Commands):
    full = os.open("/dev/full", os.O_WRONLY)
    told = commands.start(*arguments.format(url=fleet.url).split(), stdout=full).wait()
    os.close(full)
    assert (told.code, told.err) == (74, f"playhead: {FULL}")


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [
        (
            "ask assistant - <&-",
            64,
            "playhead: standard input is closed: there is nothing to read for the argument `-`",
        ),
        (
            "ask assistant - </dev/null",
            64,
            "playhead: the prompt is empty: give a text, or - and a text on standard input",
        ),
        ("ask assistant 2+2 <&- >answer.txt", 0, "end_turn"),
        ("workers >&-", 0, ""),
    ],
)
def test_a_standard_stream_that_is_closed_does_not_end_in_a_traceback(
    redirected: str, code: int, says: str, fleet: Fleet, commands: Commands
):
    told = commands.spawn(["sh", "-c", f"{PLAYHEAD} {redirected}"], env={"PLAYHEAD_URL": fleet.url}).wait()
    assert (told.code, told.out) == (code, "")
    assert says in told.err
    if ">answer.txt" in redirected:
        answer = (commands.folder / "answer.txt").read_text()
        assert (
            answer
            == "Let me ask the calculator.\n2+2 = 4. (I am playhead's offline demo model: I follow fixed rules.)\n"
        )
