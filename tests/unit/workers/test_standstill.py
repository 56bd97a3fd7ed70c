"""When a run gets on after owners that ended without it, and what ends a run that does not."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import (
    ChildRecorded,
    ChildStarted,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelStarted,
    Record,
    RunClaimed,
    RunSubmitted,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.log.values import Claim
from playhead.workers.standstill import Standstill

__all__: list[str] = []


def use(name: str) -> ToolUse:
    return {"toolUseId": f"{name}-1", "name": name, "input": {}}


def started(index: int, name: str) -> ToolStarted:
    return ToolStarted(at=0, index=index, tool_use=use(name), effect_key=name)


def finished(index: int, name: str) -> ToolFinished:
    result: Any = {"toolUseId": f"{name}-1", "status": "success", "content": []}
    return ToolFinished(at=0, index=index, name=name, result=result, duration_ms=0)


def said(*names: str) -> MessageAdded:
    content: Any = [{"toolUse": use(name)} for name in names] or [{"text": "hi"}]
    return MessageAdded(at=0, message={"role": "assistant", "content": content}, origin="model")


BEGUN = (RunSubmitted(at=0, agent="a"), RunClaimed(at=0, worker="w"), CycleStarted(at=0, cycle=1))


def after(*records: Record) -> Standstill:
    entries = [Entry(seq, 1, record) for seq, record in enumerate((*BEGUN, *records, RunClaimed(at=0, worker="v")), 1)]
    return Standstill(fold(entries), entries)


def claim(**counts: Any) -> Claim:
    return Claim("r", "t", 2, 9, "a", None, 0, 0, **counts)


CRASHED = (said("good", "bad"), started(0, "good"), started(1, "bad"))


def test_a_tool_that_ran_must_complete_and_no_other_step_counts() -> None:
    run = after(*CRASHED, finished(0, "good"))
    assert run.doing == "the tool 'bad' (record 6)"
    steps = (finished(1, "bad"), said("bad"), said(), started(0, "good"), finished(0, "good"))
    assert not any(run.ends_with(step) for step in steps)  # settled without being run, and what the model says of it
    assert not run.ends_with(started(0, "bad"))
    assert run.ends_with(finished(0, "bad"))


def test_every_tool_that_ran_must_complete() -> None:
    run = after(*CRASHED)
    assert run.doing == "the tools 'good' (record 5), 'bad' (record 6)"
    assert [run.ends_with(one) for one in (started(0, "good"), started(1, "bad"))] == [False, False]
    assert [run.ends_with(one) for one in (finished(0, "good"), finished(1, "bad"))] == [False, True]


@pytest.mark.parametrize("step", [(ModelStarted(at=0, attempt=1),), ()])
def test_without_a_tool_the_next_message_of_the_model_counts(step: tuple[Record, ...]) -> None:
    run = after(*step)
    assert run.doing == ("a call of its model (record 4)" if step else "no step")
    assert not run.ends_with(CycleStarted(at=0, cycle=2))
    assert run.ends_with(said())


def test_the_verdict_names_the_tool_and_how_the_process_ended() -> None:
    run = after(*CRASHED)
    assert run.verdict(claim(crash_streak=3, idle_owners=20), crash_limit=3) is None
    killed = run.verdict(claim(crash_streak=4, crash_end="was killed by SIGKILL"), crash_limit=3)
    assert killed is not None
    assert killed.error_type == "CrashLimitExceeded"
    assert "4 workers in a row died while the run was with them" in killed.message
    assert "the tools 'good' (record 5), 'bad' (record 6) ran: its process was killed by SIGKILL" in killed.message
    once = run.verdict(claim(crash_streak=1), crash_limit=0)
    assert once is not None
    assert "1 worker died while the run was with it, and its crash limit is 0" in once.message
    assert "cut off from Redis for a lease (no supervisor saw its end)" in once.message
    idle = run.verdict(claim(idle_owners=21), crash_limit=3)
    assert idle is not None
    assert (idle.error_type, "21 workers in a row" in idle.message) == ("NoProgress", True)


def test_a_crash_limit_above_the_limit_of_idle_owners_holds():
    run = after(*CRASHED)
    assert run.verdict(claim(crash_streak=30, idle_owners=30), crash_limit=30) is None
    idle = run.verdict(claim(crash_streak=30, idle_owners=31), crash_limit=30)
    assert idle is not None
    assert (idle.error_type, "31 workers in a row" in idle.message) == ("NoProgress", True)
    assert "30 are allowed" in idle.message


def heard(index: int, *values: Any) -> ChildRecorded:
    return ChildRecorded(at=0, index=index, upto=9, values=list(values))


def test_a_run_gets_on_when_the_child_of_the_call_that_ran_completes_a_step():
    standstill = after(said("bad"), started(0, "bad"))
    assert not standstill.ends_with(heard(0, {"type": "message.added"})), "not before the call is begun again"
    assert not standstill.ends_with(started(0, "bad"))
    assert not standstill.ends_with(heard(0, [1, 0, "text"], {"type": "model.started"}))
    assert standstill.ends_with(heard(0, [1, 0, "text"], {"type": "message.added"}))


def child(index: int) -> ChildStarted:
    return ChildStarted(at=0, index=index, tool_use=use("bad"), run="c", agent="a.bad")


@pytest.mark.parametrize(
    ("limit", "counts"),
    [(3, {"crash_streak": 4}), (0, {"crash_streak": 1}), (3, {"idle_owners": 21}), (30, {"idle_owners": 31})],
)
def test_a_run_that_only_waits_for_children_outlives_theirs_by_one_owner(limit: int, counts: dict[str, int]) -> None:
    waiting = after(said("bad"), started(0, "bad"), child(0))
    assert waiting.verdict(claim(**counts), crash_limit=limit) is None
    more = {name: count + 1 for name, count in counts.items()}
    assert waiting.verdict(claim(**more), crash_limit=limit) is not None
    beside_a_tool = after(*CRASHED, child(0))
    assert beside_a_tool.verdict(claim(**counts), crash_limit=limit) is not None
    heard_the_end = after(said("bad"), started(0, "bad"), child(0), finished(0, "bad"))
    assert heard_the_end.verdict(claim(**counts), crash_limit=limit) is not None
