"""The calls of a log that most of its contract's tests begin with: submit a run, claim it, write after its head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.lowlevel

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import (
    CycleStarted,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunStateName,
    RunSubmitted,
)
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.interface import Log
from playhead.runtime.log.values import Batch, Claim, NewRun, RunInfo, WriteResult

__all__ = [
    "AGENT",
    "CANCEL",
    "CLAIMED",
    "COMPLETED",
    "FACT",
    "FAILED",
    "MINUTE",
    "after",
    "append",
    "claimed",
    "known",
    "owned",
    "reaped",
    "state_of",
    "submitted",
    "texts",
    "tick",
    "try_claim",
]

AGENT: Final = "echo"
MINUTE: Final = 60_000
CLAIMED: Final = encode_record(RunClaimed(at=1, worker="w1"))
FACT: Final = encode_record(CycleStarted(at=2, cycle=1))
FAILED: Final = encode_record(RunFailed(at=3, error_type="WorkerLost", message="too many workers died"))
COMPLETED: Final = encode_record(RunCompleted(at=3, result={"stop_reason": "end_turn"}))
CANCEL: Final = Signal("s1", "cancel")


async def submitted(
    log: Log, run_id: str = "", *, agent: str = AGENT, session: str | None = None, deadline_ms: int | None = None
) -> str:
    """Submit a run; returns its id."""
    run_id = run_id or new_run_id()
    record = RunSubmitted(at=0, agent=agent, prompt=run_id, session=session)
    assert await log.submit(NewRun(run_id, agent, record, session, deadline_ms))
    return run_id


async def try_claim(
    log: Log, *agents: str, token: str = "", worker: str = "w1", lease_ms: int = MINUTE, **limits: Any
) -> Claim | None:
    """Claim the next run of these agents, or of `AGENT`; None if there is none."""
    wanted = dict.fromkeys(agents or (AGENT,), CLAIMED)
    return await log.claim(wanted, worker=worker, token=token or new_token(), lease_ms=lease_ms, **limits)


async def claimed(log: Log, *agents: str, lease_ms: int = MINUTE, **more: Any) -> Claim:
    """As `try_claim`, where there is a run."""
    claim = await try_claim(log, *agents, lease_ms=lease_ms, **more)
    assert claim is not None
    return claim


async def owned(log: Log, *, session: str | None = None, lease_ms: int = MINUTE, **limits: Any) -> Claim:
    """A fresh run, claimed."""
    await submitted(log, session=session)
    return await claimed(log, lease_ms=lease_ms, **limits)


def after(claim: Claim, records: Sequence[bytes] = (), *, head: int | None = None, ack: int = 0) -> Batch:
    """These records after the head of the claim, or after `head`."""
    return Batch(claim.run_id, claim.token, claim.head if head is None else head, records, ack)


async def append(log: Log, batch: Batch) -> WriteResult:
    """Append one batch."""
    (result,) = await log.append([batch])
    return result


async def known(log: Log, run_id: str) -> RunInfo:
    """What the log knows of a run that it has."""
    info = await log.info(run_id)
    assert info is not None
    return info


async def state_of(log: Log, run_id: str) -> RunStateName:
    """The state of a run that the log has."""
    return (await known(log, run_id)).state


async def texts(log: Log, session: str) -> list[str]:
    """The first text of each message of a session."""
    return [message.get("content", [])[0]["text"] for message in await log.messages(session)]


async def reaped(log: Log, count: int = 1) -> list[str]:
    """The next `count` runs whose leases or deadlines, of a millisecond, are over by the log's own clock."""
    found: list[str] = []
    with anyio.fail_after(10):
        while len(found) < count:
            found += await log.reap()
            await anyio.lowlevel.checkpoint()
    assert len(found) == count
    return found


async def tick(log: Log) -> None:
    """Wait until the log's clock shows another millisecond, read from runs of an agent without a worker."""
    start = (await known(log, await submitted(log, agent="clock"))).created
    with anyio.fail_after(10):
        while (await known(log, await submitted(log, agent="clock"))).created == start:
            await anyio.lowlevel.checkpoint()
