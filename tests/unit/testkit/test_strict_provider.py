"""The strict provider accepts a whole conversation, and refuses each thing that some provider refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from testkit.provider.strict import flaws

__all__: list[str] = []

USER: dict[str, Any] = {"role": "user", "content": "hi"}
SAYS: dict[str, Any] = {"role": "assistant", "content": "hello"}


def calling(*ids: str, arguments: Any = "{}", name: str = "look") -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": name, "arguments": arguments}} for one in ids]
    return {"role": "assistant", "tool_calls": calls}


def result(call_id: str, content: Any = "seen") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


WHOLE = [
    {"role": "system", "content": "Be brief."},
    USER,
    {**calling("a", "b"), "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    result("a"),
    result("b", ""),
    calling("a"),
    result("a"),
    SAYS,
    {"role": "user", "content": [{"type": "text", "text": "more"}]},
]


def test_a_whole_conversation_is_accepted():
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    assert flaws({"messages": WHOLE, "tools": [tool], "model": "m"}) == []


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "the last message is of kind ''"),
        ([SAYS, USER], "'assistant' follows ''"),
        ([USER, USER], "'user' follows 'user'"),
        ([USER, SAYS, SAYS, USER], "'assistant' follows 'assistant'"),
        ([USER, SAYS], "the last message is of kind 'assistant'"),
        ([USER, {"role": "system", "content": "x"}, USER], "'system' follows 'user'"),
        ([USER, calling("a"), result("a"), USER], "'user' follows 'tool'"),
        ([USER, calling("a"), SAYS, USER], "it comes before the results of ['a']"),
        ([USER, calling("a")], "the last calls have no results: ['a']"),
        ([USER, calling("a"), result("a"), result("a")], "the result of 'a', which is not an open call"),
        ([USER, calling("a"), result("b"), result("a")], "the result of 'b', which is not an open call"),
        ([USER, calling("a", "a"), result("a"), result("a")], "two calls have the same id"),
        ([USER, calling(""), result("")], "a call has the id ''"),
        ([USER, calling("a", arguments='{"half"'), result("a")], "the arguments of a call are not JSON"),
        ([USER, calling("a", arguments={}), result("a")], "the arguments of a call are not JSON"),
        ([USER, calling("a", arguments="[]"), result("a")], "the arguments of a call are not an object"),
        ([USER, calling("a", name="look at"), result("a")], "a call has the name 'look at'"),
        ([USER, calling("a"), result("a", [])], "its content is []"),
        ([{"role": "user"}], "it has neither content nor calls"),
        ([{"role": "user", "content": " \n"}], "its content is blank"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], "a part of its content is"),
        ([{"role": "user", "content": [{"text": "hi"}]}], "a part of its content is"),
        ([{"role": "user", "content": "half \ud83d"}], "not valid JSON in UTF-8"),
        ([{**USER, "weight": math.nan}], "not valid JSON in UTF-8"),
        (["hi"], "messages is not a list of objects"),
    ],
)
def test_what_some_provider_refuses_is_refused(messages: list[Any], said: str):
    assert any(said in flaw for flaw in flaws({"messages": messages})), flaws({"messages": messages})


def test_a_tool_whose_name_no_provider_takes_is_refused():
    tool = {"type": "function", "function": {"name": "look at", "parameters": {}}}
    assert flaws({"messages": [USER], "tools": [tool]}) == ["a tool has the name 'look at'"]
