"""Which runs a command is about: of an agent, in a state, submitted within some time."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, get_args

from playhead.client.client import Client
from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.values import RunInfo

__all__ = ["RunFilters", "filters_of", "fitting", "seconds_of"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STATES: Final[tuple[str, ...]] = get_args(RunStateName)
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class RunFilters:
    """What a run must be.

    Attributes:
        agents: The agents that it may be of; None for any.
        state: Its state; None for any.
        oldest: When it was submitted at the earliest, in unix milliseconds.
    """

    agents: Collection[str] | None
    state: str | None
    oldest: int

    @property
    def all_fit(self) -> bool:
        """Whether every run does."""
        return self.agents is None and self.state is None and not self.oldest

    def fit(self, run: RunInfo) -> bool:
        """Whether this run does."""
        of_agent = self.agents is None or run.agent in self.agents
        return of_agent and self.state in (None, run.state) and run.created >= self.oldest


def filters_of(*, agents: Collection[str] | None, state: str | None, since: str | None) -> RunFilters:
    """The filters of the options `--state` and `--since`.

    Raises:
        ValueError: The state or the age has another form.
    """
    check_choice("--state", state or _STATES[0], _STATES)
    return RunFilters(agents, state, 0 if since is None else int((time.time() - seconds_of(since)) * 1000))


def seconds_of(age: str) -> int:
    """The seconds of an age such as `7d`, `12h`, `30m` or `90s`.

    Raises:
        ValueError: It has another form.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", age)
    if found is None:
        raise ValueError(f"--since must be a number and a unit, such as 7d, 12h, 30m or 90s, not {age!r}")
    return int(found[1]) * _UNITS[found[2]]


async def fitting(client: Client, filters: RunFilters, *, limit: int) -> list[RunInfo]:
    """Up to `limit` runs that fit, newest first; archived ones too, if the client has an archive."""
    count = limit if filters.all_fit else max(limit, _PAGE)
    while True:
        found = await client.runs(limit=count)
        fit = [info for info in found if filters.fit(info)][:limit]
        if len(found) < count or len(fit) == limit or found[-1].created < filters.oldest:
            return fit
        count *= 2
