"""The code of the README and of docs/ is run, and its commands are parsed: what a reader copies works.

`docs_runner.py` runs the Python blocks of a page in order, in one namespace. The comment `<!-- server -->` before a
block gives its page a fleet: PLAYHEAD_URL of a server with a worker that serves examples/agents.py. Console blocks are
held to the command line's own parser.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from playhead.client import Client
from playhead.client.cli.commands import COMMANDS, load
from playhead.runtime.embedded.server import EmbeddedServer
from tests.docs.docs_markdown import ROOT, Block, blocks, pages

__all__: list[str] = []

LIMIT_S = 50
RUNNER = Path(__file__).with_name("docs_runner.py")


def environment(**more: str) -> dict[str, str]:
    """This environment without playhead's and OpenAI's settings, on the offline model."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PLAYHEAD_", "OPENAI_"))}
    return {**kept, "PLAYHEAD_MODEL": "demo", **more}


@pytest.fixture(scope="module")
def fleet_url() -> Iterator[str]:
    """A server with a worker process that serves the example agents."""
    server = EmbeddedServer.start_sync(durable=False)
    command = [sys.executable, "-m", "playhead.workers", "examples/agents.py", "--stop-with-stdin", "--quiet"]
    env = environment(PLAYHEAD_URL=server.url)
    try:
        with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE) as worker:
            # A client that waits for a worker says so: what a page prints must not depend on how fast this one starts.
            anyio.run(first_claim, server.url)
            yield server.url
            assert worker.stdin is not None
            worker.stdin.close()
            assert worker.wait(LIMIT_S) == 0
    finally:
        server.stop_sync()


async def first_claim(url: str) -> None:
    """Wait until a worker claims a run."""
    with anyio.fail_after(LIMIT_S):
        async with Client(url, on_notice=lambda _: None) as client:
            run = await client.start("assistant", "Say hello")
            async with aclosing(run.records()) as entries:
                async for entry in entries:
                    if entry.record.type == "run.claimed":
                        break
            await run.cancel()


def of(page: Path, language: str) -> list[Block]:
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language == language]


def run(page: Path, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a page's Python in a folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(page)],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


LOGGED = {
    "openai_agents.md": r"(OPENAI_API_KEY is not set, skipping trace export\n)*\Z",
    "client.md": r"run \S+ of unlucky failed in a call of its model: TimeoutError: the model is asleep\n\Z",
    "testing.md": r"run \S+: the tool 'price' raised\nTraceback [\s\S]*\nKeyError: 'Tea'\n\Z",
}
"""What playhead logs because the code of a page makes a run fail, or a tool; and what another library logs."""


@pytest.mark.parametrize("page", [page for page in pages() if of(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, request: pytest.FixtureRequest, tmp_path: Path):
    needs_fleet = any(block.mark == "server" for block in of(page, "python"))
    settings = {"PLAYHEAD_URL": request.getfixturevalue("fleet_url")} if needs_fleet else {}
    done = run(page, tmp_path, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = LOGGED.get(page.name, r"\Z")
    assert re.match(expected, done.stderr), f"{page.name}: its code writes to standard error:\n{done.stderr}"


def test_a_page_whose_code_fails_names_its_line(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("Text\n\n```python\nfound = 1\n```\n\n```python\nassert found == 2\n```\n")
    done = run(page, tmp_path)
    assert done.returncode != 0
    assert f'"{page}", line 8' in done.stderr


def test_a_page_that_shows_other_output_than_its_code_prints_fails(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n<!-- output -->\n```text\n2\n```\n")
    assert "page.md:7: printed\n1\n" in run(page, tmp_path).stderr


def test_a_page_whose_test_file_fails_fails(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```python\n# test_page.py\ndef test_it():\n    raise ValueError('no good')\n```\n")
    assert "no good" in run(page, tmp_path).stderr


def test_the_blocks_of_a_page_share_names_files_and_may_await(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# made.py\nvalue = 7\n```\n"
        "```python\nimport made\nasync def seven(): return made.value\n```\n"
        "```python\nprint(await seven() - value)\n```\n\n<!-- output -->\n```text\n0\n```\n"
    )
    assert run(page, tmp_path).stderr == ""


def test_every_block_of_code_has_a_language_that_is_checked_or_is_not_code():
    known = {"python", "console", "json", "text", "yaml", "lua", "toml", ""}
    assert {block.language for page in pages() for block in blocks(page.read_text(encoding="utf-8"))} <= known


def commands(block: Block) -> list[list[str]]:
    """The commands of a console block as words: lines after `$ `, without comments, settings, `uv run` and pipes."""
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        words = shlex.split(line[2:], comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            del words[0]
        ends = [index for index, word in enumerate(words) if word in ("|", "<", ">", "2>", "&", "&&")]
        found.append(words[: ends[0]] if ends else words)
    return found


def parse(words: list[str]) -> dict[str, Any]:
    """What the command line makes of `playhead ...`, without doing it; raises what it would refuse with."""
    name, *rest = words
    if name not in COMMANDS:
        raise LookupError(f"No such command {name!r}")
    return load(name).make_context(name, rest).params


CONSOLE = [(page.name, block) for page in pages() for block in of(page, "console")]


@pytest.mark.parametrize(("name", "block"), CONSOLE, ids=[f"{name}:{block.line}" for name, block in CONSOLE])
def test_the_commands_shown_exist_with_their_options(name: str, block: Block):
    for words in commands(block):
        rest = words[2:] if words[:2] == ["uv", "run"] else words
        if rest[:1] == ["playhead"]:
            parse(rest[1:])


def test_the_parser_refuses_what_does_not_exist():
    assert parse(["ask", "assistant", "hi", "--session", "s"])["session"] == "s"
    for wrong in (["asks"], ["ask", "assistant"], ["ask", "assistant", "hi", "--never"], ["runs", "--limit", "many"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing|valid"):
            parse(wrong)


def test_the_readme_starts_with_the_demo_and_the_tests():
    first = of(ROOT / "README.md", "console")[0].text.splitlines()
    assert first[:2] == ['$ uv run playhead demo "What is 17 * 23?"', "$ uv run pytest"]
