"""The log interface: what every backend promises. One contract suite (`tests/contract`) holds all of them to it.

Three parts use it: clients submit, signal and read; workers claim, append, renew, finish and release; whoever looks
next, worker or client, reaps. All writes are safe to send twice: the second gives the first one's answer.

Invariants that make `DUP` sound, to be kept by every caller: one writer per token; one write in flight per run; no
retries below this interface.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal, Protocol

from playhead.runtime.codec import encode_record
from playhead.runtime.records import Entry, Record, RunFailed, now_ms
from playhead.runtime.types import Message

__all__ = [
    "Answer",
    "Batch",
    "Claim",
    "Code",
    "Finish",
    "Log",
    "NewRun",
    "Renewal",
    "RunInfo",
    "RunStateName",
    "Signal",
    "WorkerInfo",
    "crash_failure",
    "new_run_id",
    "new_token",
]

RunStateName = Literal["queued", "running", "completed", "failed", "cancelled"]

DEFAULT_RETENTION_MS: Final = 7 * 24 * 3600 * 1000
"""How long a finished run stays readable by default: a week."""

SESSION_RETENTION_MS: Final = 30 * 24 * 3600 * 1000
"""How long a conversation is kept after its last run ended: thirty days. `common.lua` has the same number."""

DEFAULT_LEASE_MS: Final = 10_000
"""How long a silent worker keeps its runs. Shorter notices death sooner, longer forgives longer pauses."""

DEFAULT_CRASH_LIMIT: Final = 3
"""How many workers a run may take down with it before it is failed."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u to misread


def new_run_id(*, shard: int = 0) -> str:
    """A fresh run id: its shard, then a time-ordered unguessable part, e.g. `0-0d1m5x8p4k2v9r7w3t6y`."""
    number = (time.time_ns() // 1_000_000) << 50 | secrets.randbits(50)
    digits: list[str] = []
    for _ in range(19):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{shard:x}-{''.join(reversed(digits))}"


def new_token() -> str:
    """A fresh fencing token. Random, since a failover can hand out one epoch twice."""
    return secrets.token_hex(8)


def crash_failure(crash_limit: int) -> bytes:
    """The encoded `run.failed` record that ends a run which took more than `crash_limit` workers down with it."""
    text = f"the run's worker died {crash_limit + 1} times while running it; it is not tried again"
    return encode_record(RunFailed(at=now_ms(), error_type="CrashLimitExceeded", message=text))


class Code(IntEnum):
    """What a write came to."""

    OK = 0
    """Stored."""
    DUP = 1
    """Stored already by an earlier try whose answer was lost."""
    CONFLICT = 2
    """The head is neither where the caller thinks nor where a lost answer would have left it."""
    FENCED = 3
    """Another owner, or none, holds the run; nothing was stored by this call."""
    GONE = 4
    """There is no such run; nothing was stored."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to submit. `record` is record 1 and must be `run.submitted`."""

    run_id: str
    agent: str
    record: Record
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Ownership of a run: what an owner needs to write and to go on.

    Attributes:
        token: Fences every write of this ownership.
        epoch: Ordinal of the ownership, 1 for the first.
        head: The `seq` of this claim's own `run.claimed`.
        crashes: How many owners died so far.
        inbox: Signals waiting.
    """

    run_id: str
    token: str
    epoch: int
    head: int
    agent: str
    session: str | None
    crashes: int
    inbox: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to append behind `head`, already encoded; `ack` is how many signals they acknowledge."""

    run_id: str
    token: str
    head: int
    records: Sequence[bytes]
    ack: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a run: its last records, its state, and what its session gains.

    `messages` are appended to the session's stream; `retention_ms` is how long the run stays readable.
    """

    batch: Batch
    state: RunStateName
    session: str | None = None
    messages: Sequence[Message] = ()
    retention_ms: int = DEFAULT_RETENTION_MS


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a write: the code, the head now in the log, and the number of signals waiting."""

    code: Code
    head: int = 0
    inbox: int = 0

    @property
    def stored(self) -> bool:
        """The batch is in the log, by this call or an earlier try of it."""
        return self.code <= Code.DUP


@dataclass(frozen=True, slots=True)
class Renewal:
    """Answer to a renewal of one run: whether it is still ours, and the number of signals waiting."""

    ours: bool
    inbox: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """A request to a run: `kind` is `cancel`; the same `signal_id` counts once."""

    signal_id: str
    kind: str
    body: Any = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run without reading its log. Times are unix milliseconds by the log's clock."""

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

    @property
    def ended(self) -> bool:
        """The run has a terminal record."""
        return self.state in ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live worker, as it last announced itself."""

    worker: str
    agents: Sequence[str]
    host: str = ""
    pid: int = 0
    concurrency: int = 0
    running: int = 0
    started: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Log(Protocol):
    """The fenced logs of all runs of one deployment.

    Every method may raise `LogUnavailableError`; then the write may or may not have happened, and the identical call
    may be sent again.
    """

    async def submit(self, run: NewRun) -> bool:
        """Create the run with its record 1 and put it in line, behind its session if that is busy.

        Returns:
            True if it is new, False if the id exists already (then nothing changed).
        """
        ...

    async def claim(self, agents: Mapping[str, bytes], *, worker: str, token: str, lease_ms: int) -> Claim | None:
        """Take the run that has been due longest among `agents` (name → encoded `run.claimed` record).

        The run goes to `running`, its epoch goes up by one, the record is appended, the lease starts. The same token
        gives the same claim again. None when nothing is due.
        """
        ...

    async def append(self, batches: Sequence[Batch]) -> list[Answer]:
        """Append to several runs at once; each batch whole or not at all, one answer each, in order."""
        ...

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        """Extend the leases of (run id, token) pairs from now; a lost run's lease is not touched."""
        ...

    async def finish(self, end: Finish) -> Answer:
        """Append the last records and end the run, all at once: state, session messages, lease, next of the session."""
        ...

    async def release(self, batch: Batch) -> Answer:
        """Append and hand the run back, due now. Not a crash."""
        ...

    async def reap(self, *, failure: bytes, crash_limit: int, retention_ms: int, limit: int = 32) -> list[str]:
        """Deal with up to `limit` expired leases, oldest first: back in line, or past `crash_limit` crashes failed.

        `failure` is the encoded `run.failed` record to append in the second case.

        Returns:
            The ids of the runs dealt with.
        """
        ...

    async def signal(self, run_id: str, signal: Signal, *, at_once: Sequence[bytes] = ()) -> RunStateName | None:
        """Send a signal to a run's owner.

        A cancel of a queued run needs no owner: it ends there and then with the `at_once` records
        (`signal.received`, `run.cancelled`).

        Returns:
            The run's state after the call; None if there is no such run. A signal to an ended run changes nothing.
        """
        ...

    async def inbox(self, run_id: str) -> list[Signal]:
        """The signals not yet acknowledged, oldest first."""
        ...

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Up to `limit` entries with `seq` > `after`, in order. Empty if there are none (yet), or no such run.

        Raises:
            ForeignRecordError: If the log holds something playhead did not write.
        """
        ...

    async def read_back(self, run_id: str, *, before: int, limit: int = 256) -> list[Entry]:
        """Up to `limit` entries with `seq` < `before`, newest first."""
        ...

    async def info(self, run_id: str) -> RunInfo | None:
        """The run's present state, or None if there is no such run."""
        ...

    async def runs(self, *, limit: int = 50) -> list[RunInfo]:
        """The newest runs first."""
        ...

    async def messages(self, session: str) -> list[Message]:
        """The session's messages, oldest first; empty for an unknown session."""
        ...

    async def announce(self, worker: WorkerInfo, *, ttl_ms: int) -> None:
        """Say that this worker lives and what it serves; forgotten after `ttl_ms` without a repeat."""
        ...

    async def retire(self, worker: str) -> None:
        """Take the worker's announcement back."""
        ...

    async def workers(self) -> list[WorkerInfo]:
        """The live workers."""
        ...

    async def wait_for_work(self, agents: Sequence[str], *, worker: str, timeout: float) -> str | None:
        """Wait up to `timeout` seconds until there may be work, or a signal for a run of `worker`.

        A hint only: every return must be followed by a claim. Returns the id of a signalled run, else None.
        """
        ...
