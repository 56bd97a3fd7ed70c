"""The checker of the fake provider passes what follows from its answers, and finds each thing that was lost or changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import pytest

from chaos.answers import FATAL, Answer, Said, Task, answer_of, differs, joined, result_text
from chaos.check_answers import check_answers, said_in
from chaos.check_request import read_request
from chaos.evidence import Evidence
from chaos.plan import Plan
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    Record,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.core.tool_input import UNREAD
from playhead.runtime.core.tool_results import error_result

__all__: list[str] = []

Log = list[Record]


def tasks(wanted: Callable[[Answer], bool] = lambda answer: True, *, fatal: bool = False) -> Iterator[Task]:
    """Tasks of which some answer is wanted, and which complete, or do not."""
    for number in count():
        task = Task(f"t-{number}", 1)
        answers = [answer_of(task, turn) for turn in range(task.rounds + 1)]
        if any(answer.fatal for answer in answers) == fatal and any(map(wanted, answers)):
            yield task


def first(wanted: Callable[[Answer], bool], *, fatal: bool = False) -> Task:
    return next(tasks(wanted, fatal=fatal))


CALLING = first(lambda answer: len(answer.calls) > 1 and not answer.is_torn and bool(answer.thoughts))
TORN = first(lambda answer: answer.is_torn)


def message(answer: Answer) -> Message:
    """The answer as the log holds it."""
    content: list[dict[str, Any]] = []
    if answer.thoughts:
        content.append({"reasoningContent": {"reasoningText": {"text": answer.reasoning}}})
    if answer.texts:
        content.append({"text": answer.text})
    for number, call in enumerate(answer.calls):
        content.append({"toolUse": {"toolUseId": f"c{number}", "name": call.name, "input": call.input}})
    if not answer.is_torn:
        return {"role": "assistant", "content": content}
    content[-1]["toolUse"]["input"] = {}
    return {"role": "assistant", "content": content, "metadata": {UNREAD: {str(len(answer.calls) - 1): '{"lin'}}}


def tools(answer: Answer, turn: int) -> Iterator[Record]:
    for number, call in enumerate(answer.calls):
        use: ToolUse = {"toolUseId": f"c{number}", "name": call.name, "input": call.input}
        result: Any = error_result(f"c{number}", "Error: was not run")
        if not (answer.is_torn and number == len(answer.calls) - 1):
            yield ToolStarted(at=0, index=number, tool_use=use, effect_key=f"r/c{number}~{turn}")
            text = joined(result_text(call.name, call.input))
            result = {"toolUseId": f"c{number}", "status": "success", "content": [{"text": text}]}
        yield ToolFinished(at=0, index=number, name=call.name, result=result, duration_ms=0)


def log(task: Task) -> Log:
    """A run that completes, or fails as its provider does."""
    made: Log = [RunSubmitted(at=0, agent="provided", prompt=joined(task.prompt))]
    for turn in range(task.rounds + 1):
        answer = answer_of(task, turn)
        if answer.fatal and answer.fatal != "token limit":
            return [*made, failed(FATAL[answer.fatal], f"it said: {answer.words}")]
        stop = "max_tokens" if answer.fatal else "tool_use" if answer.calls else "end_turn"
        made.append(MessageAdded(at=0, origin="model", message=message(answer), stop_reason=stop))
        if answer.fatal:
            return [*made, failed(FATAL[answer.fatal], "the limit")]
        made += tools(answer, turn)
    return [*made, RunCompleted(at=0, result={})]


def failed(error_type: str, text: str) -> Record:
    return RunFailed(at=0, error_type=error_type, message=text)


def found(task: Task, records: Log) -> set[str]:
    entries = [Entry(number, 1, record) for number, record in enumerate(records, 1)]
    plan = Plan(run="r", scenario="provider", agent="provided", words=0, pause_ms=0)
    return {violation.kind for violation in check_answers(Evidence(plan=plan, entries=entries), task)}


@pytest.mark.parametrize("fatal", [False, True])
def test_what_follows_from_the_answers_passes(fatal: bool):
    for task in islice(tasks(fatal=fatal), 60):
        assert found(task, log(task)) == set(), task


def place(records: Log, kind: type[Record]) -> int:
    return next(number for number, record in enumerate(records) if isinstance(record, kind))


def changed(kind: type[Record], change: Callable[[Any], Any]) -> Callable[[Log], Log]:
    def make(records: Log) -> Log:
        at = place(records, kind)
        return [*records[:at], change(records[at]), *records[at + 1 :]]

    return make


def of_message(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Log], Log]:
    """The first message with other content."""

    def make(record: MessageAdded) -> MessageAdded:
        content = change(json.loads(json.dumps(record.message.get("content"))))
        return record.model_copy(update={"message": {**record.message, "content": content}})

    return changed(MessageAdded, make)


def with_input(given: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The content with another input of the last call."""

    def make(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
        content[-1]["toolUse"]["input"] = given
        return content

    return make


def started_with(given: Any) -> Callable[[Any], Any]:
    return lambda record: record.model_copy(update={"tool_use": {**record.tool_use, "input": given}})


def resulting(**fields: Any) -> Callable[[Any], Any]:
    return lambda record: record.model_copy(update={"result": {**record.result, **fields}})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("answer", changed(RunSubmitted, lambda record: record.model_copy(update={"prompt": "another"}))),
        ("answer", of_message(lambda content: content[1:])),
        ("answer", of_message(lambda content: content[:-1])),
        ("answer", of_message(lambda content: [*content[:-2], content[-1], content[-2]])),
        ("answer", of_message(lambda content: [*content, {"text": "more"}])),
        ("answer", of_message(with_input({}))),
        ("input", changed(ToolStarted, started_with({}))),
        ("result", changed(ToolFinished, resulting(content=[{"text": "another"}]))),
        ("result", changed(ToolFinished, resulting(status="error"))),
        ("end", changed(RunCompleted, lambda _: failed("ModelResponseError", "it broke"))),
        ("end", lambda records: [*records[: place(records, ToolFinished) + 2], records[-1]]),
    ],
)
def test_what_was_lost_or_changed_is_found(kind: str, change: Callable[[Log], Log]):
    assert kind in found(CALLING, change(log(CALLING)))


def test_a_tool_that_ran_although_its_input_could_not_be_read_is_found():
    records = log(TORN)
    at = next(n for n, one in enumerate(records) if isinstance(one, ToolFinished) and one.result["status"] == "error")
    finish = records[at]
    assert isinstance(finish, ToolFinished)
    use: ToolUse = {"toolUseId": finish.result["toolUseId"], "name": finish.name, "input": {}}
    start = ToolStarted(at=0, index=finish.index, tool_use=use, effect_key="r/c9")
    assert found(TORN, [*records[:at], start, *records[at:]]) == {"input"}


@pytest.mark.parametrize("kind", sorted(FATAL))
def test_a_run_must_fail_with_the_error_and_the_words_of_its_provider(kind: str):
    task = first(lambda answer: answer.fatal == kind, fatal=True)
    records = next(log(one) for one in tasks(lambda answer: answer.fatal == kind, fatal=True))
    assert found(task, records) == set()
    assert found(task, [*records[:-1], failed("CrashLimitExceeded", "killed")]) == {"end"}
    if kind not in ("away for good", "token limit"):
        assert found(task, [*records[:-1], failed(FATAL[kind], "")]) == {"end"}


def test_uncertain_calls_may_be_refused_and_neither_be_changed_nor_be_lost():
    task = first(lambda answer: not answer.is_certain and len(answer.calls) > 1)
    answer = next(one for turn in count() if not (one := answer_of(task, turn)).is_certain and len(one.calls) > 1)
    whole = said_in(message(answer))
    assert differs(whole, answer) == ""
    assert differs(whole._replace(calls=[whole.calls[0], (whole.calls[1][0], None), *whole.calls[2:]]), answer) == ""
    assert differs(whole._replace(calls=[(whole.calls[0][0], {}), *whole.calls[1:]]), answer) != ""
    assert differs(whole._replace(calls=whole.calls[1:]), answer) != ""
    assert differs(Said(whole.text, "", whole.calls) if answer.thoughts else whole._replace(text=""), answer) != ""


def asked(task: Task, turns: int) -> list[dict[str, Any]]:
    """The history before answer number `turns` of a task, as the provider gets it back."""
    made: list[dict[str, Any]] = [{"role": "user", "content": joined(task.prompt)}]
    for turn in range(turns):
        answer = answer_of(task, turn)
        calls: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for number, (name, given, signature) in enumerate(answer.calls):
            is_torn = answer.is_torn and number == len(answer.calls) - 1
            function = {"name": name, "arguments": "{}" if is_torn else json.dumps(given)}
            signed = {"google": {"thought_signature": signature}}
            calls.append({"id": f"c{number}", "type": "function", "function": function, "extra_content": signed})
            text = "Error: it was not run" if is_torn else joined(result_text(name, given))
            results.append({"role": "tool", "tool_call_id": f"c{number}", "content": text})
        said: dict[str, Any] = {"role": "assistant", "tool_calls": calls}
        said |= {"reasoning_content": answer.reasoning} if answer.thoughts else {}
        if answer.thoughts and answer.habits.reasoning == "details" and not answer.is_body:
            said["reasoning_details"] = [{"type": "reasoning.text", "text": answer.reasoning}]
        made += [said | ({"content": answer.text} if answer.texts else {}), *results]
    return made


def test_a_history_of_what_was_said_passes_and_tells_the_turn():
    for task in islice(tasks(), 60):
        for turn in range(task.rounds + 1):
            assert read_request({"messages": asked(task, turn)}) == (task, turn, []), task


def test_a_prompt_after_a_failed_run_is_the_next_task():
    messages = [*asked(CALLING, 1), {"role": "assistant", "content": "[no reply]"}, *asked(TORN, 0)]
    assert read_request({"messages": messages}) == (TORN, 0, [])
    text = joined(f"{CALLING.prompt}\n{TORN.prompt}")
    assert read_request({"messages": [{"role": "user", "content": text}]}) == (TORN, 0, [])


def in_answer(**fields: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda messages: [messages[0], {**messages[1], **fields}, *messages[2:]]


def with_call(**fields: Any) -> Callable[[list[dict[str, Any]]], Any]:
    def change(messages: list[dict[str, Any]]) -> Any:
        first_call, *calls = messages[1]["tool_calls"]
        return in_answer(tool_calls=[{**first_call, **fields}, *calls])(messages)

    return change


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("'user' follows 'assistant with calls'", lambda messages: [*messages[:2], messages[0]]),
        ("there is no task", lambda messages: [{"role": "user", "content": "hi"}]),
        ("a changed prompt", lambda messages: [{"role": "user", "content": messages[0]["content"][:-1]}]),
        ("the text is", in_answer(content="other")),
        ("the reasoning is", in_answer(reasoning_content="other")),
        ("the calls are", with_call(function={"name": "look", "arguments": "{}"})),
        ("the signatures are", with_call(extra_content={})),
        ("the result of a call is", lambda messages: [*messages[:2], {**messages[2], "content": "x"}, *messages[3:]]),
    ],
)
def test_a_history_that_is_not_what_was_said_is_found(said: str, change: Callable[[list[dict[str, Any]]], Any]):
    answers = ((task, answer_of(task, 0)) for task in tasks())
    task = next(task for task, one in answers if len(one.calls) > 1 and one.thoughts and one.is_certain)
    messages = asked(task, 1)
    assert read_request({"messages": messages}).flaws == []
    flaws = read_request({"messages": change(messages)}).flaws
    assert any(said in flaw for flaw in flaws), flaws
