"""What `ask` and `tail` print of a run: to a terminal as it comes, to a pipe what stays."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from playhead.client.cli.run_view import RunView
from playhead.runtime.core.guest_words import FRAMEWORK_STEP
from playhead.runtime.core.records import (
    CALL_FAILED,
    Entry,
    EventEmitted,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    StepFinished,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)
from playhead.runtime.models import text_call
from tests.support.eventful import Eventful, eventful

__all__: list[str] = []


def shown(entries: Sequence[Entry], capsys: pytest.CaptureFixture[str], *, after: int = 0) -> tuple[str, list[str]]:
    """What is printed on standard output, and the lines on standard error."""
    view = RunView("r", after=after)
    for entry in entries:
        view.feed(entry)
    out, err = capsys.readouterr()
    return out, err.removesuffix("\n").split("\n")


def test_a_pipe_gets_the_finished_messages_and_nothing_that_was_withdrawn(capsys: pytest.CaptureFixture[str]):
    out, _ = shown(eventful(), capsys)
    assert out == "Let me look.\nIt rains in Paris.\n"


def test_a_terminal_gets_the_text_as_it_streams(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out, err = shown(eventful(), capsys)
    assert out == " word 0 word 1 word 2 word 3 word 4\nLet me look.\nIt rains in Paris.\n"
    assert "[withdrawn: word 0 word 1 word 2 word 3 word 4]" in err


def test_a_call_that_broke_off_before_a_text_is_not_said_to_be_withdrawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = Eventful()
    run.opening("How is Paris?")
    run.add(ModelStarted(at=0))
    run.chunks([{"messageStart": {"role": "assistant"}}])
    run.add(RunClaimed(at=0, worker="w2"), ModelRetried(at=0, reason="its worker stopped half-way", supersedes=(5, 6)))
    _, err = shown(run.entries, capsys)
    assert [line for line in err if "withdrawn" in line] == []
    assert "[asking the model again: its worker stopped half-way]" in err


def test_the_result_of_a_guest_that_its_model_did_not_say_has_lines_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = Eventful()
    run.opening("How is Paris?")
    for number in (1, 2):
        run.add(ModelStarted(at=0, lane=f"/model:{number}"), ModelChunk(at=0, chunk={"item": f"answer {number}"}))
        run.add(StepFinished(at=0, key=f"/model:{number}"))
    result: Any = {"role": "assistant", "content": [{"text": "the result"}]}
    run.add(MessageAdded(at=0, message=result, origin="model", stop_reason="end_turn"))
    out, err = shown(run.entries, capsys)
    assert [line for line in (*out.split("\n"), *err) if line in ("answer 1", "answer 2", "the result")] == [
        *("answer 1", "answer 2", "the result"),
    ]


@pytest.mark.parametrize(
    ("framework", "own"),
    [(False, ['· {"status": "waits"}', '· {"custom": {"percent": 50}}']), (True, ['· {"percent": 50}'])],
)
def test_what_the_users_code_tells_itself_has_lines_of_its_own_but_not_what_a_framework_tells(
    capsys: pytest.CaptureFixture[str], framework: bool, own: list[str]
):
    run = Eventful()
    run.opening("How is Paris?")
    if framework:
        run.add(StepFinished(at=0, key=FRAMEWORK_STEP, value="langgraph 1.0"))
    for event in ({"status": "waits"}, {"custom": {"percent": 50}}):
        run.add(EventEmitted(at=0, event=event))
    _, err = shown(run.entries, capsys)
    assert [line for line in err if line.startswith("·")] == own


def test_a_pipe_gets_each_answer_of_a_guest_when_it_is_complete_and_its_result_once(
    capsys: pytest.CaptureFixture[str],
):
    run = Eventful()
    run.opening("How is Paris?")

    def says(number: int, text: str, *pieces: str, error: dict[str, Any] | None = None) -> None:
        run.add(ModelStarted(at=0, lane=f"/model:{number}"))
        run.add(*(ModelChunk(at=0, chunk={"item": piece}) for piece in (text, *pieces)))
        run.add(StepFinished(at=0, key=f"/model:{number}", error=error))

    says(1, "Let me ", "look.")
    look: Any = {"toolUseId": "t", "name": "look", "input": {}}
    run.add(ToolStarted(at=0, index=0, tool_use=look, effect_key="r/t", lane="/t"))
    result: Any = {"toolUseId": "t", "status": "success", "content": []}
    run.add(ToolFinished(at=0, index=0, name="look", result=result, duration_ms=1, lane="/t"))
    says(2, "It ra", error={"type": "ConnectionError", "module": "builtins", "message": "gone"})
    says(3, "It rains.")
    run.add(EventEmitted(at=0, event={"status": "it knows"}))
    message: Any = {"role": "assistant", "content": [{"text": "It rains."}]}
    run.add(MessageAdded(at=0, message=message, origin="model", stop_reason="end_turn"))
    out, _ = shown(run.entries, capsys)
    assert out == "Let me look.\nIt rains.\n"
    out, _ = shown(run.entries, capsys, after=5)
    assert out == "Let me look.\nIt rains.\n", "also to a reader that begins in the middle of an answer"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_result_of_a_graph_is_printed_whole_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    run = Eventful()
    run.opening("How is Paris?")
    run.add(EventEmitted(at=0, event={"type": "multiagent_node_start", "node_id": "writer"}, lane="node writer"))
    said: Any = {"role": "assistant", "content": [{"text": "writer: It rains."}]}
    run.add(RunCompleted(at=0, result={"stop_reason": "end_turn", "message": said}))
    out, _ = shown(run.entries, capsys)
    assert out == "writer: It rains.\n"


def test_what_a_node_of_a_graph_says_is_on_the_line_of_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("playhead.client.cli.run_view.QUIET_S", 0.0)
    run = Eventful()
    run.opening("How is Paris?")
    stream = {"type": "multiagent_node_stream", "node_id": "writer"}
    for word in ("It rains ", "in Paris, ", "and it will rain."):
        run.add(EventEmitted(at=0, event={**stream, "event": {"data": word}}, lane="node writer"))
    view = RunView("r")
    for entry in run.entries:
        view.feed(entry)
        view.tick()
    lines = re.findall(r"writer: [^\x1b\r\n]*", capsys.readouterr().err)
    assert lines[-2:] == ["writer: It rains in Paris,", "writer: s in Paris, and it will rain."]


def test_a_pipe_gets_the_whole_message_that_a_cursor_lies_in(capsys: pytest.CaptureFixture[str]):
    entries = eventful()
    last = max(one.seq for one in entries if one.record.type == "model.chunk")
    out, _ = shown(entries, capsys, after=last - 1)
    assert out == "It rains in Paris.\n"


def test_a_pipe_gets_nothing_of_a_message_that_was_not_finished(capsys: pytest.CaptureFixture[str]):
    run = Eventful()
    run.opening("How is Paris?")
    run.add(ModelStarted(at=0))
    run.chunks(text_call("half an answer")[:4])
    run.add(RunFailed(at=0, error_type="ConnectionError", message="reset"))
    out, err = shown(run.entries, capsys)
    assert out == ""
    assert err[-1].endswith("ConnectionError: reset")


def test_a_call_that_is_made_again_is_told_once_and_the_last_failure_says_how_many_there_were(
    capsys: pytest.CaptureFixture[str],
):
    run = Eventful()
    run.opening("How is Paris?")
    for attempt in (1, 2):
        run.add(ModelStarted(at=0, attempt=attempt))
        seq = len(run.entries)
        failed = ModelFailed(at=0, error_type="ConnectionError", message="reset", delay=0.4, attempt=attempt)
        run.add(ModelRetried(at=0, supersedes=(seq, seq), reason=CALL_FAILED), failed)
    run.add(ModelStarted(at=0, attempt=3), RunFailed(at=0, error_type="ConnectionError", message="reset"))
    _, err = shown(run.entries, capsys)
    assert err[-3:-1] == [
        f"[model call {attempt} failed: ConnectionError: reset; it is made again in 0.4 s]" for attempt in (1, 2)
    ]
    assert err[-1].endswith("ConnectionError: reset (call 3 of the model for this message)")


def test_the_values_that_one_tool_yields_are_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run = Eventful()
    run.opening("How is Paris?")
    uses = [run.call(index, name) for index, name in enumerate(("weather", "traffic"))]
    run.add(*(ToolStarted(at=0, index=index, tool_use=use, effect_key="k") for index, use in enumerate(uses)))
    run.add(*(ToolProgressed(at=0, index=0, tool_use=uses[0], data=number) for number in range(3)))
    run.add(ToolProgressed(at=0, index=1, tool_use=uses[1], data="jam"))
    result: Any = {"toolUseId": "t0", "status": "success", "content": [{"text": "rain"}]}
    run.add(ToolFinished(at=0, index=0, name="weather", result=result))
    _, err = shown(run.entries, capsys)
    assert err[-3:] == ["… weather: 0 · 1 · 2", "… traffic: jam", "✓ weather: rain (0 ms)"]

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")  # a terminal shows each value in the place of the one before
    _, err = shown(run.entries, capsys)
    assert [line.count("\r") for line in err if "weather: 2" in line] == [3]


def test_the_time_of_a_fork_is_without_the_time_before_it_was_made(capsys: pytest.CaptureFixture[str]):
    run = Eventful()
    run.add(RunSubmitted(at=0, agent="agent", prompt="Hi", options={"fork": {"run": "0-parent", "at": 2}}))
    run.add(RunClaimed(at=0, worker="worker-1"), after_ms=1000)
    run.add(RunClaimed(at=0, worker="worker-2"), after_ms=36_000_000)
    run.add(RunCompleted(at=0, result={"stop_reason": "end_turn"}), after_ms=500)
    assert shown(run.entries, capsys)[1][-1] == "end_turn · 1.5 s · 0 + 0 tokens · 4 records"
