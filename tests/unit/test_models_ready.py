"""What can be known of a model before its first call: its key, its file, its package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime import Agent, ModelConfigurationError, toolbox
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.models import AnthropicModel, BedrockModel, LocalModel, OpenAIModel, ScriptedModel
from playhead.workers import Worker

__all__: list[str] = []


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLAYHEAD_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("model", ["openai/gpt-5-mini", OpenAIModel("gpt-5-mini")])
def test_a_provider_without_its_key_is_not_ready(model: Any) -> None:
    agent = Agent(model)
    with pytest.raises(ModelConfigurationError, match="Set OPENAI_API_KEY"):
        agent.check_ready()


def test_a_key_or_a_server_of_ones_own_makes_it_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    Agent(OpenAIModel("m", api_key="sk-test-12345678")).check_ready()
    Agent(OpenAIModel("m", base_url="http://localhost:1/v1")).check_ready()
    Agent(OpenAIModel("m", client_args={"base_url": "http://localhost:1/v1"})).check_ready()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    Agent("openai/m").check_ready()
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-12345678")
    Agent("openai/m").check_ready()


def test_a_file_that_is_not_there_is_not_ready(tmp_path: Path) -> None:
    for agent in (Agent(LocalModel(tmp_path / "m.gguf")), Agent(f"local/{tmp_path}/m.gguf")):
        with pytest.raises(ModelConfigurationError, match=r"m\.gguf does not exist"):
            agent.check_ready()


def test_a_model_of_ones_own_says_itself_whether_it_is_ready() -> None:
    class Locked(ScriptedModel):
        def check_ready(self) -> None:
            raise ModelConfigurationError("locked")

    with pytest.raises(ModelConfigurationError, match="locked"):
        Agent(Locked(["Hi"])).check_ready()
    Agent(ScriptedModel(["Hi"])).check_ready()


@pytest.mark.anyio
async def test_a_worker_does_not_start_with_a_model_that_is_not_ready() -> None:
    agents = [Agent(ScriptedModel(["Hi"]), name="fine"), Agent("openai/gpt-5-mini", name="keyless")]
    with pytest.raises(ModelConfigurationError, match="OPENAI_API_KEY"):
        await Worker(agents, log=MemoryLog()).run()


@pytest.mark.parametrize(
    ("missing", "provider", "make"),
    [
        ("openai", "openai", OpenAIModel),
        ("httpx", "openai", OpenAIModel),
        ("anthropic", "anthropic", AnthropicModel),
        ("aiobotocore", "bedrock", BedrockModel),
    ],
)
def test_a_model_whose_extra_is_not_installed_is_refused_when_it_is_made(
    missing: str, provider: str, make: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for made in (lambda: make("m"), lambda: Agent(f"{provider}/m")):
        with pytest.raises(ModelConfigurationError, match=rf"pip install 'playhead-runtime\[{provider}\]'"):
            made()


def test_the_tool_whose_extra_is_not_installed_is_refused_when_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "playhead.runtime.toolbox.http", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install 'playhead-runtime\[http\]'"):
        _ = toolbox.http_request
    assert toolbox.calculator.name == "calculator"
