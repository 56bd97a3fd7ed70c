"""What a person sees of the verdicts of hooks: in a transcript, a timeline, a comparison of two runs, and on a terminal."""

from __future__ import annotations

import pytest

from playhead.client.cli.run_view import RunView
from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.hook_words import hook_words
from playhead.runtime.core.records import Entry, HookDecided, RunCompleted, ToolDecided, ToolFinished, ToolStarted
from playhead.runtime.core.run_diff import run_diff
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import transcript
from tests.support.eventful import Eventful

__all__: list[str] = []

USE: ToolUse = {"toolUseId": "t0", "name": "weather", "input": {"city": "Bonn"}}
OTHER: ToolUse = {"toolUseId": "t0", "name": "weather", "input": {"city": "Rome"}}
SAID: Message = {"role": "assistant", "content": [{"text": "enough"}], "tracking_id": "m1"}


def told(message: Message = SAID, text: str = "no") -> list[Entry]:
    """A run in which hooks decide something at each event."""
    run = Eventful()
    run.opening("How is it?")
    run.message([{"toolUse": USE}], "tool_use")
    run.add(
        ToolDecided(at=0, index=0, tool_use=USE, verdict="change", change=OTHER, tool="climate"),
        ToolStarted(at=0, index=0, tool_use=OTHER, effect_key="r/t0"),
        ToolDecided(at=0, index=0, tool_use=USE, verdict="retry"),
        ToolDecided(at=0, index=0, tool_use=USE, verdict="cancel", message=text),
        ToolFinished(at=0, index=0, name="weather", result={"toolUseId": "t0", "status": "error", "content": []}),
        HookDecided(at=0, event="AfterToolsEvent", verdict="end_turn", value=message),
        RunCompleted(at=0, result={"stop_reason": "end_turn"}),
    )
    return run.entries


WORDS = [
    'a hook changes the call of weather to climate {"city":"Rome"}',
    "a hook drops the result of weather, which is called again",
    "a hook cancels the call of weather: no",
    "a hook ends the turn: enough",
]


def test_a_transcript_tells_each_verdict() -> None:
    notes = [item.title.replace(": ", ":").replace('":"', '":"') for item in transcript(told()) if item.kind == "note"]
    assert notes == [word.replace(": ", ":") for word in WORDS]


def test_a_timeline_marks_each_verdict_and_ends_the_bar_of_a_call_that_is_made_again() -> None:
    drawn = timeline(told())
    assert [mark.name for mark in drawn.marks if mark.kind in ("tool.decided", "hook.decided")] == [
        "change",
        "retry",
        "cancel",
        "end_turn",
    ]
    assert [bar.outcome for bar in drawn.bars if bar.kind == "tool"] == ["withdrawn"]


def test_two_runs_part_where_a_hook_decides_otherwise_and_not_for_a_new_id() -> None:
    assert run_diff(told(), told({**SAID, "tracking_id": "m2"})).same
    parted = run_diff(told(), told(text="never"))
    assert parted.parted is not None
    either = parted.pairs[parted.parted].either
    assert (either.kind, either.name) == ("hook", "cancel")


def test_a_terminal_shows_each_verdict_and_a_pipe_gets_the_last_message(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView("r", after=0)
    for entry in told():
        view.feed(entry)
    out, err = capsys.readouterr()
    assert out == "enough\n"
    assert "[a hook cancels the call of weather: no]" in err


@pytest.mark.parametrize(
    ("event", "verdict", "value", "words"),
    [
        ("BeforeInvocationEvent", "messages", [], "a hook changes the prompt"),
        ("BeforeInvocationEvent", "cancel", SAID, "a hook does not let the run begin: enough"),
        ("BeforeModelCallEvent", "cancel", SAID, "a hook does not let the model be called: enough"),
        ("BeforeToolsEvent", "cancel", "no", "a hook cancels the calls: no"),
        ("AfterInvocationEvent", "resume", "And?", "a hook lets the run go on: And?"),
        ("LaterEvent", "dream", 1, "a hook of LaterEvent decides: dream"),
    ],
)
def test_a_verdict_has_its_words(event: str, verdict: str, value: object, words: str) -> None:
    assert hook_words(HookDecided(at=0, event=event, verdict=verdict, value=value)) == words


def test_a_question_about_all_calls_and_an_unknown_verdict_have_words() -> None:
    asked = HookDecided(at=0, event="BeforeToolsEvent", verdict="interrupt", interrupts=[{"id": "i", "name": "all?"}])
    assert hook_words(asked) == "a hook asks about the calls: all?"
    later = ToolDecided(at=0, index=0, tool_use=USE, verdict="dream")
    assert hook_words(later) == "a hook decides about the call of weather: dream"
