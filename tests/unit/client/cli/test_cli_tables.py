"""Tables of the command line: whole in a pipe, and with fewer columns on a narrow terminal."""

from __future__ import annotations

import re
import sys

import pytest
from rich.text import Text

from playhead.client.cli.tables import Column, fitting, lines_beside, print_table

__all__: list[str] = []

COLUMNS = [Column("run"), Column("agent", 1), Column("session", 3), Column("state", 2)]
ROWS = [["0-1", "assistant", "ada", "paused: may I pay?"], ["0-22", "a", "", "ok"]]


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (80, ["run", "agent", "session", "state"]),
        (39, ["run", "agent", "state"]),
        (20, ["run", "agent"]),
        (5, ["run"]),
        (1, ["run"]),
    ],
)
def test_the_columns_of_the_highest_rank_are_left_out_first(width: int, names: list[str]):
    assert [COLUMNS[at].name for at in fitting(COLUMNS, [4, 9, 7, 18], width=width)] == names


def test_a_pipe_gets_every_column_and_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_table([*COLUMNS, Column("n", right=True)], [[*row, n] for row, n in zip(ROWS, ["7", "12"], strict=True)])
    assert capsys.readouterr().out.splitlines() == [
        "run   agent      session  state                n",
        "0-1   assistant  ada      paused: may I pay?   7",
        "0-22  a                   ok                  12",
    ]


def test_a_narrow_terminal_gets_fewer_columns_and_no_wrapped_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "20")
    print_table([Column("run"), Column("state"), Column("agent", 1)], [["0-1", "paused: " + "x" * 40, "a"]])
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert lines == ["run  state", f"0-1  paused: {'x' * 16}…"]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["ok  one two three four five six seven\neight"]),
        (25, ["ok  one two three four", "    five six seven", "    eight"]),
        (3, ["ok  one two three four", "    five six seven", "    eight"]),
    ],
)
def test_a_text_beside_its_heading_is_broken_between_words_on_a_terminal_only(width: int | None, lines: list[str]):
    body = Text("one two three four five six seven\neight")
    assert [line.plain for line in lines_beside(Text("ok  "), body, width=width)] == lines
