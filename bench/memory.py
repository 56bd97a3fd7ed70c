"""Memory: what a streamed token costs in the stream, beside the msgpack bytes of the same records."""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from bench.figures import Figure, Sizes
from bench.seeding import append, claim_run, conversation, opened_log
from bench.server import Bench
from playhead.runtime.codec import encode_record
from playhead.runtime.records import ModelChunk

__all__ = ["measure"]

_SHORT = 200


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
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
            named = f"an answer of {tokens:,} tokens"
            figures += [
                Figure(
                    group="memory",
                    name=f"Redis bytes per token, {named}",
                    value=used,
                    unit="bytes",
                    yardstick=whole,
                    yardstick_name="msgpack of the records, as maps",
                    target=("value", "<=", 64.0),
                    note="MEMORY USAGE of the stream over its records, nodes and key included",
                ),
                Figure(
                    group="memory",
                    name=f"over the records as stored, {named}",
                    value=used,
                    unit="bytes",
                    yardstick=compact,
                    yardstick_name="msgpack in the compact form",
                    target=("ratio", "<=", 1.5),
                    note="the harder reading of the bound: the compact form is what is stored",
                ),
            ]
    return figures
