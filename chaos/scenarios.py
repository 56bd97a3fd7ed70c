"""The mix of runs that are injured. A new kind is a function in `SCENARIOS`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from chaos.plan import Plan
from playhead.runtime.core.ids import new_run_id

__all__ = ["SCENARIOS", "Conversation", "Turn", "draw"]

_TOOLS: Final = ("swift", "threaded", "witness", "careful", "talking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run, and the signals that its client sends.

    Attributes:
        cancel_after: Seconds from the submission to a cancel, sent twice; None for no cancel.
        steer_after: Seconds from the submission to each steer, each sent twice.
        responds: Whether the client responds to interrupts, because the run's tools ask humans.
        one_by_one: Whether each interrupt gets its response in its own call.
    """

    plan: Plan
    cancel_after: float | None = None
    steer_after: tuple[float, ...] = ()
    responds: bool = False
    one_by_one: bool = False


Conversation = list[Turn]
"""Runs of one session, submitted at once and run one by one; or one run without a session."""


def _plan(dice: random.Random, scenario: str, **more: Any) -> Plan:
    wanted: dict[str, Any] = {
        "agent": dice.choice(["together", "in_turn", "continuing"]),
        "words": dice.randint(5, 60),
        **more,
    }
    return Plan(run=new_run_id(), scenario=scenario, pause_ms=dice.uniform(10, 40), **wanted)


def _short(dice: random.Random) -> Conversation:
    return [Turn(plan=_plan(dice, "short", words=dice.randint(1, 5)))]


def _long(dice: random.Random) -> Conversation:
    return [Turn(plan=_plan(dice, "long", words=dice.randint(60, 150)))]


def _in_turn(dice: random.Random) -> Conversation:
    batches = tuple((dice.choice(_TOOLS),) for _ in range(dice.randint(1, 3)))
    return [Turn(plan=_plan(dice, "tools in turn", batches=batches, tool_ms=dice.randint(5, 1500)))]


def _together(dice: random.Random) -> Conversation:
    batches = tuple(_batch(dice) for _ in range(dice.randint(1, 2)))
    return [Turn(plan=_plan(dice, "tools together", batches=batches, tool_ms=dice.randint(5, 1500)))]


def _batch(dice: random.Random) -> tuple[str, ...]:
    return tuple(dice.choices(_TOOLS, k=dice.randint(2, 5)))


def _cancelled(dice: random.Random) -> Conversation:
    plan = _plan(dice, "cancelled", batches=(_batch(dice),), tool_ms=dice.randint(100, 1500))
    return [Turn(plan=plan, cancel_after=dice.uniform(0, 3))]


def _failing(dice: random.Random) -> Conversation:
    return [Turn(plan=_plan(dice, "failing", fails=True))]


def _steered(dice: random.Random) -> Conversation:
    batches = (_batch(dice),) if dice.random() < 0.5 else ()
    after = tuple(dice.uniform(0, 3) for _ in range(dice.randint(1, 3)))
    plan = _plan(dice, "steered", words=dice.randint(5, 40), batches=batches, tool_ms=dice.randint(5, 800))
    return [Turn(plan=plan, steer_after=tuple(sorted(after)))]


def _asking(dice: random.Random) -> Conversation:
    names = ("asking", "unsure", *_TOOLS)
    batches = tuple(("asking", *dice.choices(names, k=dice.randint(0, 3))) for _ in range(dice.randint(1, 2)))
    plan = _plan(dice, "asking", words=dice.randint(5, 20), batches=batches, tool_ms=dice.randint(5, 800))
    cancel_after = dice.uniform(0, 3) if dice.random() < 0.15 else None
    return [Turn(plan=plan, responds=True, one_by_one=dice.random() < 0.5, cancel_after=cancel_after)]


def _guarded(dice: random.Random) -> Conversation:
    batches = tuple(_batch(dice) for _ in range(dice.randint(1, 2)))
    plan = _plan(dice, "guarded", agent="guarded", words=5, batches=batches, tool_ms=dice.randint(5, 1500))
    return [Turn(plan=plan, responds=True)]


def _unsure(dice: random.Random) -> Conversation:
    batches = (("unsure",) * dice.randint(1, 4),)
    plan = _plan(dice, "unsure", words=5, batches=batches, tool_ms=dice.randint(500, 3000))
    return [Turn(plan=plan, responds=True)]


def _overdue(dice: random.Random) -> Conversation:
    batches = ((dice.choice(_TOOLS),),)
    deadline_s = dice.uniform(0.5, 6)
    return [Turn(plan=_plan(dice, "deadline", batches=batches, tool_ms=1000, deadline_s=deadline_s))]


def _session(dice: random.Random) -> Conversation:
    session = str(UUID(int=dice.getrandbits(128)))
    turns: Conversation = []
    for _ in range(dice.randint(2, 4)):
        batches = (_batch(dice),) if dice.random() < 0.5 else ()
        plan = _plan(dice, "session", words=dice.randint(5, 20), batches=batches, tool_ms=200, session=session)
        turns.append(Turn(plan=plan, cancel_after=dice.uniform(0, 3) if dice.random() < 0.15 else None))
    return turns


SCENARIOS: Final[dict[Callable[[random.Random], Conversation], int]] = {
    _short: 2,
    _long: 3,
    _in_turn: 4,
    _together: 4,
    _cancelled: 2,
    _failing: 1,
    _session: 2,
    _steered: 2,
    _asking: 3,
    _guarded: 2,
    _unsure: 2,
    _overdue: 1,
}
"""Each kind with its weight in the load."""


def draw(dice: random.Random) -> Conversation:
    """The next conversation to submit."""
    (kind,) = dice.choices(list(SCENARIOS), weights=list(SCENARIOS.values()))
    return kind(dice)
