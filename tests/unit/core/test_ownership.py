"""Ownership: one object says whether this process may still act for a run, on any thread; a no is never undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, ModelStarted, Record, RunSubmitted, ToolStarted
from playhead.runtime.core.segments import record_of
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedModel
from playhead.runtime.models import chunks as c
from playhead.runtime.tools.context import NotBegunError
from playhead.workers.leases import leases
from playhead.workers.leases.leases import Lease
from playhead.workers.leases.watchdog import Watchdog

__all__: list[str] = []


class Clock:
    """What leases take for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(leases, "now_s", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def a_lease(clock: Clock, *, limit_s: float = 2.0) -> Lease:
    return Lease("run", "token", sent=clock.now, limit_s=limit_s, watchdog=Watchdog(every_s=0.1, stall_s=1.0))


def test_it_is_held_until_it_is_lost_and_the_first_reason_stays() -> None:
    ownership = Ownership("run")
    ownership.check()
    assert ownership.standing == "held"
    ownership.lose("its lease was lost")
    ownership.lose("append returned FENCED")
    assert ownership.standing == "lost"
    for closing in (False, True):
        with pytest.raises(FencedError, match="run run: its lease was lost"):
            ownership.check(closing=closing)


def test_one_that_is_told_to_stop_may_still_be_closed_until_it_is_lost() -> None:
    ownership = Ownership("run")
    ownership.stop()
    assert ownership.standing == "stopping"
    ownership.check(closing=True)
    with pytest.raises(FencedError, match="being stopped"):
        ownership.check()
    ownership.lose("its lease was lost")
    with pytest.raises(FencedError, match="its lease was lost"):
        ownership.check(closing=True)


def test_one_that_is_to_leave_at_a_boundary_is_held_until_then() -> None:
    ownership = Ownership("run")
    ownership.leave()
    assert ownership.leaving
    ownership.check()


def test_a_lease_expires_when_no_renewal_was_sent_for_its_limit_and_a_renewal_that_comes_then_is_too_late(
    clock: Clock,
) -> None:
    lease = a_lease(clock)
    clock.now += 2.0
    assert lease.standing == "held"
    clock.now += 0.1
    assert lease.standing == "expired"
    with pytest.raises(FencedError, match=r"no renewal succeeded for 2\.1 s"):
        lease.check(closing=True)
    lease.renewed_at = clock.now
    with pytest.raises(FencedError, match=r"no renewal succeeded for 2\.1 s"):
        lease.check()


def test_a_lease_whose_renewals_are_refused_is_kept_and_lets_nothing_begin_until_one_succeeds(clock: Clock) -> None:
    lease = a_lease(clock)
    clock.now += 2.5
    lease.refused_at = clock.now
    assert lease.standing == "refused"
    lease.check()
    lease.check(closing=True)
    lease.renewed_at = clock.now
    lease.check(beginning=True)
    clock.now += 2.5
    lease.refused_at = clock.now
    with pytest.raises(FencedError, match="refused for so long"):
        lease.check(beginning=True)
    assert lease.standing == "lost"


def test_a_lease_expires_when_not_even_refusals_come(clock: Clock) -> None:
    lease = a_lease(clock)
    lease.refused_at = clock.now + 1.0
    clock.now += 3.1
    assert lease.standing == "expired"
    with pytest.raises(FencedError, match=r"no renewal succeeded for 3\.1 s"):
        lease.check()


def test_a_renewal_counts_from_when_it_was_sent(clock: Clock) -> None:
    lease = a_lease(clock)
    sent = clock.now + 1.5
    clock.now += 3.0
    lease.renewed_at = sent
    lease.check()
    clock.now += 0.6
    assert lease.standing == "expired"


def test_a_stopping_lease_that_expires_may_not_even_be_closed(clock: Clock) -> None:
    lease = a_lease(clock)
    lease.stop()
    clock.now += 3.0
    with pytest.raises(FencedError, match="no renewal"):
        lease.check(closing=True)


def test_listeners_are_told_of_a_stop_and_of_a_loss_but_not_by_the_thread_that_marks_it() -> None:
    ownership, told = Ownership("run"), list[str]()
    ownership.listen(lambda: told.append(ownership.standing))
    ownership.stop()
    ownership.mark_lost("its lease was lost")
    assert told == ["stopping"]
    ownership.lose("its lease was lost")
    assert told == ["stopping", "lost"]


def test_what_one_thread_marks_all_threads_are_refused_at_once() -> None:
    ownership = Ownership("run")
    asked, marked = threading.Barrier(5), threading.Event()
    refused: list[str] = []

    def body() -> None:
        ownership.check()
        asked.wait(5)
        marked.wait(5)
        try:
            ownership.check()
        except FencedError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=body) for _ in range(4)]
    for thread in threads:
        thread.start()
    asked.wait(5)
    ownership.mark_lost("its lease was lost")
    marked.set()
    for thread in threads:
        thread.join(5)
    assert refused == ["run run: its lease was lost"] * 4


# What asks it


def begun(agent: Agent, ownership: Ownership) -> Loop:
    state = fold([Entry(1, 1, RunSubmitted(at=0, agent="agent", prompt="Go"))])
    return Loop(agent.spec, run_id="run", state=state, head=1, ownership=ownership)


async def until_refused(loop: Loop, *, then: Callable[[Record], None]) -> list[Record]:
    """The records of a loop that must end by a `FencedError`; `then` is called with each."""
    records: list[Record] = []

    async def take() -> None:
        async with aclosing(loop.records()) as items:
            async for item in items:
                if not isinstance(item, Flush):
                    records.append(record_of(item))
                    then(records[-1])

    with pytest.raises(FencedError, match="run run: its lease was lost"):
        await take()
    return records


@pytest.mark.anyio
async def test_a_loop_whose_run_is_lost_calls_no_model() -> None:
    ownership, model = Ownership("run"), ScriptedModel(["Hello"])

    def lose(record: Record) -> None:
        if record.type == "cycle.started":
            ownership.mark_lost("its lease was lost")

    records = await until_refused(begun(Agent(model, callback_handler=None), ownership), then=lose)
    assert not any(isinstance(record, ModelStarted) for record in records)
    assert model.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("kind", ["thread", "loop"])
async def test_a_loop_whose_run_is_lost_begins_no_body_that_has_not_begun(kind: str, together: int) -> None:
    ownership, ran = Ownership("run"), list[int]()

    @tool
    def in_thread(number: int) -> str:
        """Runs in a thread."""
        ran.append(number)
        return "done"

    @tool
    async def on_loop(number: int) -> str:
        """Runs on the loop."""
        ran.append(number)
        return "done"

    name = "in_thread" if kind == "thread" else "on_loop"
    calls = [[c.tool_start(f"t{n}", name), c.tool_delta(f'{{"number": {n}}}'), c.block_stop()] for n in range(together)]
    message = [c.message_start(), *[chunk for call in calls for chunk in call], c.message_stop("tool_use")]
    agent = Agent(ScriptedModel([message]), tools=[in_thread, on_loop], callback_handler=None)

    def lose(record: Record) -> None:
        if isinstance(record, ToolStarted) and record.index == together - 1:
            ownership.mark_lost("its lease was lost")

    records = await until_refused(begun(agent, ownership), then=lose)
    assert ran == []
    assert [record.type for record in records][-1] == "tool.started", "nothing is said of a call that was not begun"


@pytest.mark.anyio
async def test_a_run_lost_while_a_body_runs_lets_no_other_begin_and_none_be_decided_on() -> None:
    ownership, ran = Ownership("run"), list[int]()

    @tool
    async def step(number: int) -> str:
        """One of two steps."""
        ran.append(number)
        ownership.mark_lost("its lease was lost")
        return "done"

    calls = [[c.tool_start(f"t{n}", "step"), c.tool_delta(f'{{"number": {n}}}'), c.block_stop()] for n in range(2)]
    message = [c.message_start(), *[chunk for call in calls for chunk in call], c.message_stop("tool_use")]
    agent = Agent(ScriptedModel([message]), tools=[step], tool_executor="sequential", callback_handler=None)
    records = await until_refused(begun(agent, ownership), then=lambda _: None)
    assert ran == [0]
    assert [record.type for record in records][-1] == "tool.finished"


@pytest.mark.anyio
async def test_a_tool_context_asks_the_ownership_right_before_the_body() -> None:
    ownership = Ownership("run")
    context = ToolContext(tool_use={"toolUseId": "t", "name": "n", "input": {}}, run_id="run", ownership=ownership)
    context.begin()
    ownership.stop()
    with pytest.raises(NotBegunError, match="being stopped"):
        context.begin()
