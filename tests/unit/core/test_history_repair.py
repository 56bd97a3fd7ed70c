"""A history that any provider takes, whatever the conversation went through."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.history_repair import in_order, lacks_results
from playhead.runtime.core.model_input import for_model
from playhead.runtime.models.openai.messages import chat_request

__all__: list[str] = []


def user(*content: ContentBlock | str) -> Message:
    return {"role": "user", "content": [{"text": one} if isinstance(one, str) else one for one in content]}


def assistant(*content: ContentBlock | str) -> Message:
    return {"role": "assistant", "content": [{"text": one} if isinstance(one, str) else one for one in content]}


def use(call: str) -> ContentBlock:
    return {"toolUse": {"toolUseId": call, "name": "look", "input": {}}}


def result(call: str, text: str = "seen") -> ContentBlock:
    return {"toolResult": {"toolUseId": call, "status": "success", "content": [{"text": text}]}}


def picture(call: str) -> ContentBlock:
    image: ContentBlock = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
    return {"toolResult": {"toolUseId": call, "status": "success", "content": [image]}}


def interrupted(call: str) -> ContentBlock:
    return {"toolResult": {"toolUseId": call, "status": "error", "content": [{"text": "Tool was interrupted."}]}}


NO_REPLY = assistant("[no reply]")
ORPHAN = "[The result of a tool call that is not in this conversation:]"


@pytest.mark.parametrize(
    ("history", "sent"),
    [
        ([], []),
        ([user("a"), assistant("b"), user("c")], [user("a"), assistant("b"), user("c")]),
        ([user("a"), assistant("b")], [user("a"), assistant("b")]),
        ([user("one"), user("two")], [user("one", "two")]),
        ([user("one"), assistant("a"), assistant("b")], [user("one"), assistant("a", "b")]),
        ([assistant("Hello!"), user("hi")], [user("[the conversation begins]"), assistant("Hello!"), user("hi")]),
        ([user(""), assistant("b")], [user("[blank text]"), assistant("b")]),
        ([user("a", " "), user()], [user("a")]),
        (
            [user("a"), assistant(use("t")), user(result("t")), user("two")],
            [user("a"), assistant(use("t")), user(result("t")), NO_REPLY, user("two")],
        ),
        (
            [user("a"), assistant(use("t"), use("u")), user("two", result("u")), user(result("t"))],
            [user("a"), assistant(use("t"), use("u")), user(result("t"), result("u")), NO_REPLY, user("two")],
        ),
        (
            [user("a"), assistant(use("t")), user(result("t"), {"cachePoint": {"type": "default"}})],
            [user("a"), assistant(use("t")), user(result("t"), {"cachePoint": {"type": "default"}})],
        ),
        (
            [user("a"), assistant(use("t")), user("two"), assistant("b")],
            [user("a"), assistant(use("t")), user(interrupted("t")), NO_REPLY, user("two"), assistant("b")],
        ),
        (
            [user("a"), assistant(use("t")), assistant("b"), user("c")],
            [user("a"), assistant(use("t")), user(interrupted("t")), assistant("b"), user("c")],
        ),
        ([user("a"), assistant(use("t"))], [user("a"), assistant(use("t")), user(interrupted("t"))]),
        (
            [user("a"), assistant(use("t"), use("t")), user(result("t", "1"), result("t", "2"))],
            [user("a"), assistant(use("t"), use("t")), user(result("t", "1"), result("t", "2"))],
        ),
        ([user(result("t")), assistant("b")], [user(ORPHAN, "seen"), assistant("b")]),
        (
            [user("a"), assistant(use("t")), user(result("t"), result("t", "again"))],
            [user("a"), assistant(use("t")), user(result("t")), NO_REPLY, user(ORPHAN, "again")],
        ),
        (
            [user({"toolResult": {"toolUseId": "t", "status": "success", "content": [{"json": {"a": 1}}]}})],
            [user(ORPHAN, '{"a": 1}')],
        ),
    ],
)
def test_what_strict_providers_refuse_is_put_in_order(history: list[Message], sent: list[Message]) -> None:
    assert in_order(history) == sent
    assert in_order(sent) == sent


BLOCKS = st.sampled_from(
    ["text", "", use("t"), use("u"), result("t"), result("u"), picture("t"), {"cachePoint": {"type": "default"}}]
)
HISTORIES = st.lists(
    st.builds(lambda role, blocks: role(*blocks), st.sampled_from([user, assistant]), st.lists(BLOCKS, max_size=3)),
    max_size=6,
)
AFTER: dict[str | None, set[str]] = {
    None: {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


@settings(deadline=None)
@given(HISTORIES)
def test_any_history_becomes_one_that_a_strict_server_takes(history: list[Message]) -> None:
    request: list[dict[str, Any]] = chat_request(for_model(history))["messages"]
    roles = [None, *(message["role"] for message in request)]
    assert all(role in AFTER[before] for before, role in pairwise(roles) if role), roles
    for number, message in enumerate(request):
        calls = [call["id"] for call in message.get("tool_calls", [])]
        results = [after["tool_call_id"] for after in request[number + 1 :][: len(calls)] if after["role"] == "tool"]
        assert results == calls
    asked = sum(len(message.get("tool_calls", [])) for message in request)
    assert asked == sum(message["role"] == "tool" for message in request)


@settings(deadline=None)
@given(HISTORIES)
def test_every_provider_gets_a_result_for_every_call(history: list[Message]) -> None:
    assert not lacks_results(for_model(history))


def test_a_history_with_every_result_goes_to_other_providers_as_it_is() -> None:
    history = [user("a"), assistant(use("t")), user(result("t")), user("two"), user("three")]
    assert for_model(history) == history
