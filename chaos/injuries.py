"""The injuries: drawn from a seed, several at once, with at least one healthy worker at any time.

The seed fixes the injuries and their order; at which record one strikes depends on the machine.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import redis.asyncio
from redis.exceptions import RedisError

from chaos.stage import Stage, Victim
from chaos.tally import Injuries

__all__ = ["DECK", "KINDS", "SINGLE_ONLY", "Injurer", "Injury", "summary"]

_PATIENCE_S: Final = 20.0
_DRAIN_S: Final = 15.0


@dataclass(slots=True)
class Injury:
    """One injury: `at` is when it struck, unix milliseconds; `pid` is the injured process, 0 for the server."""

    kind: str
    at: int
    pid: int
    took_s: float = 0.0


class Injurer:
    """Injures the processes of the stage.

    Attributes:
        done: Every injury so far, in the order of their start.
    """

    def __init__(self, stage: Stage) -> None:
        self.done: list[Injury] = []
        self._stage = stage
        self._lease_s = stage.options.lease_s
        self._dice = random.Random(stage.options.seed)
        self._free = anyio.Condition()

    async def run(self, tell: Callable[[Injury], None], *, until: anyio.Event) -> None:
        """Inflict as many injuries as the options give, or until `until`; returns when the last one is over."""
        options = self._stage.options
        deck: list[str] = []
        whole = options.deck or DECK
        async with anyio.create_task_group() as tasks:
            for _ in range(options.injuries):
                if until.is_set():
                    break
                if not deck:
                    deck = self._dice.sample(whole, len(whole))
                kind = deck.pop()
                # All random choices are made here, in one order, however long each injury takes.
                dice = random.Random(self._dice.getrandbits(64))
                victim = await self._victim(kind, dice)
                if victim is not None:
                    victim.busy = True
                injury = Injury(kind, _now(), victim.process.pid if victim else 0)
                self.done.append(injury)
                tell(injury)
                tasks.start_soon(self._inflict, injury, victim, dice)
                await anyio.sleep(self._dice.uniform(0, 2 * options.pace_s))

    async def _victim(self, kind: str, dice: random.Random) -> Victim | None:
        """A process that is not injured yet; waits until there is one and another worker stays healthy."""
        program = _OF.get(kind)
        if program is None:
            return None
        async with self._free:
            while len(self._stage.those(program)) <= (program == "worker"):
                with anyio.move_on_after(0.5):  # a replacement does not notify this condition
                    await self._free.wait()
            return dice.choice(self._stage.those(program))

    async def _inflict(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        began = time.monotonic()
        try:
            await KINDS[injury.kind](self, injury, victim, dice)
        finally:
            injury.took_s = time.monotonic() - began
            if victim is not None:
                victim.busy = False
            async with self._free:
                self._free.notify_all()

    async def kill(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """`kill -9`; a replacement starts."""
        injury.at = _now()
        await self._stage.kill(victim)

    async def stop_past(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Pause it until well past its lease, then resume it."""
        await self._pause(victim, self._lease_s + dice.uniform(0.3, 2.0))

    async def stop_below(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Pause it for less than its lease."""
        await self._pause(victim, self._lease_s * dice.uniform(0.05, 0.9))

    async def _pause(self, victim: Victim, seconds: float) -> None:
        victim.process.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(seconds)
        finally:
            victim.process.signal(signal.SIGCONT)

    async def cut(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Cut all its connections, up to three times."""
        for _ in range(dice.randint(1, 3)):
            victim.proxy.cut()
            await anyio.sleep(dice.uniform(0, 0.3))

    async def delay(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Delay everything it sends and receives."""
        victim.proxy.delay(dice.uniform(0.02, 0.3), requests=True)
        await anyio.sleep(dice.uniform(0.5, 2.0))
        victim.proxy.delay(0.0)

    async def partition(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Hold everything it sends until well past its lease; then deliver it."""
        victim.proxy.hold(requests=True)
        try:
            await anyio.sleep(self._lease_s + dice.uniform(0.3, 2.0))
        finally:
            victim.proxy.release()

    async def lose_replies(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """Lose its next replies, and cut their connections."""
        await victim.proxy.lose_next(dice.randint(1, 4), within=1.0)

    async def drain(self, injury: Injury, victim: Victim, dice: random.Random) -> None:
        """SIGTERM; a replacement starts."""
        victim.leaving = True
        victim.process.signal(signal.SIGTERM)
        with anyio.move_on_after(_DRAIN_S):
            await victim.process.ended.wait()
        if not victim.process.ended.is_set():
            self._stage.died.append(f"worker {victim.process.pid} did not drain within {_DRAIN_S:.0f} s")
            victim.process.kill()
        await self._stage.start(victim.program)

    async def kill_server(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """`kill -9` of the server, which is restarted; of several, of the primary, whose replica is promoted."""
        await self._stage.kill_server(dice.uniform(0, 0.5))

    async def stall_server(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Stop the server for up to one and a half leases."""
        await self._stage.stall_server(self._lease_s * dice.uniform(0.05, 1.5))

    async def flush_scripts(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Flush every script of the server."""
        await _command(await self._stage.servers.port(), "SCRIPT", "FLUSH")

    async def out_of_memory(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Have the server refuse writes that need memory, for up to one and a half leases."""
        port = await self._stage.servers.port()  # the same server is reset, whatever its role is by then
        await _command(port, "CONFIG", "SET", "maxmemory", "1")
        try:
            await anyio.sleep(self._lease_s * dice.uniform(0.05, 1.5))
        finally:
            await _command(port, "CONFIG", "SET", "maxmemory", "0")

    async def read_only(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Make the server a replica without a primary, so that it refuses every write; for up to one lease."""
        port = await self._stage.servers.port()
        await _command(port, "REPLICAOF", "127.0.0.1", "1")
        try:
            await anyio.sleep(self._lease_s * dice.uniform(0.05, 1.0))
        finally:
            await _command(port, "REPLICAOF", "NO", "ONE")

    async def cut_load(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Cut the connections of the client that submits and controls."""
        self._stage.load_proxy.cut()

    async def lose_load_replies(self, injury: Injury, victim: Victim | None, dice: random.Random) -> None:
        """Lose that client's next replies, so that it does not know whether its run was submitted."""
        await self._stage.load_proxy.lose_next(dice.randint(1, 3), within=2.0)


def summary(done: Sequence[Injury]) -> Injuries:
    """The injuries as the figures need them."""
    kills: dict[int, list[int]] = defaultdict(list)
    outages: list[tuple[int, int]] = []
    for injury in done:
        if injury.kind == "kill -9 a worker":
            kills[injury.pid].append(injury.at)
        elif injury.kind in _OUTAGES:
            outages.append((injury.at, injury.at + round(injury.took_s * 1000)))
    return Injuries(Counter(injury.kind for injury in done), kills, outages)


async def _command(port: int, *command: str) -> None:
    with anyio.move_on_after(_PATIENCE_S, shield=True):
        while True:
            try:
                async with redis.asyncio.Redis(port=port) as client:
                    await client.execute_command(*command)
                return
            except (RedisError, OSError):  # the server is being killed
                await anyio.sleep(0.1)


def _now() -> int:
    return time.time_ns() // 1_000_000


KINDS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "kill -9 a worker": Injurer.kill,
    "stop a worker past its lease": Injurer.stop_past,
    "stop a worker below its lease": Injurer.stop_below,
    "cut a worker off": Injurer.cut,
    "slow a worker's network": Injurer.delay,
    "hold a worker's network past its lease": Injurer.partition,
    "lose replies to a worker": Injurer.lose_replies,
    "drain a worker": Injurer.drain,
    "kill -9 the server": Injurer.kill_server,
    "stall the server": Injurer.stall_server,
    "SCRIPT FLUSH": Injurer.flush_scripts,
    "server out of memory": Injurer.out_of_memory,
    "server read-only": Injurer.read_only,
    "kill -9 a viewer": Injurer.kill,
    "cut a viewer off": Injurer.cut,
    "lose replies to a viewer": Injurer.lose_replies,
    "stop a viewer": Injurer.stop_past,
    "cut the submitting client off": Injurer.cut_load,
    "lose replies to the submitting client": Injurer.lose_load_replies,
}
_OF: Final = {kind: program for kind in KINDS for program in ("worker", "viewer") if program in kind}

_OUTAGES: Final = {"kill -9 the server", "stall the server", "server out of memory", "server read-only"}

DECK: Final = (
    *KINDS,
    *["kill -9 a worker"] * 4,
    *["stop a worker past its lease"] * 2,
    "hold a worker's network past its lease",
    "lose replies to a worker",
    "drain a worker",
    "cut a worker off",
    "kill -9 the server",
)
"""The deck of injuries, shuffled again when it is used up, so that every kind occurs, the severe ones more often."""

SINGLE_ONLY: Final = {
    *[kind for kind in KINDS if kind.startswith(("cut", "slow", "hold", "lose"))],
    "server read-only",
}
"""Injuries that are not for a server that fails over: those by a proxy, because clients connect to the servers' own
addresses, and `REPLICAOF`, because only the sentinels may use it."""
