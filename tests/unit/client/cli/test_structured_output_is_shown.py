"""What is shown of a run with a structured output, and of one that a tool ends: in every view of its records."""

from __future__ import annotations

import pytest

from playhead.client.cli.place import next_step
from playhead.client.cli.run_view import RunView
from playhead.runtime.core.decide import decide
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import MessageAdded, RunCompleted, StructuredOutputProduced, ToolFinished
from playhead.runtime.core.run_diff import run_diff
from playhead.runtime.core.structured_output import OutputSchema
from playhead.runtime.core.terms import Terms
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import transcript
from tests.support.eventful import Eventful

__all__: list[str] = []

TERMS = Terms(output=OutputSchema("Person", {"type": "object"}))


def asked() -> Eventful:
    """A run that was asked for a person, up to the model's second answer."""
    run = Eventful()
    run.opening("Who?")
    run.message([{"text": "Ada."}], "end_turn")
    run.add(
        MessageAdded(at=0, message={"role": "user", "content": [{"text": "Fill it in."}]}, origin="structured_output")
    )
    return run


def given(name: str = "Ada", *, stop: bool = False) -> Eventful:
    """The whole run; `stop` is whether the tool beside the output ends it."""
    run = asked()
    use = {"toolUseId": "t1", "name": "Person", "input": {"name": name}}
    run.message([{"toolUse": use}], "tool_use")
    asks = {"reason": "cancelled", "text": "Goodbye."} if stop else None
    run.add(
        ToolFinished(
            at=0,
            index=0,
            name="Person",
            result={"toolUseId": "t1", "status": "success", "content": [{"text": "ok"}]},
            stop=asks,
        ),
        StructuredOutputProduced(at=0, name="Person", value={"name": name}),
    )
    if stop:
        words = {"role": "assistant", "content": [{"text": "Goodbye."}]}
        run.add(MessageAdded(at=0, message=words, origin="stop"))  # pyright: ignore[reportArgumentType]
    run.add(RunCompleted(at=0, result={"stop_reason": "tool_use", "structured_output": {"name": name}}))
    return run


def test_the_transcript_tells_what_was_asked_and_what_was_given():
    told = [(item.kind, item.title, item.text) for item in transcript(given(stop=True).entries)]
    assert ("user", "structured_output", "Fill it in.") in told
    assert told[-3:] == [
        ("result", "structured output Person", '{"name": "Ada"}'),
        ("text", "", "Goodbye."),
        ("end", "tool_use", ""),
    ]


def test_a_follower_is_shown_both(capsys: pytest.CaptureFixture[str]):
    view = RunView("r")
    for entry in given(stop=True).entries:
        view.feed(entry)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Goodbye."
    assert "= Person: {'name': 'Ada'}" in err or '= Person: {"name": "Ada"}' in err


def test_the_timeline_marks_the_output():
    marks = [(mark.kind, mark.name) for mark in timeline(given().entries).marks]
    assert marks == [("structured_output.produced", "Person"), ("run.completed", "")]


def test_a_diff_tells_another_output_and_another_stop():
    same = run_diff(given().entries, given().entries)
    assert same.same
    other = run_diff(given().entries, given("Eve").entries)
    assert [pair.either.kind for pair in other.pairs if not pair.same] == ["model", "tool", "end"]
    stopped = run_diff(given().entries, given(stop=True).entries)
    assert [pair.either.kind for pair in stopped.pairs if not pair.same] == ["message", "tool"]


def test_the_next_step_is_told_in_words():
    entries = given().entries
    batch = next(entry.seq for entry in entries if isinstance(entry.record, ToolFinished))
    step = decide(fold(entries[:batch]), terms=TERMS)
    assert next_step(step) == 'store the structured output Person: {"name": "Ada"}'
    run = asked()
    run.message([{"text": "Ada, I said."}], "end_turn")
    assert next_step(decide(fold(run.entries), terms=TERMS)) == "read the structured output from the answer's text"
