"""Yardsticks for writes: bare redis-py."""

from __future__ import annotations

import time
from typing import Any, Final

from redis.asyncio import Redis

from bench.children import Talk, cpu_seconds
from bench.fleet import stamped_record

__all__ = ["writes"]

_STREAM: Final = "bench:writes"
_PIPELINE: Final = 600


async def _awaited(client: Redis) -> int:
    await client.xadd(_STREAM, {"r": stamped_record()})
    return 1


async def _pipeline(client: Redis) -> int:
    pipeline = client.pipeline(transaction=False)
    for _ in range(_PIPELINE):
        pipeline.xadd(_STREAM, {"r": stamped_record()})
    await pipeline.execute()
    return _PIPELINE


_WAYS: Final = {"awaited": _awaited, "pipeline": _pipeline}


async def writes(config: dict[str, Any], talk: Talk) -> None:
    """Role: writes for `seconds`, as fast as possible. Asks: `awaited`, `pipeline`; answers events/s and CPU µs per event."""
    async with Redis.from_url(config["url"], socket_timeout=None) as client:
        for way in _WAYS.values():
            await way(client)  # connected, code warm
        async for question in talk.questions():
            write = _WAYS[question["ask"]]
            began, cpu, events, took = time.monotonic(), cpu_seconds(), 0, 0.0
            while took < question["seconds"]:
                events += await write(client)
                took = time.monotonic() - began
            await client.delete(_STREAM)
            talk.answer({"rate": events / took, "us": (cpu_seconds() - cpu) / events * 1e6})
