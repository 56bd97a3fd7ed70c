"""Finds what is wrong with a run, from everything that is stored of it. Pure.

The scripts keep these rules, so another program, a restored copy or a bug of playhead broke one of them.
`RedisLog.stored` reads the values as they are, and here they are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from playhead.runtime.core.codec import decode_record
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.records import ENDED_STATES, TERMINAL_TYPE_OF_STATE, TERMINAL_TYPES, Record, RunStateName

__all__ = ["FIELDS", "StoredRun", "faults_of"]

_NUMBERS: Final = ("head", "epoch", "inbox", "crashes", "created", "updated")
"""The fields of a run's hash that every run has and that must be numbers."""

FIELDS: Final = ("state", "agent", "session", *_NUMBERS)
"""The fields of the hash that are checked."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """Everything that is stored of one run at one time.

    Attributes:
        fields: `FIELDS` of its hash, as stored; None for a missing one.
        entries: The entries of its log: the id, then fields and values alternately.
        signals: The number of signals in its inbox.
        leased: Whether it has a lease.
        queued: Whether it is in its agent's queue.
        waiting: Whether it waits for its session.
    """

    run_id: str
    fields: dict[str, bytes | None]
    entries: Sequence[tuple[bytes, Sequence[bytes]]]
    signals: int
    leased: bool
    queued: bool
    waiting: bool


def faults_of(run: StoredRun) -> list[str]:
    """What is wrong with the run, one line per fault; empty if nothing is."""
    if run.fields["state"] is None:
        return ["the run has no hash"] if run.entries else ["the run does not exist"]
    faults = list(_faults_of_hash(run))
    if faults:
        return [*faults, *_faults_of_log(run, None)]
    return [*_faults_of_log(run, _number(run, "head")), *_faults_of_place(run)]


def _number(run: StoredRun, name: str) -> int:
    return int(float(run.fields[name] or 0))


def _faults_of_hash(run: StoredRun) -> Iterator[str]:
    state = (run.fields["state"] or b"").decode("utf-8", "replace")
    if state not in get_args(RunStateName):
        yield f"its state is {state!r}, which no run can have"
    for name in _NUMBERS:
        try:
            _number(run, name)
        except ValueError:
            yield f"the field {name} of its hash is {run.fields[name]!r}, and not a number"


def _faults_of_log(run: StoredRun, head: int | None) -> Iterator[str]:
    """`head` is that of the hash; None if the hash cannot be trusted."""
    records: list[Record] = []
    last_epoch = 0
    for expected, (entry_id, pairs) in enumerate(run.entries, start=1):
        name = entry_id.decode()
        seq, epoch = map(int, name.split("-"))
        if seq != expected:
            yield f"record {expected} is missing: the log goes on with entry {name}"
            return
        if epoch < last_epoch or (head is not None and epoch > _number(run, "epoch")):
            yield f"entry {name} is of ownership {epoch}, after {last_epoch} and with {_number(run, 'epoch')} in all"
        last_epoch = max(last_epoch, epoch)
        try:
            if len(pairs) != 2 or pairs[0] != b"r":
                raise ForeignRecordError(f"its fields are {[field.decode('utf-8', 'replace') for field in pairs[::2]]}")
            records.append(decode_record(pairs[1]))
        except ForeignRecordError as error:
            yield f"entry {name} was not written by playhead: {error}"
            return
    if head is not None and head != len(run.entries):
        yield f"the run has {head} records by its hash, and its log has {len(run.entries)}"
    yield from _faults_of_order(run, records)


def _faults_of_order(run: StoredRun, records: Sequence[Record]) -> Iterator[str]:
    if not records or records[0].type != "run.submitted":
        yield f"record 1 is {records[0].type if records else 'missing'}, and not run.submitted"
    for seq, record in enumerate(records[:-1], start=1):
        if record.type in TERMINAL_TYPES:
            yield f"record {seq} is {record.type}, and records come after it"
    state = (run.fields["state"] or b"").decode("utf-8", "replace")
    last = records[-1].type if records else "missing"
    if state in TERMINAL_TYPE_OF_STATE and last != TERMINAL_TYPE_OF_STATE[state]:
        yield f"the run is {state}, and its last record is {last}"
    if state not in ENDED_STATES and last in TERMINAL_TYPES:
        yield f"the run is {state}, and its last record is {last}"


def _faults_of_place(run: StoredRun) -> Iterator[str]:
    """Check that the run is in exactly the place where it is looked for."""
    state = (run.fields["state"] or b"").decode()
    if state == "running" and not run.leased:
        yield "the run is running and has no lease: a reader that waits for it gives it one"
    if state != "running" and run.leased:
        yield f"the run is {state} and has a lease"
    if state == "queued" and not (run.queued or run.waiting):
        yield "the run is queued, and is neither in its agent's queue nor in the list of its session"
    if state != "queued" and run.queued:
        yield f"the run is {state}, and is in its agent's queue"
    if state not in ENDED_STATES and run.signals != _number(run, "inbox"):
        yield f"its inbox has {run.signals} signals, and {_number(run, 'inbox')} by its hash"
