"""For the same script, an agent here and one of Strands tell the same spans: names, nesting, attributes, events, status."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import BaseModel

from playhead.runtime import Agent, tool
from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import text_call, tool_call
from tests.support.spans import Telemetry, id_of, telemetry_set_up

__all__: list[str] = []

pytestmark = pytest.mark.anyio

strands: Any = pytest.importorskip("strands")
StrandsModel: Any = importlib.import_module("strands.models").Model

DIFFERS = ("gen_ai.system", "gen_ai.provider.name", "event_loop.cycle_id", "event_loop.parent_cycle_id")
"""Attributes that both have, with values of their own."""

NOISE = ("gen_ai.event.start_time", "gen_ai.event.end_time", "gen_ai.server.time_to_first_token")
"""Attributes that depend on the clock."""

Turn = list[Chunk] | Exception


class Scripted(StrandsModel):
    """One model for both: it plays the turns of a script."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self.turns = list(turns)
        self.config = {"model_id": "m1"}

    def update_config(self, **config: Any) -> None:
        self.config.update(config)

    def get_config(self) -> dict[str, Any]:
        return self.config

    async def stream(self, *arguments: Any, **options: Any) -> AsyncGenerator[Chunk, None]:
        del arguments, options
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        for chunk in turn:
            yield chunk

    async def structured_output(self, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        del arguments, options
        raise RuntimeError("not asked for")
        yield


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: One.
        b: The other.
    """
    return a + b


def fail(why: str) -> str:
    """Fail.

    Args:
        why: The reason.
    """
    raise ValueError(why)


SCRIPTS: dict[str, Callable[[], list[Turn]]] = {
    "a text": lambda: [text_call("hello")],
    "a tool": lambda: [tool_call("add", {"a": 1, "b": 2}, "t1"), text_call("it is three")],
    "a tool that raises": lambda: [tool_call("fail", {"why": "it broke"}, "t1"), text_call("sorry")],
    "an unknown tool": lambda: [tool_call("nope", {}, "t1"), text_call("sorry")],
    "two tools": lambda: [two_calls(), text_call("sorry")],
    "a model that fails": lambda: [RuntimeError("the model is gone")],
    "structured output": lambda: [text_call("Ada"), tool_call("Person", {"name": "Ada"}, "t1")],
    "structured output that does not fit": lambda: [
        tool_call("Person", {}, "t1"),
        tool_call("Person", {"name": "Ada"}, "t2"),
    ],
}


class Person(BaseModel):
    """A person."""

    name: str


def asked(script: str) -> dict[str, Any]:
    """The arguments of the call for a script."""
    return {"structured_output_model": Person} if script.startswith("structured") else {}


def two_calls() -> list[Chunk]:
    first, second = tool_call("add", {"a": 1, "b": 2}, "t1"), tool_call("fail", {"why": "it broke"}, "t2")
    start = next(at for at, chunk in enumerate(second) if "contentBlockStart" in chunk)
    stop = next(at for at, chunk in enumerate(first) if "messageStop" in chunk)
    return [*first[:stop], *second[start:]]


OPT_INS = {
    "as they are": "",
    "the latest conventions": "gen_ai_latest_experimental,gen_ai_tool_definitions",
    "attributes alone": "gen_ai_latest_experimental,gen_ai_span_attributes_only",
    "redacted": "gen_ai_unredacted_attributes=gen_ai.output.*",
    "redacted latest": "gen_ai_latest_experimental,gen_ai_unredacted_attributes=",
}


def told(span: ReadableSpan, names: Mapping[int, str]) -> dict[str, Any]:
    """A span as plain data that is the same for both."""
    attributes = {
        name: "…" if name in DIFFERS else value
        for name, value in (span.attributes or {}).items()
        if name not in NOISE and not name.startswith("playhead.")
    }
    events: list[tuple[str, dict[str, Any]]] = [(event.name, dict(event.attributes or {})) for event in span.events]
    for name, held in events:
        if name == "exception":
            held["exception.stacktrace"] = str(held["exception.stacktrace"]).splitlines()[-1]
            held.pop("exception.escaped", None)
    status = (span.status.status_code.name, span.status.description)
    return {
        "name": span.name,
        "parent": names.get(span.parent.span_id) if span.parent is not None else None,
        "kind": span.kind.name,
        "attributes": attributes,
        "events": events,
        "status": status,
    }


def all_told(telemetry: Telemetry) -> list[dict[str, Any]]:
    spans = telemetry.spans()
    names = {id_of(span): span.name for span in spans}
    return [told(span, names) for span in spans]


async def of_ours(monkeypatch: pytest.MonkeyPatch, script: str) -> list[dict[str, Any]]:
    with telemetry_set_up(monkeypatch) as telemetry:
        agent = Agent(
            Scripted(SCRIPTS[script]()),
            name="helper",
            tools=[tool(add), tool(fail)],
            system_prompt="Be kind.",
            callback_handler=None,
            trace_attributes={"team": "support"},
        )
        await outcome(agent, script)
        return all_told(telemetry)


async def of_strands(monkeypatch: pytest.MonkeyPatch, script: str) -> list[dict[str, Any]]:
    with telemetry_set_up(monkeypatch) as telemetry:
        monkeypatch.setattr(importlib.import_module("strands.telemetry.tracer"), "_tracer_instance", None)
        agent = strands.Agent(
            model=Scripted(SCRIPTS[script]()),
            name="helper",
            tools=[strands.tool(add), strands.tool(fail)],
            system_prompt="Be kind.",
            callback_handler=None,
            trace_attributes={"team": "support"},
        )
        await outcome(agent, script)
        return all_told(telemetry)


async def outcome(agent: Any, script: str) -> None:
    with suppress(RuntimeError):  # of the model
        await agent.invoke_async("go", **asked(script))


@pytest.mark.parametrize(
    ("script", "opt_in"),
    [*((script, "as they are") for script in SCRIPTS), *(("two tools", opt_in) for opt_in in OPT_INS)],
)
async def test_the_spans_are_those_of_strands(script: str, opt_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", OPT_INS[opt_in])
    theirs = await of_strands(monkeypatch, script)
    ours = await of_ours(monkeypatch, script)
    assert len(theirs) > 2
    if script == "an unknown tool":  # Strands records an exception that nothing raised
        for span in theirs:
            span["events"] = [event for event in span["events"] if event[0] != "exception"]
    if script == "structured output":  # Strands does not say which cycle is before the one that asks for it
        assert ours[3]["attributes"].pop("event_loop.parent_cycle_id")
    for span in theirs:
        if span["name"] == "execute_tool Person":
            del span["attributes"]["gen_ai.tool.description"], span["attributes"]["gen_ai.tool.json_schema"]
    assert ours == theirs
