"""Compares two runs: where they part, and side by side what each did. Pure.

A run and its fork have the first records in common, byte for byte; so have two forks of one run. Other runs are laid side by
side by their acts: those of the same cycle, of the same kind and at the same index of a batch belong together.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.fork_gap import ForkGap
from playhead.runtime.core.guest_words import is_of_a_guest
from playhead.runtime.core.overrides import OVERRIDES
from playhead.runtime.core.records import Entry, Record, RunCancelled, RunCompleted, RunSubmitted
from playhead.runtime.core.run_acts import Acts, RunAct

__all__ = ["ActPair", "Differ", "RunDiff", "RunSummary", "run_diff"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did, in numbers.

    Attributes:
        agent: The agent's name.
        model, system_prompt: Those that the run has instead of the agent's; None for the agent's own.
        state: The state in which it ended; `unfinished` if its records have no end.
        records: How many records it has.
        took_ms: From the first record to the last, in milliseconds; in a fork without the time between its parent's last
            record and its own first owner.
        cycles, model_calls, tool_calls: How many.
        usage: The tokens of all its answers, with those that a fork has of its parent.
        usage_by: The same by the digest of the definition by which its owner got them.
        made: By their digests, those of the definitions that are in its records, because a factory made the agent.
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
    usage_by: dict[str, dict[str, int]]
    made: dict[str, AgentDefinition] = field(default_factory=dict[str, AgentDefinition])


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


def run_diff(left: Iterable[Entry], right: Iterable[Entry]) -> RunDiff:
    """Compare two runs by their records, from record 1 on."""
    differ = Differ()
    differ.add(left, right)
    return differ.value()


class Differ:
    """Compares two runs as their records come. It holds what the runs did, and records only until both have them."""

    def __init__(self) -> None:
        self._sides = _Side(), _Side()
        self._common = 0
        self._parted = False

    def add(self, left: Iterable[Entry], right: Iterable[Entry]) -> None:
        """Take the next records of each run; one may be ahead of the other."""
        for side, entries in zip(self._sides, (left, right), strict=True):
            for entry in entries:
                side.add(entry)
                if not self._parted:
                    side.ahead.append(entry)
        mine, theirs = (side.ahead for side in self._sides)
        while mine and theirs and not self._parted:
            one, other = mine.popleft(), theirs.popleft()
            if one[:2] == other[:2] and _same_record(one.record, other.record):
                self._common += 1
            else:
                self._parted = True
                mine.clear()
                theirs.clear()

    def value(self) -> RunDiff:
        """The comparison of the records so far; nothing is added after this."""
        did = [side.acts.finished() for side in self._sides]
        at_left, at_right = ({_place(act): act for act in each} for each in did)
        pairs = [ActPair(at_left.get(place), at_right.get(place)) for place in sorted(at_left.keys() | at_right.keys())]
        left, right = (side.summary(acts) for side, acts in zip(self._sides, did, strict=True))
        parted = next((index for index, pair in enumerate(pairs) if not pair.same), None)
        return RunDiff(left=left, right=right, common=self._common, pairs=pairs, parted=parted)


class _Side:
    """One of the runs so far."""

    def __init__(self) -> None:
        self.acts = Acts()
        self.ahead: deque[Entry] = deque()
        self._first: Record | None = None
        self._last: Record | None = None
        self._records = 0
        self._at = 0
        self._gap = ForkGap()
        self._guest = False

    def add(self, entry: Entry) -> None:
        self.acts.add(entry)
        self._gap.add(entry)
        self._first, self._last = self._first or entry.record, entry.record
        self._guest = self._guest or is_of_a_guest(entry)
        self._records, self._at = self._records + 1, entry.record.at

    def summary(self, did: Sequence[RunAct]) -> RunSummary:
        usage: Counter[str] = Counter()
        usage_by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for act in did:
            if act.usage:
                usage.update(act.usage)
                usage_by[act.definition].update(act.usage)
        first = self._first if isinstance(self._first, RunSubmitted) else None
        return RunSummary(
            agent=first.agent if first else "",
            model=first.options.get("model") if first else None,
            system_prompt=first.options.get("system_prompt") if first else None,
            state=next((act.name for act in did if act.kind == "end"), "unfinished"),
            records=self._records,
            took_ms=self._at - self._first.at - self._gap.ms if self._first else 0,
            cycles=max((act.cycle for act in did), default=0),
            model_calls=sum(act.calls for act in did),
            tool_calls=sum(act.kind == "tool" for act in did),
            usage=self._guests_usage() or dict(usage),
            usage_by={definition: dict(tokens) for definition, tokens in usage_by.items()},
            made=self.acts.made,
        )

    def _guests_usage(self) -> dict[str, int]:
        """The tokens that a guest told at its end: its records need not tell those of each call."""
        if not self._guest or not isinstance(self._last, RunCompleted | RunCancelled):
            return {}
        return dict(self._last.result.get("metrics", {}).get("usage", {}))


def _same_record(left: Record, right: Record) -> bool:
    """Whether a fork has this record of its parent; its record 1 has an agent, overrides and a session."""
    if isinstance(left, RunSubmitted) and isinstance(right, RunSubmitted):
        return _inherited(left) == _inherited(right)
    return left == right


def _inherited(record: RunSubmitted) -> dict[str, Any]:
    """What a fork takes over from its parent's record 1."""
    options = {name: value for name, value in record.options.items() if name not in ("fork", *OVERRIDES)}
    return {**dict(record), "agent": "", "session": None, "options": options, "trace": {}}


def _place(act: RunAct) -> tuple[bool, int, int, int, int]:
    """The end of a run comes last, in whatever cycle it was."""
    return (True, 0, 0, 0, 0) if act.kind == "end" else (False, *act.place)
