"""The checker: compares all evidence of a run with the promises. Pure: it does no I/O and reads no clock.

`check_run` and `check_session` return every violation they find, each with its kind (see `evidence.KINDS`). They raise
no error for a broken log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from chaos.answers import Task
from chaos.check_answers import check_answers
from chaos.check_content import check_content
from chaos.check_model import check_model
from chaos.check_signals import check_signals
from chaos.check_tools import check_bodies, check_tools
from chaos.check_views import check_views
from chaos.evidence import Evidence, Violation
from playhead.runtime.core.converse import Message
from playhead.runtime.core.records import (
    TERMINAL_TYPES,
    Entry,
    MessageAdded,
    Record,
    RunClaimed,
    RunHandedOver,
    RunPaused,
)

__all__ = ["check_log", "check_provided", "check_run", "check_session"]

_SENT_MS: Final = 1000  # how long a claim may be on its way

_WITHOUT_OWNER: Final = frozenset({"signal.received", "run.cancelled", "run.failed"})
"""The records that may follow after an owner has released the run."""

_STATES: Final = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}

Check = Callable[[Evidence], list[Violation]]


def check_run(evidence: Evidence, *, history: Sequence[Message] = ()) -> list[Violation]:
    """Check every promise that one run can break; `history` are the messages of its session before it."""
    return [*_check_any(evidence), *_fitting(evidence), *check_content(evidence, history)]


def check_provided(evidence: Evidence, *, task: Task) -> list[Violation]:
    """Check every promise that a run of the fake provider can break; `task` is its task."""
    return [*_check_any(evidence), *check_answers(evidence, task)]


def _check_any(evidence: Evidence) -> list[Violation]:
    checks: list[Check] = [check_log, _end, check_signals, check_model, check_tools, check_bodies, check_views]
    return [violation for check in checks for violation in check(evidence)]


def check_session(
    runs: Sequence[Evidence], messages: Sequence[Message], *, check: Check | None = None
) -> list[Violation]:
    """Check the runs of one session, in the order of their submissions, and the messages left after them.

    `check` checks one run; without it, that is `check_run` with the history before the run.

    A run that was ended by its owner has all its messages in the session; one that was not may have none.
    """
    found: list[Violation] = []
    history: list[Message] = []
    rest = list(messages)
    for evidence in runs:
        found += check_run(evidence, history=history) if check is None else check(evidence)
        added = [entry.record.message for entry in evidence.entries if isinstance(entry.record, MessageAdded)]
        ended = evidence.entries[-1].record.type if evidence.entries else ""
        if _content(rest[: len(added)]) == _content(added):
            history += added
            del rest[: len(added)]
        elif ended == "run.completed":
            what = f"its {len(added)} messages do not follow the {len(history)} before them in its session"
            found.append(Violation("session", evidence.plan.run, None, what))
            return found
    if rest:
        session = runs[0].plan.session if runs else None
        found.append(Violation("session", str(session), None, f"{len(rest)} messages belong to none of its runs"))
    return found


def _content(messages: Sequence[Message]) -> list[object]:
    return [(message.get("role"), message.get("content")) for message in messages]


def check_log(evidence: Evidence) -> list[Violation]:
    """Check that the numbers are dense and unique, and that each owner's records are consecutive and begin with its claim."""
    return [*_dense(evidence), *_owned(evidence)]


def _dense(evidence: Evidence) -> list[Violation]:
    run = evidence.plan.run
    numbers = [entry.seq for entry in evidence.entries]
    found = [
        Violation("duplicate", run, seq, f"is there {times} times")
        for seq, times in Counter(numbers).items()
        if times > 1
    ]
    last = max(numbers, default=0)
    missing = sorted(set(range(1, last + 1)) - set(numbers))
    found += [Violation("gap", run, seq, f"is missing, and the log ends at {last}") for seq in missing]
    found += [Violation("order", run, b, f"comes after {a}") for a, b in pairwise(numbers) if b < a]
    if not numbers:
        found.append(Violation("gap", run, 1, "the log is empty"))
    elif evidence.entries[0].record.type != "run.submitted":
        found.append(Violation("order", run, numbers[0], f"begins with {evidence.entries[0].record.type}"))
    return found


def _owned(evidence: Evidence) -> list[Violation]:
    found: list[Violation] = []
    released = False
    for before, entry in pairwise(evidence.entries):
        released = released or isinstance(before.record, RunHandedOver | RunPaused)
        if _is_early(before.record, entry.record):
            found.append(Violation("order", evidence.plan.run, entry.seq, "is claimed before its wait is over"))
        if what := _owner_flaw(before, entry, released=released):
            found.append(Violation("fenced", evidence.plan.run, entry.seq, what))
        if isinstance(entry.record, RunClaimed):
            released = False
    return found


def _is_early(before: Record, claim: Record) -> bool:
    """Whether a run that waits is claimed before the wait is over. A claim is dated when it is sent."""
    if not isinstance(before, RunHandedOver) or not isinstance(claim, RunClaimed) or not before.delay:
        return False
    return claim.at < before.at + before.delay * 1000 - _SENT_MS


def _owner_flaw(before: Entry, entry: Entry, *, released: bool) -> str:
    kind, claims = entry.record.type, isinstance(entry.record, RunClaimed)
    if entry.epoch < before.epoch:
        return f"{kind} of owner {entry.epoch} comes after a record of owner {before.epoch}"
    if entry.epoch > before.epoch:
        if not claims:
            return f"{kind} of owner {entry.epoch} comes before its claim"
        return "" if entry.epoch == before.epoch + 1 else f"owner {entry.epoch} follows owner {before.epoch}"
    if claims:
        return f"owner {entry.epoch} claims the run a second time"
    return (
        f"{kind} of owner {entry.epoch}, which had released the run" if released and kind not in _WITHOUT_OWNER else ""
    )


def _end(evidence: Evidence) -> list[Violation]:
    run, entries = evidence.plan.run, evidence.entries
    ends = [entry for entry in entries if entry.record.type in TERMINAL_TYPES]
    if not ends:
        state = f"the run is {evidence.state or 'gone'}"
        return [Violation("hung", run, len(entries), f"there is no terminal record; {state}")]
    found = [Violation("end", run, entry.seq, "a second terminal record") for entry in ends[1:]]
    last = entries[-1].record.type
    if last not in TERMINAL_TYPES:
        found.append(Violation("end", run, entries[-1].seq, f"{last} comes after the terminal record"))
    elif evidence.state not in (None, _STATES[last]):
        found.append(Violation("end", run, entries[-1].seq, f"{last}, but the run's state is {evidence.state}"))
    return found


def _fitting(evidence: Evidence) -> list[Violation]:
    """Check the end: cancelled only after a cancel was sent, failed only as planned or past its deadline."""
    end = next((entry for entry in evidence.entries if entry.record.type in TERMINAL_TYPES), None)
    if end is None:
        return []
    plan, kind = evidence.plan, end.record.type
    asked = "cancel" in evidence.signals.values()
    wanted = "run.failed" if plan.fails else "run.completed"
    if kind == wanted or (kind == "run.cancelled" and asked):
        return []
    if plan.deadline_s is not None and getattr(end.record, "error_type", "") == "DeadlineExceeded":
        early = -(evidence.past_deadline_ms or 0)
        return [Violation("end", plan.run, end.seq, f"{early} ms before its deadline")] if early > 0 else []
    more = getattr(end.record, "message", "")
    return [Violation("end", plan.run, end.seq, f"{kind} instead of {wanted}: {more}".rstrip(": "))]
