"""A run in which much happens, as records with fixed times: for what looks at recorded runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from playhead.runtime.core.converse import Message, ToolUse
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolInterrupted,
    ToolProgressed,
    ToolStarted,
)
from playhead.runtime.models import chunks as c
from playhead.runtime.models import text_call, tool_call

__all__ = ["START", "Eventful", "eventful"]

START = 1_700_000_000_000
"""When the run was submitted, unix milliseconds."""

USAGE = {"usage": {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}, "metrics": {"latencyMs": 300}}


class Eventful:
    """Writes entries one after the other, at times that the caller chooses."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.at = START
        self.epoch = 0

    def add(self, *records: Record, after_ms: int = 10) -> None:
        """Add records, each so long after the one before it; their own `at` does not count."""
        for record in records:
            self.at += after_ms if self.entries else 0
            kind: Any = type(record)
            fields: dict[str, Any] = {**dict(record), "at": self.at}
            if kind is ModelChunk:
                fields = {"at": self.at, "chunk": fields["chunk"]}
            self.epoch += kind is RunClaimed
            self.entries.append(Entry(len(self.entries) + 1, self.epoch, kind(**fields)))

    def chunks(self, chunks: Iterable[dict[str, Any]]) -> None:
        """Add what a model streams."""
        self.add(*(ModelChunk(at=0, chunk=chunk) for chunk in chunks))

    def message(self, content: list[dict[str, Any]], stop_reason: str) -> None:
        """Add the model's message."""
        message: Message = {"role": "assistant", "content": content, "metadata": USAGE}
        self.add(MessageAdded(at=0, message=message, origin="model", stop_reason=stop_reason))

    def opening(self, prompt: str) -> None:
        """Submit the run, claim it, put the prompt into the history and begin the first cycle."""
        said: Message = {"role": "user", "content": [{"text": prompt}]}
        self.add(RunSubmitted(at=0, agent="assistant", prompt=prompt, session="ada"))
        self.add(RunClaimed(at=0, worker="worker-1", definition="d1"), after_ms=500)
        self.add(MessageAdded(at=0, message=said, origin="prompt"), CycleStarted(at=0, cycle=1, session_messages=2))

    def call(self, index: int, name: str) -> ToolUse:
        """A tool call of the current batch."""
        return {"toolUseId": f"t{index}", "name": name, "input": {"place": "Paris"}}

    def answer(self, text: str) -> None:
        """Stream a text as the last message, and end the run."""
        self.add(ModelStarted(at=0))
        self.chunks(text_call(text))
        self.message([{"text": text}], "end_turn")
        result = {"stop_reason": "end_turn", "message": {"role": "assistant", "content": [{"text": text}]}}
        self.add(RunCompleted(at=0, result={**result, "metrics": {"usage": USAGE["usage"]}, "state": {}}))


def eventful(*, prompt: str = "How is Paris?", answer: str = "It rains in Paris.", words: int = 5) -> list[Entry]:
    """A failed model call, a takeover within one, three tools side by side, of which one asks, a pause, a hand-over.

    Args:
        prompt: The prompt.
        answer: The last message.
        words: How many words the call that is withdrawn has streamed.
    """
    run = Eventful()
    run.opening(prompt)
    run.add(ModelStarted(at=0), ModelFailed(at=0, error_type="ConnectionError", message="reset", delay=0.4))
    run.add(ModelStarted(at=0, attempt=2), after_ms=400)
    run.chunks([c.message_start(), *(c.text_delta(f" word {number}") for number in range(words))])
    started = next(one.seq for one in reversed(run.entries) if isinstance(one.record, ModelStarted))
    last = len(run.entries)
    run.add(RunClaimed(at=0, worker="worker-2", definition="d1"), after_ms=2000)
    run.add(ModelRetried(at=0, supersedes=(started, last), reason="worker-1 is gone"))
    run.add(ModelStarted(at=0, attempt=3))
    run.chunks(tool_call("weather", {"place": "Paris"}, "t0", text="Let me look."))
    calls = [run.call(0, "weather"), run.call(1, "traffic"), run.call(2, "book")]
    run.message([{"text": "Let me look."}, *({"toolUse": call} for call in calls)], "tool_use")
    for index, call in enumerate(calls):
        run.add(ToolStarted(at=0, index=index, tool_use=call, effect_key=f"r/t{index}"))
    run.add(ToolProgressed(at=0, index=1, tool_use=calls[1], data={"jams": 2}), after_ms=100)
    question = {"id": "q1", "name": "approve", "reason": "Shall I book?", "response": None}
    run.add(ToolInterrupted(at=0, index=2, tool_use=calls[2], interrupts=[question]), after_ms=50)
    run.add(_finished(0, "weather", "rain", status="success"), _finished(1, "traffic", "no data", status="error"))
    run.add(RunPaused(at=0, interrupts=[question], result={"stop_reason": "interrupt", "interrupts": [question]}))
    run.add(RunClaimed(at=0, worker="worker-2", definition="d1"), after_ms=60_000)
    run.add(SignalReceived(at=0, signal_id="s1", kind="respond", body={"q1": "yes"}), RunResumed(at=0))
    run.add(ToolStarted(at=0, index=2, tool_use=calls[2], effect_key="r/t2"))
    run.add(_finished(2, "book", "booked", status="success"), after_ms=200)
    results = [{"toolResult": {"toolUseId": f"t{index}", "status": "success", "content": []}} for index in range(3)]
    run.add(MessageAdded(at=0, message={"role": "user", "content": results}, origin="tools"))
    run.add(SignalReceived(at=0, signal_id="s2", kind="steer", body="Be brief."))
    run.add(MessageAdded(at=0, message={"role": "user", "content": [{"text": "Be brief."}]}, origin="steer"))
    run.add(RunHandedOver(at=0, worker="worker-2"))
    run.add(RunClaimed(at=0, worker="worker-3", definition="d1"), after_ms=300)
    run.add(CycleStarted(at=0, cycle=2, session_messages=2))
    run.answer(answer)
    return run.entries


def _finished(index: int, name: str, text: str, *, status: str) -> ToolFinished:
    result: Any = {"toolUseId": f"t{index}", "status": status, "content": [{"text": text}]}
    return ToolFinished(at=0, index=index, name=name, result=result, duration_ms=150)
