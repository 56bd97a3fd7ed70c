"""Which runs a command is about: the options that filter, and what they mean."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, cast, get_args

import typer

from playhead.client.client import Client
from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.metadata import checked_tag
from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.listing import EVERY_RUN, RunFilter
from playhead.runtime.log.values import RunInfo

__all__ = [
    "Agent",
    "Session",
    "Since",
    "State",
    "Until",
    "filters_of",
    "fitting",
    "metadata_of",
    "nothing_fits",
    "time_of",
]

Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Only runs of this agent.")]
State = Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only runs in this state.")]
Session = Annotated[str | None, typer.Option("--session", metavar="ID", help="Only runs of this session.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only runs submitted since then: 7d, 12h, 30m, 90s, or a date."),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only runs submitted before then; as for --since.")
]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PAGE: Final = 500


def filters_of(
    *,
    agent: str | None = None,
    state: str | None = None,
    session: str | None = None,
    since: str | None = None,
    until: str | None = None,
    tags: Sequence[str] | None = None,
) -> RunFilter:
    """The filters of a command's options.

    Raises:
        ValueError: If no run can be so, or a time has another form.
    """
    if state is not None:
        check_choice("--state", state, get_args(RunStateName))
    after = None if since is None else time_of("--since", since)
    before = None if until is None else time_of("--until", until)
    if after is not None and before is not None and after >= before:
        raise ValueError(f"--since {since} is not before --until {until}, so no run fits")
    return RunFilter(
        agent=agent,
        state=cast("RunStateName | None", state),
        session=session,
        since=after,
        until=before,
        tags=tags or (),
    )


def time_of(option: str, given: str) -> int:
    """The unix milliseconds of a time: an age such as `7d`, `12h`, `30m` or `90s`, or a date, in local time.

    Raises:
        ValueError: It has another form.
    """
    if (age := re.fullmatch(r"(\d{1,6})([smhdw])", given)) is not None:
        return max(0, int((time.time() - int(age[1]) * _UNITS[age[2]]) * 1000))
    try:
        return max(0, round(datetime.fromisoformat(given).timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{option} must be an age such as 7d, 12h, 30m or 90s, or a date such as 2026-11-27 or 2026-11-27T09:30, "
            f"not {given!r:.80}"
        ) from error


def metadata_of(tags: Sequence[str]) -> dict[str, Any]:
    """The metadata that `--tag` gives a run. Raises ValueError if one is malformed, or a key comes twice."""
    found: dict[str, Any] = {}
    for tag in tags:
        checked_tag(tag)
        key, equals, value = tag.partition("=")
        if key in found:
            raise ValueError(f"--tag has {key!r} twice, and a run has one value for it")
        found[key] = value if equals else True
    return found


async def fitting(client: Client, filters: RunFilter, *, limit: int | None = None) -> list[RunInfo]:
    """The runs that fit, up to `limit`, newest first; archived ones too, if the client has an archive."""
    found: list[RunInfo] = []
    page = await client.reader.runs(filters, limit=_PAGE)
    while page.more and (limit is None or len(found) + len(page) < limit):
        found += page
        page = await client.reader.runs(filters, limit=_PAGE, after=page.places[-1])
    return [*found, *page][:limit]


async def nothing_fits(client: Client, filters: RunFilter) -> str:
    """Why no run fits: the filters that no run fits even by themselves, else that none fits all of them."""
    one = {
        f"--{name} {value}": replace(EVERY_RUN, **{name: value})
        for name in ("agent", "state", "session")
        if (value := getattr(filters, name)) is not None
    }
    one |= {f"--tag {tag}": RunFilter(tags=[tag]) for tag in filters.tags}
    for name, alone in one.items():
        if not await client.reader.runs(alone, limit=1):
            return f"no run fits {name}"
    if not one:
        return "no run was submitted in that time"
    in_time = " in that time" if (filters.since, filters.until) != (None, None) else ""
    return f"no run fits {' '.join(one)}{in_time}"
