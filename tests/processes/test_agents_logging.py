"""Logging that the agents' file configures counts in a worker process; without it playhead's own lines are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands

__all__: list[str] = []

AGENT = """
import logging
from playhead.runtime import Agent, tool
from playhead.runtime.models import ScriptedModel, tool_call

{configuration}

@tool
def speak() -> str:
    "Logs."
    logging.getLogger("shop").info("the tool speaks")
    logging.getLogger("shop").warning("the tool warns")
    return "ok"

talker = Agent(name="talker", tools=[speak], model=ScriptedModel([tool_call("speak", {{}}), "ok"], repeat=True))
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
BASIC = "logging.basicConfig(level=logging.INFO, format='MINE %(name)s %(message)s')"
OWN_LOGGER = """
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("MINE %(name)s %(message)s"))
logging.getLogger("shop").addHandler(handler)
logging.getLogger("shop").setLevel(logging.INFO)
"""


def lines_of_a_run(
    commands: Commands, server: EmbeddedServer, folder: Path, configuration: str, *options: str, ready: str
) -> list[str]:
    """What a worker prints on standard error while it serves one run."""
    (folder / "talker.py").write_text(AGENT.format(configuration=configuration))
    worker = commands.start("worker", str(folder / "talker.py"), "--url", server.url, "--drain", "0", *options)
    if ready:
        worker.until(ready)
    assert commands.run("ask", "talker", "go", "--url", server.url).code == 0
    worker.signal(15)
    return worker.wait().err.splitlines()


@pytest.mark.parametrize(
    ("configuration", "options"),
    [(BASIC, ()), (BASIC, ("--processes", "2")), (OWN_LOGGER, ()), (OWN_LOGGER, ("--quiet",))],
    ids=["basicConfig", "two processes", "a logger of its own", "quiet"],
)
def test_what_a_tool_logs_is_printed_once_in_the_format_of_its_file(
    server: EmbeddedServer, commands: Commands, tmp_path: Path, configuration: str, options: tuple[str, ...]
) -> None:
    quiet = "--quiet" in options
    said = lines_of_a_run(commands, server, tmp_path, configuration, *options, ready="" if quiet else "serves talker")
    assert [line for line in said if "the tool" in line] == ["MINE shop the tool speaks", "MINE shop the tool warns"]
    ours = [line for line in said if "serves talker" in line]
    if quiet:
        assert ours == []
    else:
        expected = (
            "MINE playhead.workers.process worker" if configuration == BASIC else rf"{TIME} INFO playhead: worker"
        )
        assert all(re.match(expected, line) for line in ours)


def test_without_a_configuration_a_worker_prints_its_own_lines_and_the_warnings_of_a_tool(
    server: EmbeddedServer, commands: Commands, tmp_path: Path
) -> None:
    said = lines_of_a_run(commands, server, tmp_path, "", ready="serves talker")
    assert [line for line in said if "the tool" in line] == ["the tool warns"]
    assert re.match(rf"{TIME} INFO playhead: worker ", next(line for line in said if "serves talker" in line))


@pytest.mark.parametrize(
    ("options", "expected"), [((), False), (("--log-level", "info"), True)], ids=["default", "asked for"]
)
def test_the_level_of_the_agents_own_configuration_counts_unless_another_is_asked_for(
    server: EmbeddedServer, commands: Commands, tmp_path: Path, options: tuple[str, ...], expected: bool
) -> None:
    configuration = "logging.basicConfig(level=logging.WARNING, format='MINE %(message)s')"
    said = lines_of_a_run(commands, server, tmp_path, configuration, *options, ready="")
    assert any("serves talker" in line for line in said) is expected
    assert all(line.startswith("MINE ") for line in said)
