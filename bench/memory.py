"""Memory: the cost of a streamed token in the stream, compared with the msgpack bytes of the same records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from bench.figures import Figure, at_most, ratio_at_most
from bench.seeding import append, claim_run, conversation, opened_log
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.records import ModelChunk

__all__ = ["measure"]

_SHORT = 200


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement: counted, not timed, so one round is enough."""
    say("memory")
    figures: list[Figure] = []
    async with opened_log(bench.url, prefix="memory") as log:
        for tokens in (sizes.tokens, min(_SHORT, sizes.tokens // 2)):
            claim = await claim_run(log)
            records = [record for record in conversation(tokens) if isinstance(record, ModelChunk)]
            await append(log, claim, claim.head, records)
            used = await bench.admin.memory_usage(log.keys.log(claim.run_id), samples=0)
            used = (used or 0) / len(records)
            compact = sum(len(encode_record(record)) for record in records) / len(records)
            whole = sum(len(msgpack.packb(dict(record)) or b"") for record in records) / len(records)
            figures += _figures(tokens, used, whole, compact)
    return figures


def _figures(tokens: int, used: float, whole: float, compact: float) -> list[Figure]:
    def line(name: str, **more: Any) -> Figure:
        return Figure(group="memory", name=f"{name}, {tokens:,} tokens", value=used, unit="bytes", **more)

    return [
        line(
            "per token",
            target=at_most(64),
            note="MEMORY USAGE of the stream, all of its nodes and the key, over its records",
        ),
        line(
            "beside msgpack maps",
            yardstick=whole,
            yardstick_name="msgpack, field names and all",
            target=ratio_at_most(1.5),
            note="the form every other record is stored in",
        ),
        line(
            "beside msgpack as stored",
            yardstick=compact,
            yardstick_name="msgpack, the compact form",
            note="what the stream adds to the stored bytes; it has no target",
        ),
    ]
