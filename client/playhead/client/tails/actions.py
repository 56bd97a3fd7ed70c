"""What a tail's state asks for: one small value for each thing that `Tail` can do. Pure."""

from __future__ import annotations

from typing import NamedTuple

from playhead.client.tails.notice import Notice
from playhead.client.tails.seen import ClaimSeen
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.segments import Segment

__all__ = [
    "Action",
    "AskHolder",
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
    """Hand these to the reader, and ask again when it wants more."""

    segments: list[Segment]


class Read(NamedTuple):
    """Read a page of the log, and answer by `on_page`. What is published from now on must be kept."""

    after: int
    limit: int


class ReadPause(NamedTuple):
    """Read the record `seq`, where the run is paused, and answer by `on_pause_record`."""

    seq: int


class Look(NamedTuple):
    """Ask what is known of the run, and answer by `on_info`."""


class AskWorkers(NamedTuple):
    """Ask for the live workers, and answer by `on_workers`."""


class AskHolder(NamedTuple):
    """Ask which run has the session and how it is, and answer by `on_holder`."""

    session: str


class Listen(NamedTuple):
    """Tell the notice; wake the reaper if `reap`; wait for what is published.

    Answer by `on_batches`; by `on_missed` if something may have been missed; by `on_silence` after `seconds`.
    """

    seconds: float
    notice: Notice | None = None
    reap: bool = False


class Rest(NamedTuple):
    """Tell the notice, wait, and ask again."""

    seconds: float
    notice: Notice | None


class Rewound(NamedTuple):
    """End by a `RewindError` that names the last record common to what was seen and the present log.

    Attributes:
        expected: The last record seen.
        found: What stands in its place, if anything does.
        claims: By them it can be found out what is common.
    """

    expected: int
    found: int | None
    claims: tuple[ClaimSeen, ...]


class Fail(NamedTuple):
    """End by this error."""

    error: PlayheadError


class End(NamedTuple):
    """The tail has ended."""


Action = Give | Read | ReadPause | Look | AskWorkers | AskHolder | Listen | Rest | Rewound | Fail | End
