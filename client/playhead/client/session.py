"""`Session`: a handle on a conversation: its messages, its runs, and what changes it besides its runs."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from playhead.client.run import Run
from playhead.runtime.core.arguments import check_whole
from playhead.runtime.core.checks import check_session
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import SessionExistsError, SessionNotFoundError
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.session import first_kept, fork_of, said_in
from playhead.runtime.core.so_far import SoFar
from playhead.runtime.log.interface import ClientLog
from playhead.runtime.log.listing import RunFilter, RunPage, no_cursor, place_of
from playhead.runtime.log.values import RunInfo, SessionInfo

__all__ = ["Conversation", "Session", "SessionPage", "Sessions"]

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation up to now, as a page shows it when it is opened.

    Attributes:
        messages: Those of the session, then those of the run that holds it: its prompt, and each message that is finished.
            Text that was retracted, or is still streamed, is not among them.
        run: The run that holds the session: queued, running or paused. None if it is free.
        cursor: Where the events of that run go on after `messages`: `run.stream_async(after=cursor)` gives the answer that
            is being streamed from its beginning, or the questions that the run waits for. None without a run.
    """

    messages: Sequence[Message]
    run: Run | None
    cursor: str | None


class SessionPage(list[SessionInfo]):
    """Some sessions, the one that was used last first.

    Attributes:
        cursor: What the next page begins after; None if this is the last one.
    """

    def __init__(self, sessions: Iterable[SessionInfo], *, more: bool) -> None:
        super().__init__(sessions)
        self.cursor: str | None = _cursor_of(self[-1]) if more and self else None


def _cursor_of(info: SessionInfo) -> str:
    place = f"{info.position} {info.session}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _place_of(cursor: str) -> tuple[int, str]:
    try:
        place = base64.b64decode(f"{cursor}{'=' * (-len(cursor) % 4)}", altchars=b"-_", validate=True)
        position, _, session = place.decode("utf-8", "surrogatepass").partition(" ")
        return int(position), session
    except (ValueError, TypeError) as error:
        raise ValueError(no_cursor(cursor, "sessions")) from error


@names_keywords
class Session:
    """A conversation of a fleet; `client.session(id)` makes it. Any number of runs extend it, one at a time.

    `trim` and `delete` are refused while a run holds the session, so they never change what a run is reading.

    Attributes:
        id: The session's id: the `session_id` of its runs.
    """

    def __init__(self, session_id: str, *, log: ClientLog, open_run: Callable[[str], Run]) -> None:
        self.id = session_id
        self._log = log
        self._open_run = open_run

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    async def info(self) -> SessionInfo:
        """The number of its messages, when it was used, and the run that holds it.

        Raises:
            SessionNotFoundError: If it has neither messages nor a run.
        """
        info = await self._log.session_info(self.id)
        if info is None:
            raise SessionNotFoundError(self.id)
        return info

    async def messages(self) -> list[Message]:
        """The messages of its runs that have ended, oldest first: what the next run begins from. Empty if it has none.

        Those are among them that an agent's conversation manager leaves out of what the model is asked.
        """
        return said_in(await self._log.messages(self.id))

    async def state(self) -> dict[str, Any]:
        """The agent's key-value state after the last run that has ended: what the next run begins from. Empty if it has none."""
        return await self._log.agent_state(self.id)

    async def conversation(self) -> Conversation:
        """The messages up to now, also those of the run that holds the session, and where to go on with its events.

        A run's log is read once, page by page.

        Raises:
            GapError, ForeignRecordError: As their messages say.
        """
        while True:  # a run that ends meanwhile adds its messages to the session
            run_id = await self._log.holder(self.id)
            messages = await self._log.messages(self.id)
            if run_id is None:
                return Conversation(said_in(messages), None, None)
            info = await self._log.info(run_id)
            if info is None or info.ended:
                if await self._log.holder(self.id) == run_id:  # another program deleted the run
                    return Conversation(said_in(messages), None, None)
                continue
            found = await self._so_far(info, messages)
            if await self._log.holder(self.id) == run_id:
                return Conversation(found.messages, self._open_run(run_id), found.cursor)

    async def _so_far(self, info: RunInfo, messages: Sequence[Message]) -> SoFar:
        found, seq = SoFar(messages), 0
        while seq < info.head and (page := await self._log.read_segments(info.run_id, after=seq, limit=_PAGE)):
            for segment in page:
                found.add(segment)
            seq = page[-1].last
        return found

    async def active_run(self) -> Run | None:
        """The run that holds the session: queued, running or paused. None if it is free."""
        run_id = await self._log.holder(self.id)
        return None if run_id is None else self._open_run(run_id)

    async def runs(self, *, limit: int = 50, cursor: str | None = None) -> RunPage:
        """Its runs, newest first, also those that wait for the session; those that ended are listed until their retention ends.

        The pages are those of `client.runs(session=…)`.

        Raises:
            ValueError: If `cursor` is not one, or `limit` is below 1.
        """
        check_whole("limit", limit, least=1)
        after = None if cursor is None else place_of(cursor)
        return await self._log.runs(RunFilter(session=self.id), limit=limit, after=after)

    async def trim(self, *, keep_last: int) -> int:
        """Cut the oldest messages, and keep at least the last `keep_last` of them.

        Whole turns are kept: the first message that is left is a user's, and never the result of a tool whose call was cut.
        So more messages are kept if the last `keep_last` begin within a turn. Later runs begin from what is left. The log of
        an old run keeps its own messages; what needs the messages before, such as its requests or a fork of it, says that
        they are gone.

        Returns:
            How many messages it has now.

        Raises:
            SessionHeldError: If a run holds the session; nothing was changed.
            SessionNotFoundError: If it has no messages.
            ValueError: If `keep_last` is below 1; `delete` removes all messages.
        """
        check_whole("keep_last", keep_last, least=1)
        stored = await self._log.stored_messages(self.id)
        first = first_kept(stored.messages, keep_last)
        if not await self._log.cut_session(self.id, upto=stored.cut + first):
            raise SessionNotFoundError(self.id)
        return len(said_in(stored.messages[first:]))

    async def delete(self) -> bool:
        """Delete the session, with all its messages. The logs of its runs stay until their retention ends.

        A run that is submitted to it later begins a new conversation under the same id.

        Returns:
            Whether it had messages.

        Raises:
            SessionHeldError: If a run holds the session; nothing was changed.
        """
        return await self._log.cut_session(self.id, upto=None)

    async def fork(self, new_id: str, *, at: int | None = None) -> Session:
        """Make another session that begins with the same messages, and with the agent's state as it is now.

        This one is only read, also while a run holds it.

        Args:
            new_id: The id of the new session.
            at: How many messages it begins with; None for all that `messages()` gives.

        Returns:
            The new session. To call again after an error is safe: the same fork under one id is one session.

        Raises:
            SessionExistsError: There is a session of that id, and it is not this fork; nothing was changed.
            SessionNotFoundError: If this one has no messages.
            ValueError: If there are not as many messages, or they end with a call of a tool whose result comes next; or if
                `new_id` is the id of this session.
            LogUnavailableError: If the new session may or may not be stored.
        """
        check_session(new_id)
        if new_id == self.id:
            raise ValueError(f"session {self.id!r} cannot be forked to its own id: give the new session another one")
        stored = await self._log.stored_messages(self.id)
        messages, state = stored.messages, stored.agent_state
        if not messages:
            raise SessionNotFoundError(self.id)
        if at is not None:
            check_whole("at", at, least=1)
        copied = fork_of(messages, at)
        made = await self._log.store_session(new_id, copied, agent_state=state)
        if not made and await self._log.messages(new_id) != copied:
            raise SessionExistsError(new_id)
        return Session(new_id, log=self._log, open_run=self._open_run)


@names_keywords
class Sessions(ABC):
    """The part of a client that opens and lists sessions."""

    @property
    @abstractmethod
    def logs(self) -> ClientLog:
        """The logs of all shards, for tools that need more than the client offers."""

    @abstractmethod
    def run(self, run_id: str) -> Run:
        """A handle on an existing run."""

    def session(self, session_id: str) -> Session:
        """A handle on a session. Makes no call to the server.

        Raises:
            ValueError: If it cannot be the id of a session.
        """
        check_session(session_id)
        return Session(session_id, log=self.logs, open_run=self.run)

    async def sessions(self, *, limit: int = 50, cursor: str | None = None) -> SessionPage:
        """The sessions, the one that was used last first.

        A session that is used while you read page by page moves to the front, and may be in no later page.

        Args:
            limit: The number of sessions of a page.
            cursor: The `cursor` of the page before; None for the first page.

        Raises:
            ValueError: If `cursor` is not one, or `limit` is below 1.
        """
        check_whole("limit", limit, least=1)
        found = await self.logs.sessions(limit=limit + 1, before=None if cursor is None else _place_of(cursor))
        return SessionPage(found[:limit], more=len(found) > limit)

    async def run_of_session(self, session_id: str) -> Run | None:
        """The current run of the session: queued, running or paused. None if there is none."""
        return await self.session(session_id).active_run()
