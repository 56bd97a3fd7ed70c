"""A reduction of a history as a value: what it leaves, in a run and in a session, and which messages a manager chooses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime import (
    Agent,
    NullConversationManager,
    SlidingWindowConversationManager,
    SummarizingConversationManager,
)
from playhead.runtime.agent.conversation import recorded_manager
from playhead.runtime.core.codec import pack
from playhead.runtime.core.context import Reduction, in_context, is_marker, is_marker_data, marker, ranges_of, reduced
from playhead.runtime.core.converse import Message
from playhead.runtime.core.faults import is_overflow
from playhead.runtime.core.result_cuts import with_short_results
from playhead.runtime.core.token_estimate import estimated_tokens

__all__: list[str] = []


def user(text: str, *, pinned: bool = False) -> Message:
    made: Message = {"role": "user", "content": [{"text": text}]}
    return {**made, "metadata": {"custom": {"pinned": True}}} if pinned else made


def said(text: str) -> Message:
    return {"role": "assistant", "content": [{"text": text}]}


def call(use: str) -> Message:
    return {"role": "assistant", "content": [{"toolUse": {"toolUseId": use, "name": "n", "input": {}}}]}


def result(use: str, *content: dict[str, Any]) -> Message:
    done = {"toolUseId": use, "status": "success", "content": list(content) or [{"text": "ok"}]}
    return {"role": "user", "content": [{"toolResult": done}]}


TALK = [user("1"), said("a"), user("2"), call("t"), result("t"), said("b"), user("3")]


def texts(messages: Any) -> list[str]:
    return [next(iter(one["content"][0].values())) if one["content"] else "" for one in messages]


def test_messages_are_left_out_and_a_summary_stands_before_those_kept() -> None:
    left = reduced(TALK, Reduction(removed=((-7, -6), (-2, -2)), summary=user("sum"), kept=5))
    assert list(left) == [user("sum"), TALK[2], TALK[3], TALK[4], TALK[6]]
    assert reduced(TALK, Reduction(removed=((-7, -1),), summary=user("sum"))) == (user("sum"),)


@given(st.sets(st.integers(0, 9)), st.integers(0, 10))
def test_a_reduction_means_the_same_for_a_reader_without_the_first_messages(places: set[int], missing: int) -> None:
    messages = [user(str(number)) for number in range(10)]
    reduction = Reduction(removed=ranges_of(places, 10))
    whole = [one for place, one in enumerate(messages) if place not in places]
    assert list(reduced(messages, reduction)) == whole
    assert list(reduced(messages[missing:], reduction)) == [one for one in whole if one in messages[missing:]]


def test_a_session_keeps_all_messages_and_its_markers_say_what_a_model_gets() -> None:
    first, second = Reduction(removed=((-4, -3),)), Reduction(removed=((-5, -4),), summary=user("sum"), kept=3)
    session = [*TALK[:5], marker(first), *TALK[5:], marker(second), said("c")]
    assert [is_marker(one) for one in session].count(True) == 2
    assert [is_marker_data(pack(dict(one))) for one in session] == [is_marker(one) for one in session]
    assert [one for one in session if not is_marker(one)] == [*TALK, said("c")]
    assert in_context(session) == [user("sum"), TALK[4], TALK[5], TALK[6], said("c")]
    assert in_context(session[3:])[-4:] == in_context(session)[-4:], "also after its oldest messages were cut"


def test_a_marker_is_a_message_of_the_users_for_a_version_that_does_not_know_it() -> None:
    made = marker(Reduction(removed=((-2, -1),)))
    assert made.get("role") == "user"
    assert made.get("content") == [{"text": "[Earlier messages of this conversation are left out here.]"}]


def test_long_results_are_shortened_as_strands_does_once() -> None:
    long, image = "a" * 300 + "b" * 300, {"image": {"format": "png", "source": {"bytes": b"123"}}}
    short = with_short_results(result("t", {"text": long}, image, {"json": {"a": 1}}, {"text": "x" * 400}))
    content = short["content"][0]["toolResult"]["content"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    cut = f"{'a' * 200}...\n\n... [truncated: 200 chars removed] ...\n\n...{'b' * 200}"
    assert content == [{"text": cut}, {"text": "[image: png, 3 bytes]"}, {"json": {"a": 1}}, {"text": "x" * 400}]
    assert with_short_results(short) is short


WINDOW = SlidingWindowConversationManager(window_size=4)


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        (TALK, [user("3")]),
        (
            [user("1"), said("a"), *TALK[1:2], *TALK[3:6], said("c")],
            [*TALK[3:6], said("c")],
        ),  # no user's message: a pair
        ([*TALK, said("c"), user("4"), said("d")], [user("3"), said("c"), user("4"), said("d")]),
        ([user("0", pinned=True), *TALK[:6]], [user("0", pinned=True), *TALK[2:6]]),
        (TALK[:4], TALK[:4]),
        ([said(str(number)) for number in range(9)], [said(str(number)) for number in range(9)]),  # nowhere to begin
    ],
)
def test_the_window_keeps_the_newest_messages_and_tears_no_call_from_its_result(
    messages: list[Message], left: list[Message]
) -> None:
    reduction = WINDOW.at_end(messages)
    assert (messages if reduction is None else list(reduced(messages, reduction))) == left


def test_an_overflow_shortens_results_first_and_then_leaves_messages_out_until_it_cannot() -> None:
    long = result("t", {"text": "x" * 1000})
    messages = [user("1"), call("t"), long, said("b"), user("2"), said("c"), user("3")]
    manager, steps = SlidingWindowConversationManager(), list[Reduction]()
    while (step := manager.after_overflow(messages)) is not None:
        steps.append(step)
        messages = list(reduced(messages, step))
    assert [step.cut for step in steps] == [-5, None, None]
    assert texts(messages) == ["3"]
    keeps = SlidingWindowConversationManager(should_truncate_results=False)
    assert keeps.after_overflow([user("1"), call("t"), long, user("2")]) == Reduction(removed=((-4, -2),))


def test_the_first_messages_can_be_pinned_with_the_result_of_a_pinned_call() -> None:
    manager = SlidingWindowConversationManager(window_size=2, pin_first=2)
    messages = [user("1"), call("t"), result("t"), said("a"), user("2"), said("b")]
    reduction = manager.at_end(messages)
    assert reduction is not None
    left = reduced(messages, reduction)
    assert [one.get("content") for one in left] == [one.get("content") for one in [*messages[:3], *messages[4:]]]
    assert all((one.get("metadata") or {}).get("custom") == {"pinned": True} for one in left[:2])


def test_before_a_call_the_window_counts_only_if_it_is_asked_to() -> None:
    calls = range(1, 7)
    for per_turn, due in ((False, []), (True, list(calls)), (3, [3, 6])):
        manager = SlidingWindowConversationManager(window_size=4, per_turn=per_turn)
        assert [number for number in calls if manager.before_call(TALK, call=number)] == due


def test_a_summary_covers_the_oldest_share_and_whole_pairs_of_calls_and_results() -> None:
    manager = SummarizingConversationManager(summary_ratio=0.5, preserve_recent_messages=2)
    plan = manager.after_overflow(TALK)
    assert plan is not None
    assert list(plan.messages) == TALK[:3]
    assert plan.reduction == Reduction(removed=((-7, -5),), kept=4)
    wide = SummarizingConversationManager(summary_ratio=0.6, preserve_recent_messages=2).after_overflow(TALK)
    assert wide is not None
    assert list(wide.messages) == TALK[:5], "a result is not left without its call"
    assert SummarizingConversationManager().after_overflow(TALK) is None, "ten messages are kept"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SlidingWindowConversationManager(window_size=-1), "window_size must be at least 0, not -1"),
        (lambda: SlidingWindowConversationManager(per_turn=0), "per_turn must be at least 1, not 0"),
        (lambda: SlidingWindowConversationManager(pin_first=-1), "pin_first must be at least 0, not -1"),
        (lambda: SummarizingConversationManager(preserve_recent_messages=-1), "preserve_recent_messages must be .* -1"),
        (lambda: SlidingWindowConversationManager(context_window_limit=0), "context_window_limit must be .* not 0"),
        (
            lambda: SummarizingConversationManager(proactive_compression={"compression_threshold": 1.5}),
            "compression_threshold must be above 0 and at most 1, not 1.5",
        ),
        (lambda: SummarizingConversationManager(summary_ratio=float("nan")), "summary_ratio must be .* not nan"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_with_the_value(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


class SlidingWindow:
    """An object with the arguments of Strands' own class."""

    def __init__(self, **given: Any) -> None:
        self.window_size, self.should_truncate_results, self.per_turn, self.pin_first = 7, False, 2, None
        self._compression_threshold = given.get("threshold")

    def apply_management(self, agent: Any) -> None: ...


def test_an_agent_takes_the_managers_and_strands_own_objects_by_their_arguments() -> None:
    assert Agent().conversation_manager == SlidingWindowConversationManager(window_size=40)
    assert Agent(conversation_manager=NullConversationManager()).conversation_manager == NullConversationManager()
    SlidingWindow.__name__ = "SlidingWindowConversationManager"
    taken = Agent(conversation_manager=SlidingWindow()).conversation_manager
    assert taken == SlidingWindowConversationManager(window_size=7, should_truncate_results=False, per_turn=2)
    proactive = Agent(conversation_manager=SlidingWindow(threshold=0.8)).conversation_manager
    assert isinstance(proactive, SlidingWindowConversationManager)
    assert proactive.proactive_compression == {"compression_threshold": 0.8}
    with pytest.raises(TypeError, match=r"conversation_manager must be one of SlidingWindow.*, not 40"):
        Agent(conversation_manager=40)


@pytest.mark.parametrize(
    "manager",
    [
        SlidingWindowConversationManager(window_size=5, per_turn=2, pin_first=1),
        SummarizingConversationManager(summary_ratio=0.5, summarization_system_prompt="Sum up."),
        NullConversationManager(),
    ],
)
def test_a_definition_tells_the_manager(manager: Any) -> None:
    definition = Agent(conversation_manager=manager).definition
    assert recorded_manager(definition.conversation_manager) == manager
    assert recorded_manager({}) == NullConversationManager(), "version 0.1 reduced no history"


def test_tokens_are_those_of_the_last_answer_and_an_estimate_of_what_came_after() -> None:
    usage = {"inputTokens": 90, "outputTokens": 10, "totalTokens": 100, "cacheReadInputTokens": 5}
    answered: Message = {**said("x" * 400), "metadata": {"usage": usage}}
    assert estimated_tokens([user("y" * 400), answered]) == 105
    assert estimated_tokens([answered, user("z" * 9)]) == 108
    assert (
        estimated_tokens([user("12345"), call("t"), result("t", {"json": {"a": 1}}, {"text": "1234"})]) == 2 + 2 + 4 + 1
    )


class BadRequestError(Exception):
    def __init__(self, message: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status
        self.code = code


@pytest.mark.parametrize(
    ("error", "overflow"),
    [
        (BadRequestError("no", code="context_length_exceeded"), True),
        (BadRequestError("This model's maximum context length is 4096 tokens"), True),
        (BadRequestError("prompt is too long: 210000 tokens > 200000 maximum"), True),
        (BadRequestError("maximum context length", status=500), False),
        (BadRequestError("no such model"), False),
        (ValueError("maximum context length"), False),
    ],
)
def test_an_overflow_is_known_by_its_code_its_class_or_its_words(error: Exception, overflow: bool) -> None:
    assert is_overflow(error) == overflow
