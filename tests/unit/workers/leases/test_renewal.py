"""When leases are renewed: no run is given up while one try in four is answered, and none is kept for longer."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import NewRun, Renewal
from playhead.workers import WorkerOptions
from playhead.workers.leases import leases
from playhead.workers.leases import renewer as renewal
from playhead.workers.leases import watchdog as watchdog
from playhead.workers.leases.leases import Lease, Leases
from tests.support.jumping import Clock, JumpingLoop

__all__: list[str] = []

LEASE_S = 3.0
T = LEASE_S / 3
AGENT = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
FATES = ("answered", "cut", "silent", "late")
"""What becomes of the reply to a try: it comes, the link breaks, it never comes, it comes after 0.9 T."""


class LossyLog(MemoryLog):
    """A log that renews every time, and loses replies: the n-th has the n-th of `fates`, over and over."""

    def __init__(self, clock: Clock, fates: Sequence[str]) -> None:
        super().__init__(clock=lambda: round(clock.now * 1000))
        self.tries: list[float] = []
        self.answered: list[float] = []
        self._of_tries = clock
        self._fates = itertools.cycle(fates)

    async def renew(self, owned: Sequence[tuple[str, str]], *, lease_ms: int) -> list[Renewal]:
        sent, fate = self._of_tries.now, next(self._fates)
        self.tries.append(sent)
        reply = await super().renew(owned, lease_ms=lease_ms)
        if fate == "cut":
            raise LogUnavailableError("the link was cut on the way back")
        await anyio.sleep({"answered": 0.0, "late": 0.9 * T, "silent": 100 * T}[fate])
        self.answered.append(sent)
        return reply


class Held:
    """A run whose lease a worker looks after, on a clock of its own."""

    def __init__(self, clock: Clock, log: LossyLog) -> None:
        self.log = log
        self.lost_at: float | None = None
        self._clock = clock
        self._lost = anyio.Event()

    async def claim(self, looked_after: Leases) -> Lease:
        await self.log.submit(NewRun("run", "agent", RunSubmitted(at=1, agent="agent")))
        claim = await self.log.claim(AGENT, worker="w", token="t", lease_ms=round(LEASE_S * 1000))
        assert claim is not None
        lease = looked_after.hold("run", "t", sent=self._clock.now)
        lease.listen(self._lose)
        return lease

    def _lose(self) -> None:
        self.lost_at = self._clock.now
        self._lost.set()

    async def lost(self) -> None:
        await self._lost.wait()


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Held]:
    """Hold a run whose renewals meet `fates` until `over`, and tell what became of it."""

    def held(*fates: str, over: Callable[[Held, Lease], Awaitable[object]]) -> Held:
        clock = Clock()
        for module in (leases, watchdog, renewal):
            monkeypatch.setattr(module, "now_s", lambda: clock.now)

        async def main() -> Held:
            run = Held(clock, LossyLog(clock, fates))
            options = WorkerOptions(lease_ms=round(LEASE_S * 1000))
            looked_after = Leases(log=run.log, options=options, signals_wait=lambda _: None)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(looked_after.run)
                await over(run, await run.claim(looked_after))
                tasks.cancel_scope.cancel()
            return run

        return anyio.run(main, backend_options={"loop_factory": lambda: JumpingLoop(clock)})

    return held


def leases_long(count: float) -> Callable[[Held, Lease], Awaitable[object]]:
    return lambda run, lease: anyio.sleep(count * LEASE_S)


ONE_IN_FOUR = [fates for fates in itertools.product(FATES, repeat=4) if "answered" in fates]


@pytest.mark.exhaustive
@pytest.mark.parametrize("fates", ONE_IN_FOUR, ids="-".join)
def test_a_run_is_held_as_long_as_one_try_in_four_is_answered(hold: Callable[..., Held], fates: Sequence[str]) -> None:
    assert hold(*fates, over=leases_long(12)).lost_at is None


@pytest.mark.parametrize("fate", ["cut", "silent"])
def test_a_run_is_given_up_after_four_tries_and_before_the_server_may_give_it_away(
    hold: Callable[..., Held], fate: str
) -> None:
    reaped: list[list[str]] = []

    async def lost(run: Held, lease: Lease) -> None:
        await run.lost()
        reaped.append(await run.log.reap())

    run = hold("answered", *[fate] * 8, over=lost)
    assert run.lost_at is not None
    (renewed,) = run.log.answered
    assert [sent - renewed for sent in run.log.tries[1:]] == pytest.approx([T, 1.25 * T, 1.5 * T, 1.75 * T, 2 * T])
    assert 2 * T < run.lost_at - renewed <= 2.2 * T, "two thirds, and what it takes to look"
    assert reaped == [[]]


def test_a_late_reply_counts_from_when_its_try_was_sent(hold: Callable[..., Held]) -> None:
    seen: list[tuple[float, float]] = []

    async def watch(run: Held, lease: Lease) -> None:
        for _ in range(100):
            await anyio.sleep(T / 7)
            seen.append((lease.renewed_at, max(run.log.answered, default=lease.renewed_at)))

    assert hold("late", "answered", "late", "silent", "late", over=watch).lost_at is None
    assert all(renewed == pytest.approx(newest) for renewed, newest in seen), "nor does an older one put it back"


def test_a_worker_whose_tries_are_answered_sends_three_a_lease(hold: Callable[..., Held]) -> None:
    tries = hold("answered", over=leases_long(10)).log.tries
    assert [after - before for before, after in itertools.pairwise(tries)] == pytest.approx([T] * (len(tries) - 1))
    assert 29 <= len(tries) <= 30


def test_tries_that_fail_for_one_reason_are_one_line_until_one_is_answered(
    hold: Callable[..., Held], caplog: pytest.LogCaptureFixture
) -> None:
    run = hold("cut", "cut", "cut", "answered", over=leases_long(3))
    said = [one for one in caplog.messages if one == "renew: the link was cut on the way back; trying again"]
    assert len(run.log.tries) - len(run.log.answered) > 2 * len(said) > 2
    assert len(said) <= len(run.log.answered) + 1
