"""Which runs are listed, in which order, and where the next page begins. Pure.

The order is that of submission, the newest first, by a position in microseconds that a log gives each run once. So a page
begins after a place, not after a number of runs: runs that are added or removed meanwhile move nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, get_args

from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.checks import check_agent, check_count, check_session
from playhead.runtime.core.metadata import checked_tag, tags_of
from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.values import RunInfo

__all__ = [
    "EVERY_RUN",
    "ListedRun",
    "Place",
    "RunFilter",
    "RunPage",
    "first_position",
    "merged",
    "no_cursor",
    "page_of",
    "place_by_time",
    "place_of",
]


_LAST_MS: Final = 4_102_444_800_000
"""The year 2100, as in `import.lua`: positions are whole numbers that a sorted set holds exactly."""


class Place(NamedTuple):
    """The place of a run in a list: its position, in unix microseconds, and its id, which decides between equal ones."""

    position: int
    run_id: str


class ListedRun(NamedTuple):
    """A run and its place in the list."""

    place: Place
    info: RunInfo


def place_by_time(info: RunInfo) -> Place:
    """The place of a run in a list that knows only when it was submitted."""
    return Place(first_position(info.created), info.run_id)


def first_position(created: int) -> int:
    """The first position of the millisecond in which a run was submitted elsewhere, which may be any number."""
    return max(0, min(created, _LAST_MS)) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """What a run must be to be listed; None for any.

    Attributes:
        agent, state, session: Those of the run.
        tags: Tags, all of which it has.
        since, until: When it was submitted, at the earliest and before when, in unix milliseconds.

    Raises:
        ValueError: If no run can be so.
        TypeError: If a tag is not a text.
    """

    agent: str | None = None
    state: RunStateName | None = None
    session: str | None = None
    tags: Sequence[str] = ()
    since: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        if self.agent is not None:
            check_agent(self.agent)
        if self.state is not None:
            check_choice("state", self.state, get_args(RunStateName))
        if self.session is not None:
            check_session(self.session)
        object.__setattr__(self, "tags", tuple(dict.fromkeys(map(checked_tag, self.tags))))
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None:
                check_count(name, time)
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"since ({self.since}) is not before until ({self.until}), so no run fits")

    @property
    def indexes(self) -> list[str]:
        """The names of the indexes that have the runs which fit, apart from the times."""
        named = (("agent", self.agent), ("state", self.state), ("session", self.session))
        return [
            *(f"{kind}:{value}" for kind, value in named if value is not None),
            *(f"tag:{tag}" for tag in self.tags),
        ]

    def fits(self, info: RunInfo) -> bool:
        """Whether this run does."""
        return (
            self.agent in (None, info.agent)
            and self.state in (None, info.state)
            and self.session in (None, info.session)
            and (self.since is None or info.created >= self.since)
            and (self.until is None or info.created < self.until)
            and set(self.tags) <= set(tags_of(info.metadata))
        )


EVERY_RUN: Final = RunFilter()


class RunPage(list[RunInfo]):
    """Some runs, newest first, and where the next page begins.

    Attributes:
        places: Their places.
        more: Whether there may be older ones that fit.
    """

    def __init__(self, runs: Iterable[ListedRun] = (), *, more: bool = False) -> None:
        listed = list(runs)
        super().__init__(info for _, info in listed)
        self.places: list[Place] = [place for place, _ in listed]
        self.more: bool = more and bool(listed)

    @property
    def cursor(self) -> str | None:
        """What the next page begins after; None if this is the last one."""
        if not self.more:
            return None
        position, run_id = self.places[-1]
        return base64.urlsafe_b64encode(f"{position} {run_id}".encode("utf-8", "surrogatepass")).decode().rstrip("=")

    @property
    def listed(self) -> list[ListedRun]:
        """The runs with their places."""
        return list(map(ListedRun, self.places, self))


def place_of(cursor: str) -> Place:
    """The place that the cursor of a page names.

    Raises:
        ValueError: If it is not the cursor of a page.
    """
    try:
        text = base64.b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}", altchars=b"-_", validate=True)
        position, _, run_id = text.decode("utf-8", "surrogatepass").partition(" ")
        return Place(int(position), run_id)
    except (ValueError, TypeError) as error:
        raise ValueError(no_cursor(cursor, "runs")) from error


def no_cursor(cursor: str, listed: str) -> str:
    """What to say of a text that is not the cursor of a page."""
    return (
        f"cursor {cursor!r:.80} is not one of a page of {listed}: give the one that the page before ended with, or none "
        "for the first page"
    )


def page_of(runs: Iterable[ListedRun], filters: RunFilter, *, limit: int, after: Place | None) -> RunPage:
    """The next page of a list that is at hand, in any order."""
    fitting = [one for one in runs if filters.fits(one.info) and (after is None or one.place < after)]
    fitting.sort(key=lambda one: one.place, reverse=True)
    return RunPage(fitting[:limit], more=len(fitting) > limit)


def merged(pages: Iterable[RunPage], *, limit: int) -> RunPage:
    """The next page of several lists, by the next page of each, which has `limit` runs unless it is the last.

    A list that has more is known up to the last place of its page only, so the page ends there.
    """
    pages = list(pages)
    known = max((page.places[-1] for page in pages if page.more), default=None)
    runs = sorted((one for page in pages for one in page.listed), key=lambda one: one.place, reverse=True)
    kept = [one for one in runs if known is None or one.place >= known]
    return RunPage(kept[:limit], more=known is not None or len(kept) > limit)
