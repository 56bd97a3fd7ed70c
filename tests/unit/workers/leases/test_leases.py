"""Which lease of a run is held."""

from __future__ import annotations

from playhead.runtime.log.memory import MemoryLog
from playhead.workers.leases.leases import Leases
from playhead.workers.leases.watchdog import now_s
from playhead.workers.options import WorkerOptions

__all__: list[str] = []


def test_a_run_that_is_claimed_again_here_is_lost_by_its_former_lease() -> None:
    leases = Leases(log=MemoryLog(), options=WorkerOptions(), signals_wait=lambda _: None)
    former, told = leases.hold("r", "t1", sent=now_s()), list[str]()
    former.listen(lambda: told.append(former.standing))
    present = leases.hold("r", "t2", sent=now_s())
    assert (told, present.standing) == (["lost"], "held")
    leases.drop(former)
    assert leases.hold("r", "t3", sent=now_s()).standing == "held"
    assert present.standing == "lost", "the former lease was dropped, and not this one"
