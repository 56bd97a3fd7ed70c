"""`examples/strands_migration`: two lines apart, the same events, and in a fleet with a session as well."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime.core.converse import Messages
from tests.conformance.conformance_judge import differences
from tests.conformance.conformance_recording import Recording, event_line
from tests.conformance.conformance_scenarios import Folder, encode
from tests.conformance.record_strands import strands_line, write
from tests.support.commands import Commands
from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parents[2] / "examples" / "strands_migration"
TURNS = {"id": "migration", "turns": [{}, {}]}


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module."""
    monkeypatch.syspath_prepend(HERE)
    spec = importlib.util.spec_from_file_location(f"migration_{name}", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, f"migration_{name}", module)
    spec.loader.exec_module(module)
    return module


async def recorded(made: Any, line: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]) -> Recording:
    """The events of the program's agent for its prompts, and its history after each."""
    recording = Recording()
    for number, asked in enumerate(made.PROMPTS):
        async for event in made.traveller.stream_async(**asked):
            recording.note(number, **line(event, {}))
        recording.note(number, end="ok")
        recording.histories.append(encode(made.traveller.messages))
    return recording


def test_the_two_programs_differ_by_two_lines():
    before, after = ((HERE / f"{name}.py").read_text().splitlines() for name in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line.startswith(("- ", "+ "))]
    removed = [line[2:] for line in changed if line.startswith("- ")]
    added = [line[2:] for line in changed if line.startswith("+ ")]
    assert len(before) == len(after)
    assert removed == [
        "from strands import Agent, tool",
        "from strands.hooks import AfterToolCallEvent, BeforeToolCallEvent",
    ]
    assert [line.replace("playhead.runtime", "strands") for line in added] == [
        line.replace(".hooks", "") for line in removed
    ]
    diff = (HERE / "README.md").read_text()
    assert all(f"-{line}" in diff for line in removed)
    assert all(f"+{line}" in diff for line in added)


async def test_the_two_agents_give_the_same_events_here_and_in_a_fleet(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    strands = await recorded(program("before", monkeypatch), strands_line)
    assert any("tool_cancel_event" in line.get("event", {}) for line in strands.lines), "a hook refused a call"
    write(TURNS, strands, tmp_path)
    judge = Folder(tmp_path, ours=False)

    after = program("after", monkeypatch)
    async with fleet.worker(after.traveller), fleet.client() as client:
        remote = client.agent("traveller", session_id="trip")
        there = Recording()
        for number, asked in enumerate(after.PROMPTS):
            async for event in remote.stream_async(**asked):
                there.note(number, **event_line(event, {}))
            there.note(number, end="ok")
            messages: Messages = await client.log.messages("trip")
            there.histories.append(encode(messages))
    assert differences(judge, TURNS, there, scratch=tmp_path / "there") == []
    here = await recorded(after, event_line)
    assert differences(judge, TURNS, here, scratch=tmp_path / "here") == []


def test_both_programs_run_and_go_on_with_their_conversation(commands: Commands, tmp_path: Path):
    def run(name: str) -> str:
        session = str(tmp_path / f"{name}.json")
        first, second = (commands.python(str(HERE / f"{name}.py"), session).wait() for _ in range(2))
        assert (first.code, second.code) == (0, 0)
        return (first.out + second.out).replace(name, "program")

    told = run("before")
    assert told == run("after")
    assert "[refused: Atlantis is not a city]" in told
    assert "Rain in Bonn today." in told
    assert "[tool_use] city='Bonn' pack=['umbrella', 'map']" in told
    assert "[14 messages in program.json]" in told
