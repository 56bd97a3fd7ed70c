"""The tail hub: one subscription connection for all tails of a client.

The stream is the truth; what is published is only a faster copy of it. A tail subscribes first, then reads the stream
from its cursor, then merges the live batches by `seq`; whenever it may have missed something (a dropped message, a
reconnect, a full buffer) it reads the stream again. So nothing here needs to be reliable, only prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final, NamedTuple, Protocol

import anyio
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from playhead.runtime.log.redis.link import Listener

__all__ = ["Broadcast", "Hub", "HubStatistics", "Subscription"]

logger: logging.Logger = logging.getLogger(__name__)

_BUFFERED_BATCHES: Final = 256
"""Live batches a tail may lag behind; beyond that it reads the stream instead, at its own pace."""

_PING_EVERY_S: Final = 5.0
_SILENT_S: Final = 15.0
"""A link that answers no ping for this long is dead, whatever TCP thinks of it."""

_CHANNELS_PER_COMMAND: Final = 512

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""Between a link that was lost and the next one."""

_TICK_S: Final = 0.25
"""How late a tail's wait may end. One clock for all of them: a timer for every batch costs more than its records."""


class HubStatistics(NamedTuple):
    """A snapshot of the hub."""

    channels: int
    """Runs subscribed to."""
    subscriptions: int
    """Tails that listen."""
    connections: int
    """Links to Redis: 1 while connected."""
    reconnects: int
    """Links made after the first."""
    messages: int
    """Batches received."""
    overflows: int
    """Times a tail was too slow and went back to reading the stream."""


class _Once:
    """Set once, waited for by one task: a tenth of the memory of an `anyio.Event`."""

    __slots__ = ("_done", "_waiter")

    def __init__(self) -> None:
        self._done = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """End the wait, now and later."""
        self._done = True
        _wake(self._waiter)

    async def wait(self) -> None:
        """Return when it has been set."""
        if not self._done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class Subscription:
    """One tail's ear: live batches of one run, newest last, bounded.

    A client may hold thousands that hear nothing for minutes, so one that waits holds a future and an empty list.

    Attributes:
        behind: Something may have been missed: the log must be read. True until it has been read for the first time.
        batches: What was published and not taken yet.
    """

    __slots__ = ("_deadline", "_waiter", "batches", "behind", "channel", "confirmed")

    def __init__(self, channel: bytes) -> None:
        self.channel: bytes = channel
        self.batches: list[bytes] = []
        self.behind: bool = True
        self.confirmed: _Once = _Once()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0

    def push(self, data: bytes) -> bool:
        """Take one batch in; False if the buffer was full, and everything in it was given up."""
        if self.behind:
            return True
        kept = len(self.batches) < _BUFFERED_BATCHES
        if kept:
            self.batches.append(data)
        else:
            self.lag()
        _wake(self._waiter)
        return kept

    def take(self) -> list[bytes]:
        """What was published since the last time."""
        batches, self.batches = self.batches, []
        return batches

    def lag(self) -> None:
        """Something may have been missed: the stream must be read again."""
        self.batches.clear()
        self.behind = True
        _wake(self._waiter)

    def listen(self) -> None:
        """Keep live batches from now on; call it before reading the stream, so that nothing falls between."""
        self.behind = False

    async def wait(self, timeout: float) -> bool:
        """Wait for a batch, or for the need to read; False if neither came within about `timeout` seconds."""
        if not self.batches and not self.behind:
            self._deadline = time.monotonic() + timeout
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return bool(self.batches) or self.behind

    def tick(self, now: float) -> None:
        """End the wait if its time is over; the hub calls it every `_TICK_S` seconds."""
        if now >= self._deadline:
            _wake(self._waiter)


class Broadcast(Protocol):
    """What is published, as a tail needs it: see `Hub`. One that hears nothing serves for a log that nothing publishes."""

    closed: bool

    @property
    def channels(self) -> int:
        """Runs subscribed to."""
        ...

    def subscribe(self, channel: str) -> Subscription:
        """See `Hub.subscribe`."""
        ...

    def unsubscribe(self, subscription: Subscription) -> None:
        """See `Hub.unsubscribe`."""
        ...


class Hub:
    """Run `run` in a task; `subscribe` and `unsubscribe` from others of the same event loop.

    It takes one connection of `client`, while anything listens. On a cluster it listens by `SSUBSCRIBE`, as the scripts
    publish there.

    Attributes:
        closed: Nothing will be heard any more; tails must end.
    """

    def __init__(self, client: Redis) -> None:
        self.closed: bool = False
        self._client = client
        self._subscriptions: dict[bytes, list[Subscription]] = {}
        self._confirmed: set[bytes] = set()
        self._unanswered: dict[bytes, int] = {}
        self._changed: dict[bytes, None] = {}
        self._work = anyio.Event()
        self._link: Listener | None = None
        self._heard = 0.0
        self._links = 0
        self._messages = 0
        self._overflows = 0

    @property
    def channels(self) -> int:
        """Runs subscribed to."""
        return len(self._subscriptions)

    def statistics(self) -> HubStatistics:
        """A snapshot of the counters."""
        return HubStatistics(
            channels=self.channels,
            subscriptions=sum(map(len, self._subscriptions.values())),
            connections=int(self._link is not None),
            reconnects=max(0, self._links - 1),
            messages=self._messages,
            overflows=self._overflows,
        )

    def subscribe(self, channel: str) -> Subscription:
        """A subscription to `channel`; it starts `behind`, so its tail reads the stream first.

        Reading is best begun once it is `confirmed`; a tail that cannot wait may begin before, and is told to read
        again at the confirmation: what was published in between is in the stream.
        """
        name = channel.encode()
        subscription = Subscription(name)
        self._subscriptions.setdefault(name, []).append(subscription)
        if name in self._confirmed:
            subscription.confirmed.set()
        else:
            self._change(name)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """The tail has left; the last one of a run ends the channel."""
        listeners = self._subscriptions.get(subscription.channel, [])
        if subscription in listeners:
            listeners.remove(subscription)
        if not listeners and self._subscriptions.pop(subscription.channel, None) is not None:
            self._change(subscription.channel)

    def close(self) -> None:
        """Wake every tail, to end."""
        self.closed = True
        for listeners in self._subscriptions.values():
            for subscription in listeners:
                subscription.lag()

    def _change(self, channel: bytes) -> None:
        self._changed[channel] = None
        self._work.set()

    async def run(self) -> None:
        """Keep the link up for ever; ends by cancellation. A lost link is made again, and every tail reads again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            tasks.start_soon(self._keep_link)

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(_TICK_S)
            now = time.monotonic()
            for listeners in self._subscriptions.values():
                for subscription in listeners:
                    subscription.tick(now)

    async def _keep_link(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            if not self._subscriptions:  # nothing listens: a link is not needed
                self._work = anyio.Event()
                await self._work.wait()
            try:
                await self._hold_link()
            except* (redis_errors.RedisError, OSError) as group:
                logger.info("tail link lost (%s); connecting again", group.exceptions[0])
            for listeners in self._subscriptions.values():
                for subscription in listeners:
                    subscription.lag()
            # A link on which nothing could be subscribed to may stay so, because the user lacks the rights.
            pause = _FIRST_PAUSE_S if self._confirmed else min(2 * pause, _LONGEST_PAUSE_S)
            self._confirmed.clear()
            await anyio.sleep(pause)

    async def _hold_link(self) -> None:
        link = self._link = await Listener.open(self._client, self._receive)
        try:
            self._links += 1
            self._heard = time.monotonic()
            self._unanswered.clear()
            self._changed = dict.fromkeys(self._subscriptions)
            self._work.set()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.failed)
                tasks.start_soon(self._send_changes, link)
                tasks.start_soon(self._ping, link)
        finally:
            self._link = None
            await link.aclose()

    def _receive(self, message: Any) -> None:
        """Hand a message to its listeners: in the turn of the event loop in which it arrives, and without a task between."""
        kind = message[0]
        if kind in (b"message", b"smessage"):
            self._messages += 1
            for subscription in self._subscriptions.get(message[1], ()):
                if not subscription.push(message[2]):
                    self._overflows += 1
            return
        self._heard = time.monotonic()
        if kind in (b"subscribe", b"ssubscribe"):
            self._answered(message[1], subscribed=True)
        elif kind in (b"unsubscribe", b"sunsubscribe"):
            if message[1] not in self._unanswered:
                raise redis_errors.ConnectionError("the server has given up a channel by itself: its slot has moved")
            self._answered(message[1], subscribed=False)

    def _answered(self, channel: bytes, *, subscribed: bool) -> None:
        """Only the answer to the last request for a channel says how it stands."""
        waiting = self._unanswered.pop(channel, 1) - 1
        if waiting:
            self._unanswered[channel] = waiting
        elif subscribed:
            self._confirmed.add(channel)
            for subscription in self._subscriptions.get(channel, ()):
                subscription.confirmed.set()
                subscription.lag()

    async def _send_changes(self, link: Listener) -> None:
        subscribe, unsubscribe = ("SSUBSCRIBE", "SUNSUBSCRIBE") if link.sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            changed, self._changed = list(self._changed), {}
            for start in range(0, len(changed), _CHANNELS_PER_COMMAND):
                some = changed[start : start + _CHANNELS_PER_COMMAND]
                wanted = [name for name in some if name in self._subscriptions]
                unwanted = [name for name in some if name not in self._subscriptions]
                # Now, not at the answer: who subscribes in between must know that it has to ask again.
                for name in some:
                    self._confirmed.discard(name)
                    self._unanswered[name] = self._unanswered.get(name, 0) + 1
                for command, names in ((subscribe, wanted), (unsubscribe, unwanted)):
                    if names:
                        await link.send(command, *names)

    async def _ping(self, link: Listener) -> None:
        while True:
            await anyio.sleep(_PING_EVERY_S)
            if time.monotonic() - self._heard > _SILENT_S:
                raise redis_errors.ConnectionError(f"no answer to a ping for {_SILENT_S:.0f} s")
            if link.outdated:
                raise redis_errors.ConnectionError("the log has moved to another server, or may have")
            await link.send("PING")
