"""The actions that a tail's state requests, one value for each thing that `Tail` can do. Pure."""

from __future__ import annotations

from typing import NamedTuple

from playhead.client.tails.notice import Notice
from playhead.client.tails.seen import ClaimSeen
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.segments import Segment

__all__ = [
    "Action",
    "AskHolder",
    "AskLease",
    "AskWorkers",
    "End",
    "Fail",
    "Give",
    "Listen",
    "Look",
    "Read",
    "ReadPause",
    "Rest",
    "Rewound",
]


class Give(NamedTuple):
    """Return these to the reader, and ask again when it needs more."""

    segments: list[Segment]


class Read(NamedTuple):
    """Read a page of the log, and call `on_page`. Batches published from now on must be kept."""

    after: int
    limit: int


class ReadPause(NamedTuple):
    """Read the record `seq`, at which the run is paused, and call `on_pause_record`."""

    seq: int


class Look(NamedTuple):
    """Look the run up, and call `on_info`."""


class AskWorkers(NamedTuple):
    """Look the live workers up, and call `on_workers`."""


class AskHolder(NamedTuple):
    """Look up the run that has the session, and call `on_holder`."""

    session: str


class AskLease(NamedTuple):
    """Look up the lease of the run's owner, and call `on_lease`."""


class Listen(NamedTuple):
    """Send the notice; wake the reaper if `reap`; wait for published batches.

    Call `on_batches`; `on_missed` if a batch may have been missed; `on_silence` after `seconds`.
    """

    seconds: float
    notice: Notice | None = None
    reap: bool = False


class Rest(NamedTuple):
    """Send the notice, wait, and ask again."""

    seconds: float
    notice: Notice | None


class Rewound(NamedTuple):
    """End with a `RewindError` that names the last record common to the records seen and the current log.

    Attributes:
        expected: The number of the last record seen.
        found: The number of the record that replaced it, if there is one.
        claims: The claims seen, with which the common record is found.
    """

    expected: int
    found: int | None
    claims: tuple[ClaimSeen, ...]


class Fail(NamedTuple):
    """End with this error."""

    error: PlayheadError


class End(NamedTuple):
    """The tail has ended."""


Action = Give | Read | ReadPause | Look | AskWorkers | AskHolder | AskLease | Listen | Rest | Rewound | Fail | End
