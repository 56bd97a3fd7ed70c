"""The examples, run as their first lines say."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest

from playhead.client import Client
from playhead.runtime.core.converse import Message
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.values import RunInfo
from tests.support.commands import Commands, entries_of

__all__: list[str] = []

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_basic_example_prints_its_events_and_the_result_last(commands: Commands):
    told = commands.python(str(EXAMPLES / "basic.py")).wait()
    lines = told.out.splitlines()
    assert told.code == 0
    assert lines[0] == "{'init_event_loop': True}"
    assert any(line.startswith("{'data': '2+2") for line in lines)
    assert lines[-1].startswith("{'result': {'stop_reason': 'end_turn'")
    assert "2+2 = 4" in lines[-1]


def test_basic_differs_from_strands_first_example_by_its_imports_only():
    source = (EXAMPLES / "basic.py").read_text()
    code = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert code[1:3] == ["from playhead.runtime import Agent", "from playhead.runtime.toolbox import calculator"]
    assert code[:1] + code[3:] == [
        "import asyncio",
        "agent = Agent(tools=[calculator], callback_handler=None)",
        "async def process_streaming_response():",
        '    agent_stream = agent.stream_async("Calculate 2+2")',
        "    async for event in agent_stream:",
        "        print(event)",
        "asyncio.run(process_streaming_response())",
    ]


@pytest.mark.parametrize(("said", "told"), [("yes", "17 * 23 = 391"), ("no", "the user said no")])
def test_the_example_that_asks_does_as_it_is_told(commands: Commands, said: str, told: str):
    server = EmbeddedServer.start_sync(durable=False)
    try:
        env = {"PLAYHEAD_URL": server.url}
        worker = commands.python("-m", "playhead.workers", str(EXAMPLES / "approve.py"), env=env)
        worker.until("serves careful")
        asked = commands.python(str(EXAMPLES / "approve.py"), env=env, stdin=subprocess.PIPE)
        assert asked.process.stdin is not None
        asked.process.stdin.write(f"{said}\n".encode())
        asked.process.stdin.close()
        output = asked.wait()
        assert (output.code, output.err) == (0, "")
        assert "Work out 17 * 23? [yes/no]" in output.out
        assert told in output.out
        assert worker.stop() == 0
    finally:
        server.stop_sync()


def test_the_example_of_tracing_prints_spans_of_two_processes_in_one_trace(commands: Commands):
    server = EmbeddedServer.start_sync(durable=False)
    try:
        env = {"PLAYHEAD_URL": server.url}
        worker = commands.python("-m", "playhead.workers", str(EXAMPLES / "tracing.py"), env=env)
        worker.until("serves traced")
        asked = commands.python(str(EXAMPLES / "tracing.py"), "2+2", env=env).wait()
        assert (asked.code, asked.err) == (0, "")
        assert worker.stop() == 0
        lines = [*asked.out.splitlines(), *worker.out]
        spans = [line.split() for line in lines if re.match("[0-9a-f]{32} ", line)]
        names = [" ".join(span[5:7]) for span in spans]
        assert [name.split()[0] for name in names] == [
            "question",
            "chat",
            "execute_tool",
            "execute_event_loop_cycle",
            "chat",
            "execute_event_loop_cycle",
            "invoke_agent",
        ]
        assert len({span[0] for span in spans}) == 1, "one trace id"
        assert spans[-1][1] == spans[0][3], "the run is a child of the question"
        assert any('"playhead.worker.claims"' in line for line in worker.out)
    finally:
        server.stop_sync()


@dataclass(frozen=True)
class Site:
    """The FastAPI example under uvicorn, and the fleet that it uses."""

    address: str
    url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, a worker process with the example's agents, and the site."""
    server = EmbeddedServer.start_sync(durable=False)
    try:
        with Commands(tmp_path_factory.mktemp("site")) as commands:
            env = {"PLAYHEAD_URL": server.url}
            worker = commands.python("-m", "playhead.workers", str(EXAMPLES / "agents.py"), env=env)
            app = commands.python(
                "-m", "uvicorn", "fastapi_app:app", "--app-dir", str(EXAMPLES), "--port", "0", env=env
            )
            address = app.until(r"running on (http://127\.0\.0\.1:\d+)").group(1)
            worker.until("serves assistant")
            yield Site(address, server.url)
            app.stop()
            assert worker.stop() == 0
    finally:
        server.stop_sync()


def test_the_fastapi_example_streams_from_the_fleet_as_the_model_speaks(site: Site):
    arrivals: list[float] = []
    text = ""
    question = {"prompt": "What is 17 * 23?", "session": "ada"}
    with httpx.stream("POST", f"{site.address}/stream", json=question, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/plain")
        for chunk in response.iter_text():
            arrivals.append(time.monotonic())
            text += chunk
    assert "391" in text
    # The model takes 30 ms a piece: a message held back to its end would arrive at once.
    assert len(arrivals) > 5
    assert arrivals[-1] - arrivals[0] > 0.3


def test_the_fastapi_example_says_errors_in_the_stream_and_keeps_sessions(site: Site):
    with httpx.Client(base_url=site.address, timeout=30) as browser:
        assert browser.post("/stream", json={"question": "?"}).status_code == 422
        assert browser.post("/stream", json={"prompt": "x" * 2_000_000}).text.startswith("Error: the prompt is")
        for prompt in ("What is 6 * 7?", "Go on: 42 + 1"):
            output = browser.post("/stream", json={"prompt": prompt, "session": "bob"}).text
    assert "42 + 1 = 43" in output
    assert len(anyio.run(_messages, site.url, "bob")) == 8


async def _messages(url: str, session: str) -> Sequence[Message]:
    async with Client(url) as client:
        return await client.log.messages(session)


def test_a_browser_that_leaves_does_not_stop_the_run(site: Site):
    with httpx.stream("POST", f"{site.address}/stream", json={"prompt": "What is 6 * 7?"}, timeout=30) as response:
        next(response.iter_text())
    (newest, *_) = anyio.run(_runs, site.url)
    records = [dict(entry.record) for entry in entries_of(site.url, newest.run_id)]
    assert records[-1]["type"] == "run.completed"
    assert "6 * 7 = 42" in str(records[-1]["result"])


async def _runs(url: str) -> Sequence[RunInfo]:
    async with Client(url) as client:
        return await client.runs()
