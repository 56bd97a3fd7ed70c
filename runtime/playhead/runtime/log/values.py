"""The values that go into a log and come out of it: runs, claims, batches, ends, signals, answers.

Each checks its fields when it is made, so that no backend has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, get_args

from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.checks import check_agent, check_count, check_duration, check_name, check_session
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import StoredDefinition
from playhead.runtime.core.if_busy import IfHeld
from playhead.runtime.core.metadata import Metadata, checked_metadata
from playhead.runtime.core.records import ENDED_STATES, Record, RunStateName, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.storable import ANY_SIZE
from playhead.runtime.log.queues import own_queue

__all__ = [
    "DEFAULT_CRASH_LIMIT",
    "DEFAULT_LEASE_MS",
    "DEFAULT_RETENTION_MS",
    "IDLE_OWNERS_LIMIT",
    "SESSION_RETENTION_MS",
    "Batch",
    "Claim",
    "EncodedEntry",
    "ImportedRun",
    "LeaseInfo",
    "NewRun",
    "Renewal",
    "RunEnd",
    "RunInfo",
    "SessionInfo",
    "WorkerInfo",
    "WriteResult",
    "WriteStatus",
    "is_suspect",
]

DEFAULT_RETENTION_MS: Final = 7 * 24 * 3600 * 1000
"""How long a finished run stays readable by default: a week."""

SESSION_RETENTION_MS: Final = 30 * 24 * 3600 * 1000
"""How long a conversation is kept at least after its last run ended: thirty days. `run_states.lua` has the same number."""

DEFAULT_LEASE_MS: Final = 10_000
"""How long a worker keeps its runs without renewing. With a shorter lease a death is noticed sooner; a longer one survives longer pauses."""

DEFAULT_CRASH_LIMIT: Final = 3
"""How many owners of a run may die one after the other, while it does not get on, before it is failed."""

IDLE_OWNERS_LIMIT: Final = 20
"""How many owners of a run may end one after the other in any way, while it does not get on, before it is failed.

A higher crash limit counts instead.
"""


def is_suspect(crash_streak: int, *, crash_limit: int) -> bool:
    """Whether a run is held only by a worker that holds no other: its owners crashed twice in a row.

    Past its limit it stops being a suspect, because its next owner does not run it. `run_states.lua` has the same.
    """
    return 0 < crash_streak <= crash_limit and crash_streak >= min(2, crash_limit)


_LATE_MS: Final = 1000
"""How late a renewal may be before readers get a notice: it takes a round trip, and is tried again if its reply is lost."""


class WriteStatus(IntEnum):
    """The outcome of a write. The scripts have the same names and numbers."""

    OK = 0
    """Stored."""
    DUP = 1
    """Already stored by an earlier attempt whose answer was lost."""
    CONFLICT = 2
    """The head is neither the expected one nor the one that an earlier attempt would have left; nothing was stored."""
    FENCED = 3
    """The caller has lost the run; this call stored nothing."""
    GONE = 4
    """The run does not exist; nothing was stored."""
    WAITING = 5
    """Only of `finish`: the run has signals that its owner has not received, so it cannot complete; nothing was stored."""


_STORED: Final = (WriteStatus.OK, WriteStatus.DUP)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to submit. `record` is record 1 and must be a `run.submitted`; `data` is its bytes, encoded here if not passed.

    `deadline_ms` counts from the submission, by the log's clock; a run that has not ended by then is failed. `if_busy` says
    what happens if another run holds its session. A child of the run `parent` has the parent's deadline, and is cancelled when
    the parent ends.

    Raises:
        ValueError, TypeError: If a name or the metadata is malformed, the deadline is not a positive number of
            milliseconds, or `if_busy` is not one of `IfHeld`, or not `queue` for a child.
        EncodingError: If the record holds something that is not plain data.
    """

    run_id: str
    agent: str
    record: Record
    session: str | None = None
    deadline_ms: int | None = None
    data: bytes = b""
    if_busy: IfHeld = "queue"
    parent: str | None = None

    def __post_init__(self) -> None:
        check_name("run_id", self.run_id)
        check_agent(self.agent)
        if self.session is not None:
            check_session(self.session)
        if self.deadline_ms is not None:
            check_duration("deadline_ms", self.deadline_ms)
        if self.parent is not None:
            check_name("parent", self.parent)
            if self.if_busy != "queue":  # else it could cancel its parent, and so itself, before it exists
                raise ValueError(f"a child waits for its session, so if_busy must be 'queue', not {self.if_busy!r}")
        check_choice("if_busy", self.if_busy, get_args(IfHeld))
        checked_metadata(self.metadata)
        if not self.data:
            object.__setattr__(self, "data", encode_record(self.record, limit=ANY_SIZE))

    @property
    def metadata(self) -> Metadata:
        """What the run is found by, as its record 1 has it."""
        return self.record.metadata if isinstance(self.record, RunSubmitted) else {}

    def as_signal(self, kind: str) -> Signal:
        """The signal to the run that holds the session: a `cancel`, or a `steer` with the prompt. Its id is that of this run."""
        prompt = self.record.prompt if isinstance(self.record, RunSubmitted) else None
        return Signal(self.run_id, kind, prompt if kind == "steer" else None)


@dataclass(frozen=True, slots=True)
class Claim:
    """The ownership of a run: what an owner needs to write to its log.

    Attributes:
        token: Proves with every write that its writer is the owner.
        epoch: The ordinal of the ownership, 1 for the first.
        head: The `seq` of this claim's own `run.claimed`.
        crashes: How many owners died so far.
        inbox: The number of signals that wait.
        crash_streak: How many owners died one after the other since the run last got on.
        idle_owners: How many owners ended in any way since the run last got on.
        crash_end: How the process of the last owner ended, in words; empty if that is not known.
    """

    run_id: str
    token: str
    epoch: int
    head: int
    agent: str
    session: str | None
    crashes: int
    inbox: int
    crash_streak: int = 0
    idle_owners: int = 0
    crash_end: str = ""


@dataclass(slots=True)
class Batch:
    """Records to append after `head`, already encoded; `ack` is how many signals they acknowledge.

    Raises:
        ValueError: If the head is below 0; or more signals are acknowledged than there are records: a signal without its
            `signal.received` would be lost, and a repeat of an empty batch could not be recognised.
    """

    run_id: str
    token: str
    head: int
    records: Sequence[bytes]
    ack: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.ack <= len(self.records):
            raise ValueError(f"{len(self.records)} records cannot acknowledge {self.ack} signals")
        if self.head < 0:
            raise ValueError(f"the head of a log is 0 or more, not {self.head}")


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run: its last records, its state, and the new messages of its session.

    `messages` are appended to the session's stream; `agent_state`, if there is one, is the session's from now on;
    `retention_ms` is how long the run stays readable.

    Raises:
        ValueError: If the state is not terminal, or the retention is not a positive number of milliseconds.
    """

    batch: Batch
    state: RunStateName
    session: str | None = None
    messages: Sequence[Message] = ()
    retention_ms: int = DEFAULT_RETENTION_MS
    agent_state: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.state not in ENDED_STATES:
            raise ValueError(f"a run ends as one of {', '.join(sorted(ENDED_STATES))}, not {self.state!r}")
        check_duration("retention_ms", self.retention_ms)


class EncodedEntry(NamedTuple):
    """A record byte for byte as stored, with its position."""

    seq: int
    epoch: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A run to store whole: one that has ended elsewhere, or a fork, which is queued. Its records are passed separately.

    `info` is what `Log.info` will answer, except that the session is one of its own: it has the `messages` that the run
    began from, and no other run; and that the log gives a fork its times. `definitions` are those that its `run.claimed`
    name. A run that has ended is kept for `retention_ms`. `session_cut` is how many messages had been cut from its session
    before the first of `messages`, and `agent_state` that of the agent in the session of a fork.

    Raises:
        ValueError, TypeError: If a name or the metadata is malformed, the run is neither ended nor queued, it has messages
            but no session, or the retention is not a positive number of milliseconds.
    """

    info: RunInfo
    definitions: Sequence[StoredDefinition] = ()
    messages: Sequence[Message] = ()
    retention_ms: int = DEFAULT_RETENTION_MS
    session_cut: int = 0
    agent_state: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_count("session_cut", self.session_cut)
        check_name("run_id", self.info.run_id)
        check_agent(self.info.agent)
        checked_metadata(self.info.metadata)
        if self.info.session is not None:
            check_session(self.info.session)
        elif self.messages:
            raise ValueError("messages need a session that holds them")
        if not self.info.ended and self.info.state != "queued":
            raise ValueError(
                f"only a run that has ended or is queued can be imported, and this one is {self.info.state}"
            )
        check_duration("retention_ms", self.retention_ms)


@dataclass(slots=True)
class WriteResult:
    """The result of a write: its status, the head now in the log, and the number of signals waiting."""

    status: WriteStatus
    head: int = 0
    inbox: int = 0

    @property
    def stored(self) -> bool:
        """Whether the batch is in the log, by this call or an earlier attempt."""
        return self.status in _STORED


@dataclass(frozen=True, slots=True)
class Renewal:
    """The result of a renewal of one run: whether the caller still owns it, and the number of signals waiting."""

    ours: bool
    inbox: int = 0


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The state of a run, without its log. Times are in unix milliseconds by the log's clock.

    Three counters, kept apart: `crashes` (an owner died), `handovers` (an owner released it), `errors` (an owner ended
    it as failed). `deadline` is None if the caller set none. `due` is the time before which a queued run is not claimed,
    because its owner released it with a delay; None without one. `metadata` is what the caller noted of the run.
    """

    run_id: str
    state: RunStateName
    agent: str
    session: str | None
    head: int
    epoch: int
    crashes: int
    created: int
    updated: int
    worker: str | None = None
    handovers: int = 0
    errors: int = 0
    deadline: int | None = None
    due: int | None = None
    metadata: Metadata = field(default_factory=dict[str, str | int | float | bool])

    @property
    def ended(self) -> bool:
        """Whether the run has a terminal record."""
        return self.state in ENDED_STATES


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session. Times are in unix milliseconds by the log's clock.

    Attributes:
        session: Its id.
        messages: How many messages it has, of runs that have ended; also those that a reduction of its history left out.
        run: The run that holds it; None if it is free.
        created: When its first run was submitted, or it was made by a fork; None if that was before the log kept it.
        used: When a run of it was last submitted or ended.
        position: Its position among all sessions: the one that was used last has the highest.
    """

    session: str
    messages: int
    run: str | None
    created: int | None
    used: int
    position: int


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """The lease of a run that a worker holds. Times are in unix milliseconds by the log's clock.

    A worker renews when a third of its lease has passed, so most of a lease's time is left unless it is silent.
    """

    now: int
    ends: int
    length_ms: int
    """The length after a renewal, in milliseconds; 0 if the run was claimed by a version that did not store it."""

    @property
    def renewed(self) -> int:
        """When it was last renewed."""
        return self.ends - self.length_ms

    @property
    def overdue(self) -> int:
        """When a renewal is so late that the worker counts as silent: a third of the lease, and at most a second more.

        Without a length it is the end of the lease.
        """
        length = self.length_ms
        return self.renewed + length // 3 + min(_LATE_MS, length // 4) if length else self.ends


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live worker, as it last announced itself.

    `frameworks` has, by agent, the framework with its version that runs the agent's runs, such as `strands-agents 1.45.0`;
    agents of playhead's own have none. A worker that drains claims no further run.
    """

    worker: str
    agents: Sequence[str]
    host: str = ""
    pid: int = 0
    concurrency: int = 0
    running: int = 0
    started: int = 0
    frameworks: Mapping[str, str] = field(default_factory=dict[str, str])
    draining: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def own_queues(self) -> list[str]:
        """The queues from which only workers with its frameworks claim."""
        return [own_queue(agent, framework) for agent, framework in self.frameworks.items()]
