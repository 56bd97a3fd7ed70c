"""What is known of a run when it is over, and what may be wrong with it. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from chaos.plan import Plan
from playhead.runtime.core.records import Entry

__all__ = ["KINDS", "Begun", "Evidence", "View", "Violation"]

KINDS: Final[dict[str, str]] = {
    "gap": "a number is missing in a log, or a viewer was not shown a record",
    "duplicate": "a number stands twice in a log, or a viewer was shown something twice",
    "order": "numbers go back in a log, or a viewer was shown records out of order",
    "unlogged": "a viewer saw what the log does not hold",
    "fenced": "a record or a body of an owner whose successor had claimed the run",
    "unstarted": "a body ran before its tool.started was in the log",
    "finished_rerun": "a call that had its result was started again",
    "rerun": "a call was started again although nobody had taken the run over",
    "result": "a tool's result is missing, stands twice, or is not what its body gave",
    "paid_again": "a model call that had its answer was made again",
    "retraction": "a model call that died was not withdrawn exactly, or something else was",
    "chain": "the text is not the one that this run's model says at this place",
    "text": "the text that a viewer is left with is not that of the messages",
    "end": "there is not exactly one terminal record, at the end, fitting the run's state",
    "signal": "a signal is lost, counts twice or was sent by nobody; a question or what was said is not heeded",
    "session": "a conversation's messages are not those of its runs, whole and in order",
    "hung": "a run or a viewer did not end",
    "reader": "a viewer, or a client that controls a run, was stopped by an error",
    "foreign": "a log holds what playhead did not write",
    "worker": "a worker ended by itself",
}
"""Every kind of violation."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise broken.

    Attributes:
        kind: A key of `KINDS`.
        run: Its id, or the session's.
        seq: Of the record where it shows, None if it is nowhere in particular.
        what: What is there and what should be.
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
    """A body that began, as it told itself.

    `at` is unix milliseconds, `pid` the process it ran in, `stored` what it found when it looked for its start in the
    log (None: it did not look, or could not).
    """

    call: str
    key: str
    attempt: int
    at: int
    pid: int
    stored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one client was shown of a run, over all its rejoinings.

    Attributes:
        what: `records`, or `events` as `stream_async` gives them.
        seen: (place, digest) of each: `seq-epoch` or the event's cursor, and the digest of its bytes.
        forgotten: The same, of what each rewind that it was told of had it forget.
        error: The error that ended it, as text; None for the end of the run.
        failed: The error type of the `RunFailedError` it ended with, if it did.
        left_at: How many it had seen each time when it left, and whether it had been shown the end.
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
    """All there is about one run that has ended, or should have.

    Attributes:
        state: As the run's hash says, None if it is gone.
        past_deadline_ms: How long after its deadline it ended, by the server's clock; None if it had none.
        views: Of its viewers.
        begun: The bodies that began, in the order they wrote.
        signals: Ids of the signals that were sent, with their kind.
        acknowledged: Those that were accepted while the run had not ended, in the order of their sending.
        fails_over: Its server may lose what it has not yet confirmed; see `servers`.
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
