"""A worker is killed during a call of an MCP server: its server ends, and the next worker makes the call again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from playhead.client import Client, Run
from playhead.runtime.core.records import ToolFinished
from tests.support.commands import Commands, gone

__all__: list[str] = []

AGENTS = str(Path(__file__).with_name("mcp_agents.py"))


async def begun(url: str, prefix: str, agent: str, path: Path) -> str:
    """Start a run, and wait until its server has begun the call; the run's id."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix) as client:
            run = await client.start(agent, str(path))
            async for entry in run.records():
                if entry.record.type == "tool.started":
                    break
        while not path.exists() or not path.read_text().endswith("\n"):  # noqa: ASYNC110  (another process writes it)
            await anyio.sleep(0.02)
    return run.id


async def ended(url: str, prefix: str, run_id: str) -> list[tuple[str, str]]:
    """Status and text of each result of the run, at its end."""
    with anyio.fail_after(40):
        async with Client(url, prefix=prefix, on_notice=lambda notice: None) as client:
            run: Run = client.run(run_id)
            await run.result()
            records = [entry.record async for entry in run.records()]
    results = [record.result for record in records if isinstance(record, ToolFinished)]
    blocks = [(one["status"], cast("Any", one["content"][0])) for one in results]
    return [(status, block.get("json", block)["text"]) for status, block in blocks]


@pytest.mark.exhaustive
def test_the_calls_of_a_killed_worker_are_made_again_with_the_same_effect_key(
    commands: Commands, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    arguments = ("worker", AGENTS, "--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0")
    first = commands.start(*arguments)
    first.until("serves")
    agents = ("ours", "by_strands", "by_openai")
    run_ids = [anyio.run(begun, redis_url, prefix, agent, tmp_path / agent) for agent in agents]
    first.signal(signal.SIGKILL)
    second = commands.start(*arguments)
    second.until("serves")
    others: list[int] = []
    for agent, run_id, key in zip(agents, run_ids, (f"{run_ids[0]}/t1", "None", f"{run_ids[2]}/t1"), strict=True):
        told = anyio.run(ended, redis_url, prefix, run_id)
        assert told == [("success", "done by the second"), *([("success", "8")] if agent != "by_openai" else [])]
        (killed, first_key), (other, second_key) = [
            line.split() for line in (tmp_path / agent).read_text().splitlines()
        ]
        assert killed != other
        assert first_key == second_key == key, "MCPClient of Strands sends none"
        assert gone(int(killed)), "the killed worker's server has ended, because its input has"
        others.append(int(other))
    assert second.stop() == 0
    assert all(map(gone, others))
