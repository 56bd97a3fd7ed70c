"""An act of a run on one line, whatever it holds."""

from __future__ import annotations

import pytest

from playhead.client.cli.telling import act_line
from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.records import (
    Entry,
    ModelChunk,
    ModelStarted,
    Record,
    RunPaused,
    RunSubmitted,
    StepFinished,
)
from playhead.runtime.core.run_acts import acts

__all__: list[str] = []

SAID: Chunk = {"contentBlockDelta": {"delta": {"text": "You owe 17."}}}


def lines(*records: Record) -> list[str]:
    return [act_line(act) for act in acts(Entry(number, 1, record) for number, record in enumerate(records, 1))]


def test_a_question_of_a_guest_is_told_which_asks_outside_of_any_call() -> None:
    asked = RunPaused(at=2, interrupts=[{"id": "v1:guest:ask:pay", "name": "pay", "reason": {"euros": 17}}], result={})
    (line,) = lines(RunSubmitted(at=0, agent="clerk", prompt="go"), asked)[1:]
    assert line.startswith("question  [")
    assert '"pay"' in line
    assert "17" in line


@pytest.mark.parametrize("ended", [False, True])
def test_only_an_answer_that_broke_off_is_unfinished(ended: bool) -> None:
    began: list[Record] = [RunSubmitted(at=0, agent="clerk", prompt="go"), ModelStarted(at=0, lane="/model:1")]
    ends: list[Record] = [StepFinished(at=1, key="/model:1")] if ended else []
    (line,) = lines(*began, ModelChunk(at=1, chunk=SAID), *ends)[1:]
    assert line.startswith("model  You owe 17.")
    assert ("(unfinished)" in line) is not ended
