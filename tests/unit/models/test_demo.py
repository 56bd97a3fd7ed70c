"""DemoModel: offline, honest about it, and able to use a calculator."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.runtime.core.converse import ContentBlock, Message, Messages, ToolSpec
from playhead.runtime.core.message_assembler import MessageAssembler
from playhead.runtime.models import DemoModel
from playhead.runtime.models.demo.arithmetic import find_expressions
from playhead.runtime.models.model import Model

pytestmark = pytest.mark.anyio

CALCULATOR: ToolSpec = {"name": "calculator", "description": "Calculates", "inputSchema": {"json": {}}}
OTHER: ToolSpec = {"name": "weather", "description": "Weather", "inputSchema": {"json": {}}}
WHO = "offline demo model"


def user(*content: ContentBlock) -> Message:
    return {"role": "user", "content": list(content)}


def result(tool_use_id: str, text: str, status: str = "success") -> ContentBlock:
    return {"toolResult": {"toolUseId": tool_use_id, "status": status, "content": [{"text": text}]}}


async def ask(messages: Messages, *specs: ToolSpec) -> MessageAssembler:
    assembler = MessageAssembler()
    async for chunk in DemoModel(delay=0).stream(messages, list(specs)):
        assembler.feed(chunk)
    return assembler


def content(assembler: MessageAssembler) -> list[ContentBlock]:
    return assembler.message().get("content", [])


def calls(assembler: MessageAssembler) -> list[ContentBlock]:
    return [block["toolUse"] for block in content(assembler) if "toolUse" in block]


def assistant(assembler: MessageAssembler) -> Message:
    return {"role": "assistant", "content": content(assembler)}


def test_it_is_a_model() -> None:
    assert isinstance(DemoModel(), Model)


async def test_arithmetic_goes_through_the_calculator_and_its_result_is_told() -> None:
    history = [user({"text": "What is 17 * 23?"})]
    first = await ask(history, OTHER, CALCULATOR)
    (call,) = calls(first)
    assert (call["name"], call["input"], first.stop_reason) == ("calculator", {"expression": "17 * 23"}, "tool_use")
    history += [assistant(first), user(result(call["toolUseId"], "391"))]
    second = await ask(history, CALCULATOR)
    assert second.stop_reason == "end_turn"
    assert second.text.startswith("17 * 23 = 391.")
    assert WHO in second.text


async def test_several_expressions_are_several_calls_in_one_message() -> None:
    history = [user({"text": "What is 1 + 2, and what is 3 times 4?"})]
    first = await ask(history, CALCULATOR)
    assert [call["input"]["expression"] for call in calls(first)] == ["1 + 2", "3 * 4"]
    results = [result(call["toolUseId"], text) for call, text in zip(calls(first), ("3", "12"), strict=True)]
    second = await ask([*history, assistant(first), user(*results)], CALCULATOR)
    assert second.text.startswith("1 + 2 = 3. 3 * 4 = 12.")


@pytest.mark.parametrize("said", ["391", "391.", "Result: 391", "17 * 23 = 391"])
async def test_results_are_told_alike_however_the_tool_puts_them(said: str) -> None:
    history = [user({"text": "17 * 23"})]
    first = await ask(history, CALCULATOR)
    history += [assistant(first), user(result(calls(first)[0]["toolUseId"], said))]
    assert (await ask(history, CALCULATOR)).text.startswith("17 * 23 = 391. (")


async def test_a_failed_calculation_is_told_as_failed() -> None:
    history = [user({"text": "1 / 0"})]
    first = await ask(history, CALCULATOR)
    history += [assistant(first), user(result(calls(first)[0]["toolUseId"], "division by zero", "error"))]
    said = (await ask(history, CALCULATOR)).text
    assert said.startswith("The calculator could not work out 1 / 0: division by zero. (")


async def test_without_a_calculator_it_says_that_it_has_none() -> None:
    said = await ask([user({"text": "What is 2 + 2?"})], OTHER)
    assert not calls(said)
    assert "no calculator" in said.text
    assert WHO in said.text


async def test_without_arithmetic_it_explains_itself() -> None:
    said = await ask([user({"text": "Write a poem"})], CALCULATOR)
    assert WHO in said.text
    assert "17 * 23" in said.text
    assert said.stop_reason == "end_turn"


@pytest.mark.parametrize("messages", [[], [user()], [user({"image": {}})]])
async def test_it_answers_any_history(messages: Messages) -> None:
    assert WHO in (await ask(messages, CALCULATOR)).text


async def test_the_same_history_gives_the_same_ids_and_another_history_others() -> None:
    first = [user({"text": "1 + 1"})]
    asked = await ask(first, CALCULATOR)
    again = await ask(first, CALCULATOR)
    assert calls(asked) == calls(again)
    longer = [*first, assistant(asked), user(result(calls(asked)[0]["toolUseId"], "2")), user({"text": "1 + 1"})]
    cut_to_one = [user({"text": "2 + 2"})]
    ids = [calls(await ask(history, CALCULATOR))[0]["toolUseId"] for history in (first, longer, cut_to_one)]
    assert len(set(ids)) == 3


async def test_usage_counts_words() -> None:
    said = await ask([user({"text": "one two three"})])
    assert said.usage["inputTokens"] == 3
    assert said.usage["outputTokens"] == len(said.text.split())
    assert said.usage["totalTokens"] == 3 + len(said.text.split())


async def test_it_speaks_in_paced_pieces_smaller_than_words() -> None:
    started = time.monotonic()
    pieces = [
        chunk["contentBlockDelta"]["delta"]["text"]
        async for chunk in DemoModel(delay=0.001).stream([user({"text": "hi"})])
        if "contentBlockDelta" in chunk
    ]
    assert time.monotonic() - started >= 0.001 * len(pieces)
    assert len(pieces) > len("".join(pieces).split())


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("What is 17 * 23?", ["17 * 23"]),
        ("Calculate 2+2", ["2+2"]),
        ("17 times 23, please", ["17 * 23"]),
        ("17x23", ["17 * 23"]),
        ("12 \u00f7 4 and 3 \u00d7 5", ["12 / 4", "3 * 5"]),
        ("ten is 20 divided by 2", ["20 / 2"]),
        ("3 plus 4 minus 5", ["3 + 4 - 5"]),
        ("2 to the power of 10", ["2 ** 10"]),
        ("2^10", ["2 ** 10"]),
        ("5 squared", ["5 ** 2"]),
        ("15% of 80", ["15 / 100 * 80"]),
        ("(1 + 2) * 3.5", ["(1 + 2) * 3.5"]),
        ("compute ((1 + 2) * 3", ["(1 + 2) * 3"]),
        ("(see 1 + 2)", ["1 + 2"]),
        ("-4 * -2", ["-4 * -2"]),
        ("1,000,000 / 4", ["1000000 / 4"]),
        ("007 * 1.050 + 0.5", ["7 * 1.050 + 0.5"]),
        ("1) + (2", []),
        ("2 + 2 and again 2 + 2", ["2 + 2"]),
        ("on 2024-01-15 or 1/2/2024", []),
        ("call me in 5 minutes", []),
        ("version 1.2.3 of gpt-5", []),
        ("", []),
    ],
)
def test_arithmetic_is_found_in_signs_and_in_words(text: str, expressions: list[str]) -> None:
    assert find_expressions(text) == expressions


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-*/().,% x^", max_size=200))
def test_whatever_is_found_is_arithmetic_that_parses(text: str) -> None:
    for expression in find_expressions(text):
        compile(expression, "expression", "eval")
