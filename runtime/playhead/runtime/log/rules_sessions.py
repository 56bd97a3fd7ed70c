"""The sessions that the log's rules act on: who holds each, and what each has. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from playhead.runtime.core.context import is_marker_data
from playhead.runtime.log.values import SESSION_RETENTION_MS, SessionInfo

__all__ = ["LogSession", "Sessions"]


@dataclass(slots=True)
class LogSession:
    """A conversation.

    While a run holds it, `kept_until` is until when the runs that have held it are kept; else `expires` is when it ends.

    Attributes:
        holder: The run that holds it.
        waiting: The runs that wait for it.
        messages: Its messages, encoded.
        cut: How many messages were cut before them. A session that was deleted stays as this number only, as long as a
            run may have begun from one of them.
        created: When it was made; None if it was deleted.
        used: When a run of it was last submitted or ended.
        position: Its position among all sessions; 0 for one that is not listed.
        agent_state: The state of the agent after the last run that had one, encoded.
    """

    holder: str | None = None
    waiting: deque[str] = field(default_factory=deque[str])
    messages: list[bytes] = field(default_factory=list[bytes])
    cut: int = 0
    created: int | None = None
    used: int = 0
    position: int = 0
    agent_state: bytes | None = None
    kept_until: int = 0
    expires: int | None = None

    def use(self, *, now: int, position: int) -> None:
        """Put it before all others in the list."""
        self.used, self.position = now, position

    def info(self, name: str) -> SessionInfo:
        """Its present state."""
        said = sum(not is_marker_data(message) for message in self.messages)
        return SessionInfo(name, said, self.holder, self.created, self.used, self.position)


class Sessions:
    """All conversations. One is kept while a run holds it; its messages thirty days more, and as long as each of its runs."""

    def __init__(self) -> None:
        self.all: dict[str, LogSession] = {}
        self._expiring: list[tuple[int, str]] = []  # heap of (when, name)

    def join(self, name: str, run_id: str, *, now: int, position: int) -> bool:
        """Give the session to a new run, or make the run wait for it. Returns whether the run holds it now."""
        session = self.all.setdefault(name, LogSession())
        if not session.position and not session.messages:
            session.created = now
        session.use(now=now, position=position)
        if session.expires is not None:
            session.kept_until, session.expires = session.expires, None
        if session.holder is None:
            session.holder = run_id
            return True
        session.waiting.append(run_id)
        return False

    def keep(self, name: str, messages: Sequence[bytes], *, cut: int, until: int) -> None:
        """Make a session with these messages, of a run that has ended and is kept until `until`. It is not listed."""
        if messages:
            self.all[name] = LogSession(messages=list(messages), cut=cut)
            self._expire(name, until)

    def hold(
        self,
        name: str,
        messages: Sequence[bytes],
        *,
        cut: int,
        agent_state: bytes | None,
        run_id: str,
        now: int,
        position: int,
    ) -> None:
        """Make a session with these messages, which a fork holds."""
        self.all[name] = LogSession(holder=run_id, messages=list(messages), cut=cut, created=now)
        self.all[name].agent_state = agent_state
        self.all[name].use(now=now, position=position)

    def leave(self, name: str, run_id: str, *, now: int, until: int, position: int) -> str | None:
        """Remove a run that ends, and is kept until `until`, from its session.

        Returns:
            The run that holds the session from now on, if it is a different one.
        """
        session = self.all[name]
        if session.holder != run_id:
            session.waiting.remove(run_id)
            return None
        session.holder = session.waiting.popleft() if session.waiting else None
        session.kept_until = max(session.kept_until, until)
        session.use(now=now, position=position)
        if session.holder is None:
            if not session.messages:
                self._empty(name)
            if name in self.all:
                self._expire(name, max(session.kept_until, now + SESSION_RETENTION_MS))
        return session.holder

    def cut(self, name: str, *, upto: int | None) -> bool:
        """Cut the messages of a free session up to number `upto`, or all. Returns whether the session has any."""
        session = self.all.get(name)
        if session is None or not session.messages:
            return False
        count = len(session.messages) if upto is None else max(0, upto - session.cut)
        session.cut += len(session.messages[:count])
        del session.messages[:count]
        if not session.messages:
            self._empty(name)
        return True

    def store(
        self, name: str, messages: Sequence[bytes], *, agent_state: bytes | None, now: int, position: int
    ) -> bool:
        """Make a session with these messages. Returns False if it has messages or a run."""
        session = self.all.setdefault(name, LogSession())
        if session.holder is not None or session.messages:
            return False
        session.messages, session.created, session.agent_state = list(messages), now, agent_state
        session.use(now=now, position=position)
        self._expire(name, max(session.expires or 0, now + SESSION_RETENTION_MS))
        return True

    def listed(self, *, before: tuple[int, str] | None, limit: int) -> list[SessionInfo]:
        """The sessions before a position, the one that was used last first."""
        found = [one.info(name) for name, one in self.all.items() if one.position]
        found.sort(key=lambda info: (info.position, info.session), reverse=True)
        return [info for info in found if before is None or (info.position, info.session) < before][:limit]

    def sweep(self, now: int) -> None:
        """Forget the sessions whose retention is over."""
        while self._expiring and self._expiring[0][0] <= now:
            when, name = heapq.heappop(self._expiring)
            session = self.all.get(name)
            if session is not None and session.expires == when:
                del self.all[name]

    def _empty(self, name: str) -> None:
        """A free session has no messages: only the number of those that were cut may stay."""
        session = self.all[name]
        session.position, session.created, session.agent_state = 0, None, None
        if not session.cut:
            del self.all[name]

    def _expire(self, name: str, when: int) -> None:
        self.all[name].expires = when
        heapq.heappush(self._expiring, (when, name))
