"""`Runner`: what runs one ownership of a run. A worker, its leases and its writers know no more of it than this."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.state import RunState
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.spec import LoopOutput
from playhead.runtime.telemetry.run_telemetry import RunTelemetry
from playhead.runtime.tools.children import ChildRuns

__all__ = ["Opening", "Runner", "Target"]


class Runner(Protocol):
    """One ownership of one run, as the records that it adds to the log. `Loop` is one.

    Attributes:
        state: The fold of all records, those that it has yielded included.
        head: The `seq` of the last record.
        ending: Whether the next record is the terminal one.
        error: The exception that ended the run, if it has one to show; else None.
        rest: The seconds that the run must still wait before it goes on, if `records` ended for that; else 0.
    """

    @property
    def state(self) -> RunState: ...

    @property
    def head(self) -> int: ...

    @property
    def ending(self) -> bool: ...

    @property
    def error(self) -> Exception | None: ...

    @property
    def rest(self) -> float: ...

    def records(self) -> AsyncGenerator[LoopOutput, None]:
        """Yield the records to append; `FLUSH` asks that all before it are stored. Closing it stops what runs.

        It ends after a terminal record or a pause, and earlier if the run is to be handed over. An exception fails the run.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an owner has when its run begins or goes on here.

    Attributes:
        run_id: The run.
        epoch: The ordinal of this ownership.
        entries: The stored records; the first is `run.submitted`.
        head: The `seq` of the last stored record. Records that the owner itself has written before are not in `entries`.
        said: The messages of the run's session; empty without a session.
        control: Where the signals for the run are delivered.
        ownership: Whether this process may still act for the run.
        driver: The task that takes all records.
        longest_wait: The longest wait in which the run keeps its place here, in seconds.
        children: Runs the agents that are tools of the run's agent; None where no agent can be one.
        telemetry: Is told of the agent, and within whose spans models and tools run; None for none.
    """

    run_id: str
    epoch: int
    entries: Sequence[Entry]
    head: int
    said: StoredMessages
    control: Control
    ownership: Ownership
    driver: asyncio.Task[Any] | None = None
    longest_wait: float = math.inf
    children: ChildRuns | None = None
    telemetry: RunTelemetry | None = None


class Target(Protocol):
    """What runs the runs of an agent. `max_record_bytes` is the size limit of one of their records."""

    @property
    def max_record_bytes(self) -> int: ...

    def open(self, opening: Opening) -> Runner:
        """Make what continues the run after these records. It begins to act with the first step of `records`."""
        ...
