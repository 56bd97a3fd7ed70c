"""Overrides of a run: what a caller may pass, what an agent allows, and which are in force at a record."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import ToolSpec
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import EncodingError, OverrideRefusedError
from playhead.runtime.core.overrides import (
    checked_allowance,
    checked_overrides,
    models_in,
    options_at,
    overrides_of,
    refuse_overrides,
)
from playhead.runtime.core.records import RunClaimed, RunSubmitted

__all__: list[str] = []


def call(prompt: str, **overrides: Any) -> None:
    del prompt, overrides


def spec(name: str) -> ToolSpec:
    return {"name": name, "description": "", "inputSchema": {"json": {}}}


def submitted(**options: Any) -> RunSubmitted:
    return RunSubmitted(at=0, agent="a", options=options)


def test_overrides_become_options_and_those_that_are_none_are_left_out():
    given: dict[str, Any] = {"model": "demo", "tools": ("x",), "params": {"temperature": 0}, "system_prompt": None}
    assert checked_overrides(given) == {"model": "demo", "tools": ["x"], "params": {"temperature": 0}}
    assert checked_overrides({"system_prompt": "", "tools": []}) == {"system_prompt": "", "tools": []}


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"model": 5}, TypeError, "model must be a text or None, not 5"),
        ({"model": " "}, ValueError, "model must not be empty"),
        ({"system_prompt": ["a"]}, TypeError, "system_prompt must be a text"),
        ({"tools": "calculator"}, TypeError, "tools must be a list, each item the name of a tool"),
        ({"tools": [call]}, TypeError, r"tools\[0\] must be the name of a tool"),
        ({"params": [1]}, TypeError, "params must be a dict"),
        ({"params": {"temperature": object()}}, EncodingError, r"params\['temperature'\]"),
    ],
)
def test_an_override_of_another_type_is_refused(given: dict[str, Any], error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        checked_overrides(given)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ((), {}),
        ({"tools", "model"}, {"model": True, "tools": True}),
        (["params"], {"params": True}),
        ({"model": ["b", "a"], "system_prompt": True, "tools": False}, {"model": ["b", "a"], "system_prompt": True}),
        ({"params": {"top_k", "seed"}}, {"params": ["seed", "top_k"]}),
        ({"tools": []}, {"tools": []}),
    ],
)
def test_what_an_agent_allows_is_a_set_or_a_dict(given: Any, allowed: dict[str, Any]):
    assert checked_allowance(given, tools=()) == allowed


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("model", TypeError, "a set of names, or a dict of them, not 'model'"),
        (None, TypeError, "not None of type NoneType"),
        ({"name"}, ValueError, "can have model, system_prompt, tools, params, not 'name'"),
        ({"system_prompt": ["Be brief."]}, ValueError, "system_prompt is allowed with any value"),
        ({"model": "demo"}, TypeError, "model must be True, or a list, each item the name of a model"),
        ({"params": [1]}, TypeError, "the name of a parameter"),
        ({"tools": ["y"]}, ValueError, "'y' is not a tool of the agent, which has x"),
    ],
)
def test_an_allowance_that_cannot_be_meant_is_refused(given: Any, error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        checked_allowance(given, tools=("x",))


def test_the_models_that_are_allowed_by_name_are_known():
    assert models_in({"model": ["demo"]}) == ["demo"]
    assert models_in({"model": True}) == models_in({}) == ()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "c"}, "does not allow model='c' for a run: it allows 'a', 'b'"),
        ({"tools": ["x", "z"]}, r"does not allow tools=\['z'\] for a run: it allows 'x'"),
        ({"params": {"seed": 1, "top_k": 2}}, r"params=\['top_k'\] for a run: it allows 'seed'"),
        ({"system_prompt": "Be kind."}, "system_prompt= for a run: it allows model=, tools=, params="),
    ],
)
def test_what_an_agent_does_not_allow_is_refused_by_its_name_with_what_is_allowed(options: dict[str, Any], says: str):
    allowed = {"model": ["a", "b"], "tools": ["x"], "params": ["seed"]}
    with pytest.raises(OverrideRefusedError, match=says):
        refuse_overrides("helper", options, allowed=allowed)
    with pytest.raises(OverrideRefusedError, match="it allows none"):
        refuse_overrides("helper", options, allowed={})
    refuse_overrides("helper", options, allowed=dict.fromkeys(("model", "tools", "params", "system_prompt"), True))
    refuse_overrides("helper", {"fork": {}, "another": 1}, allowed={})


def test_a_fork_needs_no_permission():
    assert overrides_of(submitted(model="a", another=1)) == {"model": "a"}
    assert overrides_of(submitted(model="a", fork={"run": "r", "at": 3})) == {}
    assert overrides_of(RunClaimed(at=0, worker="w")) == {}


def test_the_first_records_of_a_fork_have_the_options_of_its_parents():
    parent = {"model": "b", "fork": {"run": "q", "at": 2, "of": {"model": "a"}}}
    first = submitted(model="c", fork={"run": "r", "at": 5, "of": parent})
    assert [options_at(first, seq).get("model") for seq in (1, 2, 3, 5, 6)] == ["a", "a", "b", "b", "c"]
    assert options_at(submitted(model="c", fork={"run": "r", "at": 5}), 5) == {}, "of a version that did not tell"


def test_a_definition_becomes_that_of_a_run_with_overrides():
    own: dict[str, Any] = {"class": "OpenAIModel", "config": {"model_id": "m", "params": {"seed": 1, "top_k": 2}}}
    definition = AgentDefinition("a", own, "Be brief.", [spec("x"), spec("y")])
    assert definition.of_run(submitted(), seq=9) is definition
    run = definition.of_run(submitted(tools=["y"], params={"seed": 5}, system_prompt=""), seq=2)
    assert (run.system_prompt, [one["name"] for one in run.tool_specs]) == ("", ["y"])
    assert run.model["config"] == {"model_id": "m", "params": {"seed": 5, "top_k": 2}}
    other = definition.of_run(submitted(model="demo", params={"seed": 5}), seq=2)
    assert other.model == {"name": "demo", "params": {"seed": 5}}


def test_an_agent_that_allows_nothing_keeps_the_digest_of_its_definition():
    definition = AgentDefinition("a", {}, retry={"max_attempts": 1})
    assert "allow_overrides" not in definition.held
    allowing = AgentDefinition("a", {}, retry={"max_attempts": 1}, allow_overrides={"model": ["demo"]})
    assert allowing.stored().digest != definition.stored().digest
    assert AgentDefinition.of(allowing.stored().data) == allowing
