"""The commands of `docs/operating.md` are run in order on a real fleet, and give what the page shows."""

from __future__ import annotations

import re
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import redis
from typer.testing import CliRunner

from playhead.client.cli.app import app
from playhead.runtime.embedded.server import EmbeddedServer
from tests.docs.docs_markdown import ROOT, blocks
from tests.support.commands import Commands, Running

__all__: list[str] = []

LIMIT_S: Final = 20.0

DIFFERS: Final = (
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "AT"),
    (r"\b[\d.,]+ (?:ms|s|min|h|d)\b", "T"),
    (r"\b[\d.,]+ (?:MB|kB)\b", "SIZE"),
    (r"\b[\w.-]+-\d+-[0-9a-f]{6}\b", "WORKER"),
    (r"127\.0\.0\.1:\d+", "SERVER"),
    (r"(?:valkey|redis) [\d.]+", "VERSION"),
    (r"\S*/agents\.py", "agents.py"),
    (r"[\s█≈▒]+", " "),
)
"""What differs from one machine and one day to the next."""


def same(line: str) -> str:
    """The line without what differs."""
    for pattern, name in DIFFERS:
        line = re.sub(pattern, name, line)
    return line.strip()


def is_shown(shown: Sequence[str], output: str) -> bool:
    """Whether the output has the lines, in this order; others may come between them."""
    lines = iter(map(same, output.splitlines()))
    return all(any(wanted in line for line in lines) for wanted in map(same, shown))


class Shell:
    """Does what a shell would do with the page's commands.

    Attributes:
        ids: The ids of the page's runs, and of the runs that stand for them here.
    """

    def __init__(self, commands: Commands, server: EmbeddedServer) -> None:
        self.ids: dict[str, str] = {}
        self._commands = commands
        self._server = server
        self._jobs: list[Running] = []

    def run(self, line: str, shown: Sequence[str]) -> None:
        """Do one command. What it reads changes soon after what others did, so it is asked again until it is so."""
        words = [self._here(word) for word in shlex.split(line)]
        if words[:2] == ["playhead", "ask"]:
            self.ids[shown[0]] = self._playhead(words[1:]).strip()
            return
        deadline = time.monotonic() + LIMIT_S
        while not is_shown(shown, output := self._on_page(self._output(words))):
            assert time.monotonic() < deadline, f"`{line}` printed\n{output}\nand not\n" + "\n".join(shown)
            time.sleep(0.2)

    def _here(self, word: str) -> str:
        return self.ids.get(word, word)

    def _on_page(self, output: str) -> str:
        for page, here in self.ids.items():
            output = output.replace(here, page)
        return output

    def _output(self, words: list[str]) -> str:
        match words:
            case ["playhead", "worker", *arguments, "2>", "worker.log", "&"]:
                self._jobs.append(self._commands.start("worker", *arguments, "--url", self._server.url))
                return ""
            case ["playhead", *arguments]:
                return self._playhead(arguments)
            case ["grep", word, "worker.log"]:
                return "\n".join(line for line in self._jobs[-1].err if word in line)
            case ["kill", "-9", "%1"]:
                self._jobs[0].signal(signal.SIGKILL)
                self._jobs[0].process.wait()
                return ""
            case ["redis-cli", *arguments]:
                with redis.Redis.from_url(self._server.url) as client:
                    return str(client.execute_command(*arguments))
            case _:
                raise AssertionError(f"the tests do not know the command {words}")

    def _playhead(self, arguments: list[str]) -> str:
        return CliRunner().invoke(app, [*arguments]).output


@pytest.fixture
def shell(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """In a folder with the page's agents, with a server and without a worker."""
    page = blocks((ROOT / "docs/operating.md").read_text("utf-8"))
    (agents,) = (block.text for block in page if block.file == "agents.py")
    (tmp_path / "agents.py").write_text(agents, "utf-8")
    monkeypatch.chdir(tmp_path)
    server = EmbeddedServer.start_sync()
    try:
        monkeypatch.setenv("PLAYHEAD_URL", server.url)
        yield Shell(commands, server)
    finally:
        server.stop_sync()


def test_the_commands_of_the_page_give_what_it_shows(shell: Shell) -> None:
    done = 0
    for block in blocks((ROOT / "docs/operating.md").read_text("utf-8")):
        steps = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:] if block.language == "console" else []
        for line, *shown in map(str.splitlines, steps):
            shell.run(line, shown)
            done += 1
    assert done > 20


def test_a_line_that_is_not_printed_is_found() -> None:
    printed = "state    running\nowners   1\nfailed   write        refused after 3 s\n"
    assert is_shown(["state running", "failed write refused after 17.2 ms"], printed)
    assert not is_shown(["owners   1", "state    running"], printed), "they are in another order"
    assert not is_shown(["owners   2"], printed)
