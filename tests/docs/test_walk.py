"""The walk of `docs/debugging.md` from a failure to a test is typed, and gives what the page shows."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from playhead.client.cli.app import app
from tests.docs.docs_markdown import ROOT, blocks

__all__: list[str] = []

WALK = ROOT / "docs" / "walk"
TIME = re.compile(r"[\d.,]+ (?:ms|s|min)\b")


def commands() -> list[tuple[list[str], list[str]]]:
    """The commands of the walk after the export, each with the lines that the page shows of its output."""
    page = (ROOT / "docs/debugging.md").read_text("utf-8")
    walk = page.partition("\n## From last night's failure to a test\n")[2].partition("\n## ")[0]
    found: list[tuple[list[str], list[str]]] = []
    for block in blocks(walk):
        for line in block.text.splitlines() if block.language == "console" else ():
            if line.startswith("$ playhead "):
                found.append((shlex.split(line)[2:], []))
            elif line:
                found[-1][1].append(line)
    return [(words, shown) for words, shown in found if words[0] not in ("runs", "export") and "--step" not in words]


def timeless(line: str) -> str:
    return TIME.sub("T", line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of the walk, which is the present one."""
    for name in ("run.jsonl", "agents.py"):
        shutil.copy(WALK / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = sys.modules.get("agents")  # the OpenAI Agents SDK has this name, too
    yield tmp_path
    if known is None:
        sys.modules.pop("agents", None)


def test_the_walk_gives_what_the_page_shows(folder: Path) -> None:
    walk = commands()
    assert [words[0] for words, _ in walk] == ["show", "show", "show", "fork", "diff"]
    for words, shown in walk:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == (1 if words[0] == "diff" else 0), done.output
        lines = [timeless(line) for line in done.stdout.splitlines()]
        assert [line for line in map(timeless, shown) if line not in lines] == [], done.output
    assert (folder / "run.svg").read_text("utf-8") == (WALK / "run.svg").read_text("utf-8"), "make the picture again"
