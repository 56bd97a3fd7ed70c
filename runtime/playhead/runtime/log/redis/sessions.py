"""The sessions of the Redis log: their messages, the list of them, and what changes them besides their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from playhead.runtime.core.agent_state import packed_state
from playhead.runtime.core.checks import check_count
from playhead.runtime.core.codec import pack, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.errors import SessionHeldError
from playhead.runtime.core.session import BeganFrom, StoredMessages, said_in
from playhead.runtime.log.arguments import check_cut, check_new_session
from playhead.runtime.log.redis.reads import RedisReads
from playhead.runtime.log.redis.replies import ABOUT_FIELDS, messages_of, session_of, text
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import SessionInfo

__all__ = ["RedisSessions"]

_CUT, _STORE = Script("cut_session"), Script("store_session")

_LISTED_PER_CALL: Final = 200


class RedisSessions(RedisReads):
    """The `SessionLog` part of the Redis log."""

    async def messages(self, session: str) -> list[Message]:
        return messages_of(await self._call("XRANGE", self.keys.messages(session), "-", "+"))

    async def stored_messages(self, session: str) -> StoredMessages:
        about = ("HMGET", self.keys.about(session), "cut", "agent_state")
        while True:  # until neither a cut nor the end of a run came between
            before, items, after = await self._calls([about, ("XRANGE", self.keys.messages(session), "-", "+"), about])
            if before == after:
                cut, state = before
                return StoredMessages(int(cut or 0), messages_of(items), unpack(state) if state else None)

    async def agent_state(self, session: str) -> dict[str, Any]:
        state = await self._call("HGET", self.keys.about(session), "agent_state")
        return cast("dict[str, Any]", unpack(state)) if state else {}

    async def history(self, run_id: str, began: BeganFrom) -> list[Message]:
        session = text(await self._call("HGET", self.keys.run(run_id), "session"))
        return (await self.stored_messages(session)).part(began) if session else []

    async def holder(self, session: str) -> str | None:
        return text(await self._call("HGET", self.keys.session(session), "holder")) or None

    async def session_info(self, session: str) -> SessionInfo | None:
        position = await self._call("ZSCORE", self.keys.sessions, session)
        if position is not None:
            return next(iter(await self._infos([(session, int(position))])), None)
        # An imported run's own, or one that no version had used which keeps this list.
        messages = len(said_in(await self.messages(session)))
        return SessionInfo(session, messages, None, None, 0, 0) if messages else None

    async def sessions(self, *, limit: int = 50, before: tuple[int, str] | None = None) -> list[SessionInfo]:
        check_count("limit", limit, least=1)
        found: list[SessionInfo] = []
        highest = "+inf" if before is None else str(before[0])
        while len(found) < limit:
            size = min(limit - len(found) + 1, _LISTED_PER_CALL)
            place = ("BYSCORE", "REV", "LIMIT", 0, size, "WITHSCORES")
            reply = [text(one) for one in await self._call("ZRANGE", self.keys.sessions, highest, "-inf", *place)]
            places = [(name, int(position)) for name, position in zip(reply[::2], reply[1::2], strict=True)]
            listed = [(name, position) for name, position in places if before is None or (position, name) < before]
            found += await self._infos(listed)
            if len(places) < size:
                break
            highest = f"({places[-1][1]}"
        return found[:limit]

    async def _infos(self, places: Sequence[tuple[str, int]]) -> list[SessionInfo]:
        """Those of the sessions that are still there; the index also names some whose retention has ended."""
        about = [("HMGET", self.keys.about(name), *ABOUT_FIELDS) for name, _ in places]
        holders = [("HGET", self.keys.session(name), "holder") for name, _ in places]
        replies = await self._calls([*about, *holders])
        found: list[SessionInfo] = []
        for (name, position), values, holder in zip(places, replies, replies[len(places) :], strict=False):
            if (info := session_of(name, values, holder=holder, position=position)) is not None:
                found.append(info)
        return found

    async def cut_session(self, session: str, *, upto: int | None) -> bool:
        check_cut(session, upto)
        args = [self.keys.root, session, "" if upto is None else upto]
        reply = await self._write(_CUT, self._keys_of_session(session), args)
        if isinstance(reply, int):
            return bool(reply)
        run_id, state = map(text, reply)
        raise SessionHeldError(session, run_id, state=state)

    async def store_session(
        self, session: str, messages: Sequence[Message], *, agent_state: Mapping[str, Any] | None = None
    ) -> bool:
        check_new_session(session, messages)
        args = [self.keys.root, session, packed_state(agent_state) or b"", *(pack(dict(one)) for one in messages)]
        return bool(await self._write(_STORE, self._keys_of_session(session), args))

    def _keys_of_session(self, session: str) -> list[str]:
        keys = self.keys
        return [keys.session(session), keys.messages(session), keys.about(session), keys.sessions]
