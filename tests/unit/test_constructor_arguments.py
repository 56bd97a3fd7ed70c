"""Every constructor refuses an argument of the wrong type or range where it is given, and names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from playhead.client import Client
from playhead.client.tails.state import TailState
from playhead.runtime import Agent, LogUnavailableError, ModelConfigurationError, PlayheadError, tool
from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.models import AnthropicModel, BedrockModel, DemoModel, LocalModel, OpenAIModel, ScriptedModel
from playhead.runtime.toolbox import make_http_request
from playhead.workers import Worker, WorkerOptions

__all__: list[str] = []

AGENT = Agent(ScriptedModel(["Hi"]), name="echo")
NAN = float("nan")


def redis_log(**options: Any) -> RedisLog:
    return RedisLog(connect("redis://localhost:1"), **options)


def decorated(**options: Any) -> Any:
    @tool(**options)
    def count(text: str) -> int:
        """Count."""
        return len(text)

    return count


def worker(**options: Any) -> Worker:
    given: dict[str, Any] = {"agents": [AGENT], "log": MemoryLog(), **options}
    return Worker(**given)


def openai_model(**options: Any) -> OpenAIModel:
    given: dict[str, Any] = {"model_id": "m", **options}
    return OpenAIModel(**given)


def anthropic_model(**options: Any) -> AnthropicModel:
    given: dict[str, Any] = {"model_id": "m", **options}
    return AnthropicModel(**given)


def bedrock_model(**options: Any) -> BedrockModel:
    given: dict[str, Any] = {"model_id": "m", **options}
    return BedrockModel(**given)


def local_model(**options: Any) -> LocalModel:
    given: dict[str, Any] = {"path": "m.gguf", **options}
    return LocalModel(**given)


WRONG: dict[Callable[..., Any], dict[str, list[Any]]] = {
    Agent: {
        "name": ["", "a b", 5, None],
        "tools": ["calculator", 5, len, [5]],
        "hooks": ["strict", 5, [5], [dict], [print, 5]],
        "system_prompt": [5, ["text"]],
        "messages": ["text", ["text"], 5],
        "callback_handler": ["print", 5],
        "tool_executor": ["parallel", 5],
        "agent_id": ["", 5],
        "record_direct_tool_call": ["no", 1, None],
        "on_partial": ["keep", None],
        "description": [5],
        "max_record_bytes": [0, -1, "1", 1.5, None, True],
    },
    Client: {
        "url": ["", 5],
        "prefix": ["", None, 5, "a{b}"],
        "on_notice": ["print", None],
        "max_record_bytes": [0, -1, "1", None],
        "durability": ["safe", None, True],
        "shards": [0, 257, "2", 1.5, True],
        "archive": ["", 5],
    },
    worker: {
        "agents": [AGENT, "echo", ["echo"], [Agent], [], [AGENT, AGENT]],
        "log": [None, "redis://localhost", 5],
        "more": [["redis://localhost"]],
        "options": [{"concurrency": 5}, 5],
        "name": ["", 5],
        "visit": ["here"],
        "archive": ["", 5],
    },
    WorkerOptions: {
        "concurrency": [0, -1, "3", 1.5, None, True],
        "lease_ms": [1999, "3000", 2000.5, None],
        "grace_s": [-1, "3", NAN, None],
        "crash_limit": [-1, "3", None, 1.5],
        "retention_ms": [0, "3", None, 10**13],
        "retention": [
            5,
            None,
            {"a": 5},
            {"*:failed": 0},
            {"*:failed": "1d"},
            {"*:*": 5},
            {"*:failed": 10**13},
            {"*:paused": 5},
            {"a b:failed": 5},
            {5: 5},
        ],
        "stall_s": [-1, "3", NAN, 0.1],
    },
    openai_model: {
        "model_id": ["", " ", None, 5],
        "base_url": ["", "localhost:8000", 5],
        "api_key": ["", 5],
        "params": [[], "temperature=0", {5: 1}],
        "client_args": [[], 5],
        "continue_params": [[], True],
        "api": ["completions", None, 5],
    },
    anthropic_model: {
        "model_id": ["", " ", None, 5],
        "max_tokens": [0, "9", 1.5, None, True],
        "base_url": ["", "localhost:8000", 5],
        "api_key": ["", 5],
        "params": [[], "temperature=0", {5: 1}],
        "client_args": [[], 5],
        "cache": ["2h", True, 5],
    },
    bedrock_model: {
        "model_id": ["", " ", None, 5],
        "region": ["", 5],
        "params": [[], "temperature=0", {5: 1}],
        "client_args": [[], 5],
    },
    local_model: {
        "path": ["", None, 5],
        "context_tokens": [-1, "4096", None],
        "threads": [0, "4", 1.5],
        "params": [[], 5],
        "start_timeout": [0, -1, "300", NAN, None],
    },
    DemoModel: {"delay": [-1, "0", None, NAN]},
    partial(ScriptedModel, ["Hi"]): {"delay": [-1, "0"], "repeat": ["no", 1], "continues_partial": ["no"]},
    ScriptedModel: {"calls": ["Hi", 5, None, [5], [None]]},
    decorated: {
        "name": ["", "a b", 5],
        "description": [5],
        "inputSchema": ["{}", 5],
        "timeout": [0, -1, "5", NAN, True],
        "on_unknown_outcome": ["guess", None],
    },
    make_http_request: {
        "allow_private": ["no", 1],
        "allow_networks": ["10.0.0.0/8", [5], ["nonsense"]],
        "timeout": [0, -1, "5", NAN, None],
        "max_bytes": [0, "5", None],
        "ssl_context": ["ca.pem", True],
        "name": ["", "a b", 5],
    },
    redis_log: {"prefix": ["", 5, "{x"], "shard": [-1, "0"], "durability": ["safe", None]},
    connect: {"url": ["", None, 5], "timeout": [0, -1, "5", NAN]},
    RedisLog: {"client": ["redis://user:secret@localhost"]},
    EmbeddedServer.start_sync: {
        "directory": ["data", 5],
        "port": [-1, "6379", None],
        "durable": ["no", 1],
        "extra_args": ["--appendfsync always", [5]],
    },
    partial(TailState, "r", 0): {"on_pause": ["stop", None], "wait_for_worker": [-1, "5", NAN]},
}


@pytest.mark.parametrize(
    ("make", "argument", "value"),
    [
        pytest.param(make, argument, value, id=f"{getattr(make, '__qualname__', make)}-{argument}-{value!r:.20}")
        for make, arguments in WRONG.items()
        for argument, values in arguments.items()
        for value in values
    ],
)
def test_a_wrong_argument_is_refused_at_construction(make: Callable[..., Any], argument: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, ModelConfigurationError, LogUnavailableError)) as raised:
        make(**{argument: value})
    text = str(raised.value)
    assert "Traceback" not in text
    assert "unexpected keyword" not in text, "the table names an argument that there is not"
    assert "not supported between" not in text, "Python's own error names neither the argument nor the value"
    assert "secret" not in text


@pytest.mark.parametrize("model", [5, "gpt-5", "openai/", "", object(), DemoModel, ["demo"]])
def test_what_is_not_a_model_is_refused_when_the_agent_is_made(model: Any) -> None:
    with pytest.raises(ModelConfigurationError, match="model"):
        Agent(model)


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (WorkerOptions, {"concurrency": "3"}, "concurrency must be a whole number, not '3' of type str"),
        (WorkerOptions, {"grace_s": -1}, "grace_s must be at least 0, not -1"),
        (Agent, {"max_record_bytes": 0}, "max_record_bytes must be at least 1, not 0"),
        (openai_model, {"base_url": "host:1"}, "base_url must begin with http:// or https://, and is 'host:1'"),
        (
            openai_model,
            {"api": "responses", "continue_params": {}},
            "continue_params must be None with api='responses'",
        ),
        (Client, {"durability": "safe"}, "durability must be 'memory' or 'replicated' or 'fsynced', not 'safe'"),
        (Agent, {"tools": "x"}, "tools must be a list, each item a function, not 'x' of type str"),
        (
            worker,
            {"agents": [Agent]},
            r"agents\[0\] must be an Agent, a guest, or a function that makes one, not the class Agent",
        ),
    ],
)
def test_the_text_names_the_argument_what_is_accepted_and_the_value(
    make: Callable[..., Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        make(**options)


def test_a_malformed_url_is_refused_when_the_client_is_made() -> None:
    for url in ("localhost:6379", "http://localhost", "redis://localhost?nonsense=1"):
        with pytest.raises(PlayheadError, match="is not a Redis URL"):
            Client(url)
