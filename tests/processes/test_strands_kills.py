"""`kill -9` where all is Strands' or a real server: its model object, a tool of `strands_tools`, and an MCP server."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from playhead.client import Client, Run
from playhead.runtime.core.events import Event
from playhead.runtime.core.records import ModelRetried, ModelStarted, RunClaimed, ToolFinished
from playhead.runtime.testing import folded_text
from testkit.processes import fork_server
from tests.support.commands import Commands, Running, gone
from tests.support.mcp_serving import results
from tests.support.vendor_server import Asked, events_of, serving

__all__: list[str] = []

AGENTS = str(Path(__file__).with_name("whole_agents.py"))


def _began() -> dict[str, Any]:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None}
    return {"type": "message_start", "message": {**message, "usage": {"input_tokens": 7, "output_tokens": 1}}}


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    said = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [{"type": "content_block_start", "index": index, "content_block": block}, *said]


def _ended(index: int, reason: str) -> list[dict[str, Any]]:
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}
    return [{"type": "content_block_stop", "index": index}, delta, {"type": "message_stop"}]


class Vendor:
    """Responds as the vendor's API does: two calls side by side, then a text, which stops in the middle the first time."""

    def __init__(self, folder: Path) -> None:
        command = f"echo $$ >> {folder}/shell; if [ $(wc -l < {folder}/shell) = 1 ]; then sleep 1000; fi; echo done"
        self.calls = [("t1", "shell", {"command": command}), ("t2", "once", {"path": str(folder / "mcp")})]
        self.texts = 0

    async def respond(self, asked: Asked) -> None:
        """One response."""
        await asked.begin()
        if "tool_result" in str(asked.body["messages"]):
            await self._text(asked)
        else:
            blocks = [self._call(index, *call) for index, call in enumerate(self.calls)]
            first, second = blocks
            stop = {"type": "content_block_stop", "index": 0}
            await asked.send(events_of(_began(), *first, stop, *second, *_ended(1, "tool_use")))
        await asked.end()

    def _call(self, index: int, use_id: str, name: str, given: dict[str, Any]) -> list[dict[str, Any]]:
        delta = {"type": "input_json_delta", "partial_json": json.dumps(given)}
        return _block(index, {"type": "tool_use", "id": use_id, "name": name, "input": {}}, delta)

    async def _text(self, asked: Asked) -> None:
        self.texts += 1
        await asked.send(events_of(_began(), *_block(0, {"type": "text", "text": ""}, _said("All "))))
        if self.texts == 1:
            await anyio.sleep_forever()
        await asked.send(events_of({"type": "content_block_delta", "index": 0, "delta": _said("done.")}))
        await asked.send(events_of(*_ended(0, "end_turn")))


def _said(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


async def _lines(*paths: Path) -> None:
    """Wait until each file has a line."""
    for path in paths:
        while not path.exists() or not path.read_text().endswith("\n"):  # noqa: ASYNC110  (other processes write them)
            await anyio.sleep(0.02)


async def _watched(run: Run, folder: Path, start: Callable[[], Running]) -> list[Event]:
    """Watch the run, whose worker is killed in its tools and in its answer; another one is started each time."""
    events: list[Event] = []
    workers = [start()]

    def kill() -> None:
        workers[-1].signal(signal.SIGKILL)
        workers.append(start())

    async def kill_in_tools() -> None:
        await _lines(folder / "shell", folder / "mcp")
        kill()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill_in_tools)
        async for event in run.stream_async():
            events.append(event)
            if event.get("data") == "All " and len(workers) == 2:
                kill()
    assert await anyio.to_thread.run_sync(workers[-1].stop) == 0
    return events


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """Runs commands in an empty folder, where models are reached directly."""
    with (
        fork_server(playhead="tests.support.whole_command_program:run") as forks,
        Commands(tmp_path, forks.path) as here,
    ):
        here.environment["NO_PROXY"] = "127.0.0.1"
        yield here


@pytest.mark.exhaustive
def test_a_model_object_of_strands_a_tool_of_strands_tools_and_an_mcp_server_survive_their_workers(
    commands: Commands, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    async def played() -> None:
        vendor = Vendor(tmp_path)
        async with serving(vendor.respond) as server:
            env = {"PLAYHEAD_TEST_VENDOR": server.url}

            def worker() -> Running:
                settings = ("--url", redis_url, "--prefix", prefix, "--lease", "2", "--drain", "0")
                return commands.start("worker", AGENTS, *settings, env=env)

            with anyio.fail_after(50):
                async with Client(redis_url, prefix=prefix, on_notice=lambda notice: None) as client:
                    run = await client.start("whole", "go")
                    events = await _watched(run, tmp_path, worker)
                    records = [entry.record async for entry in run.records()]
        assert folded_text(events) == "All done."
        assert events[-1]["result"].stop_reason == "end_turn"
        assert sum("retracted" in event for event in events) == 1
        assert [status for status, _ in results(events)] == ["success", "success"]
        kinds = [type(record) for record in records]
        expected = {RunClaimed: 3, ModelRetried: 1, ModelStarted: 3, ToolFinished: 2}
        assert {kind: kinds.count(kind) for kind in expected} == expected
        first, *others = server.asked
        assert [asked.raw for asked in others] == [others[0].raw] * 2, "what was cut off is asked the same again"
        assert len(others[0].body["messages"]) == len(first.body["messages"]) + 2

    anyio.run(played)
    shells = (tmp_path / "shell").read_text().split()
    servers = [line.split() for line in (tmp_path / "mcp").read_text().splitlines()]
    assert (len(shells), len(servers)) == (2, 2), "each call once more, and not again after the second death"
    assert servers[0][1] == servers[1][1], "with the same effect key"
    assert all(gone(int(pid)) for pid in [*shells, *(pid for pid, _ in servers)])
