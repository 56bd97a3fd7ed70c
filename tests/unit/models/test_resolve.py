"""resolve_model: names, environment and objects to models."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.models import (
    AnthropicModel,
    BedrockModel,
    DemoModel,
    LocalModel,
    OpenAIModel,
    ScriptedModel,
    resolve_model,
)

FORMS = '"openai/<model id>", "openai-responses/<model id>", "anthropic/<model id>", "bedrock/<model id>", "local/<path to a .gguf file>" or "demo"'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLAYHEAD_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_names_give_their_providers() -> None:
    openai_model = resolve_model("openai/org/some-model")
    assert isinstance(openai_model, OpenAIModel)
    assert openai_model.model_id == "org/some-model"
    responses = resolve_model("openai-responses/gpt-5-mini")
    assert isinstance(responses, OpenAIModel)
    assert responses.get_config()["api"] == "responses"
    claude = resolve_model("anthropic/claude-sonnet-4-5")
    assert isinstance(claude, AnthropicModel)
    assert claude.model_id == "claude-sonnet-4-5"
    nova = resolve_model("bedrock/arn:aws:bedrock:eu-west-1:1:inference-profile/nova")
    assert isinstance(nova, BedrockModel)
    assert nova.model_id == "arn:aws:bedrock:eu-west-1:1:inference-profile/nova"
    assert isinstance(resolve_model("demo"), DemoModel)
    assert repr(resolve_model("local//models/m.gguf")).startswith("LocalModel('/models/m.gguf'")


def test_local_paths_may_be_relative_or_in_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert repr(str(tmp_path / "m.gguf")) in repr(resolve_model("local/~/m.gguf"))
    relative = resolve_model("local/m.gguf")
    assert isinstance(relative, LocalModel)
    assert repr(os.path.join(os.getcwd(), "m.gguf")) in repr(relative)


def test_a_model_object_is_returned_as_it_is() -> None:
    model = ScriptedModel(["hi"])
    assert resolve_model(model) is model


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    default = resolve_model(None)
    assert isinstance(default, OpenAIModel)
    assert default.model_id == "gpt-5-mini"
    monkeypatch.setenv("PLAYHEAD_MODEL", "openai/other")
    chosen = resolve_model(None)
    assert isinstance(chosen, OpenAIModel)
    assert chosen.model_id == "other"


def test_nothing_configured_is_the_demo_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert isinstance(resolve_model(None), DemoModel)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("playhead.models", logging.WARNING)
    assert "demo model" in record.getMessage()


def test_a_model_that_was_asked_for_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        resolve_model("demo")
    assert not caplog.records


@pytest.mark.parametrize(
    "name", ["gpt-5-mini", "vendor/x", "openai/", "anthropic/", "bedrock/", "local/", "openai", "Demo", ""]
)
def test_an_unknown_name_is_told_with_the_accepted_forms(name: str) -> None:
    with pytest.raises(ModelConfigurationError) as caught:
        resolve_model(name)
    assert repr(name) in str(caught.value)
    assert FORMS in str(caught.value)


def test_an_unknown_name_in_the_environment_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYHEAD_MODEL", "nonsense")
    with pytest.raises(ModelConfigurationError, match="PLAYHEAD_MODEL='nonsense'"):
        resolve_model(None)


@pytest.mark.parametrize(("value", "named"), [(42, "type int"), (DemoModel, "the class DemoModel")])
def test_what_is_not_a_model_is_refused(value: Any, named: str) -> None:
    with pytest.raises(ModelConfigurationError, match=named):
        resolve_model(value)
