"""The tail hub: one subscription connection for all tails of a client.

The stream is the truth; published batches are only a faster copy of it. A tail subscribes first, then reads the stream
from its cursor, then merges the live batches by `seq`. Whenever it may have missed a batch (a dropped message, a
reconnect, a full buffer) it reads the stream again. So the hub does not need to be reliable, only fast.
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
"""How many live batches a subscription buffers; a slower tail reads the stream instead, at its own pace."""

_PING_EVERY_S: Final = 5.0
_SILENT_S: Final = 15.0
"""A connection without a reply to a ping for this long counts as dead, whatever TCP reports."""

_CHANNELS_PER_COMMAND: Final = 512

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
"""The pause between a lost connection and the next one."""

_TICK_S: Final = 0.25
"""How late a tail's wait may end. All waits share one clock, because a timer per batch costs more than its records."""


class HubStatistics(NamedTuple):
    """The counters of the hub."""

    channels: int
    """Subscribed runs."""
    subscriptions: int
    """Tails that listen."""
    connections: int
    """Connections to Redis: 1 while connected."""
    reconnects: int
    """Connections made after the first."""
    messages: int
    """Batches received."""
    overflows: int
    """Times that a tail was too slow and returned to reading the stream."""


class _Once:
    """An event for one waiting task, with a tenth of the memory of an `anyio.Event`."""

    __slots__ = ("_done", "_waiter")

    def __init__(self) -> None:
        self._done = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """End the current wait and all later ones."""
        self._done = True
        _wake(self._waiter)

    async def wait(self) -> None:
        """Wait until it has been set."""
        if not self._done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class Subscription:
    """One tail's subscription: live batches of one run, newest last, bounded.

    A client may hold thousands that receive nothing for minutes, so a waiting one holds a future and an empty list.

    Attributes:
        missed: Whether a batch may have been missed, so that the log must be read. True until the first read.
        batches: Batches that were published and not taken yet.
    """

    __slots__ = ("_deadline", "_waiter", "batches", "channel", "confirmed", "missed")

    def __init__(self, channel: bytes) -> None:
        self.channel: bytes = channel
        self.batches: list[bytes] = []
        self.missed: bool = True
        self.confirmed: _Once = _Once()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0

    def push(self, data: bytes) -> bool:
        """Add one batch; False if the buffer was full, and all its batches were dropped."""
        if self.missed:
            return True
        kept = len(self.batches) < _BUFFERED_BATCHES
        if kept:
            self.batches.append(data)
        else:
            self.lag()
        _wake(self._waiter)
        return kept

    def take(self) -> list[bytes]:
        """The batches published since the last call."""
        batches, self.batches = self.batches, []
        return batches

    def lag(self) -> None:
        """Note that a batch may have been missed, so that the stream must be read again."""
        self.batches.clear()
        self.missed = True
        _wake(self._waiter)

    def listen(self) -> None:
        """Keep live batches from now on. Call it before reading the stream, so that no batch is lost in between."""
        self.missed = False

    async def wait(self, timeout: float) -> bool:
        """Wait for a batch, or until the stream must be read; False if neither happened in about `timeout` seconds."""
        if not self.batches and not self.missed:
            self._deadline = time.monotonic() + timeout
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return bool(self.batches) or self.missed

    def tick(self, now: float) -> None:
        """End the wait if its time is over; the hub calls it every `_TICK_S` seconds."""
        if now >= self._deadline:
            _wake(self._waiter)


class Broadcast(Protocol):
    """A source of published batches for tails: see `Hub`. A log that publishes nothing has one that never delivers."""

    closed: bool

    @property
    def channels(self) -> int:
        """Subscribed runs."""
        ...

    def subscribe(self, channel: str) -> Subscription:
        """See `Hub.subscribe`."""
        ...

    def unsubscribe(self, subscription: Subscription) -> None:
        """See `Hub.unsubscribe`."""
        ...


class Hub:
    """Run `run` in a task; call `subscribe` and `unsubscribe` from other tasks of the same event loop.

    It uses one connection of `client`, while there are subscriptions. On a cluster it uses `SSUBSCRIBE`, because the
    scripts publish with `SPUBLISH`.

    Attributes:
        closed: Whether nothing will be received from now on, so that tails must end.
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
        """Subscribed runs."""
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
        """Subscribe to `channel`. The subscription starts with `missed` set, so that its tail reads the stream first.

        It is best to read after `confirmed`. A tail that cannot wait may read earlier, but must read again after the
        confirmation, because the stream holds the batches published in between.
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
        """Remove a tail's subscription; with the last one of a run the channel is unsubscribed."""
        listeners = self._subscriptions.get(subscription.channel, [])
        if subscription in listeners:
            listeners.remove(subscription)
        if not listeners and self._subscriptions.pop(subscription.channel, None) is not None:
            self._change(subscription.channel)

    def close(self) -> None:
        """Wake every tail, so that it ends."""
        self.closed = True
        for listeners in self._subscriptions.values():
            for subscription in listeners:
                subscription.lag()

    def _change(self, channel: bytes) -> None:
        self._changed[channel] = None
        self._work.set()

    async def run(self) -> None:
        """Stay connected until cancelled. After a lost connection it connects again, and every tail reads again."""
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
            if not self._subscriptions:  # without subscriptions no connection is needed
                self._work = anyio.Event()
                await self._work.wait()
            try:
                await self._hold_link()
            except* (redis_errors.RedisError, OSError) as group:
                logger.info("tail link lost (%s); connecting again", group.exceptions[0])
            for listeners in self._subscriptions.values():
                for subscription in listeners:
                    subscription.lag()
            # A connection on which no subscription succeeds may stay so, because the user lacks the rights.
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
        """Give a message to its subscriptions in the event loop's turn in which it arrives, without another task."""
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
                raise redis_errors.ConnectionError("the server ended a subscription by itself: its slot has moved")
            self._answered(message[1], subscribed=False)

    def _answered(self, channel: bytes, *, subscribed: bool) -> None:
        """Note a reply: only that to the last request for a channel says whether it is subscribed."""
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
                # Now, not at the reply: a subscriber in between must know that it has to subscribe again.
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
                raise redis_errors.ConnectionError(f"no reply to a ping for {_SILENT_S:.0f} s")
            if link.outdated:
                raise redis_errors.ConnectionError("the log has moved to another server, or may have")
            await link.send("PING")
