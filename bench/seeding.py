"""Writes logs for the readers: runs made through the log interface, without a worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import (
    CycleStarted,
    MessageAdded,
    ModelChunk,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunSubmitted,
    now_ms,
)
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.values import Batch, Claim, NewRun, RunEnd
from playhead.runtime.models import text_call

__all__ = [
    "AGENT",
    "SeededRun",
    "append",
    "append_to_each",
    "claim_run",
    "conversation",
    "finish",
    "finished_run",
    "long_log",
    "opened_log",
    "running_runs",
]

AGENT = "seeded"
_LEASE_MS = 600_000
_RETENTION_MS = 600_000
_BATCH = 500
_RUNS_AT_ONCE = 200

_SENTENCE = "the of and to in is that for it as was with be by on not he his but at are this have from or had an they"


@asynccontextmanager
async def opened_log(url: str, *, prefix: str) -> AsyncGenerator[RedisLog, None]:
    """Open a log on the server."""
    log = RedisLog(connect(url), prefix=prefix)
    try:
        yield log
    finally:
        await log.aclose()


async def claim_run(log: RedisLog) -> Claim:
    """A new run of `AGENT`, owned by the caller."""
    await log.submit(NewRun(new_run_id(), AGENT, RunSubmitted(at=now_ms(), agent=AGENT, prompt="go")))
    notes = {AGENT: encode_record(RunClaimed(at=now_ms(), worker="bench"))}
    claim = await log.claim(notes, worker="bench", token=new_token(), lease_ms=_LEASE_MS)
    assert claim is not None
    return claim


@dataclass(slots=True)
class SeededRun:
    """A running run whose model call has started and has streamed nothing yet."""

    id: str
    claim: Claim
    head: int


async def running_runs(log: RedisLog, count: int) -> list[SeededRun]:
    """`count` of them."""
    runs: list[SeededRun] = []
    for _ in range(count):
        claim = await claim_run(log)
        runs.append(SeededRun(claim.run_id, claim, claim.head))
    await append_to_each(log, runs, conversation(0)[:2])
    return runs


async def append_to_each(log: RedisLog, runs: Sequence[SeededRun], records: Sequence[Record]) -> None:
    """Append the same records to each run, many runs in one call."""
    data = [encode_record(record) for record in records]
    for start in range(0, len(runs), _RUNS_AT_ONCE):
        part = runs[start : start + _RUNS_AT_ONCE]
        answers = await log.append([Batch(run.id, run.claim.token, run.head, data) for run in part])
        for run, answer in zip(part, answers, strict=True):
            assert answer.stored
            run.head = answer.head


def conversation(tokens: int) -> list[Record]:
    """A model call of `tokens` text deltas of about five characters, as a worker would log it, without its end."""
    words = _SENTENCE.split()
    text = " ".join(words[number * number % len(words)] for number in range(tokens))
    chunks = [ModelChunk(at=now_ms(), chunk=chunk) for chunk in text_call(text)]
    message = MessageAdded(
        at=now_ms(),
        message={"role": "assistant", "content": [{"text": text}]},
        origin="model",
        stop_reason="end_turn",
    )
    return [CycleStarted(at=now_ms(), cycle=1), ModelStarted(at=now_ms()), *chunks, message]


async def append(log: RedisLog, claim: Claim, head: int, records: Sequence[Record]) -> int:
    """Append after `head`; returns the new head."""
    return await _append(log, claim, head, [encode_record(record) for record in records])


async def _append(log: RedisLog, claim: Claim, head: int, data: Sequence[bytes]) -> int:
    for start in range(0, len(data), _BATCH):
        (answer,) = await log.append([Batch(claim.run_id, claim.token, head, data[start : start + _BATCH])])
        assert answer.stored
        head = answer.head
    return head


async def finished_run(url: str, *, prefix: str, records: int) -> tuple[str, int]:
    """A finished run of one model call, of about `records` records; returns its id and its head."""
    async with opened_log(url, prefix=prefix) as log:
        claim = await claim_run(log)
        head = await append(log, claim, claim.head, conversation(records - 10))
        await finish(log, claim, head)
    return claim.run_id, head + 1


async def long_log(log: RedisLog, records: int, *, answer: int) -> tuple[str, int]:
    """A finished run of about `records` records, with messages of `answer` tokens each; returns its id and its head."""
    claim = await claim_run(log)
    head = claim.head
    data = [encode_record(record) for record in conversation(answer)]
    while head < records - 1:
        head = await _append(log, claim, head, data[: records - 1 - head])
    await finish(log, claim, head)
    return claim.run_id, head + 1


async def finish(log: RedisLog, claim: Claim, head: int) -> None:
    """End the run."""
    result = {"stop_reason": "end_turn", "message": {"role": "assistant", "content": []}, "metrics": {}, "state": {}}
    last = encode_record(RunCompleted(at=now_ms(), result=result))
    batch = Batch(claim.run_id, claim.token, head, [last])
    answer = await log.finish(RunEnd(batch, "completed", retention_ms=_RETENTION_MS))
    assert answer.stored
