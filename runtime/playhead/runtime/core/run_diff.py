"""Where two runs part, and side by side what each of them did. Pure.

A run and its fork have the first records in common, byte for byte; so have two forks of one run. Other runs are laid side by
side by their acts: those of the same cycle, of the same kind and at the same index of a batch belong together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from playhead.runtime.core.fork import OF_AGENT
from playhead.runtime.core.records import Entry, Record, RunSubmitted
from playhead.runtime.core.run_acts import RunAct, acts

__all__ = ["ActPair", "RunDiff", "RunSummary", "common_records", "run_diff"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did, in numbers.

    Attributes:
        agent: The agent's name.
        model, system_prompt: Those that a fork has instead of the agent's; None for the agent's own.
        state: The state in which it ended; `unfinished` if its records have no end.
        records: How many records it has.
        took_ms: From the first record to the last, in milliseconds.
        cycles, model_calls, tool_calls: How many.
        usage: The tokens of all its answers.
    """

    agent: str
    model: str | None
    system_prompt: str | None
    state: str
    records: int
    took_ms: int
    cycles: int
    model_calls: int
    tool_calls: int
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class ActPair:
    """What the two runs did at one place; None if one of them did nothing there."""

    left: RunAct | None
    right: RunAct | None

    @property
    def same(self) -> bool:
        """Both did the same. Times, tokens, the agents' names and the number of calls are not compared."""
        left, right = self.left, self.right
        return left is not None and right is not None and (left.name, left.content) == (right.name, right.content)

    @property
    def either(self) -> RunAct:
        """The act of the left run, or of the right one if the left one did nothing here."""
        found = self.left or self.right
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs, compared.

    Attributes:
        left, right: The runs in numbers.
        common: How many of their first records are the same; 0 if neither is a fork of the other or of a common parent.
        pairs: What both did, in order.
        parted: The index in `pairs` of the first that differs; None if both did the same.
    """

    left: RunSummary
    right: RunSummary
    common: int
    pairs: Sequence[ActPair]
    parted: int | None

    @property
    def same(self) -> bool:
        """Both runs did the same."""
        return self.parted is None


def run_diff(left: Sequence[Entry], right: Sequence[Entry]) -> RunDiff:
    """Compare two runs by their records, from record 1 on."""
    mine, theirs = acts(left), acts(right)
    at_left, at_right = ({_place(act): act for act in each} for each in (mine, theirs))
    pairs = [ActPair(at_left.get(place), at_right.get(place)) for place in sorted(at_left.keys() | at_right.keys())]
    return RunDiff(
        left=_summary(left, mine),
        right=_summary(right, theirs),
        common=common_records(left, right),
        pairs=pairs,
        parted=next((index for index, pair in enumerate(pairs) if not pair.same), None),
    )


def common_records(left: Iterable[Entry], right: Iterable[Entry]) -> int:
    """How many of the first records of two runs are the same.

    In record 1 a fork may have an agent, a model, a system prompt and a session of its own.
    """
    count = 0
    for mine, theirs in zip(left, right, strict=False):
        if mine[:2] != theirs[:2] or not _same_record(mine.record, theirs.record):
            break
        count += 1
    return count


def _same_record(left: Record, right: Record) -> bool:
    if isinstance(left, RunSubmitted) and isinstance(right, RunSubmitted):
        return _inherited(left) == _inherited(right)
    return left == right


def _inherited(record: RunSubmitted) -> dict[str, Any]:
    """What a fork takes over from its parent's record 1."""
    options = {name: value for name, value in record.options.items() if name not in ("fork", *OF_AGENT)}
    return {**dict(record), "agent": "", "session": None, "options": options}


def _place(act: RunAct) -> tuple[bool, int, int, int, int]:
    """The end of a run comes last, in whatever cycle it was."""
    return (True, 0, 0, 0, 0) if act.kind == "end" else (False, *act.place)


def _summary(entries: Sequence[Entry], did: Sequence[RunAct]) -> RunSummary:
    usage: Counter[str] = Counter()
    for act in did:
        usage.update(act.usage)
    first = entries[0].record if entries and isinstance(entries[0].record, RunSubmitted) else None
    return RunSummary(
        agent=first.agent if first else "",
        model=first.options.get("model") if first else None,
        system_prompt=first.options.get("system_prompt") if first else None,
        state=next((act.name for act in did if act.kind == "end"), "unfinished"),
        records=len(entries),
        took_ms=entries[-1].record.at - entries[0].record.at if entries else 0,
        cycles=max((act.cycle for act in did), default=0),
        model_calls=sum(act.calls for act in did),
        tool_calls=sum(act.kind == "tool" for act in did),
        usage=dict(usage),
    )
