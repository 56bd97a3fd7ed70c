"""Replay: the events of a finished run, as fast as possible.

Yardsticks, both redis-py: a loop that reads pages of 250, builds the two events of each chunk by hand and yields them,
which a program without playhead must also do (the fair one); and a bare `XRANGE` that decodes msgpack and makes no
events, at its best page size. CPU is compared, because wall time includes the server's part.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import msgpack
from redis.asyncio import Redis

from bench.children import Child, Talk, child, cpu_seconds
from bench.figures import Figure, median, of_rounds, ratio_at_least, ratio_at_most
from bench.seeding import finished_run
from bench.server import Bench
from bench.sizes import Sizes
from playhead.client import Client
from playhead.runtime.log.redis.keys import Keys

__all__ = ["measure", "reader"]

_BY_HAND_PAGE: Final = 250
_BARE_PAGES: Final = (250, 500, 1000)


class _Event(dict[str, Any]):
    """A dict with its position, made by hand."""

    __slots__ = ("at", "epoch", "index", "run_id", "seq")

    run_id: str
    seq: int
    at: int
    epoch: int
    index: int | None


async def _pages(redis: Redis, stream: str, size: int) -> AsyncGenerator[Any, None]:
    start = "-"
    while True:
        page: Any = await redis.xrange(stream, start, "+", count=size)
        if not page:
            return
        yield page
        start = f"({page[-1][0].decode()}"


async def _events(redis: Redis, run_id: str, stream: str) -> AsyncGenerator[_Event, None]:
    """The events that a program would build itself: two of each chunk, one of each other record."""
    async for page in _pages(redis, stream, _BY_HAND_PAGE):
        for entry_id, fields in page:
            value = msgpack.unpackb(fields[b"r"])
            seq, epoch = map(int, entry_id.split(b"-"))
            if type(value) is not list or value[0] != 1:
                other = _Event(event=value)
                other.run_id, other.seq, other.epoch, other.index = run_id, seq, epoch, None
                yield other
                continue
            _, at, text = value
            delta = {"text": text}
            raw = _Event(event={"contentBlockDelta": {"delta": delta}})
            raw.run_id, raw.seq, raw.at, raw.epoch, raw.index = run_id, seq, at, epoch, 0
            yield raw
            data = _Event(data=text, delta=delta)
            data.run_id, data.seq, data.at, data.epoch, data.index = run_id, seq, at, epoch, None
            yield data


async def _last_seq(events: Any) -> int:
    last = 0
    async with aclosing(events):
        async for event in events:
            last = event.seq
    return last


async def _bare(redis: Redis, stream: str, size: int) -> int:
    records = 0
    async for page in _pages(redis, stream, size):
        for _, fields in page:
            msgpack.unpackb(fields[b"r"])
        records += len(page)
    return records


async def reader(config: dict[str, Any], talk: Talk) -> None:
    """Role: reads one run. Answers records, seconds and CPU seconds.

    Asks: `ours`, `played`, `part` (`until`), `by hand`, `bare` (`page`).
    """
    async with (
        Client(config["url"], prefix=config["prefix"]) as client,
        Redis.from_url(config["url"], socket_timeout=None) as redis,
    ):
        async for question in talk.questions():
            gc.collect()
            began, cpu = time.monotonic(), cpu_seconds()
            if question["ask"] == "ours":
                records = await _last_seq(client.run(question["run"]).stream_async())
            elif question["ask"] == "played":
                records = await _last_seq(client.run(question["run"]).replay(speed=None))
            elif question["ask"] == "part":
                records = await _last_seq(client.run(question["run"]).replay(speed=None, until=question["until"]))
            elif question["ask"] == "by hand":
                records = await _last_seq(_events(redis, question["run"], question["stream"]))
            else:
                records = await _bare(redis, question["stream"], question["page"])
            talk.answer({"records": records, "s": time.monotonic() - began, "cpu": cpu_seconds() - cpu})


async def _round(process: Child, taken: dict[str, list[dict[str, Any]]], target: dict[str, Any], records: int) -> None:
    for name, (what, more) in _READERS.items():
        told = await process.ask(what, **target, **more)
        assert told["records"] == records, f"{name}: {told['records']} of {records} records"
        taken[name].append(told)


_READERS: Final[dict[str, tuple[str, dict[str, int]]]] = {
    "ours": ("ours", {}),
    "played": ("played", {}),
    "part": ("part", {}),
    "by hand": ("by hand", {}),
    **{f"bare {page}": ("bare", {"page": page}) for page in _BARE_PAGES},
}


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"replay: writing {sizes.replay_records:,} records")
    run_id, head = await finished_run(bench.url, prefix="replay", records=sizes.replay_records)
    target = {"run": run_id, "stream": Keys("replay").log(run_id), "until": head}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in _READERS}
    async with child(reader, {"url": bench.url, "prefix": "replay"}, uvloop=False) as process:
        for number in range(sizes.rounds):
            say(f"replay: round {number + 1} of {sizes.rounds}")
            await _round(process, taken, target, head)
    return _figures(taken, records=head)


def _figures(taken: dict[str, list[dict[str, Any]]], *, records: int) -> list[Figure]:
    def us(name: str) -> list[float]:
        return [one["cpu"] / one["records"] * 1e6 for one in taken[name]]

    def per_cpu_second(name: str) -> list[float]:
        return [one["records"] / one["cpu"] for one in taken[name]]

    def per_second(name: str) -> list[float]:
        return [one["records"] / one["s"] for one in taken[name]]

    best = min(_BARE_PAGES, key=lambda page: median(us(f"bare {page}")))
    by_hand = f"redis-py, both events built by hand and yielded, pages of {_BY_HAND_PAGE}"
    bare = f"redis-py XRANGE + msgpack, no events, pages of {best} (the best of {', '.join(map(str, _BARE_PAGES))})"
    speed = of_rounds("replay", "records per CPU second", per_cpu_second("ours"), "/s")
    note = f"one finished run of {records:,} records, both events of each chunk yielded"
    cost = of_rounds("replay", "CPU per record", us("ours"), "µs")
    wall = of_rounds("replay", "records a second of wall time", per_second("ours"), "/s")
    return [
        speed.beside(per_cpu_second("by hand"), by_hand, called="both by hand", target=ratio_at_least(1.5), note=note),
        speed.beside(per_cpu_second(f"bare {best}"), bare, called="bare XRANGE", target=ratio_at_least(0.6)),
        cost.beside(us("by hand"), by_hand),
        wall.beside(per_second("by hand"), by_hand),
        *(
            of_rounds("replay", f"CPU per record, {called}", us(name), "µs").beside(
                us("ours"), "`stream_async` on the same run", target=ratio_at_most(1.1)
            )
            for name, called in (("played", "`replay(speed=None)`"), ("part", "the same with `until=`"))
        ),
    ]
