"""How often a waiting tail looks at its run: soon at first, and all tails together not too often."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import pytest

from playhead.client.tails.hub import Subscription
from playhead.client.tails.notice import Notice
from playhead.client.tails.tail import Tail
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.core.segments import Segment
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import LeaseInfo, RunInfo

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Enough(Exception):
    """Ends a tail that would wait for ever."""


class SilentHub:
    """A hub with `channels` tails, none of which receives anything; counts how long one of them is ready to wait."""

    closed = False

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.pauses: list[float] = []

    def subscribe(self, channel: str) -> Subscription:
        return SilentSubscription(channel.encode(), self.pauses)

    def unsubscribe(self, subscription: Subscription) -> None:
        pass


class SilentSubscription(Subscription):
    """Lets every wait end in vain, at once."""

    def __init__(self, channel: bytes, pauses: list[float]) -> None:
        super().__init__(channel)
        self.confirmed.set()
        self.waited = pauses

    async def wait(self, timeout: float) -> bool:
        if len(self.waited) == 9:
            raise Enough
        self.waited.append(timeout)
        return False


class RunningLog:
    """The log of one run that has one record and runs on and on; `held` is its owner's lease."""

    def __init__(self, held: LeaseInfo | None = None) -> None:
        self.held = held

    async def read_segments(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        return [Segment(1, 0, [RunSubmitted(at=1, agent="a")])][after:]

    async def info(self, run_id: str) -> RunInfo:
        return RunInfo(run_id, "running", "a", None, head=1, epoch=0, crashes=0, created=1, updated=1)

    async def lease(self, run_id: str) -> LeaseInfo | None:
        return self.held


def ignore(notice: Notice) -> None:
    pass


@pytest.mark.parametrize(
    ("channels", "pauses"),
    [
        (1, [1, 2, 4, 5, 5, 5, 5, 5, 5]),
        (1_000, [1, 2, 4, 5, 5, 5, 5, 5, 5]),
        (10_000, [1, 2, 4, 8, 16, 32, 50, 50, 50]),
    ],
)
async def test_waiting_tails_look_ever_more_rarely(channels: int, pauses: list[float]) -> None:
    hub = SilentHub(channels)
    log: Any = RunningLog()
    async with Tail("r", log=cast("LogReader", log), hub=hub, channel="r", after=0, on_notice=ignore) as tail:
        assert await tail.next() == [Segment(1, 0, [RunSubmitted(at=1, agent="a")])]
        with suppress(Enough):
            assert await tail.next() is None
    assert hub.pauses == pauses


@pytest.mark.parametrize(
    ("lease_ms", "channels", "pauses"),
    [
        (10_000, 1, [1, 2, 4, 4.333] + [4.333] * 5),  # renewed a moment ago: the renewal after next is overdue
        (2_000, 1, [1, 1.166] + [1.166] * 7),
        (2_000, 10_000, [1, 2, 4, 8, 16, 32, 50, 50, 50]),
    ],
)
async def test_a_tail_looks_when_the_next_renewal_is_overdue_but_all_tails_together_not_too_often(
    lease_ms: int, channels: int, pauses: list[float]
) -> None:
    hub = SilentHub(channels)
    log: Any = RunningLog(LeaseInfo(1_000_000, 1_000_000 + lease_ms, lease_ms))
    async with Tail("r", log=cast("LogReader", log), hub=hub, channel="r", after=0, on_notice=ignore) as tail:
        assert await tail.next() == [Segment(1, 0, [RunSubmitted(at=1, agent="a")])]
        with suppress(Enough):
            assert await tail.next() is None
    assert hub.pauses == pauses
