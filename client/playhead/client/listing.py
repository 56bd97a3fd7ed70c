"""The part of a client that finds runs, by what they are and by the beginning of their ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from playhead.client.run import Run
from playhead.client.tails.notice import run_not_found
from playhead.client.validation import check_run_id
from playhead.runtime.core.arguments import check_whole
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.metadata import Metadata, checked_metadata, tags_of
from playhead.runtime.core.records import RunStateName
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.listing import RunFilter, RunPage, place_of
from playhead.runtime.log.values import WorkerInfo

__all__ = ["Listing"]

_SHOWN = 5


@names_keywords
class Listing(ABC):
    """Lists the runs and the workers of a fleet."""

    @property
    @abstractmethod
    def reader(self) -> LogReader:
        """The log that is read."""

    @abstractmethod
    def run(self, run_id: str) -> Run:
        """A handle on an existing run."""

    async def runs(
        self,
        *,
        agent: str | None = None,
        state: RunStateName | None = None,
        session: str | None = None,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        tag: str | Sequence[str] | Metadata | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """The runs that fit all that is given, newest first; archived ones too if the client has an archive.

            page = await client.runs(agent="support", state="failed", tag="customer=ada")
            older = await client.runs(agent="support", state="failed", tag="customer=ada", cursor=page.cursor)

        The time that a page takes does not depend on how many runs there are. A run that is submitted while you read
        page by page comes before all pages; none is listed twice, and none is left out.

        Args:
            agent, state, session: Those of the run.
            since: When it was submitted at the earliest: a datetime, which is in local time if it names no zone, or unix
                milliseconds.
            until: Before when it was submitted.
            tag: An item of its metadata as `key=value`, or `key` for `key=true`; or several, as a list or a dict, all of which
                the run has.
            limit: The number of runs of a page.
            cursor: The `cursor` of the page before, which was made with the same filters; None for the first page.

        Returns:
            A list of `RunInfo`; its `cursor` is None on the last page.

        Raises:
            ValueError, TypeError: If no run can be so: an unknown state, a malformed name, tag or time, `since` after
                `until`; or if `cursor` is not one, or `limit` is below 1.
            TypeError: If `since` or `until` is neither a datetime nor unix milliseconds, or a tag is not a text.
        """
        check_whole("limit", limit, least=1)
        filters = RunFilter(
            agent=agent,
            state=state,
            session=session,
            tags=_tags(tag),
            since=_in_ms("since", since),
            until=_in_ms("until", until),
        )
        return await self.reader.runs(filters, limit=limit, after=None if cursor is None else place_of(cursor))

    async def find_run(self, beginning: str) -> Run:
        """The run of this id, or the only one whose id begins so.

        Raises:
            RunNotFoundError: If there is none.
            ValueError: If there are several, or no id can begin so.
        """
        check_run_id(beginning)
        if await self.reader.info(beginning) is not None:
            return self.run(beginning)
        ids = await self.reader.find_ids(beginning, limit=2 * _SHOWN)
        found = [one for one in ids if await self.reader.info(one) is not None]
        if len(found) > 1:
            shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
            raise ValueError(f"several runs have an id that begins with {beginning!r}: {shown}. Give more of it")
        if not found:
            raise run_not_found(beginning)
        return self.run(found[0])

    async def workers(self) -> list[WorkerInfo]:
        """The live workers."""
        return await self.reader.workers()


def _tags(given: object) -> Sequence[str]:
    """The tags, each of which the filter checks."""
    if isinstance(given, Mapping):
        return tags_of(checked_metadata(cast("object", given)))
    if isinstance(given, str) or given is None:
        return [] if given is None else [given]
    if not isinstance(given, Sequence):
        raise TypeError(f"tag must be a text such as 'customer=ada', a list of them or a dict, not {given!r:.80}")
    return cast("Sequence[str]", given)


def _in_ms(name: str, time: datetime | int | None) -> int | None:
    if isinstance(time, datetime):
        return round(time.timestamp() * 1000)
    if time is not None and type(time) is not int:
        raise TypeError(f"{name} must be a datetime, or a whole number of unix milliseconds, not {time!r:.80}")
    return time
