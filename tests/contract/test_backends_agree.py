"""Random walks: whatever is called in whatever order, a Redis log and the memory log give the same answers.

The contract names the promises one by one; this looks for the combinations nobody thought of. Each run has an agent of
its own, so that which of two equally due runs a claim takes, which is left open, never matters. A lease of a
millisecond is over before anybody reaps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio.lowlevel
import pytest

from playhead.runtime.codec import encode_record
from playhead.runtime.errors import InterruptNotOpenError
from playhead.runtime.log.base import Answer, Batch, Claim, Finish, Log, NewRun, Renewal, RunStateName, Signal
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.records import CycleStarted, RunCancelled, RunClaimed, RunFailed, RunSubmitted

__all__: list[str] = []

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(6)]
SESSIONS = dict(zip(RUNS, ["ada", "ada", "ada", "bob", "bob", None], strict=True))
STATES: tuple[RunStateName, ...] = ("completed", "failed", "cancelled")
CLAIMED = encode_record(RunClaimed(at=0, worker="w"))
FAILED = encode_record(RunFailed(at=0, error_type="WorkerLost", message=""))
CANCELLED = encode_record(RunCancelled(at=0, result={}))
HOUR = 3_600_000
ASKED = ["i1", "i2", "i3"]

Call = Callable[[Log], Awaitable[Any]]


class Walk:
    """Draws the next call; remembers the claims given, so that present and former owners write."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.claims: dict[str, list[Claim]] = {run_id: [] for run_id in RUNS}
        self.tokens = 0
        self.last: Call | None = None

    def call(self, heads: dict[str, int]) -> Call:
        if self.last and self.rng.random() < 0.2:  # the answer was lost: the identical call again
            return self.last
        run_id = self.rng.choice(RUNS)
        draws = [self.submit, self.claim, self.claim, self.signal, self.reap, self.renew]
        draws += [self.append, self.append, self.append, self.release, self.finish, self.pause]
        self.last = self.rng.choice(draws)(run_id, heads.get(run_id, 0))
        return self.last

    def submit(self, run_id: str, _: int) -> Call:
        run = NewRun(run_id, run_id, RunSubmitted(at=0, agent=run_id), SESSIONS[run_id])
        return lambda log: log.submit(run)

    def claim(self, run_id: str, _: int) -> Call:
        lease_ms = self.rng.choice([HOUR, HOUR, 1])
        self.tokens += 1
        token = f"t{self.tokens}"
        return lambda log: log.claim(
            {run_id: CLAIMED}, worker="w", token=token, lease_ms=lease_ms, crash_limit=2, retention_ms=HOUR
        )

    def batch(self, run_id: str, head: int) -> Batch:
        claims = self.claims[run_id]
        token = (claims[-1] if self.rng.random() < 0.85 else self.rng.choice(claims)).token if claims else "none"
        records = [
            encode_record(CycleStarted(at=0, cycle=self.rng.randrange(99))) for _ in range(self.rng.choice([0, 1, 3]))
        ]
        head = max(0, head + self.rng.choice([0, 0, 0, 0, -1, -3, 1]))
        return Batch(run_id, token, head, records)

    def append(self, run_id: str, head: int) -> Call:
        batch = self.batch(run_id, head)
        return lambda log: log.append([batch])

    def release(self, run_id: str, head: int) -> Call:
        batch = self.batch(run_id, head)
        return lambda log: log.release(batch)

    def pause(self, run_id: str, head: int) -> Call:
        batch, asked = self.batch(run_id, head), self.rng.sample(ASKED, 2)
        return lambda log: log.pause(batch, interrupts=asked)

    def finish(self, run_id: str, head: int) -> Call:
        message: Any = {"role": "user", "content": [{"text": f"{run_id} {head}"}]}
        end = Finish(self.batch(run_id, head), self.rng.choice(STATES), SESSIONS[run_id], [message], HOUR)
        return lambda log: log.finish(end)

    def renew(self, run_id: str, _: int) -> Call:
        pairs = [(claim.run_id, claim.token) for claims in self.claims.values() for claim in claims[-2:]]
        return lambda log: log.renew(pairs, lease_ms=HOUR)

    def reap(self, _: str, __: int) -> Call:
        async def reap(log: Log) -> list[str]:
            over = time.monotonic() + 0.003  # a lease of a millisecond is over then, on either clock
            while time.monotonic() < over:
                await anyio.lowlevel.checkpoint()
            return sorted(await log.reap())

        return reap

    def signal(self, run_id: str, _: int) -> Call:
        kind = self.rng.choice(["cancel", "steer", "respond", "respond"])
        signal = Signal(f"s{self.rng.randrange(20)}", kind, {self.rng.choice(ASKED): run_id})
        at_once = [CANCELLED] if self.rng.random() < 0.3 else []

        async def send(log: Log) -> Any:
            try:
                return await log.signal(run_id, signal, at_once=at_once)
            except InterruptNotOpenError as error:
                return error.ids

        return send


async def seen(log: Log) -> dict[str, Any]:
    """All there is to see, times left out."""
    infos = {info.run_id: replace(info, created=0, updated=0) for info in await log.runs()}
    view: dict[str, Any] = {
        run_id: (info, await log.read(run_id), await log.inbox(run_id)) for run_id, info in infos.items()
    }
    for session in ("ada", "bob"):
        view[session] = await log.messages(session)
    return view


def told(answer: Any) -> Any:
    """The answer without what a refusal says of signals: those of a lost run are nobody's business."""
    if isinstance(answer, list):
        return [told(item) for item in answer]
    refused = (isinstance(answer, Renewal) and not answer.ours) or (isinstance(answer, Answer) and not answer.stored)
    return replace(answer, inbox=0) if refused else answer


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
@pytest.mark.parametrize("seed", range(8))
async def test_a_random_walk_gives_the_same_answers_on_every_backend(log: Log, seed: int) -> None:
    model, walk, heads = MemoryLog(), Walk(seed), dict[str, int]()
    for step in range(150):
        call = walk.call(heads)
        answer = await call(log)
        assert told(answer) == told(await call(model)), f"step {step} of seed {seed}"
        if isinstance(answer, Claim) and answer not in walk.claims[answer.run_id]:
            walk.claims[answer.run_id].append(answer)
        view = await seen(log)
        assert view == await seen(model), f"after step {step} of seed {seed}"
        heads = {run_id: view[run_id][0].head for run_id in RUNS if run_id in view}
