"""The watchdog tells a blocked loop, a stopped process and a busy moment apart."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from playhead.runtime.log.memory import MemoryLog
from playhead.workers.leases import watchdog as watchdog
from playhead.workers.leases.renewer import Renewer
from playhead.workers.leases.watchdog import Watchdog

__all__: list[str] = []


class Life:
    """A watchdog on a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(watchdog, "now_s", lambda: self.now)
        self.watchdog = Watchdog(every_s=0.1, stall_s=1.0)
        self.goes_on(1)

    def goes_on(self, seconds: float, *, loop: bool = True) -> None:
        """The process runs, and its event loop does or is blocked."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.watchdog.look()
            if loop:
                self.watchdog.tick()

    def stands_still(self, seconds: float) -> None:
        """The process is stopped."""
        self.now += seconds


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(monkeypatch)


def test_a_loop_that_ticks_is_not_stalled_and_there_is_nothing_to_tell(life: Life) -> None:
    assert life.watchdog.stalled_s() == 0
    assert life.watchdog.explain(since=100) == ""


def test_a_blocked_loop_is_stalled_once_its_limit_is_over_and_no_longer_when_it_ticks_again(life: Life) -> None:
    life.goes_on(0.9, loop=False)
    assert life.watchdog.stalled_s() == 0
    life.goes_on(0.6, loop=False)
    assert life.watchdog.stalled_s() == pytest.approx(1.5)
    assert life.watchdog.explain(since=101) == "the event loop was blocked for 1.5 s", "also before it ticks again"
    life.goes_on(0.1)
    assert life.watchdog.stalled_s() == 0
    assert life.watchdog.explain(since=101) == "the event loop was blocked for 1.6 s"


@pytest.mark.parametrize("first", ["look", "tick"])
def test_a_stopped_process_is_not_a_stall_whichever_side_wakes_up_first(life: Life, first: str) -> None:
    life.stands_still(5)
    if first == "look":
        life.watchdog.look()
        assert life.watchdog.stalled_s() == 0
    else:
        life.watchdog.tick()
        assert life.watchdog.stalled_s() == 0
        life.watchdog.look()
    assert life.watchdog.explain(since=101).startswith("this process was stopped for 5.0 s")
    life.goes_on(0.1)
    assert life.watchdog.explain(since=101).startswith("this process was stopped for 5.0 s")


def test_a_loop_still_blocked_after_a_stop_gets_its_full_limit_from_there(life: Life) -> None:
    life.stands_still(5)
    life.goes_on(0.9, loop=False)
    assert life.watchdog.stalled_s() == 0
    life.goes_on(0.4, loop=False)
    assert life.watchdog.stalled_s() > 1


def test_what_was_over_before_is_not_part_of_the_explanation(life: Life) -> None:
    life.goes_on(1.5, loop=False)
    life.goes_on(1)
    assert life.watchdog.explain(since=life.now - 0.5) == ""
    life.stands_still(2)
    life.goes_on(1)
    assert life.watchdog.explain(since=life.now - 0.5) == ""


def test_the_longer_cause_is_told(life: Life) -> None:
    life.stands_still(0.5)
    life.goes_on(3, loop=False)
    assert life.watchdog.explain(since=101) == "the event loop was blocked for 3.5 s"


def test_where_nothing_looks_from_outside_a_stop_looks_like_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(watchdog, "now_s", lambda: now)
    alone = Watchdog(every_s=0.1, stall_s=1.0)
    now += 5
    alone.tick()
    assert alone.explain(since=100) == "the event loop was blocked for 5.0 s"


class SlowToClone(MemoryLog):
    """A log whose second connection is made when `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def clone(self) -> MemoryLog:
        self.asked.set()
        self.go_on.wait(10)
        return MemoryLog()


@pytest.mark.anyio
async def test_a_process_that_is_stopped_before_the_renewing_thread_looks_is_not_called_blocked(life: Life) -> None:
    log, dog = SlowToClone(), Watchdog(every_s=0.1, stall_s=1.0)
    renewer = Renewer(tuple, log=log, lease_ms=2000, watchdog=dog, signals_wait=lambda _: None)
    said = ""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(renewer.run)
        await anyio.to_thread.run_sync(log.asked.wait, 10)
        life.stands_still(5)
        said = dog.explain(since=life.now - 1)
        log.go_on.set()
        tasks.cancel_scope.cancel()
    assert said.startswith("this process was stopped for 5.0 s")
