"""The evidence about a run that is over, and the violations that it may show. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from chaos.plan import Plan
from playhead.runtime.core.records import Entry

__all__ = ["KINDS", "Begun", "Evidence", "View", "Violation"]

KINDS: Final[dict[str, str]] = {
    "gap": "a number is missing in a log, or a viewer did not see a record",
    "duplicate": "a number is twice in a log, or a viewer saw a record or event twice",
    "order": "numbers decrease in a log, or a viewer saw records out of order",
    "unlogged": "a viewer saw a record or event that is not in the log",
    "fenced": "a record or a body of an owner whose successor had claimed the run",
    "unstarted": "a body ran before its tool.started was in the log",
    "finished_rerun": "a call that had its result was started again",
    "input": "a tool ran on input that its model had not given",
    "rerun": "a call was started again without a takeover",
    "verdict": "a hook was asked again for what it had decided",
    "result": "a tool's result is missing, is there twice, or is not the one that its body returned",
    "paid_again": "a model call that had its message was made again",
    "retraction": "a model call that was cut off was not retracted exactly, or other records were",
    "chain": "the text is not the one that this run's model streams at this position",
    "text": "the text that a viewer shows at the end is not that of the messages",
    "end": "there is not exactly one terminal record, at the end, that fits the run's state",
    "signal": "a signal is lost, counts twice or was never sent; an interrupt or a steer has no effect",
    "request": "the provider got a request that a strict one refuses, or a history that is not what was said",
    "answer": "a message is not what the provider said",
    "session": "a session's messages are not those of its runs, complete and in order, or it can no longer be used",
    "hung": "a run or a viewer did not end",
    "reader": "a viewer, or a client that controls a run, was stopped by an error",
    "foreign": "a log has an entry that playhead did not write",
    "worker": "a worker ended by itself",
}
"""Every kind of violation."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise.

    Attributes:
        kind: A key of `KINDS`.
        run: Its id, or the session's.
        seq: The number of the record that shows it; None if there is none.
        what: What is wrong.
    """

    kind: str
    run: str
    seq: int | None
    what: str

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    def __str__(self) -> str:
        return f"{self.kind}: run {self.run}, record {self.seq or '-'}: {self.what}"


class Begun(NamedTuple):
    """A body that started, from its own trace.

    `at` is unix milliseconds, `pid` the process it ran in, `stored` whether it found its start in the log (None: it did
    not look, or could not), `input` what it was given.
    """

    call: str
    key: str
    attempt: int
    at: int
    pid: int
    stored: bool | None = None
    input: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The notes of one viewer about a run, across all its rejoinings.

    Attributes:
        what: `records`, or `events` as `stream_async` gives them.
        seen: (position, digest) of each: `seq-epoch` or the event's cursor, and the digest of its bytes.
        forgotten: The same, for the records discarded at each rewind.
        error: The error that ended it, as text; None for the end of the run.
        failed: The error type of the `RunFailedError` it ended with, if it did.
        left_at: The number of notes each time it left, and whether it had seen the end.
    """

    name: str
    what: Literal["records", "events"]
    seen: Sequence[tuple[str, str]]
    error: str | None = None
    failed: str | None = None
    forgotten: Sequence[Sequence[tuple[str, str]]] = ()
    left_at: Mapping[int, bool] = field(default_factory=dict[int, bool])


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All evidence about one run that has ended, or should have.

    Attributes:
        state: The state in the run's hash, None if that does not exist.
        past_deadline_ms: How long after its deadline it ended, by the server's clock; None if it had none.
        views: Those of its viewers.
        begun: The bodies that started, in the order of their traces.
        signals: Ids of the signals that were sent, with their kind.
        acknowledged: Those that were accepted while the run had not ended, in the order in which they were sent.
        fails_over: Its server may lose writes that are not acknowledged yet; see `servers`.
    """

    plan: Plan
    entries: Sequence[Entry]
    state: str | None = None
    past_deadline_ms: int | None = None
    views: Sequence[View] = ()
    begun: Sequence[Begun] = ()
    signals: Mapping[str, str] = field(default_factory=dict[str, str])
    acknowledged: Sequence[str] = ()
    fails_over: bool = False
