"""What the memory log keeps of a run, a session and a sleeping worker. For `memory` only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from playhead.runtime.log.base import (
    DEFAULT_CRASH_LIMIT,
    DEFAULT_RETENTION_MS,
    Answer,
    Claim,
    Code,
    RunInfo,
    RunStateName,
    Signal,
)

__all__ = ["MemoryRun", "MemorySession", "MemoryWaiter"]


@dataclass(slots=True)
class MemoryRun:
    """One run. `entries[seq - 1]` is (epoch, record bytes), so the head is their number.

    `place` is the run's one valid place in its agent's line; older places are skipped when met. `released` is the
    token of the last owner that parted with it and the head it left, kept to tell a repeat of that. `asked` are the
    open interrupts; `cancel` is a cancel not known to be taken in, with the records that end the run should it never be.
    """

    run_id: str
    agent: str
    session: str | None
    created: int
    updated: int
    entries: list[tuple[int, bytes]]
    state: RunStateName = "queued"
    epoch: int = 0
    token: str | None = None
    released: tuple[str, int] | None = None
    crashes: int = 0
    handovers: int = 0
    errors: int = 0
    crash_limit: int = DEFAULT_CRASH_LIMIT
    retention_ms: int = DEFAULT_RETENTION_MS
    deadline: int | None = None
    worker: str | None = None
    place: int = 0
    expires: int | None = None
    inbox: list[Signal] = field(default_factory=list[Signal])
    seen: set[str] = field(default_factory=set[str])
    asked: set[str] = field(default_factory=set[str])
    cancel: tuple[Signal, Sequence[bytes]] | None = None

    def append(self, records: Sequence[bytes]) -> None:
        epoch = self.epoch
        self.entries.extend((epoch, record) for record in records)

    def answer(self, code: Code) -> Answer:
        return Answer(code, len(self.entries), len(self.inbox))

    def info(self) -> RunInfo:
        return RunInfo(
            run_id=self.run_id,
            state=self.state,
            agent=self.agent,
            session=self.session,
            head=len(self.entries),
            epoch=self.epoch,
            crashes=self.crashes,
            created=self.created,
            updated=self.updated,
            worker=self.worker,
            handovers=self.handovers,
            errors=self.errors,
            deadline=self.deadline,
        )

    def claim(self) -> Claim:
        assert self.token is not None
        return Claim(
            run_id=self.run_id,
            token=self.token,
            epoch=self.epoch,
            head=len(self.entries),
            agent=self.agent,
            session=self.session,
            crashes=self.crashes,
            inbox=len(self.inbox),
        )


@dataclass(slots=True)
class MemorySession:
    """A conversation: the run that holds it, the runs behind that one, and its messages, encoded."""

    holder: str | None = None
    waiting: deque[str] = field(default_factory=deque[str])
    messages: list[bytes] = field(default_factory=list[bytes])
    expires: int | None = None


@dataclass(eq=False, slots=True)
class MemoryWaiter:
    """A worker asleep in `wait_for_work`."""

    agents: frozenset[str]
    worker: str
    woken: anyio.Event = field(default_factory=anyio.Event)
