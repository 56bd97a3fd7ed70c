"""Owners of one run of a guest, one after the other, in this process: their log is a list, and each may die anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio

from playhead.runtime.core.codec import MAX_RECORD_BYTES, decode_record, encode_record, limit_of
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    Record,
    RunClaimed,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    StepFinished,
    ToolFinished,
)
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.signals import Signal
from playhead.runtime.host.guest import Guest
from playhead.runtime.host.host import GuestTarget, Host
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening
from playhead.runtime.loop.spec import Flush
from tests.support.sweeps import places_of_each_kind

__all__ = ["RUN", "Owners", "cuts"]

RUN = "0-run"
LIMIT_S = 20.0


@dataclass
class Owners:
    """The log of a run, and what its owners need.

    Attributes:
        guest: What runs it.
        log: The records.
        answer: What a human answers to every question.
        run_id: Its id.
        hosts: The hosts of its owners.
    """

    guest: Guest
    log: list[Entry] = field(default_factory=list[Entry])
    answer: Any = "yes"
    prompt: Any = "go"
    longest_wait: float = 60.0
    said: StoredMessages = field(default_factory=StoredMessages)
    control: Control = field(default_factory=Control)
    ownership: Ownership = field(default_factory=lambda: Ownership(RUN))
    run_id: str = RUN
    hosts: list[Host] = field(default_factory=list[Host])

    def __post_init__(self) -> None:
        if not self.log:
            self.append(RunSubmitted(at=0, agent=self.guest.name, prompt=self.prompt, invocation_state={"user": "ada"}))

    def append(self, record: Record) -> None:
        """Store it, as bytes do."""
        epoch = sum(isinstance(one.record, RunClaimed) for one in self.log)
        data = encode_record(record, limit=limit_of(record, MAX_RECORD_BYTES))
        self.log.append(Entry(len(self.log) + 1, epoch, decode_record(data)))

    def inbox(self) -> Iterator[Signal]:
        """The answers to every pause that no owner has received."""
        received = {one.record.signal_id for one in self.log if isinstance(one.record, SignalReceived)}
        for entry in self.log:
            if isinstance(entry.record, RunPaused) and f"answer {entry.seq}" not in received:
                body = {interrupt["id"]: self.answer for interrupt in entry.record.interrupts}
                yield Signal(f"answer {entry.seq}", "respond", body)

    def opened(self) -> Host:
        """A host of the owner, which runs the run on from its log."""
        opening = Opening(
            run_id=self.run_id,
            epoch=self.log[-1].epoch,
            entries=list(self.log),
            head=len(self.log),
            said=self.said,
            control=self.control,
            ownership=self.ownership,
            longest_wait=self.longest_wait,
        )
        host = GuestTarget(self.guest).open(opening)
        self.hosts.append(host)
        return host

    async def own(self, *, upto: int | None = None) -> Host:
        """Claim the run and run it as far as it gets; die after record `upto`."""
        self.append(RunClaimed(at=0, worker="w"))
        self.control, self.ownership = Control(), Ownership(self.run_id)
        host = self.opened()
        self.control.deliver(self.inbox())
        with anyio.fail_after(LIMIT_S):
            async with aclosing(host.records()) as items:
                async for item in items:
                    if isinstance(item, Flush):
                        continue
                    self.append(record_of(item))
                    assert len(self.log) == host.head
                    if len(self.log) == upto:
                        break
        return host

    async def to_the_end(self) -> None:
        """One owner after the other, until the run has ended."""
        for _ in range(20):
            if self.ended:
                return
            await self.own()
        raise AssertionError("the run goes round in circles")

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.log[-1].record.type in TERMINAL_TYPES

    @property
    def records(self) -> list[Record]:
        """Without the claims and the pauses, which depend on where an owner died."""
        return [one.record for one in self.log if not isinstance(one.record, RunClaimed | RunPaused | SignalReceived)]

    @property
    def end(self) -> Any:
        """The last record."""
        return self.log[-1].record

    def finished(self, *, but: str = "") -> Counter[str]:
        """The tools that have run to their end, by the log, without those that raised an exception of that name."""
        done = [one for one in self.of(ToolFinished) if not but or one.memory.get("raised", {}).get("type") != but]
        return Counter(one.name for one in done)

    def answered(self) -> int:
        """The model calls that have ended, by the log, without those that failed."""
        return sum("/model" in one.key and one.error is None for one in self.of(StepFinished))

    def of(self, kind: type[Record]) -> list[Any]:
        """The records of one type."""
        return [one.record for one in self.log if isinstance(one.record, kind)]

    def events(self) -> list[Event]:
        """What a reader is left with that takes back what is retracted."""
        projection, seen = Projection(self.run_id), list[Event]()
        for entry in self.log:
            for event in projection.feed(entry):
                if "retracted" in event:
                    seen = [one for one in seen if not event["from_seq"] <= one.seq <= event["to_seq"]]
                else:
                    seen.append(event)
        return [one for one in seen if not (one.get("result") or {}).get("interrupts")]


def cuts(whole: Owners, make: Callable[[list[Entry]], Owners], *, first: int = 1) -> Iterator[tuple[Owners, str]]:
    """New owners of the run of `whole` for each kind of place, that have its records up to there; and where that is."""
    for cut in places_of_each_kind(whole.log, first=first):
        yield make(whole.log[:cut]), f"cut after record {cut}, {whole.log[cut - 1].record.type}"
