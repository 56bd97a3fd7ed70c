"""A worker says which run failed, where, and shows the traceback of the user's code; `dev --reload` loads it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Finished

__all__: list[str] = []

AGENTS = """
import time
from playhead.runtime import Agent, tool
from playhead.runtime.models import ScriptedModel, tool_call

@tool
def breaks() -> str:
    "Raises."
    raise KeyError("price")  # the line that raises

@tool
async def blocks() -> str:
    "Blocks the event loop."
    time.sleep(2)  # the line that blocks
    return "ok"

class Broken:
    async def stream(self, messages, tool_specs=None, system_prompt=None, **more):
        yield {"messageStart": {"role": "assistant"}}
        raise RuntimeError("out of order")

talker = Agent(
    name="talker", tools=[breaks, blocks], model=ScriptedModel([tool_call("breaks", {}), tool_call("blocks", {}), "ok"])
)
broken = Agent(name="broken", model=Broken())
"""


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(AGENTS.splitlines(), 1) if text in line)


def test_a_worker_says_which_run_failed_what_its_code_raised_and_what_blocked_it(
    server: EmbeddedServer, commands: Commands, tmp_path: Path
) -> None:
    path = tmp_path / "agents.py"
    path.write_text(AGENTS)
    worker = commands.start("worker", str(path), "--url", server.url, "--drain", "0", "--log-format", "json")
    worker.until("serves")
    assert commands.run("ask", "talker", "go", "--url", server.url).code == 0
    assert commands.run("ask", "broken", "go", "--url", server.url).code == 1
    worker.signal(15)
    said: list[dict[str, Any]] = [json.loads(line) for line in worker.wait().err.splitlines()]

    (tool,) = [line for line in said if "the tool 'breaks' raised" in line["message"]]
    assert f'{path}", line {line_of("that raises")}, in breaks' in tool["traceback"]
    assert "playhead/runtime" not in tool["traceback"]
    (blocked,) = [line for line in said if "blocked for more than" in line["message"]]
    assert f"blocks, {path}, line {line_of('that blocks')}" in blocked["message"]
    (failed,) = [line for line in said if line["level"] == "ERROR"]
    assert (failed["agent"], failed["step"], failed["error"]) == ("broken", "a call of its model", "RuntimeError")
    assert f'{path}", line {line_of("out of order")}, in stream' in failed["traceback"]
    assert not [line for line in said if "cannot reach Redis" in line["message"]]
    assert said[-1]["message"].endswith("has drained: 1 completed, 1 failed")


def test_traceback_shows_all_of_what_a_target_raised(call: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("def f():\n    raise ValueError('boo')\nf()\n")
    one_line = call("worker", "agents.py").err
    assert one_line.splitlines() == [
        f"playhead: agents.py: cannot run agents.py: ValueError: boo ({tmp_path / 'agents.py'}, line 2)"
    ]
    both = call("worker", "agents.py", "--traceback").err
    assert f'{tmp_path / "agents.py"}", line 3, in <module>' in both
    assert both.endswith(one_line)


@pytest.mark.timeout(120)
def test_dev_with_reload_serves_a_changed_file_and_waits_for_a_broken_one_to_be_mended(
    commands: Commands, tmp_path: Path
) -> None:
    path = commands.folder / "agents.py"
    agent = "from playhead.runtime import Agent\nfrom playhead.runtime.models import ScriptedModel\n"
    agent += "one = Agent(name='one', model=ScriptedModel(['{}'], repeat=True))\n"
    path.write_text(agent.format("before"))
    dev = commands.start("dev", "agents.py", "--reload", "--port", "0")
    dev.until("serves one")
    path.write_text("one = (\n")
    dev.until("cannot run agents.py: SyntaxError")
    dev.until("waiting for a changed file")
    path.write_text(agent.format("after"))
    dev.until("changed  agents.py")
    dev.until("serves one")
    assert "after" in commands.run("ask", "one", "go").out
    assert dev.stop() == 0
