"""Fork: a new run begins with the first half of a long one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.children import Talk, child, cpu_seconds
from bench.figures import Figure, at_most, of_rounds
from bench.seeding import append, claim_run, conversation, opened_log
from bench.server import Bench
from bench.sizes import Sizes
from playhead.client import Client

__all__ = ["forker", "measure"]


async def forker(config: dict[str, Any], talk: Talk) -> None:
    """Role: forks one run at one place. Answers seconds, CPU seconds and the records that the fork has."""
    async with Client(config["url"], prefix=config["prefix"]) as client:
        run = client.run(config["run"])
        async for _ in talk.questions():
            began, cpu = time.monotonic(), cpu_seconds()
            fork = await run.fork(at=config["at"])
            spent = {"s": time.monotonic() - began, "cpu": cpu_seconds() - cpu}
            talk.answer({"records": (await fork.info()).head, **spent})


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    at = sizes.replay_records // 2
    say(f"fork: writing {sizes.replay_records:,} records")
    async with opened_log(bench.url, prefix="fork") as log:
        claim = await claim_run(log)
        await append(log, claim, claim.head, conversation(sizes.replay_records))
    forked: list[dict[str, Any]] = []
    config = {"url": bench.url, "prefix": "fork", "run": claim.run_id, "at": at}
    async with child(forker, config, uvloop=False) as process:
        for number in range(sizes.rounds):
            say(f"fork: round {number + 1} of {sizes.rounds}")
            forked.append(await process.ask("fork"))
    assert {one["records"] for one in forked} == {at}
    note = f"at record {at:,} of {sizes.replay_records:,}; the records are copied"
    return [
        of_rounds(
            "fork", "until a fork is queued", [one["s"] * 1000 for one in forked], "ms", target=at_most(1000), note=note
        ),
        of_rounds("fork", "CPU per record copied", [one["cpu"] / at * 1e6 for one in forked], "µs"),
    ]
