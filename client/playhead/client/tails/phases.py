"""The phases of a tail. Pure: `TailState` changes them.

Each phase requests one action, and its outcome leads to the next phase:

| phase       | action    | what follows from the outcome |
|-------------|-----------|------------------------------|
| READING     | Read      | new records: return them, and read on after a full page; none: LISTENING, or ENDED or PAUSED if the last record seen says so; the last record was replaced: `RewindError`; it is missing: SHORT |
| SHORT       | Look      | the log ends before what was seen. Its head is back: RECHECKING; the owner may send the rest again: LOST; else `RewindError` |
| RECHECKING  | Read      | as READING; but the last record is missing: SHORT_AGAIN |
| SHORT_AGAIN | Look      | as SHORT; but its head is back: the log was cut, `GapError` |
| LOST        | Listen    | any batch, or none: READING |
| LISTENING   | Listen    | batches: return what is new; a hole, another history, what is not a batch, or a missed batch: READING; silence: LOOKING |
| LOOKING     | Look      | the run has records that were not received: OVERDUE; fewer than were seen: ABOVE; it contradicts the last record: CHECKING; it has ended: ENDED; it is paused: as PAUSED; the server refuses writes: send a notice, LISTENING; it is queued: QUEUED; else HELD |
| ABOVE       | Read      | as READING; but the last record is there, and nothing new: ABOVE_AGAIN |
| ABOVE_AGAIN | Look      | the run still has fewer records than its log, whose last ones playhead did not write: `ForeignRecordError`; else LISTENING |
| OVERDUE     | Listen    | as LISTENING, because a busy connection is late long before it has lost anything; but silence: MISSING |
| MISSING     | Read      | as READING; but none: CUT |
| CUT         | Look      | the run still has records that the log lacks: `GapError`; else LISTENING |
| CHECKING    | Read      | as READING; but none, and the run has ended: `GapError`, because the last record seen is not terminal; else on as LOOKING |
| QUEUED      | AskWorkers| none serves the agent: send a notice, LISTENING, or `NoWorkerError` in the end; else BLOCKED |
| BLOCKED     | AskHolder | send a notice of what the run waits for, LISTENING |
| HELD        | AskLease  | the owner does not renew its lease: send a notice; LISTENING until it would be overdue |
| PAUSED      | Look      | it is paused there: ENDED, or ASKING; there is more: MISSING; else LISTENING |
| ASKING      | ReadPause | send a notice of its questions, LISTENING |
| ENDED       | End       | |
| FAILED      | Fail      | |

In every phase a missing run is `RunNotFoundError`. While Redis is unreachable the tail sends a notice and asks again:
at once if it needs the outcome, else at the next look.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["CAN_WAIT", "LOOKS", "READS", "UNSURE", "Phase"]


class Phase(Enum):
    """What a tail does at present."""

    READING = auto()
    SHORT = auto()
    RECHECKING = auto()
    SHORT_AGAIN = auto()
    LOST = auto()
    LISTENING = auto()
    LOOKING = auto()
    ABOVE = auto()
    ABOVE_AGAIN = auto()
    OVERDUE = auto()
    MISSING = auto()
    CUT = auto()
    CHECKING = auto()
    QUEUED = auto()
    BLOCKED = auto()
    HELD = auto()
    PAUSED = auto()
    ASKING = auto()
    ENDED = auto()
    FAILED = auto()


READS: Final = frozenset({Phase.READING, Phase.RECHECKING, Phase.MISSING, Phase.CHECKING, Phase.ABOVE})
"""Phases that request a page of the log."""

LOOKS: Final = frozenset({Phase.SHORT, Phase.SHORT_AGAIN, Phase.LOOKING, Phase.CUT, Phase.PAUSED, Phase.ABOVE_AGAIN})
"""Phases that request the state of the run."""

CAN_WAIT: Final = frozenset({Phase.LOOKING, Phase.QUEUED, Phase.BLOCKED, Phase.HELD})
"""Phases whose request only serves a notice: while Redis is unreachable, it can wait until the next look."""

UNSURE: Final = frozenset({Phase.READING, Phase.SHORT, Phase.RECHECKING, Phase.SHORT_AGAIN, Phase.LOST, Phase.FAILED})
"""Phases in which the last record seen has not been found in the log yet, or is not in it."""
