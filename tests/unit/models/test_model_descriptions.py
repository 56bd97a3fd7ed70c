"""What is stored of an agent and its model tells what the model is asked, and no secret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.models import DemoModel, LocalModel, OpenAIModel, ScriptedModel
from playhead.runtime.models.description import HIDDEN, describe

__all__: list[str] = []

KEY = "sk-proj-0123456789abcdef"


class Configured(ScriptedModel):
    """A model with Strands' method."""

    def __init__(self, config: object) -> None:
        super().__init__([])
        self.config = config

    def get_config(self) -> Any:
        if isinstance(self.config, Exception):
            raise self.config
        return self.config


def config_of(config: object) -> Any:
    return describe(Configured(config))["config"]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def test_a_model_is_described_by_its_class_and_its_configuration():
    model = OpenAIModel("gpt-5-mini", params={"temperature": 0, "max_tokens": 9}, base_url="https://host/v1")
    assert describe(model) == {
        "class": "OpenAIModel",
        "config": {
            "model_id": "gpt-5-mini",
            "params": {"temperature": 0, "max_tokens": 9},
            "continue_params": {},
            "base_url": "https://host/v1",
        },
    }
    local = describe(LocalModel(Path("models/small.gguf"), params={"top_p": 1}, threads=2))["config"]
    assert local == {"model_id": "small.gguf", "params": {"top_p": 1}, "context_tokens": 4096, "threads": 2}
    assert describe(DemoModel(delay=0))["config"] == {"model_id": "demo", "delay": 0}
    assert describe(ScriptedModel([])) == {"class": "ScriptedModel", "config": {}}


def test_the_keys_of_openai_are_not_in_its_description(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://user:{KEY}@host/v1?api-key={KEY}&api-version=3")
    model = OpenAIModel(
        "m",
        api_key=KEY,
        params={"extra_headers": {"X-Gateway": "pass phrase", "Authorization": "x"}, "extra_body": {"api_key": "abc"}},
        client_args={"default_headers": {"Authorization": KEY}},
    )
    described = describe(model)["config"]
    assert described["params"] == {
        "extra_headers": {"X-Gateway": HIDDEN, "Authorization": HIDDEN},
        "extra_body": {"api_key": HIDDEN},
    }
    assert described["base_url"] == f"https://{HIDDEN}@host/v1?api-key={HIDDEN}&api-version=3"
    assert KEY not in repr(described)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "API-KEY", "openai_api_key", "aws_secret_access_key", "aws_session_token", "token"),
        *("Authorization", "azure_ad_token", "private_key", "credentials", "auth", "x-auth", "cookie", "accessToken"),
        "password",
    ],
)
def test_a_value_under_the_name_of_a_secret_is_hidden(name: str):
    assert config_of({"params": [{name: "hunter2"}], name: {"of": "hunter2"}}) == {
        "params": [{name: HIDDEN}],
        name: HIDDEN,
    }


@pytest.mark.parametrize(
    "name", ["max_tokens", "max_completion_tokens", "temperature", "author", "stop", "keys", "seed"]
)
def test_a_parameter_that_is_not_a_secret_is_shown(name: str):
    assert config_of({name: 4}) == {name: 4}


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "Basic dTpw", KEY])
def test_a_text_that_looks_like_a_secret_is_hidden_under_any_name(value: str):
    assert config_of({"other": [value]}) == {"other": [HIDDEN]}


def test_a_description_is_plain_data_whatever_a_model_tells():
    class Options(BaseModel):
        seed: int = 1
        api_key: str = "hunter2"

    class Session:
        def __repr__(self) -> str:
            return "hunter2"

    told = config_of(
        {"options": Options(), "session": Session(), "kind": Session, "set": {2, 1}, 3: (None, True, b"x")}
    )
    assert told == {
        "options": {"seed": 1, "api_key": HIDDEN},
        "session": f"<{Session.__qualname__}>",
        "kind": Session.__qualname__,
        "set": [1, 2],
        "3": [None, True, b"x"],
    }


def test_a_model_that_cannot_tell_is_described_by_its_class(caplog: pytest.LogCaptureFixture):
    assert describe(Configured(RuntimeError("hunter2"))) == {"class": "Configured", "config": {}}
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text


def agent(**changes: Any) -> Agent:
    given: dict[str, Any] = {"model": DemoModel(), "name": "a", "tools": [add], "system_prompt": "Be brief."}
    return Agent(**{**given, **changes})


def test_a_definition_has_all_that_determines_a_request():
    greeting: Messages = [{"role": "user", "content": [{"text": "Hi"}]}]
    defined = agent(messages=greeting, tool_executor="sequential").definition
    assert defined == AgentDefinition(
        agent="a",
        model=describe(DemoModel()),
        system_prompt="Be brief.",
        tool_specs=[add.spec],
        tool_executor="sequential",
        on_partial="retract",
        messages=greeting,
        retry={"strategy": "ModelRetryStrategy", "max_attempts": 6, "initial_delay": 4, "max_delay": 240},
        conversation_manager={
            "class": "SlidingWindowConversationManager",
            "window_size": 40,
            "should_truncate_results": True,
            "per_turn": False,
            "pin_first": None,
            "proactive_compression": None,
            "context_window_limit": None,
        },
    )
    assert AgentDefinition.of(defined.stored().data) == defined


CHANGES: Sequence[dict[str, Any]] = [
    {"name": "b"},
    {"model": DemoModel(delay=1)},
    {"model": ScriptedModel([])},
    {"model": "openai/another-model"},
    {"model": "openai/another-model-still"},
    {"tools": []},
    {"system_prompt": None},
    {"tool_executor": "sequential"},
    {"retry": None},
    {"messages": [{"role": "user", "content": []}]},
]


def test_each_change_of_an_agent_changes_the_digest_of_its_definition():
    agents = [agent(), *(agent(**change) for change in CHANGES)]
    assert len({one.definition.stored().digest for one in agents}) == len(agents)
    assert agent().definition.stored() == agent().definition.stored()


def test_a_snapshot_of_an_agent_does_not_change_with_it():
    given = agent()
    taken = given.snapshot()
    before = taken.definition
    given.system_prompt = "Be verbose."
    given.messages.append({"role": "user", "content": []})
    del given.tools["add"]
    assert taken.definition == before
    assert given.definition != before
